"""A file as an earlier version left it is brought forward whole or not at all; a newer one is refused."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from flowwatch import sql
from flowwatch.engine import Engine
from flowwatch.errors import StoreError
from flowwatch.store import Store
from flowwatch.store_open import SCHEMA_VERSION
from tests.test_store import START, WINDOW, fed

OLD = sorted((Path(__file__).parent / "data" / "schema-1").glob("*.sql"))
"""The statements of the first version, word for word, and a row of everything."""
COLUMNS = sql.parse(
    "-- Columns.\nSELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() WHERE NOT internal",
    "columns",
    "test",
)


def first_version(path: Path) -> None:
    """A file as the first version of flowwatch left it."""
    with duckdb.connect(str(path)) as connection:
        for statements in OLD:
            connection.execute(statements.read_text(encoding="utf-8")).fetchall()


def columns(path: Path) -> set[tuple[object, ...]]:
    store = Store(path)
    found = {tuple(row.values()) for row in store.query(COLUMNS, {}).to_pylist()}
    store.close()
    return found


def test_a_file_of_the_first_version_is_brought_forward(tmp_path: Path) -> None:
    """Afterwards it has the very tables of a new file, and all that was in it."""
    first_version(tmp_path / "old.duckdb")
    assert columns(tmp_path / "old.duckdb") == columns(tmp_path / "new.duckdb")
    store = Store(tmp_path / "old.duckdb")
    assert store.query(sql.parse("-- V.\nSELECT version FROM schema_version", "v", "test"), {}).to_pylist() == [
        {"version": SCHEMA_VERSION}
    ]
    assert store.count_flows() == 5
    edges = store.query(sql.report("edges"), WINDOW).to_pylist()
    assert [(row["destination"], row["flows"], row["dropped"], row["square"]) for row in edges] == [
        ("203.0.113.7", 5, 3, "denied")
    ]
    restored = store.restore()
    assert restored.nodes == [(0, "", "node-1"), (1, "", "other/node-2")]
    engine = Engine(cluster="test")
    engine.restore(restored, START)
    assert len(engine.edges) == 1
    assert store.commit(engine.drain(START)) == 0
    store.close()


def test_a_file_brought_forward_takes_what_a_new_one_takes(tmp_path: Path) -> None:
    """Every statement of a drain runs on it, and every query."""
    first_version(tmp_path / "old.duckdb")
    store = Store(tmp_path / "old.duckdb")
    engine = Engine(cluster="test")
    engine.restore(store.restore(), START)
    store.commit(engine.drain(START))
    assert store.commit(fed().drain(START)) == 5
    for query in sql.queries("report").values():
        store.query(query, {name: WINDOW[name] for name in query.params})
    store.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one transaction: an old flowwatch can still open the file."""
    first_version(tmp_path / "old.duckdb")
    broken = dict(sql.queries("schema"))
    broken["9999_broken"] = sql.parse("-- Broken.\nCREATE TABLE flows (i INTEGER)", "9999_broken", "test")
    known = sql.queries
    with monkeypatch.context() as patched:
        patched.setattr(sql, "queries", lambda folder: broken if folder == "schema" else known(folder))
        with pytest.raises(StoreError, match="already exists"):
            Store(tmp_path / "old.duckdb")
    with duckdb.connect(str(tmp_path / "old.duckdb")) as connection:
        assert connection.execute("SELECT * FROM schema_version").fetchall()[0][0] == 1
        assert "progress" not in {
            row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        }
    Store(tmp_path / "old.duckdb").close()


def test_an_old_file_is_not_read_without_being_brought_forward(tmp_path: Path) -> None:
    """A reader may not write, so it says who may."""
    first_version(tmp_path / "old.duckdb")
    with pytest.raises(StoreError, match=r"older flowwatch \(schema 1; this one reads \d+\): `flowwatch run`"):
        Store(tmp_path / "old.duckdb", read_only=True)


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """The message says what to do; not a byte of the file changes."""
    Store(tmp_path / "a.duckdb").close()
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute("UPDATE schema_version SET version = 99").fetchall()
    before = (tmp_path / "a.duckdb").read_bytes()
    with pytest.raises(StoreError, match=r"newer flowwatch \(schema 99; this one knows \d+\): run that version again"):
        Store(tmp_path / "a.duckdb")
    assert (tmp_path / "a.duckdb").read_bytes() == before


def test_a_view_that_is_worded_anew_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of a file are those of the flowwatch that opened it last."""
    Store(tmp_path / "a.duckdb").close()
    changed = dict(sql.queries("schema"))
    changed["9999_extra"] = sql.parse(
        "-- Extra.\nCREATE OR REPLACE VIEW extra AS SELECT 1 AS one", "9999_extra", "test"
    )
    known = sql.queries
    monkeypatch.setattr(sql, "queries", lambda folder: changed if folder == "schema" else known(folder))
    store = Store(tmp_path / "a.duckdb")
    assert store.query(sql.parse("-- E.\nSELECT one FROM extra", "e", "test"), {}).to_pylist() == [{"one": 1}]
    store.close()


def test_opening_a_current_file_writes_nothing(tmp_path: Path) -> None:
    """So a full disk keeps nobody from going on."""
    Store(tmp_path / "a.duckdb").close()
    before = (tmp_path / "a.duckdb").read_bytes()
    store = Store(tmp_path / "a.duckdb")
    assert not Path(f"{tmp_path}/a.duckdb.wal").exists()
    store.close()
    assert (tmp_path / "a.duckdb").read_bytes() == before
