"""Gaps in enforcement: what live policies deny, and what was forwarded all the same."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch import alerts
from flowwatch.alerts_claims import Claim, RememberedClaim, claims
from flowwatch.assemble import running
from flowwatch.bypass import Bypasses
from flowwatch.config import KubernetesSettings, PolicySettings
from flowwatch.declared import options_of
from flowwatch.engine import Engine
from flowwatch.errors import ClusterError
from flowwatch.kube.differences import enforced
from flowwatch.kube.live import Live
from flowwatch.kube.resources import CILIUM_POLICIES, NETWORK_POLICIES, LivePolicy
from flowwatch.model import Deviation, Difference, Enforced, Enforcement, Square
from flowwatch.policy.compiled import PolicySet
from flowwatch.receive import Batch
from flowwatch.status import State, conclude, errors
from tests.support.apiserver import FakeCluster
from tests.support.feed import Feed
from tests.support.feed import settings as configured
from tests.support.flowtext import parse
from tests.support.patience import until
from tests.support.samples import quiet_snapshot, snapshot

START = 1_780_000_000.0
GRACE, ACTIVE = 60.0, 900.0

CLOSED_EGRESS = "{endpointSelector: {matchLabels: {app: web}}, egress: [{toEntities: [host]}]}"
CLOSED_INGRESS = "{endpointSelector: {matchLabels: {app: api}}, ingress: [{fromEntities: [remote-node]}]}"
OPEN = "{endpointSelector: {matchLabels: {app: web}}, egress: [{toEntities: [all]}]}"
TO_SERVICE = (
    "{endpointSelector: {matchLabels: {app: web}}, "
    "egress: [{toServices: [{k8sService: {serviceName: api, namespace: shop}}]}]}"
)
SENT = "verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN"
ARRIVED = "verdict FORWARDED ingress noreply node=node-2 shop/web -> shop/api* 8080/TCP SYN"
DENIED = "verdict DROPPED egress POLICY_DENIED shop/web* -> shop/api 8080/TCP SYN"


def document(spec: str) -> dict[str, Any]:
    return {"metadata": {"name": "live", "namespace": "shop"}, "spec": yaml.safe_load(spec)}


def policies(*specs: str) -> PolicySet:
    kept = [CILIUM_POLICIES.keep(document(spec)) for spec in specs]
    return enforced(Live(tuple(one for one in kept if isinstance(one, LivePolicy))), options_of(PolicySettings()))


class Watched:
    """An engine, live policies, and a clock that ticks once a second."""

    def __init__(self) -> None:
        self.engine = Engine(cluster="test", active_for=ACTIVE)
        self.bypasses = Bypasses(self.engine.edges, GRACE, ACTIVE)
        self.now = 0.0

    def until(self, second: float) -> None:
        while self.now < second:
            self.now += 1.0
            self.bypasses.current(START + self.now)

    def enforce(self, *specs: str) -> None:
        self.bypasses.enforce(policies(*specs), START + self.now)

    def see(self, line: str, second: float | None = None) -> None:
        at = self.now if second is None else second
        messages = [one.message for one in parse(f"+{at:g}s {line}", START)]
        self.engine.ingest(Batch("feed", "test", messages), START + self.now)

    @property
    def gaps(self) -> list[str]:
        return [str(self.engine.edges.edge(number)) for number in self.bypasses.current(START + self.now)]


GAP = ["shop/web → shop/api:8080/TCP"]


def test_what_is_denied_and_passes_is_a_gap_with_the_policies_that_deny_it() -> None:
    """By isolation here; the finding says so, and counts from when the policy had reached every node."""
    watched = Watched()
    watched.enforce(CLOSED_EGRESS)
    watched.until(100)
    watched.see(SENT)
    assert watched.gaps == GAP
    (number,) = watched.bypasses.current(START + watched.now)
    named = watched.bypasses.policies(number)
    assert named == ("CiliumNetworkPolicy:shop/live",)
    (found,) = watched.engine.findings.bypassed({number: named}, {number: START + 60}, lambda _: 1.0)
    assert (found.enforcement, found.square, found.policies) == (Enforcement.BYPASSED, Square.UNEXPECTED, named)
    assert found.sentence == (
        "shop/web → shop/api:8080/TCP is not declared, denied in the cluster by CiliumNetworkPolicy:shop/live, "
        "and forwarded all the same"
    )
    watched.until(100 + ACTIVE)
    assert watched.gaps == []


def test_a_policy_has_its_time_to_reach_every_node() -> None:
    """What passes meanwhile accuses nobody, also when it is told late."""
    watched = Watched()
    watched.see(SENT)
    watched.enforce(CLOSED_EGRESS)
    watched.until(GRACE - 1)
    watched.see(SENT)
    watched.until(GRACE + 30)
    watched.see(SENT, GRACE - 5)
    assert watched.gaps == []
    watched.see(SENT)
    assert watched.gaps == GAP


def test_the_sending_side_says_nothing_of_the_receiving_sides_policy() -> None:
    """A packet that left proves no arrival."""
    watched = Watched()
    watched.enforce(CLOSED_INGRESS)
    watched.until(100)
    watched.see(SENT)
    assert watched.gaps == []
    watched.see(ARRIVED)
    assert watched.gaps == GAP


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (OPEN, SENT),
        (CLOSED_EGRESS, DENIED),
        (TO_SERVICE, SENT),
        (CLOSED_EGRESS, "trace FORWARDED TO_STACK NEW noreply egress shop/web* -> world(203.0.113.7) ICMP/3"),
        (CLOSED_INGRESS, "verdict FORWARDED ingress noreply host -> shop/api* 8080/TCP SYN"),
        (CLOSED_EGRESS, "verdict FORWARDED egress noreply shop/other* -> shop/api 8080/TCP SYN"),
    ],
    ids=["allowed", "dropped", "undecidable", "icmp-error", "own-node", "other-subject"],
)
def test_what_is_not_certainly_denied_or_did_not_pass_is_no_gap(spec: str, line: str) -> None:
    """A Service that was not read, an error of a connection that was decided, the pod's own node."""
    watched = Watched()
    watched.enforce(spec)
    watched.until(100)
    watched.see(line)
    watched.see(line)
    assert watched.gaps == []


