"""Noise that only time explains: its windows to the second, and every class switched off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch import allowlist
from flowwatch.assemble import noise_settings
from flowwatch.classify import Shape, decide
from flowwatch.codes import NOISE, Drop, Event, Evidence, FlowClass, Icmp, Ports, Reply, Verdict
from flowwatch.config import Config, JudgeSettings, PolicySettings
from flowwatch.decode import best_decoder
from flowwatch.engine import Engine
from flowwatch.model import Declared, Kind, Protocol, Side
from flowwatch.noise import WARMING, Newborn, Noise, NoiseSettings, Suspects
from flowwatch.receive import Batch
from flowwatch.shapes import ACK, SYN
from tests.support.flowtext import parse

SECOND = 1_000_000_000
AS_IS = NoiseSettings()
WARM = int(WARMING) + 100
"""A second at which the node is known well enough."""
CLIENT, SERVER, HOST, OTHER = 0, 1, 2, 3
ALLOWLIST = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, api: {app: api}}}
rules: [{from: shop/web, to: shop/api, ports: 8080/TCP, reason: pages}]
"""


class Ledger:
    """One declared edge, and one that was seen."""

    def __init__(self, declared: Declared, known: tuple[int, int] = (-1, -1)) -> None:
        self.declared, self.known = declared, known

    def declares(self, *edge: int) -> Declared:
        assert len(edge) == 4
        return self.declared

    def knows(self, *edge: int) -> bool:
        assert edge[2:] == (Protocol.TCP, 8080)
        return edge[:2] == self.known

    def inside(self, identity: int) -> int:
        return identity + 100


def memory(*born: tuple[float, Newborn], settings: NoiseSettings = AS_IS) -> Noise:
    """What is remembered of peers that were first heard of at these seconds, on a node known since 0."""
    noise = Noise(settings)
    noise.learn([], np.array([0]), np.array([SECOND]), (np.array([9]), np.array([9])))
    for second, one in born:
        peers = (np.array([one.peer]), np.array([9]))
        noise.learn([one], np.array([0]), np.array([int(second * SECOND)]), peers)
    return noise


def pod(peer: int, ip: str = "", identity: int | None = None) -> Newborn:
    return Newborn(peer, peer + 10 if identity is None else identity, Kind.POD, ip)


def explained(
    noise: Noise,
    at: float,
    ledger: Ledger,
    *,
    client: int = CLIENT,
    server: int = SERVER,
    evidence: Evidence = Evidence.DROPPED,
    flags: int = SYN,
    side: Side = Side.INGRESS,
) -> int:
    """The class of one flow."""
    columns = [client, server, client + 500, server + 500, int(Protocol.TCP), 8080, evidence, side, flags]
    arrays = [np.array([value], dtype=np.int64) for value in columns]
    suspects = Suspects(*arrays, time=np.array([int(at * SECOND)]))
    return int(noise.explain(suspects, ledger)[0])


YES, NO = Ledger(Declared.YES), Ledger(Declared.NO)


@given(age=st.floats(0, 100), start=st.integers(0, 60))
@settings(deadline=None)
def test_a_race_lasts_as_long_as_the_window(age: float, start: int) -> None:
    """Of a declared path, whichever end is new; of one that nobody declared, never."""
    for new, other in ((CLIENT, SERVER), (SERVER, CLIENT)):
        noise = memory((2, pod(other)), (WARM, pod(new)), settings=NoiseSettings(start=start, rollout=0))
        found = explained(noise, WARM + age, YES)
        assert found == (FlowClass.IDENTITY_RACE if int(age * SECOND) < start * SECOND else 0)
        assert explained(noise, WARM + age, NO) == 0
        assert explained(noise, WARM + age, YES, evidence=Evidence.FORWARDED) == 0


@given(born=st.floats(1, 2 * WARMING))
@settings(deadline=None)
def test_nothing_is_new_on_a_node_that_is_new_itself(born: float) -> None:
    """In the first minutes of a node's flows its pods are all first heard of, and none of them counts as started."""
    found = explained(memory((born, pod(SERVER))), born + 1, YES)
    assert (found == FlowClass.IDENTITY_RACE) == (int(born * SECOND) >= int((1 + WARMING) * SECOND))


def test_a_rollout_cuts_connections_and_not_attempts() -> None:
    """Packets within a connection, while a workload has a new pod; whoever opens one is judged."""
    twin = pod(OTHER, identity=SERVER + 10)
    noise = memory((2, pod(CLIENT)), (2, pod(SERVER)), (WARM, twin), settings=NoiseSettings(start=0))
    assert explained(noise, WARM + 100, YES, flags=ACK) == FlowClass.ROLLOUT
    assert explained(noise, WARM + 100, YES, flags=SYN) == 0
    assert explained(noise, WARM + 100, NO, flags=ACK) == 0
    assert explained(noise, WARM + 121, YES, flags=ACK) == 0


def test_an_address_that_was_given_away() -> None:
    """Only for the conversation its former holder had, at either end, and for a minute."""
    noise = memory((2, pod(OTHER, "10.0.0.7")), (WARM, pod(SERVER, "10.0.0.7")), settings=NoiseSettings(start=0))
    meant = Ledger(Declared.NO, (CLIENT + 500, OTHER + 10 + 100))
    assert explained(noise, WARM + 59, meant) == FlowClass.IP_REUSE
    assert explained(noise, WARM + 59, meant, evidence=Evidence.FORWARDED) == FlowClass.IP_REUSE
    assert explained(noise, WARM + 61, meant) == 0
    assert explained(noise, WARM + 59, NO) == 0
    back = Ledger(Declared.NO, (OTHER + 10 + 100, CLIENT + 500))
    assert explained(noise, WARM + 59, back, client=SERVER, server=CLIENT) == FlowClass.IP_REUSE
    fine = Ledger(Declared.YES, (CLIENT + 500, OTHER + 10 + 100))
    assert explained(noise, WARM + 59, fine, evidence=Evidence.FORWARDED) == 0


