"""Opening a database file: the connection, the version of its schema, and the way from an older one.

A file is as one version of flowwatch left it. An older one is brought forward in one transaction, by
`queries/migrate` and then `queries/schema`; a newer one is refused. Opening a file that is current
writes nothing, so that a full disk does not keep anybody from going on.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from flowwatch import sql
from flowwatch.errors import StoreError
from flowwatch.rows import code_rows
from flowwatch.store_faults import fault

SCHEMA_VERSION = 2


def connect(path: Path, memory_limit: int, read_only: bool) -> duckdb.DuckDBPyConnection:
    """A connection to a file that is ready to be used. `memory_limit` in bytes. Raises `StoreError`:
    `DamagedError` and `UnwritableError` where it is the file's or the disk's doing."""
    try:
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = duckdb.connect(
            str(path),
            read_only=read_only,
            config={
                # More threads write the same rows with twice the CPU and into twice the space.
                "threads": 1,
                "memory_limit": f"{memory_limit // 1_000_000}MB",
                "temp_directory": f"{path}.tmp",
                # Nothing may be fetched at run time.
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
    except (duckdb.Error, OSError) as error:
        raise fault(path, error, opening=True) from error
    try:
        _prepare(connection, path, read_only)
    except (duckdb.Error, UnicodeDecodeError) as error:
        connection.close()
        raise fault(path, error, opening=True) from error
    except StoreError:
        connection.close()
        raise
    return connection


def run(connection: duckdb.DuckDBPyConnection, name: str, params: dict[str, object] | None = None) -> int:
    """Run one of our statements; gives the number of rows it changed, where it changes any."""
    rows = connection.execute(sql.statement("store", name), params or None).fetchall()
    return int(rows[0][0]) if rows and isinstance(rows[0][0], int) else 0


def run_on(connection: duckdb.DuckDBPyConnection, name: str, batch: pa.Table) -> None:
    """Run one of our statements over the rows it calls `batch`."""
    connection.register("batch", batch)
    try:
        run(connection, name)
    finally:
        with contextlib.suppress(duckdb.Error):
            connection.unregister("batch")


def _prepare(connection: duckdb.DuckDBPyConnection, path: Path, read_only: bool) -> None:
    tables, ours = _read(connection, "has_schema")[0]
    if tables and not ours:
        raise StoreError(f"{path}: this is a DuckDB file, but not one of flowwatch; name another `store.path`")
    if not ours and read_only:
        raise StoreError(f"{path}: empty: nothing was stored here yet")
    version = int(_read(connection, "read_version")[0][0]) if ours else 0
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: written by a newer flowwatch (schema {version}; this one knows {SCHEMA_VERSION}): "
            "run that version again, or name another `store.path`"
        )
    if version < SCHEMA_VERSION and read_only:
        raise StoreError(
            f"{path}: written by an older flowwatch (schema {version}; this one reads {SCHEMA_VERSION}): "
            "`flowwatch run` brings it forward"
        )
    if read_only:
        return
    digest, meanings = _digest(), code_rows()
    built = version == SCHEMA_VERSION and _read(connection, "read_statements") == [(digest,)]
    if built and _read(connection, "read_codes") == sorted(tuple(row.values()) for row in meanings.to_pylist()):
        return
    run(connection, "begin")
    if not built:
        for migration in _migrations(version) if ours else ():
            connection.execute(migration).fetchall()
        for statement in sql.queries("schema").values():
            connection.execute(statement.sql).fetchall()
        run(connection, "update_version" if ours else "set_version", {"version": SCHEMA_VERSION, "statements": digest})
        run(connection, "begin_progress")
    run(connection, "clear_codes")
    run_on(connection, "append_codes", meanings)
    run(connection, "commit")


def _digest() -> str:
    """Which tables and views this version makes; a view that is worded anew is made anew."""
    return hashlib.sha256("\n".join(query.sql for query in sql.queries("schema").values()).encode()).hexdigest()


def _migrations(version: int) -> list[str]:
    """The statements that lead from a version to ours; a file's name begins with the version it leads to."""
    return [query.sql for name, query in sql.queries("migrate").items() if int(name.partition("_")[0]) > version]


def _read(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = connection.execute(sql.statement("store", name)).fetchall()
    return rows
