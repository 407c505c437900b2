"""The simulated cluster against its own allowlist: flowwatch finds what was planted, and nothing else."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from flowwatch.allowlist import Allowlist, load
from flowwatch.engine import Engine
from flowwatch.hubble import flow_pb2
from flowwatch.identity import identity_of
from flowwatch.model import Declared, Edge, Kind, Peer, Protocol, Square
from flowwatch.receive import Batch
from flowwatch.simulate.cases import CaseClass
from flowwatch.simulate.traffic import Script
from flowwatch.simulate.truth import Truth
from tests.support.simulated import START, Played, played

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "homelab" / "allowlist.yaml"
NOW = START / 1e9


@lru_cache(maxsize=1)
def allowlist() -> Allowlist:
    """The homelab example."""
    return load([EXAMPLE], NOW)


@lru_cache(maxsize=4)
def watched(seconds: float, rate: float, seed: int) -> tuple[Played, Engine]:
    """A run, and an engine that has seen all of it."""
    run = played(seconds, rate, seed, Script(lost=0))
    engine = Engine(cluster="homelab", allowlist=allowlist(), active_for=1e9)
    messages = [event.message for event in run.events]
    for start in range(0, len(messages), 700):
        engine.ingest(Batch("test", "test", messages[start : start + 700]), NOW + seconds)
    return run, engine


def edge_of(flow: flow_pb2.Flow) -> Edge:
    """The edge a flow is about, client first."""
    ends = []
    for endpoint, ip, names in (
        (flow.source, flow.IP.source, flow.source_names),
        (flow.destination, flow.IP.destination, flow.destination_names),
    ):
        identity = identity_of(endpoint)
        workload = endpoint.workloads[0].name if endpoint.workloads else endpoint.pod_name
        world = identity.kind is Kind.WORLD
        ends.append(Peer(identity, workload, ip if world else "", tuple(sorted(names)) if world else ()))
    layer = flow.l4.TCP if flow.l4.HasField("TCP") else flow.l4.UDP
    protocol = Protocol.TCP if flow.l4.HasField("TCP") else Protocol.UDP
    return Edge(ends[0], ends[1], protocol, layer.destination_port)


def verdicts_and_traces(run: Played, case_class: CaseClass) -> list[tuple[str, flow_pb2.Flow]]:
    """The flows of a class that speak for a connection, with the id of their case."""
    return [
        (event.case.id, response.flow)
        for event, response in zip(run.events, run.responses, strict=True)
        if event.case is not None
        and event.case.case_class is case_class
        and response.flow.event_type.type in (1, 4, 5)
        and not response.flow.is_reply.value
    ]


def test_expected_traffic_is_declared() -> None:
    """Every verdict and every forward trace of it."""
    run = played()
    wrong = {
        f"{edge_of(flow)}: {allowlist().judge(edge_of(flow), NOW).reason}"
        for _, flow in verdicts_and_traces(run, CaseClass.EXPECTED)
        if allowlist().judge(edge_of(flow), NOW).declared is not Declared.YES
    }

    assert wrong == set()


def test_violations_are_declared_only_if_they_are_blocked() -> None:
    """What is unexpected or denied, nothing declares; what is blocked, something does."""
    run = played()
    squares = {scene.case.id: scene.case.square for scene in run.scenes.violations}
    wrong = {
        f"{case}: {edge_of(flow)}"
        for case, flow in verdicts_and_traces(run, CaseClass.VIOLATION)
        if (allowlist().judge(edge_of(flow), NOW).declared is Declared.YES) != (squares[case] is Square.BLOCKED)
    }

    assert wrong == set()


@pytest.mark.parametrize(("seconds", "rate", "seed"), [(75.0, 200.0, 1), (60.0, 600.0, 2), (90.0, 100.0, 3)])
def test_findings_are_the_violations(seconds: float, rate: float, seed: int) -> None:
    """Each once, in its square, under its name, with as many connections as there were."""
    run, engine = watched(seconds, rate, seed)
    truth = Truth(run.scenes)
    truth.count(run.events)

    findings = engine.current(NOW + seconds + 60)

    assert {(f.square, str(f.edge)): f.connections for f in findings} == {
        (tally.case.square, tally.case.edge): tally.connections for tally in truth.violations
    }


def test_findings_rest_on_flows_of_their_violation() -> None:
    """The samples are uuids of the truth."""
    run, engine = watched(75.0, 200.0, 1)
    truth = Truth(run.scenes)
    truth.count(run.events)
    uuids = {tally.case.edge: set(tally.uuids) for tally in truth.violations}

    for finding in engine.current(NOW + 200):
        assert finding.samples
        assert set(finding.samples) <= uuids[str(finding.edge)]


def test_the_whole_allowlist_is_used() -> None:
    """Within a minute every rule declares something that happened, if only to be blocked."""
    run = played()
    edges = {
        edge_of(flow)
        for case_class in (CaseClass.EXPECTED, CaseClass.VIOLATION)
        for _, flow in verdicts_and_traces(run, case_class)
    }
    used = {rule.id for edge in edges for rule in allowlist().declaring(edge, NOW)}

    assert [rule.title for rule in allowlist().rules if rule.id not in used] == []


def test_another_cluster_name_changes_nothing() -> None:
    """The cluster's label is the one its document names."""
    clusters = {identity_of(flow.source).cluster for flow in played().flows if flow.source.pod_name}

    assert clusters == {"default"}
