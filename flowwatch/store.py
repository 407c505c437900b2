"""The store: one DuckDB file, written by one thread a commit at a time and read by any number.

The only module that knows DuckDB. A commit is one transaction: either everything up to it is there
after a crash, or nothing of it. A file belongs to one process; `claim` leaves a note beside it so
that other processes can ask its owner instead.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Timer

import duckdb
import pyarrow as pa

from flowwatch import sql
from flowwatch.errors import QueryError, QueryTimeoutError, StoreError
from flowwatch.model import Identity, Kind
from flowwatch.rows import Restored, code_rows

SCHEMA_VERSION = 1
CLOSE_PATIENCE = 10.0
"""Seconds to wait for a commit that is under way when the file is closed."""


class Store:
    """An open database file. `commit` and `retain` from one thread; `query` from any."""

    def __init__(self, path: str | Path, *, memory_limit: int = 256_000_000, read_only: bool = False) -> None:
        """Open or create the file. `memory_limit` in bytes (DuckDB's own; the process needs about
        250 MB more). Raises `StoreError` when the file is in use, is not ours, or cannot be opened."""
        self.path = Path(path)
        self._lock = Lock()
        self._read_only = read_only
        try:
            if not read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = duckdb.connect(
                str(self.path),
                read_only=read_only,
                config={
                    # More threads write the same rows with twice the CPU and into twice the space.
                    "threads": 1,
                    "memory_limit": f"{memory_limit // 1_000_000}MB",
                    "temp_directory": f"{self.path}.tmp",
                    # Nothing may be fetched at run time.
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                },
            )
        except (duckdb.Error, OSError) as error:
            raise StoreError(_explain_open(self.path, error)) from error
        try:
            self._prepare()
        except duckdb.Error as error:
            self._connection.close()
            raise StoreError(f"{self.path}: {_first_line(error)}") from error
        except StoreError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Write the log into the file and let it go; a commit that is under way is waited for."""
        idle = self._lock.acquire(timeout=CLOSE_PATIENCE)
        try:
            with contextlib.suppress(duckdb.Error):
                if idle and not self._read_only:
                    self._run("checkpoint")
        finally:
            if idle:
                self._lock.release()
        self._connection.close()

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def commit(self, tables: Mapping[str, pa.Table]) -> int:
        """Run the statements of a drain, each over its table, in one transaction; give the number of
        flow rows written. After a `StoreError` nothing of it is in the file."""
        if not tables:
            return 0
        with self._lock:
            try:
                self._run("begin")
                for name, table in tables.items():
                    self._connection.register("batch", table)
                    self._run(name)
                    self._connection.unregister("batch")
                self._run("commit")
            except duckdb.Error as error:
                with contextlib.suppress(duckdb.Error):
                    self._run("rollback")
                raise StoreError(f"{self.path}: {_first_line(error)}") from error
        flows = tables.get("append_flows")
        return 0 if flows is None else len(flows)

    def retain(self, before: float) -> None:
        """Forget flows, activity and coverage older than `before` (seconds)."""
        moment = datetime.fromtimestamp(before, UTC).replace(tzinfo=None)
        with self._lock:
            try:
                for name in ("retain_flows", "retain_edge_activity", "retain_coverage"):
                    self._run(name, {"before": moment})
            except duckdb.Error as error:
                raise StoreError(f"{self.path}: {_first_line(error)}") from error

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def query(self, query: sql.Query, params: Mapping[str, object], seconds: float | None = None) -> pa.Table:
        """Run a named query on a cursor of its own. Times are naive UTC `datetime`s. After `seconds` (None: never)
        it is given up with a `QueryTimeoutError`."""
        missing = [name for name in query.params if name not in params]
        if missing:
            raise QueryError(f"{query.where}: missing parameters: {', '.join(missing)}")
        try:
            cursor = self._connection.cursor()

            def give_up() -> None:
                with contextlib.suppress(duckdb.Error):  # it may have ended at this very moment
                    cursor.interrupt()

            timer = Timer(seconds or 0.0, give_up)
            timer.daemon = True
            try:
                if seconds is not None:
                    timer.start()
                relation = cursor.sql(query.sql, params={name: params[name] for name in query.params} or None)
                return relation.to_arrow_table()
            finally:
                timer.cancel()
                cursor.close()
        except duckdb.InterruptException as error:
            raise QueryTimeoutError(
                f"{query.where}: given up after {seconds:g} s; ask for less time, or for fewer rows"
            ) from error
        except duckdb.Error as error:
            raise QueryError(f"{query.where}: {_first_line(error)}") from error

    def count_flows(self) -> int:
        """Flow rows in the file."""
        return int(self._read("count_flows").column(0)[0].as_py())

    def size(self) -> int:
        """Bytes on disk, log included."""
        files = (self.path, self.path.with_name(self.path.name + ".wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def restore(self) -> Restored:
        """Read back what the engine must know to go on."""
        identities = self._read("read_identities").to_pylist()
        return Restored(
            [(row["node"], row["name"]) for row in self._read("read_nodes").to_pylist()],
            [
                (
                    row["identity"],
                    Identity(Kind(row["kind"]), row["cluster"], row["namespace"], tuple(row["labels"])),
                    row["workload"],
                    row["workload_kind"],
                )
                for row in identities
            ],
            [(row["policy_set"], tuple(row["policies"])) for row in self._read("read_policy_sets").to_pylist()],
            int(self._read("read_next_peer").column(0)[0].as_py()),
            self._read("read_edges"),
            self._read("read_edge_totals"),
        )

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _prepare(self) -> None:
        tables, ours = self._read("has_schema").to_pylist()[0].values()
        if tables and not ours:
            raise StoreError(f"{self.path}: this is a DuckDB file, but not one of flowwatch; name another `store.path`")
        if ours:
            version = self._read("read_version").column(0)[0].as_py()
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path}: written by a newer flowwatch (schema {version}; this one knows {SCHEMA_VERSION})"
                )
        elif self._read_only:
            raise StoreError(f"{self.path}: empty: nothing was stored here yet")
        if self._read_only:
            return
        for statement in sql.queries("schema").values():
            self._connection.execute(statement.sql).fetchall()
        if not ours:
            self._run("set_version", {"version": SCHEMA_VERSION})
        self._run("clear_codes")
        self._connection.register("batch", code_rows())
        self._run("append_codes")
        self._connection.unregister("batch")

    def _run(self, name: str, params: Mapping[str, object] | None = None) -> None:
        self._connection.execute(sql.statement("store", name), dict(params) if params else None).fetchall()

    def _read(self, name: str) -> pa.Table:
        return self.query(sql.queries("store")[name], {})


