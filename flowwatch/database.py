"""A flowwatch database for people who work in Python: `flowwatch.open(path).query(name, since="1h")`.

A DuckDB file belongs to one process at a time. While a daemon owns the file, queries go to the
daemon's HTTP API instead; the caller does not notice.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from flowwatch import report, sql
from flowwatch.errors import QueryError, StoreError
from flowwatch.store import Store, owner_of

if TYPE_CHECKING:
    import pandas as pd

TIMEOUT = 60.0
"""Seconds to wait for the daemon that owns the file."""


class Database:
    """A database to ask; close it, or use it as a context manager."""

    def __init__(self, path: str | Path) -> None:
        """Open the file to read it, or find the daemon that owns it. Raises `StoreError`."""
        self.path = Path(path)
        self._api = owner_of(self.path)
        self._store: Store | None = None
        if not self._api:
            if not self.path.exists():
                raise StoreError(f"{self.path}: there is no such file; name the `store.path` of a flowwatch")
            self._store = Store(self.path, read_only=True)

    def table(self, name: str, **given: str) -> pa.Table:
        """Run a named query and give an Arrow table. `since` and `until` are written as on the command line."""
        query = sql.report(name)
        if self._store is not None:
            return self._store.query(query, report.parameters(query, given, time.time()))
        report.parameters(query, given, time.time())
        address = f"{self._api}/api/v1/query/{name}?{urllib.parse.urlencode({**given, 'format': 'arrow'})}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
                return pa.ipc.open_stream(answer.read()).read_all()
        except urllib.error.HTTPError as error:
            raise QueryError(f"{self._api}: {error.read(4096).decode(errors='replace')}") from error
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(
                f"{self.path} is in use, and the flowwatch at {self._api} does not answer: {error}"
            ) from error

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
