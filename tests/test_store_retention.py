"""Forgetting: exact sums, bounded slices, the newest flows and the proof of findings kept."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch import allowlist, sql, store_retention
from flowwatch.config import StoreSettings
from flowwatch.decode.native import NativeDecoder
from flowwatch.engine import Engine
from flowwatch.metrics import Metrics
from flowwatch.receive import Batch
from flowwatch.store import Store
from flowwatch.store_retention import Keep, latest
from flowwatch.writer import Writer
from tests.support.flowtext import parse
from tests.test_store import FLOWS, START, WINDOW, fed
from tests.test_store_faults import many

ALLOWLIST = """
apiVersion: flowwatch/v1
kind: Allowlist
workloads: {shop: {web: {app: web}, api: {app: api}}}
rules: [{from: shop/web, to: shop/api, ports: 8080/TCP, reason: pages}]
"""
COUNT = """-- How many?
-- params: since, until
SELECT count(*) AS n FROM flows WHERE time >= $since AND time < $until"""
DAY = 86_400.0
KEEP = Keep(flows=7 * DAY, minutes=30 * DAY, hours=400 * DAY)
EVERYTHING = {"since": datetime(1970, 1, 1), "until": datetime(2100, 1, 1)}


def ask(store: Store, text: str) -> list[dict[str, Any]]:
    return store.query(sql.parse(f"-- Test.\n{text}", "test", "test"), {}).to_pylist()


def forget(store: Store, keep: Keep, now: float, most: int = 1000) -> list[tuple[str, int]]:
    """Run slices until there is nothing more to do; (table, rows) of each."""
    done = []
    while (piece := store.retain(keep, now)) is not None:
        done.append((piece.table, piece.rows))
        assert len(done) < most, done
        if not piece.more:
            break
    return done


def activity(rows: list[tuple[float, int, int, int, int]]) -> dict[str, pa.Table]:
    """A drain of edge_activity: (time, edge, evidence, flows, verdicts)."""
    times = pa.array([int(row[0] * 1000) for row in rows]).cast(pa.timestamp("ms"))
    number = pa.int64()
    return {
        "append_edge_activity": pa.table(
            {
                "time": times,
                "first_time": times,
                "edge": pa.array([row[1] for row in rows], pa.int32()),
                "evidence": pa.array([row[2] for row in rows], pa.uint8()),
                "side": pa.array([2] * len(rows), pa.uint8()),
                "flows": pa.array([row[3] for row in rows], number),
                "verdicts": pa.array([row[4] for row in rows], number),
                "openings": pa.array([1] * len(rows), number),
            }
        )
    }


ROWS = st.tuples(st.floats(0, 60 * DAY), st.integers(0, 3), st.integers(1, 3), st.integers(1, 1000), st.integers(0, 10))
STEPS = st.lists(st.one_of(st.lists(ROWS, min_size=1, max_size=8), st.floats(0, 3 * DAY)), max_size=12)


@settings(max_examples=15, deadline=None)
@given(steps=STEPS, size=st.sampled_from([1, 3, 100]))
def test_sums_stay_exact_whatever_is_added_up_when(steps: list[Any], size: int) -> None:
    """Drains, late ones too, and forgetting in any order: nothing younger than the last retention is lost or counted
    twice, and every whole hour has its sum."""
    wanted: dict[tuple[int, int, int], list[int]] = {}
    now, store_retention.SLICE_ROWS = START, size
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "a.duckdb")
        try:
            for step in steps:
                if isinstance(step, float):
                    now += step
                    forget(store, KEEP, now, most=5000)
                    continue
                rows = [(now - age, *rest) for age, *rest in step]
                store.commit(activity(rows))
                for time, edge, evidence, flows, verdicts in rows:
                    sums = wanted.setdefault((int(time * 1000) // 3_600_000, edge, evidence), [0, 0, 0])
                    for at, value in enumerate((flows, verdicts, 1)):
                        sums[at] += value
            found = ask(
                store,
                "SELECT epoch_ms(date_trunc('hour', time::TIMESTAMP)) // 3600000 AS hour, edge, evidence,"
                " sum(flows)::BIGINT AS flows, sum(verdicts)::BIGINT AS verdicts, sum(openings)::BIGINT AS openings"
                " FROM edge_history GROUP BY ALL",
            )
            told = {(r["hour"], r["edge"], r["evidence"]): [r["flows"], r["verdicts"], r["openings"]] for r in found}
            assert told == wanted
            if any(isinstance(step, float) for step in steps):
                forget(store, KEEP, now, most=5000)
                old = now - store_retention.ROLL_AFTER - 60
                assert not ask(store, f"SELECT 1 FROM edge_activity WHERE time < epoch_ms({int(old * 1000)})")
                assert not ask(
                    store, f"SELECT 1 FROM edge_minutes WHERE time < epoch_ms({int((now - 30.1 * DAY) * 1000)})"
                )
                keys = "SELECT date_trunc('hour', time::TIMESTAMP) AS hour, edge, evidence FROM edge_hours"
                if size == 100:
                    assert ask(store, f"SELECT count(*) AS rows FROM ({keys})")[0]["rows"] <= len(wanted) * 2
        finally:
            store_retention.SLICE_ROWS = 4 * 122_880
            store.close()


@pytest.mark.parametrize("moved", [0.0, 20 * 60.0, 8 * DAY, 31 * DAY])
def test_reports_say_the_same_after_what_they_read_was_added_up(tmp_path: Path, moved: float) -> None:
    """The same windows, the same numbers: while flows are there, after they are gone, and by the hour."""
    store = Store(tmp_path / "a.duckdb")
    store.commit(fed().drain(START))
    names = ("edges", "verdicts", "classes", "flows_per_minute")
    window = {"since": datetime(2026, 5, 28), "until": datetime(2026, 5, 29)}
    before = {name: store.query(sql.report(name), window).to_pylist() for name in names}
    forget(store, KEEP, START + moved)
    after = {name: store.query(sql.report(name), window).to_pylist() for name in names}
    if moved == 31 * DAY:
        for row in before["flows_per_minute"]:
            row["minute"] = row["minute"].replace(minute=0)
    assert after == before
    assert store.count_flows() == (5 if moved < 7 * DAY else 0)
    store.close()


def test_windows_that_cut_minutes_are_exact_while_flows_are_there(tmp_path: Path) -> None:
    """Any window, down to the millisecond: what the counts say is what the flows say."""
    store = Store(tmp_path / "a.duckdb")
    dice = np.random.default_rng(1)
    engine = Engine(cluster="test", decoder=NativeDecoder())
    for minute in range(6):
        engine.ingest(Batch("test", "test", [line.message for line in parse(FLOWS, START + 47 * minute)]), START)
    store.commit(engine.drain(START))
    first = datetime.fromtimestamp(START, UTC).replace(tzinfo=None)
    for _ in range(60):
        since, until = sorted(int(ms) for ms in dice.integers(-70_000, 400_000, 2))
        window = {"since": first + timedelta(milliseconds=since), "until": first + timedelta(milliseconds=until)}
        counted = store.query(sql.report("verdicts"), window).to_pylist()
        flows = store.query(sql.parse(COUNT, "count", "test"), window).to_pylist()[0]["n"]
        assert sum(row["flows"] for row in counted) == flows, window
    store.close()


def test_slices_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is due, no slice touches more rows than a commit brings."""
    monkeypatch.setattr(store_retention, "SLICE_ROWS", 1000)
    store = Store(tmp_path / "a.duckdb")
    flows = many(10_000, 1)["append_flows"]
    spread = pa.array([int(START * 1000) + at for at in range(len(flows))]).cast(pa.timestamp("ms"))
    store.commit({"append_flows": flows.set_column(0, "time", spread)})
    done = forget(store, KEEP, START + 8 * DAY)
    slices = [rows for table, rows in done if table == "flows"]
    assert sum(slices) == 10_000
    assert max(slices) <= 1000
    assert len(slices) < 25
    store.close()