# ── who owns a file ──────────────────────────────────────────────────────────────────────────────


def owner_note(path: str | Path) -> Path:
    """Where the owner of a database file says how to reach it."""
    return Path(f"{path}.owner")


@contextlib.contextmanager
def claim(path: str | Path, api: str, access: Mapping[str, str] | None = None) -> Iterator[None]:
    """Say beside the file that this process owns it and answers queries at `api`, while the context lasts.
    `access` are the paths of files that those who ask must show or trust (see `Owner`), never their contents."""
    note = owner_note(path)
    note.write_text(json.dumps({"pid": os.getpid(), "api": api, "access": dict(access or {})}), encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a file: its HTTP API, and the files that asking it takes: `token_file`, `certificate`."""

    api: str
    access: Mapping[str, str]


def owner_of(path: str | Path) -> Owner | None:
    """The living process that owns the file, if it left a note."""
    try:
        note = json.loads(owner_note(path).read_text(encoding="utf-8"))
        os.kill(int(note["pid"]), 0)
        return Owner(str(note["api"]), {str(key): str(value) for key, value in note.get("access", {}).items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _explain_open(path: Path, error: Exception) -> str:
    text = _first_line(error)
    if "lock" in text.lower():
        return f"{path}: in use by another process (a DuckDB file has one owner at a time)"
    if path.is_dir():
        return f"{path}: a directory, not a database file"
    return f"{path}: cannot be opened: {text}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
