"""The store: real DuckDB files, committed whole or not at all, and every query there is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import flowwatch
from flowwatch import report, sql
from flowwatch.decode.native import NativeDecoder
from flowwatch.engine import Engine
from flowwatch.errors import QueryError, StoreError
from flowwatch.receive import Batch
from flowwatch.store import Owner, Store, claim, owner_of
from flowwatch.store_retention import Keep
from tests.support.flowtext import parse

START = 1_780_000_000.0
FLOWS = """
+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN
+1s verdict DROPPED egress POLICY_DENIED policy=CiliumNetworkPolicy:shop/web shop/web* -> world(203.0.113.7) 443/TCP SYN
+1.1s drop DROPPED egress POLICY_DENIED from=40001 shop/web* -> world(203.0.113.7) 443/TCP SYN
+2s l7 FORWARDED egress request l7=dns shop/web* -> kube-system/coredns 53/UDP
+3s trace FORWARDED TO_ENDPOINT NEW noreply world(198.51.100.1) -> shop/web* 443/TCP SYN
"""
WINDOW = {"since": datetime(2026, 1, 1), "until": datetime(2027, 1, 1)}


def fed(text: str = FLOWS) -> Engine:
    """An engine that took these flows."""
    engine = Engine(cluster="test", decoder=NativeDecoder())
    engine.ingest(Batch("test", "test", [line.message for line in parse(text, START)]), START)
    return engine


def test_a_commit_is_there_after_reopening(tmp_path: Path) -> None:
    """What was committed is in the file, for another process too."""
    store = Store(tmp_path / "a.duckdb")
    assert store.commit(fed().drain(START)) == 5
    store.close()
    with flowwatch.open(tmp_path / "a.duckdb") as database:
        frame = database.query("verdicts", since="all", until="2027-01-01")
    assert sorted(zip(frame["verdict"], frame["flows"], strict=True)) == [
        ("DROPPED", 1),
        ("DROPPED", 1),
        ("FORWARDED", 1),
        ("FORWARDED", 1),
        ("FORWARDED", 1),
    ]


def test_every_query_runs(tmp_path: Path) -> None:
    """Each named query gives the columns its header names."""
    store = Store(tmp_path / "a.duckdb")
    store.commit(fed().drain(START))
    for query in sql.queries("report").values():
        result = store.query(query, {name: WINDOW[name] for name in query.params})
        if "flow_log" not in query.columns and not query.columns.startswith("as the table"):
            for name in result.column_names:
                assert name in query.columns, f"{query.where}: column {name} is not in the header"
    store.close()


def test_a_failed_commit_leaves_nothing(tmp_path: Path) -> None:
    """One bad table of a commit, and none of its tables is in the file; the next commit works."""
    store = Store(tmp_path / "a.duckdb")
    tables = fed().drain(START)
    with pytest.raises(StoreError, match=r"a\.duckdb"):
        store.commit({**tables, "append_rules": pa.table({"rule": ["not a number"]})})
    assert store.count_flows() == 0
    assert store.commit(tables) == 5
    store.close()


def test_restored_engine_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    """After a restart the same flows get the same numbers, and edges keep their totals."""
    store = Store(tmp_path / "a.duckdb")
    first = fed()
    store.commit(first.drain(START))
    second = Engine(cluster="test")
    second.restore(store.restore(), START)
    assert second.interner.identities == first.interner.identities
    assert second.interner.workloads == first.interner.workloads
    assert len(second.edges) == len(first.edges)
    assert second.ingest(Batch("test", "test", [line.message for line in parse(FLOWS, START)]), START).repeated == 5
    second.ingest(Batch("test", "test", [line.message for line in parse(FLOWS, START + 60)]), START + 60)
    assert len(second.edges) == len(first.edges)
    for number in range(len(first.edges)):
        assert second.edges.edge(number) == first.edges.edge(number)
    store.commit(second.drain(START))
    assert store.count_flows() == 10
    numbers = store.query(sql.parse("-- Peers.\nSELECT peer FROM peers", "peers", "test"), {}).column(0).to_pylist()
    assert len(numbers) == len(set(numbers))
    store.close()


def test_retention_goes_by_time(tmp_path: Path) -> None:
    """Flows before the moment are gone, those after it stay."""
    store = Store(tmp_path / "a.duckdb")
    store.commit(fed().drain(START))
    store.retain(Keep(flows=10.0, minutes=1e6, hours=1e6), START + 11.05)
    assert store.count_flows() == 3
    store.close()


def test_a_file_in_use_says_so(tmp_path: Path) -> None:
    """Another process that holds the file is named as the reason."""
    path = tmp_path / "a.duckdb"
    script = f"import duckdb,sys; c=duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="in use by another process"):
            Store(path)
        other.communicate("\n")


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    """A foreign database, a text file, a directory, a newer schema: refused in words, and left as they are."""
    foreign = tmp_path / "foreign.duckdb"
    duckdb.connect(str(foreign)).execute("CREATE TABLE t (i INTEGER)").close()
    with pytest.raises(StoreError, match="not one of flowwatch"):
        Store(foreign)
    text = tmp_path / "text.duckdb"
    text.write_text("hello " * 5000)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(text)
    assert text.read_text() == "hello " * 5000
    with pytest.raises(StoreError, match="a directory"):
        Store(tmp_path)
    newer = tmp_path / "newer.duckdb"
    Store(newer).close()
    connection = duckdb.connect(str(newer))
    connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer flowwatch"):
        Store(newer)
    with pytest.raises(StoreError, match="there is no such file"):
        flowwatch.open(tmp_path / "nothing.duckdb")


def test_killed_between_commits(tmp_path: Path) -> None:
    """After kill -9 every acknowledged commit is there, and nothing of a commit that was not."""
    path = tmp_path / "a.duckdb"
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from tests.test_store import fed, START\n"
        "from flowwatch.store import Store\n"
        "store = Store(sys.argv[1])\n"
        "while True:\n"
        "    store.commit({'append_flows': fed().drain(START)['append_flows']})\n"
        "    print('.', flush=True)\n"
    )
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path), root], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        acknowledged = sum(1 for _ in range(20) if writer.stdout.readline() == ".\n")
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += writer.stdout.read().count(".")
    store = Store(path)
    assert store.count_flows() in (5 * acknowledged, 5 * (acknowledged + 1))
    store.close()


def test_the_owner_of_a_file_is_found_while_it_lives(tmp_path: Path) -> None:
    """The note beside the file names the API, and is gone afterwards; a dead owner's note counts for nothing."""
    path = tmp_path / "a.duckdb"
    assert owner_of(path) is None
    with claim(path, "http://127.0.0.1:1"):
        assert owner_of(path) == Owner("http://127.0.0.1:1", {})
    assert owner_of(path) is None
    Path(f"{path}.owner").write_text("{}")
    assert owner_of(path) is None


