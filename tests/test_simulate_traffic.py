"""A simulated run: the same every time, everything declared occurs, violations keep to their timetable."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from collections import Counter, defaultdict
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from flowwatch.hubble import flow_pb2, relay_pb2
from flowwatch.model import Square
from flowwatch.simulate.cases import CaseClass
from flowwatch.simulate.cluster import make_cluster
from flowwatch.simulate.stage import Event
from flowwatch.simulate.traffic import Script, traffic
from tests.support.effort import effort
from tests.support.simulated import SECOND, START, played

ROOT = Path(__file__).resolve().parents[1]

FINGERPRINT = """
import hashlib, itertools
from flowwatch.simulate.cluster import make_cluster
from flowwatch.simulate.traffic import Script, traffic
run = traffic(make_cluster(), 7, 1_790_812_800_000_000_000, 1000.0, Script(lost=9))
print(hashlib.sha256(b"".join(event.message for event in itertools.islice(run, 5000))).hexdigest())
"""


def begin(seed: int, count: int, rate: float = 1000.0) -> list[Event]:
    """The first messages of a run on a cluster of its own."""
    return list(itertools.islice(traffic(make_cluster(), seed, START, rate, Script(lost=9)), count))


def firsts(events: list[Event]) -> dict[str, float]:
    """When each case began, in seconds after the start."""
    begun: dict[str, float] = {}
    for event in events:
        if event.case is not None:
            begun.setdefault(event.case.id, (event.time - START) / SECOND)
    return begun


# ── the same every time ──────────────────────────────────────────────────────────────────────────


def test_the_same_seed_and_start_give_the_same_bytes() -> None:
    """Two runs on two clusters are equal message by message."""
    assert [event.message for event in begin(7, 4000)] == [event.message for event in begin(7, 4000)]


def test_another_process_gives_the_same_bytes() -> None:
    """Nothing depends on the order of sets, which differs from process to process."""
    here = hashlib.sha256(b"".join(event.message for event in begin(7, 5000))).hexdigest()

    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)}
    there = subprocess.run(
        [sys.executable, "-c", FINGERPRINT], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert there.stdout.strip() == here


def test_another_seed_gives_other_traffic() -> None:
    """The seed decides ports, pods, order and uuids."""
    one, other = begin(1, 500), begin(2, 500)

    assert {event.uuid for event in one}.isdisjoint(event.uuid for event in other)
    assert [event.node for event in one] != [event.node for event in other]


def test_messages_come_in_the_order_of_their_times() -> None:
    """Over all nodes; none is before the start."""
    times = [event.time for event in played().events]

    assert times == sorted(times)
    assert times[0] >= START


def test_what_is_written_on_an_event_is_what_is_in_its_message() -> None:
    """Time, node and uuid can be trusted without decoding."""
    for event, response in zip(played().events, played().responses, strict=True):
        assert response.time.ToNanoseconds() == event.time
        assert response.node_name == event.node
        assert response.flow.uuid == event.uuid


@pytest.mark.parametrize("rate", [50.0, 200.0, 2000.0])
def test_the_rate_is_kept(rate: float) -> None:
    """Within a tenth, over a few thousand flows."""
    events = list(itertools.islice(traffic(make_cluster(), 3, START, rate), int(rate * 20)))

    assert (events[-1].time - START) / SECOND == pytest.approx(20, rel=0.1)


def test_a_flow_is_little_work_however_long_the_run() -> None:
    """A core makes tens of thousands a second, ready to be sent, at about a hundred lines each; twice that is too
    much, and the last ones cost no more than those once everything had been made once."""
    run = traffic(make_cluster(), 1, START, 20_000.0)

    def made(count: int) -> int:
        """What so many more flows cost each."""
        return effort(lambda: list(itertools.islice(run, count))) // count

    def skipped(count: int) -> None:
        """Make so many more flows, uncounted."""
        for _ in itertools.islice(run, count):
            pass

    skipped(40_000)
    early = made(10_000)
    skipped(60_000)
    late = made(10_000)

    assert early < 220
    assert late <= 1.2 * early


# ── what occurs ──────────────────────────────────────────────────────────────────────────────────


def test_every_declared_edge_occurs_soon() -> None:
    """At the default rate the whole declaration has been used within 25 seconds."""
    begun = firsts(played().events)
    late = [scene.case.edge for scene in played().scenes.expected if begun.get(scene.case.id, 99) > 25]

    assert late == []
    assert len(played().scenes.expected) > 300


def test_the_declaration_names_every_edge_once() -> None:
    """No two scenes are about the same edge, and ids are unique."""
    scenes = played().scenes
    edges = Counter(scene.case.edge for scene in scenes.expected)
    ids = Counter(scene.case.id for scene in (*scenes.expected, *scenes.violations, *scenes.traps))

    assert [edge for edge, count in edges.items() if count > 1] == []
    assert [case for case, count in ids.items() if count > 1] == []


def test_expected_traffic_goes_on_after_the_first_round() -> None:
    """Most edges are used again within the next minute."""
    counts = Counter(
        event.case.id
        for event in played().events
        if event.case is not None and event.opens and event.case.case_class is CaseClass.EXPECTED
    )

    assert sum(1 for count in counts.values() if count > 1) > 0.7 * len(counts)


def test_violations_begin_one_after_the_other_within_fifteen_seconds() -> None:
    """Each at its planned moment, up to the lookup that comes before some."""
    scenes = played().scenes.violations
    begun = firsts(played().events)

    assert [scene.first for scene in scenes] == sorted(scene.first for scene in scenes)
    assert len({scene.first for scene in scenes}) == len(scenes)
    for scene in scenes:
        assert scene.first <= begun[scene.case.id] < min(scene.first + 0.1, 15)


def test_violations_come_back_every_20_to_60_seconds() -> None:
    """New attempts, not retransmits of old ones."""
    times = defaultdict(list)
    for event in played(200).events:
        if event.case is not None and event.opens and event.case.case_class is CaseClass.VIOLATION:
            times[event.case.id].append(event.time / SECOND)

    assert len(times) == len(played(200).scenes.violations)
    for case, moments in times.items():
        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert len(gaps) >= 2, case
        assert all(17 < gap < 61 for gap in gaps), case


def test_every_sort_of_violation_is_there() -> None:
    """In each square, and of the kinds that are judged differently."""
    kinds = defaultdict(set)
    for scene in played().scenes.violations:
        assert scene.case.square is not None
        kinds[scene.case.square].add(scene.case.kind)

    assert kinds == {
        Square.UNEXPECTED: {
            "ip", "fqdn", "unknown-workload", "unknown-to-pod", "port", "pod", "protocol", "ipv6", "entity-host",
            "entity-api", "entity-node",
        },
        Square.DENIED: {"egress-fqdn", "egress-ip", "egress-pod", "ingress-pod", "world-ingress"},
        Square.BLOCKED: {"ingress-broken", "egress-broken", "l7"},
    }  # fmt: skip


def test_violations_can_be_made_to_stop() -> None:
    """After that only retransmits of what began before; traps and expected traffic go on."""
    run = played(60, script=Script(violations_for=20.0))
    late = [event for event in run.events if event.time > START + 20 * SECOND]
    classes = Counter(event.case.case_class for event in late if event.case is not None and event.opens)
    last = max(e.time for e in run.events if e.case is not None and e.case.case_class is CaseClass.VIOLATION)

    assert classes[CaseClass.VIOLATION] == 0
    assert classes[CaseClass.EXPECTED] > 100
    assert classes[CaseClass.TRAP] > 10
    assert last < START + 30 * SECOND


def test_a_blocked_edge_never_works() -> None:
    """No flow tells of it arriving: the last word of its connections is a drop or a refusal."""
    blocked = {scene.case.id for scene in played().scenes.violations if scene.case.square is Square.BLOCKED}
    arrived = [
        event
        for event, response in zip(played().events, played().responses, strict=True)
        if event.case is not None
        and event.case.id in blocked
        and event.case.kind != "l7"
        and (response.flow.trace_observation_point == flow_pb2.TO_ENDPOINT or response.flow.is_reply.value)
    ]
    edges = {scene.case.edge for scene in played().scenes.expected}

    assert arrived == []
    assert edges.isdisjoint(scene.case.edge for scene in played().scenes.violations)


def test_addresses_outside_are_reserved_for_documentation() -> None:
    """Save for those the cluster's document names, which are the resolvers and the storage appliance."""
    networks = [ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
    named = {"1.1.1.1", "8.8.8.8", "192.168.0.240", "192.168.0.241"}
    outside = set()
    for flow in played().flows:
        for endpoint, address in ((flow.source, flow.IP.source), (flow.destination, flow.IP.destination)):
            if any(label.startswith("reserved:world") for label in endpoint.labels):
                outside.add(address)
    pods = {pod.ip for pods in played().cluster.pods.values() for pod in pods}
    # A socket event's service address, link-local multicast, and pods taken for the world.
    odd = {"10.96.77.59", "ff02::2"} | pods

    strange = {a for a in outside - named - odd if not any(ip_address(a) in network for network in networks)}

    assert strange == set()
    assert named <= outside


# ── beside flows ─────────────────────────────────────────────────────────────────────────────────


def test_lost_events_add_up() -> None:
    """A few reports by several nodes and of every source, dated between flows."""
    run = played(80, script=Script(lost=25))
    lost = [response for response in run.responses if response.HasField("lost_events")]

    assert sum(response.lost_events.num_events_lost for response in lost) == 25
    assert sum(event.lost for event in run.events) == 25
    assert {response.lost_events.source for response in lost} == {
        flow_pb2.PERF_EVENT_RING_BUFFER,
        flow_pb2.OBSERVER_EVENTS_QUEUE,
        flow_pb2.HUBBLE_RING_BUFFER,
    }
    assert len({response.node_name for response in lost}) > 1


def test_few_lost_events_are_reported_too() -> None:
    """One lost event is one report."""
    lost = [event.lost for event in played(30, script=Script(lost=1)).events if event.lost]

    assert lost == [1]


def test_a_failing_node_falls_silent() -> None:
    """It is announced as unavailable and reports nothing afterwards; the others go on."""
    run = played(30, script=Script(failing_node="talos-w-2", failing_after=12.0))
    fails = START + 12 * SECOND
    statuses = [response for response in run.responses if response.HasField("node_status")]
    after = {event.node for event in run.events if event.time >= fails and event.template is not None}

    assert [list(status.node_status.node_names) for status in statuses] == [["talos-w-2"]]
    assert statuses[0].node_status.state_change == relay_pb2.NODE_UNAVAILABLE
    assert statuses[0].time.ToNanoseconds() == fails
    assert "talos-w-2" not in after
    assert "talos-w-1" in after
    assert any(event.node == "talos-w-2" for event in run.events if event.time < fails)
