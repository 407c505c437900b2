"""The store: one DuckDB file, written by one thread a commit at a time and read by any number.

The only module that knows DuckDB. A commit is one transaction: either everything up to it is there
after a crash, or nothing of it. A file belongs to one process; `claim` leaves a note beside it so
that other processes can ask its owner instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Timer

import duckdb
import pyarrow as pa

from flowwatch import sql
from flowwatch.coverage_node import StoredNode
from flowwatch.cursors import Cursor
from flowwatch.errors import DamagedError, QueryError, QueryTimeoutError, StoreError, UnwritableError
from flowwatch.model import Identity, Kind
from flowwatch.store_faults import ends_the_connection, fault, first_line, log_of, set_aside
from flowwatch.store_open import connect, run, run_on
from flowwatch.store_readers import Readers
from flowwatch.store_retention import Keep, Slice, next_by_size, next_slice
from flowwatch.stream_rows import Restored, RestoredStreams, recent_keys

CLOSE_PATIENCE = 10.0
"""Seconds to wait for a commit that is under way when the file is closed."""
READERS_PATIENCE = 5.0
"""Seconds to wait for queries to end before the file is opened anew; then it is tried again."""
FOLLOWED_BY = {"append_flows": ("append_flow_activity",), "append_evidence": ("trim_evidence",)}
"""What else is done with the rows of a drain, in the same transaction."""
BREAKS = 3
"""So often in a row DuckDB may fail by its own fault before the file is taken to be the reason."""


class Store:
    """A database file that is opened anew whenever it must be. `commit`, `retain` and `set_aside` from one
    thread; `query` from any."""

    def __init__(
        self,
        path: str | Path,
        *,
        memory_limit: int = 256_000_000,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or create the file. `memory_limit` in bytes (DuckDB's own; the process needs about 250 MB
        more). A file that is there but may not be written now is opened to be read, and `refusal` says why;
        commits are refused until it can be written. Raises `DamagedError` when the file is damaged, `StoreError`
        when it is in use, is not ours, or cannot be opened."""
        self.path = Path(path)
        self.refusal = ""
        """Why the file could not be written when it was opened; empty when it could."""
        self.aside = ""
        """Where the last damaged file (or log) was set aside."""
        self._memory_limit = memory_limit
        self._read_only = read_only
        self._clock = clock
        self._lock = Lock()
        """Held by whoever writes, or replaces the connection."""
        self._readers = Readers()
        self._uncertain: Mapping[str, pa.Table] | None = None
        """The drain whose commit failed, perhaps after it was in the file."""
        self._damage = ""
        self._breaks = 0
        self._connection: duckdb.DuckDBPyConnection | None = None
        try:
            self._connection = connect(self.path, memory_limit, read_only)
        except UnwritableError as error:
            if read_only or not self.path.exists():
                raise
            self._connection, self.refusal = connect(self.path, memory_limit, read_only=True), str(error)
        try:
            self._commits = self._count_commits()
        except StoreError:
            self._connection.close()
            raise
        self._inode = self._stat()

    def close(self) -> None:
        """Write the log into the file and let it go; a commit that is under way is waited for."""
        idle = self._lock.acquire(timeout=CLOSE_PATIENCE)
        try:
            with contextlib.suppress(duckdb.Error):
                if idle and self._connection and not (self._read_only or self.refusal):
                    run(self._connection, "checkpoint")
        finally:
            if idle:
                self._lock.release()
        self._readers.clear(CLOSE_PATIENCE)
        if self._connection:
            self._connection.close()

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def commit(self, tables: Mapping[str, pa.Table]) -> int:
        """Run the statements of a drain, each over its table, in one transaction; give the number of
        flow rows written. After a `StoreError` try the same drain again: it is written once, however often it
        is tried. After a `DamagedError` only `set_aside` helps."""
        if not tables:
            return 0
        flows = tables.get("append_flows")
        written = 0 if flows is None else len(flows)
        with self._lock:
            connection = self._open()
            if self._uncertain is tables and self._count_commits() == self._commits + 1:
                self._commits, self._uncertain = self._commits + 1, None
                return written
            self._uncertain = tables
            with self._told():
                run(connection, "begin")
                for name, table in tables.items():
                    for statement in (name, *FOLLOWED_BY.get(name, ())):
                        run_on(connection, statement, table)
                run(connection, "count_commit")
                run(connection, "commit")
            self._commits, self._uncertain, self._breaks = self._commits + 1, None, 0
        return written

    def retain(self, keep: Keep, now: float) -> Slice | None:
        """Forget the next slice of what is too old or too much; None when nothing is. No longer than a commit."""
        with self._lock:
            connection = self._open()
            with self._told():
                done = next_slice(connection, keep, now)
                if done is None and keep.max_size:
                    done = next_by_size(connection, lambda: self.used() - keep.max_size, now)
        return done

    def set_aside(self) -> Path:
        """Rename the damaged file and its log, and let the next commit begin a new one; gives the new name.
        The numbers of the engine mean nothing to the new file. Raises `StoreError` when that cannot be done now."""
        with self._lock:
            self._let_go()
            aside = set_aside(self.path, self._clock())
            self._commits, self._uncertain, self._breaks = 0, None, 0
            self._damage, self.refusal, self.aside = "", "", str(aside)
            return aside

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def query(self, query: sql.Query, params: Mapping[str, object], seconds: float | None = None) -> pa.Table:
        """Run a named query on a cursor of its own. Times are naive UTC `datetime`s. After `seconds` (None: never)
        it is given up with a `QueryTimeoutError`."""
        missing = [name for name in query.params if name not in params]
        if missing:
            raise QueryError(f"{query.where}: missing parameters: {', '.join(missing)}")
        try:
            return self._select(query, {name: params[name] for name in query.params}, seconds)
        except duckdb.InterruptException as error:
            raise QueryTimeoutError(
                f"{query.where}: given up after {seconds:g} s; ask for less time, or for fewer rows"
            ) from error
        except (duckdb.Error, UnicodeDecodeError) as error:
            if isinstance(told := fault(self.path, error), DamagedError):
                self._damage = self._damage or str(told)
            raise QueryError(f"{query.where}: {first_line(error)}") from error

    def search(
        self, view: str, narrow: Callable[[duckdb.DuckDBPyRelation], duckdb.DuckDBPyRelation], patience: float
    ) -> pa.Table:
        """What is left of a view once narrowed, on a cursor of its own. Raises `QueryTimeoutError` after so many
        seconds, `StoreError` where the database refuses."""
        try:
            with self._readers.cursor(self._connection) as cursor, _limited(cursor, patience):
                return narrow(cursor.view(view)).to_arrow_table()
        except duckdb.InterruptException as error:
            raise QueryTimeoutError(f"stopped after {patience:g} s; search a shorter time, or for less") from error
        except duckdb.Error as error:
            raise StoreError(f"{self.path}: {first_line(error)}") from error

    def count_flows(self) -> int:
        """Flow rows in the file."""
        return int(self._read("count_flows").column(0)[0].as_py())

    def size(self) -> int:
        """Bytes on disk, log included."""
        files = (self.path, log_of(self.path))
        return sum(file.stat().st_size for file in files if file.exists())

    def used(self) -> int:
        """Bytes that hold something, log included. What was freed stays in the file and is used again."""
        log = log_of(self.path)
        return int(self._read("read_used_bytes").column(0)[0].as_py()) + (log.stat().st_size if log.exists() else 0)

    def restore(self) -> Restored:
        """Read back what the engine must know to go on."""
        identities = self._read("read_identities").to_pylist()
        return Restored(
            [(row["node"], row["cluster"], row["name"]) for row in self._read("read_nodes").to_pylist()],
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
            self._read("read_samples"),
            RestoredStreams(
                [StoredNode(**row) for row in self._read("read_node_states").to_pylist()],
                [Cursor(**row | {"time": row["time"] / 1e9}) for row in self._read("read_cursors").to_pylist()],
                recent_keys(self._read("read_recent_keys")),
                self._read("read_coverage").to_pylist(),
            ),
        )

    def alerts(self) -> pa.Table:
        """The alerts of an earlier run, as rows of `alerts`."""
        return self._read("read_alerts")

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> duckdb.DuckDBPyConnection:
        """The connection to write on, opened anew where that is needed."""
        if self._damage:
            raise DamagedError(self._damage)
        if self._connection and self._stat() != self._inode:
            raise DamagedError(f"{self.path}: was removed or replaced by somebody else")
        if self.refusal:
            self._let_go()
        if self._connection is None:
            self._connection = connect(self.path, self._memory_limit, self._read_only)
            self._inode, self.refusal = self._stat(), ""
            if self._count_commits() not in (self._commits, self._commits + (self._uncertain is not None)):
                raise DamagedError(f"{self.path}: is not as it was left")
        return self._connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell DuckDB's errors as ours; what was begun is given up."""
        try:
            yield
        except (duckdb.Error, UnicodeDecodeError) as error:
            with contextlib.suppress(duckdb.Error):
                if self._connection:
                    run(self._connection, "rollback")
            told = fault(self.path, error)
            if isinstance(error, duckdb.InternalException):
                self._breaks += 1
                if self._breaks >= BREAKS:
                    told = DamagedError(str(told))
            if isinstance(told, DamagedError):
                self._damage = str(told)
            elif ends_the_connection(error):
                self._let_go()
            raise told from error

    def _let_go(self) -> None:
        """Close the connection, and the cursors of all who read on it: as long as one of them lives, so does
        DuckDB's idea of the file."""
        if not self._readers.clear(READERS_PATIENCE):
            raise UnwritableError(f"{self.path}: waiting for a query to end before the file is opened anew")
        if self._connection:
            with contextlib.suppress(duckdb.Error):
                self._connection.close()
        self._connection = None

    def _stat(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            status = self.path.stat()
            return status.st_dev, status.st_ino
        return None

    def _count_commits(self) -> int:
        return int(self._read("read_progress").column(0)[0].as_py() or 0)

    def _read(self, name: str) -> pa.Table:
        try:
            return self._select(sql.queries("store")[name], {})
        except (duckdb.Error, UnicodeDecodeError) as error:
            raise fault(self.path, error, opening=True) from error

    def _select(self, query: sql.Query, params: Mapping[str, object], seconds: float | None = None) -> pa.Table:
        with self._readers.cursor(self._connection) as cursor, _limited(cursor, seconds):
            return cursor.sql(query.sql, params=dict(params) or None).to_arrow_table()


@contextlib.contextmanager
def _limited(cursor: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Interrupt what runs on a cursor after so many seconds (None: never)."""

    def give_up() -> None:
        with contextlib.suppress(duckdb.Error):  # it may have ended at this very moment
            cursor.interrupt()

    timer = Timer(seconds or 0.0, give_up)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
