"""Those who read a database while it is written: any number, each on a cursor of its own.

As long as one cursor lives, DuckDB keeps its idea of the file, even of one that was renamed. So before
a file is opened anew the readers are asked to leave, and nobody new is let in meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import Condition

import duckdb

from flowwatch.errors import QueryError


class Readers:
    """The cursors in use. Any thread."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._cursors: set[duckdb.DuckDBPyConnection] = set()
        self._leaving = False

    @contextlib.contextmanager
    def cursor(self, connection: duckdb.DuckDBPyConnection | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor to read on. Raises `QueryError` while there is nothing to read from."""
        with self._changed:
            if self._leaving or connection is None:
                raise QueryError("the database is being opened anew, ask again in a moment")
            cursor = connection.cursor()
            self._cursors.add(cursor)
        try:
            yield cursor
        finally:
            with self._changed:
                self._cursors.discard(cursor)
                cursor.close()
                self._changed.notify_all()

    def clear(self, patience: float) -> bool:
        """Interrupt everybody and wait until they have left, at most `patience` seconds; whether they have."""
        with self._changed:
            self._leaving = True
            for cursor in self._cursors:
                cursor.interrupt()
            left = self._changed.wait_for(lambda: not self._cursors, patience)
            self._leaving = False
            return left
