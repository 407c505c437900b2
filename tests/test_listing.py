"""Findings by filter, page by page; and read back from what was written of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch.listing import Filter, page, place_of, places, wanted
from flowwatch.model import Finding, Kind, Side, Square
from flowwatch.render import finding_json
from flowwatch.reread import finding_of_json, finding_of_row, snapshot_of_json
from flowwatch.rows import finding_rows
from flowwatch.status import status_json
from tests.support.samples import (
    NOW,
    blocked_finding,
    denied_finding,
    four_findings,
    hostile_finding,
    loki_finding,
    ping_finding,
    pod,
    quiet_snapshot,
    snapshot,
)


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        (Filter(), four_findings()),
        (Filter(square="blocked"), (blocked_finding(),)),
        (Filter(namespace="monitoring"), (loki_finding(), blocked_finding())),
        (Filter(namespace="world"), (loki_finding(), denied_finding())),
        (Filter(namespace="host"), (ping_finding(),)),
        (Filter(direction="ingress"), (blocked_finding(),)),
        (Filter(text="RELEASES.example"), (denied_finding(),)),
        (Filter(text="component=write 443"), (loki_finding(),)),
        (Filter(text="component=write nowhere"), ()),
        (Filter(text=ping_finding().fingerprint), (ping_finding(),)),
        (Filter(square="unexpected", direction="ingress"), ()),
    ],
)
def test_filters(filter: Filter, found: tuple[Finding, ...]) -> None:
    """By square, by either end's namespace or entity, by side, by all words of a text."""
    assert tuple(wanted(four_findings(), filter)) == found


@given(
    ages=st.lists(st.integers(0, 20), max_size=40),
    limit=st.integers(1, 7),
    newer=st.lists(st.integers(-5, -1), max_size=5),
)
def test_pages_show_each_finding_once(ages: list[int], limit: int, newer: list[int]) -> None:
    """Whatever comes in between two pages, nothing that was there is shown twice or left out."""

    def newest_first(found: list[Finding]) -> list[Finding]:
        return sorted(found, key=lambda finding: (-finding.first_seen, finding.fingerprint))

    def made(name: str, age: int) -> Finding:
        edge = replace(loki_finding().edge, source=pod(f"shop/{name}"))
        return loki_finding(edge=edge, first_seen=NOW - age)

    findings = newest_first([made(f"w{at}", age) for at, age in enumerate(ages)])
    more = [made(f"late{at}", age) for at, age in enumerate(newer)]
    shown: list[Finding] = []
    cursor = ""
    while True:
        now = findings if not shown else newest_first(findings + more)
        part = page(now, Filter(), cursor, limit)
        assert part.total == len(now)
        assert len(part.findings) <= limit
        shown += part.findings
        cursor = part.next
        if not cursor:
            break
    assert shown == findings


def test_a_cursor_nobody_gave_is_refused() -> None:
    """Rather than taken for some place in the list."""
    for cursor in ("x", "12", "-", "12-", "-abc"):
        with pytest.raises(ValueError, match="cursor"):
            page(four_findings(), Filter(), cursor, 10)


def test_places() -> None:
    """Namespaces, and entities where there is none; names and addresses are the world."""
    assert places(four_findings()) == ["argo", "database", "host", "monitoring", "trident", "world"]
    assert [place_of(text) for text in ("a/b", "kube-apiserver", "203.0.113.7", "x.example", "pod")] == [
        *("a", "kube-apiserver", "world", "world", "world")
    ]


@pytest.mark.parametrize("finding", [*four_findings(), hostile_finding()])
def test_a_finding_read_back_from_json(finding: Finding) -> None:
    """Is the same, but for the number of its rule in one run's allowlist."""
    again = finding_of_json(finding_json(finding))
    assert replace(again, judgement=replace(again.judgement, rule_id=finding.judgement.rule_id)) == finding
    assert finding_json(again) == finding_json(finding)


@pytest.mark.parametrize("now", [snapshot(), quiet_snapshot(stream="waiting", stream_error="refused")])
def test_a_snapshot_read_back_from_json(now: object) -> None:
    """Says the same again."""
    told = status_json(now)  # type: ignore[arg-type]  # snapshots
    assert status_json(snapshot_of_json(told)) == told


@pytest.mark.parametrize(
    "finding",
    [
        *four_findings(),
        loki_finding(side=Side.UNKNOWN, square=Square.UNEXPECTED),
        *(loki_finding(edge=replace(loki_finding().edge, destination=end)) for end in (pod("shop/web"), pod("shop/"))),
    ],
)
def test_a_finding_read_back_from_the_store(finding: Finding) -> None:
    """Has the same fingerprint, sentence and evidence; labels are not stored with it."""
    row = finding_rows([finding]).to_pylist()[0]
    again = finding_of_row(row)
    assert again.fingerprint == finding.fingerprint == row["fingerprint"]
    assert again.sentence == finding.sentence
    told, expected = finding_json(again), finding_json(finding)
    for end in ("source", "destination"):
        assert isinstance(told[end], dict)
        assert isinstance(expected[end], dict)
        for key in ("name", "namespace", "workload"):
            assert told[end][key] == expected[end][key]  # type: ignore[index,call-overload]  # checked above
    for key in set(told) - {"source", "destination", "reason"}:
        assert told[key] == expected[key], key
    assert again.edge.destination.identity.kind is not Kind.UNKNOWN