def test_query_mistakes_are_told() -> None:
    """Unknown queries, unknown parameters and times nobody can read are told with what there is."""
    with pytest.raises(QueryError, match=r"there is no query 'drop'; there are: .*drops_by_reason"):
        sql.report("drop")
    with pytest.raises(QueryError, match="takes no limit"):
        report.parameters(sql.report("edges"), {"limit": "3"}, START)
    with pytest.raises(QueryError, match="since: 'yesterday' is not a time"):
        report.parameters(sql.report("edges"), {"since": "yesterday"}, START)


def test_times_people_write() -> None:
    """Spans back from now, instants with and without a zone, and all there is."""
    now = datetime(2026, 5, 28, 20, 26, 40)
    assert report.moment("1h30m", START, "since") == now.replace(hour=18, minute=56)
    assert report.moment("all", START, "since") == datetime(1970, 1, 1)
    assert report.moment("2026-01-31T12:00:00+02:00", START, "since") == datetime(2026, 1, 31, 10)
    assert report.moment("2026-01-31", START, "since") == datetime(2026, 1, 31)
    assert report.moment("now", START, "since") == now


def test_a_header_must_be_true() -> None:
    """A query whose header and statement disagree about parameters is refused with its place."""
    with pytest.raises(QueryError, match=r"queries/x\.sql: the header names parameters"):
        sql.parse("-- What?\n-- params: since\nSELECT 1", "x", "queries/x.sql")
    with pytest.raises(QueryError, match="does not say what"):
        sql.parse("SELECT 1", "x", "queries/x.sql")