def test_the_own_node() -> None:
    """Only where it arrives, only undeclared, only what passes."""
    noise = memory((2, Newborn(HOST, 7, Kind.HOST, "")), (3, pod(SERVER)))
    passed = Evidence.FORWARDED
    assert explained(noise, 10, NO, client=HOST, evidence=passed) == FlowClass.KUBELET_PROBE
    assert explained(noise, 10, YES, client=HOST, evidence=passed) == 0
    assert explained(noise, 10, NO, client=HOST) == 0
    assert explained(noise, 10, NO, client=HOST, evidence=passed, side=Side.EGRESS) == 0


@pytest.mark.parametrize("switched_off", [FlowClass.IDENTITY_RACE, FlowClass.ROLLOUT, FlowClass.KUBELET_PROBE])
def test_what_time_explains_can_be_switched_off(switched_off: FlowClass) -> None:
    """Then the flow is evidence like any other."""
    noise = memory(
        (2, Newborn(HOST, 7, Kind.HOST, "")),
        (WARM, pod(SERVER)),
        settings=NoiseSettings(judged=frozenset({switched_off})),
    )
    found = {
        explained(noise, WARM + 1, YES, flags=SYN),
        explained(noise, WARM + 60, YES, flags=ACK),
        explained(noise, WARM + 1, NO, client=HOST, evidence=Evidence.FORWARDED),
    }
    expected = {FlowClass.IDENTITY_RACE, FlowClass.ROLLOUT, FlowClass.KUBELET_PROBE} - {switched_off}
    assert found == expected | {0}


DENIED = Shape(event=Event.DROP, verdict=Verdict.DROPPED, drop=Drop.POLICY, direction=Side.INGRESS)
SWITCHES = [
    (FlowClass.HEALTH, replace(DENIED, health=True)),
    (FlowClass.NEIGHBOUR, replace(DENIED, icmp=Icmp.NEIGHBOUR)),
    (FlowClass.ICMP_ERROR, replace(DENIED, icmp=Icmp.ERROR)),
    (FlowClass.SELF, replace(DENIED, same_endpoint=True)),
    (FlowClass.STALE_IDENTITY, replace(DENIED, stale_identity=True)),
    (FlowClass.INFRA_DROP, replace(DENIED, drop=Drop.INFRA)),
    (FlowClass.STALE_REPLY, replace(DENIED, ports=Ports.BACKWARD, reply=Reply.UNKNOWN)),
]


@pytest.mark.parametrize(("flow_class", "shape"), SWITCHES)
def test_what_a_flow_itself_explains_can_be_switched_off(flow_class: FlowClass, shape: Shape) -> None:
    """Then a drop is a drop; every other class stays as it is."""
    assert decide(shape).flow_class is flow_class
    assert decide(shape, frozenset({flow_class})).flow_class is FlowClass.DENIED
    assert decide(shape, frozenset(NOISE) - {flow_class}).flow_class is flow_class


def test_every_class_that_can_be_switched_off_is_tested() -> None:
    """The list of the configuration is the list of these tests."""
    here = {flow_class for flow_class, _ in SWITCHES}
    assert set(NOISE) == here | {
        FlowClass.IDENTITY_RACE,
        FlowClass.ROLLOUT,
        FlowClass.KUBELET_PROBE,
        FlowClass.IP_REUSE,
    }


def test_the_configuration_names_the_classes() -> None:
    """By their labels; and a cluster whose policies decide about a pod's own node has them judged."""
    config = replace(Config(), judge=replace(JudgeSettings(), not_noise=("rollout", "stale-reply"), start_window=5.0))
    assert noise_settings(config) == NoiseSettings(
        start=5.0, judged=frozenset({FlowClass.ROLLOUT, FlowClass.STALE_REPLY})
    )
    strict = replace(Config(), policy=replace(PolicySettings(), allow_localhost=False))
    assert noise_settings(strict).judged == {FlowClass.KUBELET_PROBE}


def test_batches_do_not_matter() -> None:
    """A pod that is born and dropped within one batch is explained as if the flows had come one by one."""
    text = "\n".join(
        (
            "+0s   verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN",
            "+400s verdict DROPPED ingress POLICY_DENIED shop/web -> shop/api#new* 8080/TCP SYN",
            "+440s verdict DROPPED ingress POLICY_DENIED shop/web -> shop/api#new* 8080/TCP SYN",
        )
    )
    lines = parse(text)
    counted = []
    for batches in ([lines], [[line] for line in lines]):
        engine = Engine(cluster="t", allowlist=allowlist.parse(ALLOWLIST, "a.yaml", 0.0), decoder=best_decoder())
        classes = [
            engine.ingest(Batch("test", "test", [line.message for line in batch]), 1_780_000_500.0).classes
            for batch in batches
        ]
        counted.append(sum(classes[1:], classes[0]))
    assert counted[0] == counted[1] == {"allowed": 1, "identity-race": 1, "denied": 1}