STEPS = st.lists(
    st.tuples(st.integers(1, 90), st.sampled_from(["open", "egress", "ingress", "both", SENT, ARRIVED])),
    min_size=1,
    max_size=12,
)
SPECS = {
    "open": (OPEN,),
    "egress": (CLOSED_EGRESS,),
    "ingress": (CLOSED_INGRESS,),
    "both": (CLOSED_EGRESS, CLOSED_INGRESS),
}


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_gaps_are_those_of_a_simple_account_of_what_happened(steps: list[tuple[int, str]]) -> None:
    """For every order of policies and flows: a flow is a gap while the denial of its side lasts without a break from
    a grace before it until now."""
    watched = Watched()
    watched.enforce(OPEN)
    side, since, passed, known = "open", 0.0, False, False
    for pause, what in steps:
        watched.until(watched.now + pause)
        if what in SPECS:
            watched.enforce(*SPECS[what])
            now = "egress" if what == "both" else what  # where the sender is denied, every report of it counts
            if now != side or not known:  # of an edge that nobody saw yet, nothing is remembered over a change
                side, since, passed = now, watched.now, False
        else:
            watched.see(what)
            known = True
            counts = side == "egress" or (side == "ingress" and what == ARRIVED)
            passed |= counts and watched.now >= since + GRACE
        assert (watched.gaps == GAP) is passed


# ── the daemon ───────────────────────────────────────────────────────────────────────────────────────


def test_the_daemon_tells_gaps_and_differences_and_when_it_cannot(tmp_path: Path) -> None:
    """From the API server to every surface, and `unknown` as soon as the watch is stale."""
    declared = yaml.safe_dump(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"} | document("{podSelector: {}}")
    )
    config = configured(tmp_path, declared)
    feed = Feed()
    with FakeCluster(bookmark_every=0.1) as cluster:
        cluster.put(CILIUM_POLICIES, document(CLOSED_EGRESS))
        wanted = KubernetesSettings(watch=True, api=cluster.url, gap_grace=0.0, stale_after=5.0)
        with running(replace(config, kubernetes=wanted), feed) as (daemon, service):
            until(lambda: daemon.snapshot.enforced and daemon.snapshot.enforced.differences, "differences")
            feed.give([one.message for one in parse(f"+0s {SENT}", daemon.snapshot.now + 1)])
            until(lambda: _bypassed(daemon.snapshot), "a gap")
            assert [str(one.edge) for one in _bypassed(daemon.snapshot)] == GAP
            known = daemon.snapshot.enforced
            assert known is not None
            assert [(one.deviation, one.what) for one in known.differences if one.deviation.is_grave] == [
                (Deviation.MISSING, "NetworkPolicy:shop/live"),
                (Deviation.UNDECLARED, "CiliumNetworkPolicy:shop/live"),
            ]
            assert conclude(daemon.snapshot).state is State.DRIFT
            with urllib.request.urlopen(f"{service.address}/api/v1/status", timeout=60) as answer:
                told = json.load(answer)["enforced"]
            assert [one["of"] for one in told["differences"]][:2] == [
                "NetworkPolicy:shop/live",
                "CiliumNetworkPolicy:shop/live",
            ]
            with urllib.request.urlopen(f"{service.address}/metrics", timeout=60) as answer:
                metrics = answer.read().decode()
            assert 'flowwatch_enforcement_gaps{enforcement="bypassed"} 1.0' in metrics
            assert 'flowwatch_cluster_differences{difference="missing"} 1.0' in metrics
            # A declaration that is put right, and a live policy that is deleted, are noticed.
            cluster.put(NETWORK_POLICIES, document("{podSelector: {}, policyTypes: [Ingress]}"))
            cluster.delete(CILIUM_POLICIES, "live", "shop")
            until(lambda: not _grave(daemon.snapshot), "as declared")
            cluster.token = "nobody knows it"
            cluster.fault("close")
            until(lambda: daemon.snapshot.enforced and daemon.snapshot.enforced.trouble, "a stale watch")
            assert _bypassed(daemon.snapshot) == []
            until(lambda: "401" in dict(errors(daemon.snapshot)).get("cluster", ""), "and why")


