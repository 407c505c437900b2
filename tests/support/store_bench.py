"""Measure the store: `python -m tests.support.store_bench [--rows 2000000]`.

Prints commit time, rows per second, bytes per row and the pauses that forgetting makes, each beside a baseline
of the same run: the same rows appended to a plain table, nothing counted, nothing forgotten. Ratios are to be
trusted, absolutes drift with the machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from flowwatch.decode.native import NativeDecoder
from flowwatch.engine import Engine
from flowwatch.receive import Batch
from flowwatch.store import Store
from flowwatch.store_retention import Keep
from tests.support.flowtext import parse

START = 1_780_000_000.0
BATCH = 122_880
EDGES = 5_000


@dataclass
class Measured:
    """One way to store the same rows."""

    commits: list[float] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    bytes_per_row: float = 0.0


def drains(rows: int, batch: int) -> list[dict[str, pa.Table]]:
    """Drains of flows and of what was seen of edges, with the spread of real ones: ports, peers, times, verdicts."""
    engine = Engine(cluster="bench", decoder=NativeDecoder())
    lines = "\n".join(
        f"+{at / 10}s verdict {'FORWARDED egress noreply' if at % 9 else 'DROPPED egress POLICY_DENIED'}"
        f" from={40000 + at} shop/web* -> world(203.0.113.{at % 250}) 443/TCP SYN"
        for at in range(500)
    )
    engine.ingest(Batch("test", "test", [line.message for line in parse(lines, START)]), START)
    whole = engine.drain(START)
    template, activity = whole["append_flows"].combine_chunks(), whole["append_edge_activity"].combine_chunks()
    dice, found = np.random.default_rng(1), []
    for number in range(rows // batch):
        flows = template.take(pa.array(dice.integers(0, len(template), batch)))
        now = int((START + number) * 1000)
        spread = {
            "time": pa.array(np.sort(now + dice.integers(0, 1000, batch))).cast(pa.timestamp("ms")),
            "client_port": pa.array(dice.integers(32768, 61000, batch), pa.int32()),
            "client": pa.array(dice.zipf(1.3, batch) % 6000, pa.int32()),
            "server": pa.array(dice.zipf(1.3, batch) % 6000, pa.int32()),
            "edge": pa.array(dice.zipf(1.2, batch) % EDGES, pa.int32()),
            "node": pa.array(dice.integers(0, 40, batch), pa.int32()),
        }
        for name, column in spread.items():
            flows = flows.set_column(flows.column_names.index(name), name, column)
        seen = activity.take(pa.array(dice.integers(0, len(activity), EDGES)))
        for name, column in (
            ("time", pa.array(np.full(EDGES, now)).cast(pa.timestamp("ms"))),
            ("edge", pa.array(np.arange(EDGES), pa.int32())),
        ):
            seen = seen.set_column(seen.column_names.index(name), name, column)
        proof = flows.slice(0, 50)
        evidence = pa.table(
            [pa.array([f"{number}-{at}" for at in range(50)]), pa.array([2] * 50, pa.uint8()), *proof.columns],
            names=["uuid", "evidence", *proof.column_names],
        )
        found.append({"append_edge_activity": seen, "append_flows": flows, "append_evidence": evidence})
    return found


def plain(path: Path, given: list[dict[str, pa.Table]]) -> Measured:
    """The baseline: the same flows appended to a table without anything else."""
    measured = Measured()
    with duckdb.connect(str(path), config={"threads": 1, "memory_limit": "256MB"}) as connection:
        batch = given[0]["append_flows"]  # noqa: F841 - DuckDB reads it by its name
        connection.execute("CREATE TABLE flows AS SELECT * FROM batch LIMIT 0").fetchall()
        for drain in given:
            begun = time.perf_counter()
            connection.register("batch", drain["append_flows"])
            connection.execute("INSERT INTO flows SELECT * FROM batch").fetchall()
            connection.unregister("batch")
            measured.commits.append(time.perf_counter() - begun)
    measured.bytes_per_row = path.stat().st_size / sum(len(drain["append_flows"]) for drain in given)
    return measured


def kept(path: Path, given: list[dict[str, pa.Table]], forget: bool) -> Measured:
    """The store as the daemon drives it. With `forget`, a tenth of the time is kept, so that as much goes as comes."""
    measured, store = Measured(), Store(path)
    window = len(given) / 10
    keep = Keep(flows=window, minutes=window * 2, hours=window * 4)
    for number, drain in enumerate(given):
        begun = time.perf_counter()
        store.commit(drain)
        measured.commits.append(time.perf_counter() - begun)
        # Rolling up waits ten minutes; here the clock runs ahead by as much.
        now = START + number + (600.0 if forget else 0.0)
        while forget:
            begun = time.perf_counter()
            done = store.retain(Keep(keep.flows + 600.0, keep.minutes + 600.0, keep.hours + 600.0), now)
            if done is None:
                break
            measured.pauses.append(time.perf_counter() - begun)
    store.close()
    measured.bytes_per_row = path.stat().st_size / sum(len(drain["append_flows"]) for drain in given)
    return measured


def line(name: str, value: str, ratio: float | None = None) -> None:
    print(f"{name:<44} {value:>16}" + (f"   {ratio:6.2f} x baseline" if ratio is not None else ""))


def report(name: str, measured: Measured, base: Measured, batch: int) -> None:
    """The lines of one way, beside the baseline."""
    p50, p99 = (float(np.percentile(measured.commits, at)) for at in (50, 99))
    rate, base_rate = batch / np.mean(measured.commits), batch / np.mean(base.commits)
    line(f"{name}: commit p50", f"{p50 * 1000:.0f} ms", p50 / float(np.percentile(base.commits, 50)))
    line(f"{name}: commit p99", f"{p99 * 1000:.0f} ms", p99 / float(np.percentile(base.commits, 99)))
    line(f"{name}: rows/s", f"{rate:,.0f}", rate / base_rate)
    line(f"{name}: bytes/row", f"{measured.bytes_per_row:.1f}", measured.bytes_per_row / base.bytes_per_row)
    if measured.pauses:
        for at in (50, 99, 100):
            pause = float(np.percentile(measured.pauses, at))
            against = pause / float(np.percentile(base.commits, at))
            line(f"{name}: retention pause p{at} ({len(measured.pauses)} slices)", f"{pause * 1000:.0f} ms", against)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--batch", type=int, default=BATCH, help="rows per commit")
    arguments = parser.parse_args()
    given = drains(arguments.rows, arguments.batch)
    with tempfile.TemporaryDirectory() as folder:
        base = plain(Path(folder) / "plain.duckdb", given)
        print(f"{len(given)} commits of {arguments.batch:,} flows, {EDGES:,} edges and 50 samples each\n")
        report("baseline, plain append", base, base, arguments.batch)
        report("store", kept(Path(folder) / "kept.duckdb", given, forget=False), base, arguments.batch)
        report(
            "store while forgetting", kept(Path(folder) / "forget.duckdb", given, forget=True), base, arguments.batch
        )


if __name__ == "__main__":
    main()
