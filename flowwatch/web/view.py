"""What the HTTP surface asks of the daemon, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from flowwatch.model import Finding, Snapshot
from flowwatch.web_loki import LogView


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query gave. `arrow` makes an Arrow IPC stream of it, called only when asked for
    one and possibly in another thread."""

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]
    arrow: Callable[[], bytes]

    def records(self) -> list[dict[str, object]]:
        """The rows, each by the names of its columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Patches:
    """What would make a finding end: a line of the allowlist, or a rule of a network policy. Empty: no such."""

    allowlist: str
    policy: str


class View(LogView, Protocol):
    """What the HTTP surface asks of the daemon. Calls that are not `async` must be quick."""

    def snapshot(self) -> Snapshot: ...

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition for this Accept header, and its content type."""

    def health(self) -> Mapping[str, str]:
        """Is the process worth keeping? Component to `ok` or a reason."""

    def ready(self) -> Mapping[str, str]:
        """May a rollout go on? Component to `ok`, `ok, although …` or a reason."""

    async def query(self, name: str, params: Mapping[str, str]) -> QueryResult:
        """Run a named query; `QueryError` says what is wrong with name or parameters, `QueryTimeoutError`
        that it took too long."""

    async def select(self, name: str, values: Mapping[str, object]) -> QueryResult:
        """Run one of `queries/page/` with these values."""

    def queries(self) -> Sequence[Mapping[str, object]]:
        """The named queries: `name`, `doc`, `params`, `columns` of each."""

    def patches(self, finding: Finding) -> Patches:
        """What would make the finding end."""


VIEW: web.AppKey[View] = web.AppKey("view")
ROOT: web.AppKey[str] = web.AppKey("root")
"""The path below which everything is served, without a final slash; empty for none."""