@given(times=st.lists(st.integers(0, 50), min_size=1, max_size=60), most=st.integers(1, 20), end=st.integers(1, 60))
def test_the_bound_of_a_slice(times: list[int], most: int, end: int) -> None:
    """At most so many rows, unless they are of one moment; always at least one; never past the end."""
    base = datetime(2026, 1, 1)
    moments = [base + timedelta(milliseconds=time) for time in times]
    before = base + timedelta(milliseconds=end)
    due = [moment for moment in moments if moment < before]
    if not due:
        return
    bound = latest(lambda at: sum(moment < at for moment in moments), min(due), before, most)
    taken = [moment for moment in moments if moment < bound]
    assert bound <= before
    assert taken
    assert len(taken) <= most or len(set(taken)) == 1


def test_the_oldest_flows_go_first_when_it_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the limit nothing is forgotten; above it the oldest flows, and only as many as it takes."""
    monkeypatch.setattr(store_retention, "SLICE_ROWS", 122_880)
    store = Store(tmp_path / "a.duckdb")
    for part in range(6):
        flows = many(122_880, part)["append_flows"]
        times = np.full(len(flows), int(START * 1000) + part * 1000)
        store.commit({"append_flows": flows.set_column(0, "time", pa.array(times).cast(pa.timestamp("ms")))})
    store.commit(fed().drain(START + 6))
    whole, size = store.count_flows(), store.used()
    assert forget(store, Keep(KEEP.flows, KEEP.minutes, KEEP.hours, size * 2), START) == []
    limit = size // 2
    forget(store, Keep(KEEP.flows, KEEP.minutes, KEEP.hours, limit), START)
    assert store.used() <= limit
    left = store.count_flows()
    assert whole / 4 < left < whole
    oldest = ask(store, "SELECT min(time) AS oldest FROM flows WHERE http_url <> ''")[0]["oldest"]
    assert oldest > datetime.fromtimestamp(START, UTC).replace(tzinfo=None)
    assert sum(row["flows"] for row in store.query(sql.report("verdicts"), EVERYTHING).to_pylist()) == whole
    grown = store.size()
    for part in range(3):
        store.commit(many(122_880, part))
        forget(store, Keep(KEEP.flows, KEEP.minutes, KEEP.hours, limit), START)
    assert store.size() <= grown * 1.2  # what was freed is used again
    store.close()


def test_proof_of_open_findings_outlives_the_flows(tmp_path: Path) -> None:
    """The newest five flows of a finding can be read when the flows are long gone, until it is over."""
    store = Store(tmp_path / "a.duckdb")
    declared = allowlist.parse(ALLOWLIST, "allowlist.yaml", START)
    engine = Engine(cluster="test", allowlist=declared, settle=0.0, active_for=1e9, decoder=NativeDecoder())
    drops = "\n".join(
        f"+{at}s drop DROPPED egress POLICY_DENIED from={41000 + at} shop/web* -> world(203.0.113.7) 443/TCP SYN"
        for at in range(9)
    )
    for at in range(3):
        engine.ingest(Batch("test", "test", [line.message for line in parse(drops, START + 10 * at)]), START + 10 * at)
        store.commit(engine.drain(START + 30))
    evidence = ask(store, "SELECT * FROM evidence_log ORDER BY time")
    assert [(row["client_port"], row["time"].second) for row in evidence] == [
        (41000 + at, (40 + 20 + at) % 60) for at in range(4, 9)
    ]
    (finding,) = engine.current(START + 30)
    assert set(finding.samples) == {row["uuid"] for row in evidence}
    log = ask(store, "SELECT * FROM flow_log ORDER BY time DESC LIMIT 1")[0]
    assert {name: value for name, value in evidence[-1].items() if name not in ("uuid", "evidence")} == log

    forget(store, KEEP, START + 8 * DAY)
    assert store.count_flows() == 0
    samples = store.query(sql.report("samples"), WINDOW).to_pylist()
    assert [(row["uuid"], row["verdict"], row["drop_reason"]) for row in samples] == [
        (row["uuid"], "DROPPED", "POLICY_DENIED") for row in reversed(evidence)
    ]
    assert {row["fingerprint"] for row in samples} == {finding.fingerprint}

    again = Engine(cluster="test", allowlist=declared, settle=0.0, active_for=1e9)
    again.restore(store.restore(), START + 60)
    (restored,) = again.current(START + 60)
    assert (restored.samples, restored.drop_reasons) == (finding.samples, finding.drop_reasons)

    store.commit(engine.drain(START + 8 * DAY, []))
    forget(store, KEEP, START + 8 * DAY)
    assert not ask(store, "SELECT * FROM evidence")
    store.close()


def test_the_two_views_of_flows_are_worded_alike() -> None:
    """evidence_log is flow_log with three lines more."""
    views = sql.queries("schema")
    flow, evidence = (views[name].sql.splitlines() for name in ("0013_flow_log", "0013_evidence_log"))
    extra = [line for line in evidence if line not in flow]
    assert len(extra) == 5, extra
    assert [line for line in flow if line not in evidence] == ["CREATE OR REPLACE VIEW flow_log AS", "FROM flows"]


def test_flows_that_go_all_the_time_keep_nothing_else_from_going(tmp_path: Path) -> None:
    """One look has an end, although every moment makes more flows too old, and the next is some time later."""
    store = Store(tmp_path / "a.duckdb")
    rows = [(float(second), 1, 1, 1, 1) for second in range(3600)]
    lines = "\n".join(
        f"+{at}s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN" for at in range(3600)
    )
    engine = Engine(cluster="test", decoder=NativeDecoder())
    engine.ingest(Batch("test", "test", [line.message for line in parse(lines, START)]), START)
    store.commit(engine.drain(START) | activity([(START + row[0], *row[1:]) for row in rows]))
    moment = itertools.count(START + 1800)
    settings = replace(StoreSettings(), retention=600.0)
    writer = Writer(store, settings, Metrics(), clock=lambda: float(next(moment)))
    for _ in range(20):
        writer.look()
    assert ask(store, "SELECT count(*) AS n FROM edge_minutes")[0]["n"] > 0
    assert store.count_flows() < 3600
    store.close()
