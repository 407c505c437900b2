"""The truth of a run, in memory and as a file, against the messages that were sent."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

from flowwatch.hubble import flow_pb2
from flowwatch.simulate.cases import CaseClass
from flowwatch.simulate.server import limited
from flowwatch.simulate.traffic import Script, traffic
from flowwatch.simulate.truth import UUIDS, Truth
from tests.support.simulated import START, Played, played

KEYS = {
    "id", "class", "square", "kind", "source", "destination", "port", "protocol", "service", "edge", "begins_after",
    "first", "last", "connections", "flows", "uuids",
}  # fmt: skip


def counted(run: Played) -> Truth:
    """The truth of a run that is over."""
    truth = Truth(run.scenes)
    truth.begin(START / 1e9)
    truth.count(run.events)
    return truth


def test_the_plan_is_known_before_anything_is_sent() -> None:
    """Every violation and trap with its ends, and when it will begin."""
    truth = Truth(played().scenes)

    rows = [json.loads(line) for line in truth.lines()]

    assert len(rows) == len(played().scenes.violations) + len(played().scenes.traps) + 1
    assert all(set(row) == KEYS for row in rows[:-1])
    assert all(row["first"] is None and row["flows"] == 0 and row["begins_after"] > 0 for row in rows[:-1])
    assert rows[0]["edge"] == "monitoring/loki → 203.0.113.7:443/TCP"
    assert rows[0]["square"] == "unexpected"
    assert (rows[0]["port"], rows[0]["protocol"], rows[0]["service"]) == (443, "TCP", "443/TCP")


def test_planned_beginnings_are_moments_once_it_has_begun() -> None:
    """Seconds since the epoch."""
    truth = Truth(played().scenes)

    truth.begin(1000.0)

    assert [tally.first for tally in truth.violations] == [1000.0 + tally.offset for tally in truth.violations]


def test_counts_are_those_of_the_messages() -> None:
    """By verdict, by event, by node, in all; LostEvents by what they count."""
    run = played(script=Script(lost=25))
    totals = counted(run).totals

    assert totals.messages == len(run.events)
    assert totals.flows == len(run.flows)
    assert totals.lost == 25
    assert totals.verdicts == Counter(flow_pb2.Verdict.Name(flow.verdict) for flow in run.flows)
    assert totals.nodes == Counter(flow.node_name for flow in run.flows)
    names = {1: "drop", 4: "trace", 5: "policy-verdict", 7: "socket", 129: "l7"}
    assert totals.events == Counter(names[flow.event_type.type] for flow in run.flows)


def test_each_violation_knows_its_flows() -> None:
    """Their uuids, how many, when; and attempts rather than packets."""
    run = played()
    flows = defaultdict(list)
    attempts = defaultdict(set)
    for event, response in zip(run.events, run.responses, strict=True):
        if event.case is not None and event.case.case_class is CaseClass.VIOLATION:
            flow = response.flow
            flows[event.case.id].append(flow)
            layer = flow.l4.TCP if flow.l4.HasField("TCP") else flow.l4.UDP
            attempts[event.case.id].add(max(layer.source_port, layer.destination_port))

    for tally in counted(run).violations:
        mine = flows[tally.case.id]
        assert tally.flows == len(mine)
        assert list(tally.uuids) == [flow.uuid for flow in mine][-UUIDS:]
        assert tally.connections == len(attempts[tally.case.id])
        assert tally.first == mine[0].time.ToNanoseconds() / 1e9
        assert tally.last == mine[-1].time.ToNanoseconds() / 1e9


def test_lookups_are_not_part_of_a_violation() -> None:
    """They are expected, and counted as the lookups of that component."""
    run = played()
    for event, response in zip(run.events, run.responses, strict=True):
        if event.case is not None and event.case.case_class is CaseClass.VIOLATION:
            assert not response.flow.l7.HasField("dns")
            assert "k8s:k8s-app=kube-dns" not in response.flow.destination.labels


def test_every_flow_belongs_to_a_case() -> None:
    """Nothing is sent that the truth cannot explain."""
    assert [event.uuid for event in played().events if event.template is not None and event.case is None] == []


def test_expected_edges_are_all_seen() -> None:
    """The totals say so."""
    rows = [json.loads(line) for line in counted(played()).lines()]

    assert rows[-1]["class"] == "totals"
    assert rows[-1]["declared_edges_seen"] == rows[-1]["declared_edges"] == len(played().scenes.expected)


def test_only_the_newest_uuids_are_remembered() -> None:
    """A long run does not grow the truth."""
    run = played()
    truth = Truth(run.scenes)
    for _ in range(40):
        truth.count(run.events)

    assert {len(tally.uuids) for tally in truth.violations} == {UUIDS}


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Nothing is left beside it, and each line is JSON of its own."""
    path = tmp_path / "truth.jsonl"
    truth = counted(played())

    truth.write(path)
    truth.write(path)

    assert [child.name for child in tmp_path.iterdir()] == ["truth.jsonl"]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [json.loads(line) for line in truth.lines()]


def test_a_limited_run_ends_with_its_last_flow() -> None:
    """Other messages do not count."""
    run = traffic(played().cluster, 1, START, 200.0, Script(lost=25), scenes=played().scenes)

    events = list(itertools.islice(limited(run, 1500), 2000))

    assert sum(event.template is not None for event in events) == 1500
    assert any(event.lost for event in events)
    assert events[-1].template is not None
