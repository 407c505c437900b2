"""A flowwatch database for people who work in Python: `flowwatch.open(path).query(name, since="1h")`.

A DuckDB file belongs to one process at a time. While a daemon owns the file, queries go to the
daemon's HTTP API instead; the caller does not notice.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from flowwatch import report, sql
from flowwatch.errors import SourceError, StoreError
from flowwatch.remote import Access, Remote
from flowwatch.store import Store, owner_of

if TYPE_CHECKING:
    import pandas as pd


def running_owner(path: str | Path) -> Remote | None:
    """The daemon that owns a database file, to ask it; None where nobody does."""
    owner = owner_of(path)
    if owner is None:
        return None
    files = {name: Path(file) for name, file in owner.access.items() if name in ("token_file", "certificate")}
    return Remote(owner.api, Access(**files))


class Database:
    """A database to ask; close it, or use it as a context manager."""

    def __init__(self, path: str | Path) -> None:
        """Open the file to read it, or find the daemon that owns it. Raises `StoreError`."""
        self.path = Path(path)
        self._remote = running_owner(self.path)
        self._store: Store | None = None
        if self._remote is None:
            if not self.path.exists():
                raise StoreError(f"{self.path}: there is no such file; name the `store.path` of a flowwatch")
            self._store = Store(self.path, read_only=True)

    def table(self, name: str, **given: str) -> pa.Table:
        """Run a named query and give an Arrow table. `since` and `until` are written as on the command line."""
        query = sql.report(name)
        values = report.parameters(query, given, time.time())
        if self._store is not None:
            return self._store.query(query, values)
        assert self._remote is not None
        try:
            return pa.ipc.open_stream(self._remote.read(f"/api/v1/query/{name}", **given, format="arrow")).read_all()
        except (SourceError, pa.ArrowInvalid) as error:
            raise StoreError(f"{self.path} is in use: {error}") from error

    def query(self, name: str, **given: str) -> pd.DataFrame:
        """Run a named query and give a DataFrame, e.g. `query("drops_by_reason", since="1h")`."""
        return self.table(name, **given).to_pandas()

    def close(self) -> None:
        """Let the file go."""
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