def _bypassed(snapshot: Any) -> list[Any]:
    return [gap for gap in snapshot.gaps if gap.enforcement is Enforcement.BYPASSED]


def _grave(snapshot: Any) -> list[Any]:
    return [one for one in snapshot.enforced.differences if one.deviation.is_grave]


def test_outside_of_a_cluster_the_watch_needs_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at the start, with the key to set."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    config = replace(configured(tmp_path), kubernetes=KubernetesSettings(watch=True))
    with pytest.raises(ClusterError, match=r"^kubernetes\.api: "), running(config, Feed()):
        pass


# ── what is said of it ───────────────────────────────────────────────────────────────────────────────

SETTINGS = alerts.AlertSettings()
DIFFERENT = Enforced(
    (
        Difference(
            Deviation.DIFFERS, "NetworkPolicy:shop/db", "it says something else", "a.yaml:3", ("spec.x: declared 1",)
        ),
        Difference(Deviation.OPEN, "shop (egress)", "no policy denies egress"),
    ),
    proven=5.0,
)


def names(*found: Claim) -> list[str]:
    return [claim.name for claim in found]


def test_policies_that_are_not_as_declared_are_one_alert_and_what_is_left_open_none() -> None:
    """The alert names the policies and the fields."""
    (claim,) = claims(quiet_snapshot(enforced=DIFFERENT), SETTINGS, {})
    assert claim.name == "FlowwatchPolicyDrift"
    annotations = claim.annotations(SETTINGS)
    assert annotations["differs"] == "NetworkPolicy:shop/db"
    assert annotations["fields"] == "NetworkPolicy:shop/db: spec.x: declared 1"
    left_open = Enforced(DIFFERENT.differences[1:])
    assert claims(quiet_snapshot(enforced=left_open), SETTINGS, {}) == []
    assert conclude(quiet_snapshot(enforced=left_open)).state is State.NO_DRIFT
    assert conclude(quiet_snapshot(enforced=DIFFERENT)).sentence.startswith("1 network policy is not as declared")


def test_while_the_watch_is_stale_nothing_that_hangs_on_it_is_over_or_begins() -> None:
    """Alerts that fire go on, the staleness is an alert of its own, and the conclusion is `unknown`."""
    (drift,) = claims(quiet_snapshot(enforced=DIFFERENT), SETTINGS, {})
    gap = replace(snapshot().findings[0], enforcement=Enforcement.BYPASSED)
    (told,) = claims(quiet_snapshot(gaps=(gap,)), SETTINGS, {})
    remembered = RememberedClaim("FlowwatchEnforcementGap", "f" * 16, {}, {})
    firing = {one.fingerprint: one for one in (drift, told, remembered)}
    stale = quiet_snapshot(enforced=replace(DIFFERENT, trouble="nothing was heard of pods for 400 s"))
    assert names(*claims(stale, SETTINGS, {})) == ["FlowwatchClusterWatchStale"]
    assert sorted(names(*claims(stale, SETTINGS, firing))) == [
        "FlowwatchClusterWatchStale",
        "FlowwatchEnforcementGap",
        "FlowwatchEnforcementGap",
        "FlowwatchPolicyDrift",
    ]
    assert claims(quiet_snapshot(enforced=Enforced()), SETTINGS, firing) == []
    assert conclude(stale).state is State.UNKNOWN
    assert "nothing was heard of pods" in conclude(stale).blind[0]
