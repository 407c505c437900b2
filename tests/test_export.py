"""Exports: Parquet that others read, whole or not there, the same from a file as from the daemon that owns it."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch import export as export_module
from flowwatch.assemble import running
from flowwatch.database import Database
from flowwatch.errors import StoreError
from flowwatch.export import Exported, export, settled, without
from flowwatch.receive import Batch
from flowwatch.store import Store
from tests.support.feed import Feed, settings
from tests.support.flowtext import parse
from tests.support.patience import until
from tests.test_daemon import ALLOWLIST, FLOWS
from tests.test_store import START, fed

ROOT = Path(__file__).parents[1]
FIRST = datetime.fromtimestamp(START, UTC).replace(tzinfo=None, minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)


def stored(path: Path, hours: int = 3, every: float = 600.0) -> int:
    """A file with flows of some hours; gives how many."""
    store, rows = Store(path), 0
    for at in range(int(hours * 3600 / every)):
        engine = fed()
        tables = engine.drain(START)
        if at:
            tables = {"append_flows": tables["append_flows"]}
        flows = tables["append_flows"]
        times = pa.array(
            [int((FIRST.replace(tzinfo=UTC).timestamp() + at * every) * 1000) + n for n in range(len(flows))]
        )
        tables["append_flows"] = flows.set_column(0, "time", times.cast(pa.timestamp("ms")))
        rows += store.commit(tables)
    store.close()
    return rows


def read(folder: Path, what: str = "flows") -> list[dict[str, Any]]:
    """What any DuckDB makes of an export."""
    files = f"{folder}/{what}/**/*.parquet"
    with duckdb.connect() as connection:
        relation = connection.sql(f"SELECT * FROM read_parquet('{files}', hive_partitioning = true)")
        return relation.to_arrow_table().to_pylist()


def run(path: Path, window: tuple[datetime, datetime], folder: Path) -> Exported:
    with Database(path) as database:
        return export(database, window, folder, "here", lambda line: None)  # noqa: ARG005


def test_an_export_is_what_is_stored(tmp_path: Path) -> None:
    """Every flow once, in its partition, as flow_log tells it; findings, edges and coverage beside them."""
    rows = stored(tmp_path / "a.duckdb")
    assert run(tmp_path / "a.duckdb", (FIRST, FIRST + 9 * HOUR), tmp_path / "out") == Exported(rows, 3, 0)
    found = read(tmp_path / "out")
    assert len(found) == rows
    assert {(r["cluster"], str(r["date"]), int(r["hour"])) for r in found} == {
        ("test", f"{FIRST:%Y-%m-%d}", FIRST.hour + at) for at in range(3)
    }
    assert all(int(row["hour"]) == row["time"].hour for row in found)
    with duckdb.connect(str(tmp_path / "a.duckdb"), read_only=True) as connection:
        told = connection.sql("SELECT * FROM flow_log").to_arrow_table().to_pylist()

    def plain(rows_: list[dict[str, Any]]) -> list[str]:
        return sorted(repr({k: v for k, v in row.items() if k not in ("cluster", "date", "hour")}) for row in rows_)

    assert plain(found) == plain(told)
    assert {row["source"] for row in read(tmp_path / "out", "edges")} == {"shop/web", "world"}
    assert (tmp_path / "out" / "findings" / "findings.parquet").exists()
    assert (tmp_path / "out" / "coverage" / "coverage.parquet").exists()


def test_exports_go_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """Windows that overlap, touch and lie apart, in any order: every flow once."""
    rows = stored(tmp_path / "a.duckdb")
    path, out = tmp_path / "a.duckdb", tmp_path / "out"
    half = timedelta(minutes=35)
    first = run(path, (FIRST + HOUR + half, FIRST + 2 * HOUR + half), out)
    second = run(path, (FIRST, FIRST + 2 * HOUR), out)
    third = run(path, (FIRST, FIRST + 9 * HOUR), out)
    assert first.flows + second.flows + third.flows == rows == len(read(out))
    assert len({(r["time"], r["source"], r["client_port"]) for r in read(out)}) == rows
    assert run(path, (FIRST, FIRST + 9 * HOUR), out).flows == 0
    assert run(path, (FIRST, FIRST + 9 * HOUR), out).skipped == 3


@pytest.mark.parametrize("dies_at", range(1, 9))
def test_an_export_that_dies_is_completed_by_the_next(
    tmp_path: Path, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it was about to publish: what is there can be read at once, and is whole after another run."""
    rows = stored(tmp_path / "a.duckdb")
    path, out, count = tmp_path / "a.duckdb", tmp_path / "out", 0
    publish = export_module._publish

    def die(temporary: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == dies_at:
            raise KeyboardInterrupt
        publish(temporary, target)

    with monkeypatch.context() as patched:
        patched.setattr(export_module, "_publish", die)
        with pytest.raises(KeyboardInterrupt):
            run(path, (FIRST + timedelta(minutes=10), FIRST + 9 * HOUR), out)
    if list(out.glob("flows/cluster=*/**/*.parquet")):
        read(out)
    run(path, (FIRST, FIRST + 9 * HOUR), out)
    assert len(read(out)) == rows
    assert not [file for file in out.rglob("*.tmp") if "flows" in file.parts]


def test_slices_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No question asks for more than a slice, however many flows there are."""
    rows = stored(tmp_path / "a.duckdb", hours=1, every=60.0)
    monkeypatch.setattr(export_module, "SLICE_ROWS", 7)
    sizes = []
    table = Database.table

    def watch(self: Database, name: str, **given: str) -> pa.Table:
        answer = table(self, name, **given)
        if name == "export_flows":
            sizes.append(len(answer))
        return answer

    monkeypatch.setattr(Database, "table", watch)
    assert run(tmp_path / "a.duckdb", (FIRST, FIRST + HOUR), tmp_path / "out").flows == rows
    assert max(sizes) <= 7
    assert len(read(tmp_path / "out")) == rows


def test_clusters_are_apart_and_named_safely(tmp_path: Path) -> None:
    """Every cluster has a partition of its own, whatever it is called."""
    store = Store(tmp_path / "a.duckdb")
    engine = fed()
    flows = parse("+9s verdict FORWARDED egress noreply node=a%b/n1 shop/web* -> shop/api 8080/TCP SYN", START)
    engine.ingest(Batch("other", "a%b", [line.message for line in flows]), START)
    store.commit(engine.drain(START))
    store.close()
    run(tmp_path / "a.duckdb", (FIRST, FIRST + HOUR), tmp_path / "out")
    assert sorted(row["cluster"] for row in read(tmp_path / "out")) == ["a%b", *["test"] * 5]
    assert sorted(path.name for path in (tmp_path / "out" / "flows").glob("cluster=*")) == [
        "cluster=a%25b",
        "cluster=test",
    ]


def test_an_export_from_a_running_daemon(tmp_path: Path) -> None:
    """Another process exports what a daemon owns, and again from the file when the daemon is gone: the same."""
    command = [sys.executable, "-m", "flowwatch", "export", "--since", "1h", "--store", str(tmp_path / "test.duckdb")]
    feed = Feed()
    with running(settings(tmp_path, ALLOWLIST), feed) as (daemon, _):
        feed.give([line.message for line in parse(FLOWS, time.time() - 600)])
        until(lambda: daemon.snapshot.rows_stored == 5 and len(daemon.snapshot.findings) == 2)
        done = subprocess.run(
            [*command, "--to", str(tmp_path / "live")], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "5 flows of 1 hour" in done.stdout
    again = subprocess.run(
        [*command, "--to", str(tmp_path / "file")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert again.returncode == 0, again.stderr
    live, file = read(tmp_path / "live"), read(tmp_path / "file")
    assert len(live) == 5
    assert live == file
    assert {row["square"] for row in read(tmp_path / "live", "findings")} == {"unexpected", "denied"}
    schemas = {pq.read_schema(path).remove_metadata() for path in (tmp_path / "live" / "flows").rglob("*.parquet")}
    assert len(schemas) == 1


def test_mistakes_are_told(tmp_path: Path) -> None:
    """A folder that is a file, a note that is not ours."""
    stored(tmp_path / "a.duckdb", hours=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        run(tmp_path / "a.duckdb", (FIRST, FIRST + HOUR), tmp_path / "file")
    note = tmp_path / "out" / "flows" / "_exported" / f"{FIRST:%Y-%m-%dT%H}.json"
    note.parent.mkdir(parents=True)
    note.write_text("hello")
    with pytest.raises(StoreError, match="not a note of an export"):
        run(tmp_path / "a.duckdb", (FIRST, FIRST + HOUR), tmp_path / "out")


def test_what_is_young_waits() -> None:
    """The last two minutes may not be stored yet."""
    assert settled(datetime(2100, 1, 1), START) == datetime.fromtimestamp(START - 120, UTC).replace(tzinfo=None)
    assert settled(datetime(2020, 1, 1), START) == datetime(2020, 1, 1)


WINDOWS = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted)


@given(wanted=WINDOWS, done=st.lists(WINDOWS, max_size=6))
def test_what_is_left_of_a_window(wanted: list[int], done: list[list[int]]) -> None:
    """Held against the minutes themselves."""

    def window(pair: list[int]) -> tuple[datetime, datetime]:
        return FIRST + timedelta(minutes=pair[0]), FIRST + timedelta(minutes=pair[1])

    left = without(window(wanted), [window(pair) for pair in done if pair[0] < pair[1]])
    minutes = [
        int((since - FIRST).total_seconds() // 60) + at
        for since, end in left
        for at in range(int((end - since).total_seconds() // 60))
    ]
    taken = {minute for pair in done for minute in range(*pair)}
    assert minutes == [minute for minute in range(*wanted) if minute not in taken]
