"""The read-only part of Loki's HTTP API: Grafana's Loki data source, Explore and logcli search the stored flows by it.

Answers are shaped and refused as Loki does it, errors as plain text. What a search may cost is bounded:
how many run at once and wait, how long each takes, how many lines, series and samples it gives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import numpy as np
import pyarrow as pa
from aiohttp import hdrs, web

from flowwatch.errors import QueryError, QueryTimeoutError, StoreError
from flowwatch.logql import answers
from flowwatch.logql.evaluate import Group, Ints, Samples, Slices, Steps, samples, slices
from flowwatch.logql.fields import LABELS, NOTHING
from flowwatch.logql.parse import parse, selection
from flowwatch.logql.syntax import Constant, Function, Metric, Query, Selection
from flowwatch.logql.times import SECOND, Window, moment, steps, window
from flowwatch.words import Json, json_text

MOST_LINES = 5000
LINES = 100
MOST_SERIES = 500
MOST_SAMPLES = 200_000
AT_ONCE = 2
"""Searches that run at one time; the machine has other work."""
WAITING = 32
"""Searches that wait for their turn; a dashboard asks for a dozen at once."""
COMPRESS_ELSEWHERE = 65_536
"""Bytes from which an answer is compressed in a thread of its own."""
LOOK_BACK = 6 * 3600 * SECOND
"""How far back labels are looked for when no time is given."""


class Logs(Protocol):
    """What these routes ask of the store. Each may take seconds and is called in a thread of its own."""

    def lines(self, wanted: Selection, window: Window, limit: int, forward: bool) -> pa.Table: ...

    def counts(self, wanted: Selection, slices: Slices, by: tuple[str, ...], sized: bool) -> pa.Table: ...

    def streams(
        self, wanted: Selection | None, window: Window, names: tuple[str, ...], sized: bool = False
    ) -> pa.Table: ...


class LogView(Protocol):
    """What gives the logs."""

    def logs(self) -> Logs:
        """The stored flows as log lines, for Loki's clients."""


class _TooManyError(Exception):
    """More searches than may wait."""


Handler = Callable[[Mapping[str, str], "web.Request"], Awaitable[Json]]


def routes(view: LogView, clock: Callable[[], float] = time.time) -> list[web.RouteDef]:
    """The routes below `/loki/api/v1`."""
    api = _Api(view, clock)
    found = {
        "query_range": api.query_range,
        "query": api.query,
        "labels": api.labels,
        "label": api.labels,
        "label/{name}/values": api.values,
        "series": api.series,
        "index/stats": api.stats,
    }
    known = [web.get(f"/loki/api/v1/{path}", _served(handler)) for path, handler in found.items()]
    return [*known, web.get("/loki/{rest:.*}", _nowhere)]


def _served(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def serve(request: web.Request) -> web.Response:
        try:
            body = await handler(request.query, request)
        except QueryTimeoutError as error:
            return _refused(504, str(error))
        except QueryError as error:
            return _refused(400, str(error))
        except _TooManyError:
            return _refused(429, "too many outstanding requests")
        except StoreError as error:
            return _refused(503, str(error))
        text = await asyncio.to_thread(lambda: json_text(body).encode())
        headers = {hdrs.CONTENT_TYPE: "application/json; charset=utf-8"}
        response = web.Response(body=text, headers=headers, zlib_executor_size=COMPRESS_ELSEWHERE)
        response.enable_compression()
        return response

    return serve


async def _nowhere(_request: web.Request) -> web.Response:
    return _refused(
        404, "flowwatch has of Loki's API: query_range, query, labels, label/<name>/values, series, index/stats"
    )


def _refused(status: int, text: str) -> web.Response:
    # As Loki does: plain text, with a newline.
    return web.Response(text=f"{text}\n", status=status, headers={hdrs.CONTENT_TYPE: "text/plain; charset=utf-8"})


class _Api:
    def __init__(self, view: LogView, clock: Callable[[], float]) -> None:
        self._view = view
        self._clock = clock
        self._running = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    # ── queries ──────────────────────────────────────────────────────────────────────────────────

    async def query_range(self, given: Mapping[str, str], _request: web.Request) -> Json:
        """Lines, or the samples of a metric at every step."""
        if given.get("interval", "0") not in ("", "0", "0s"):
            raise QueryError("unsupported: `interval`; flowwatch gives every line up to the limit")
        wanted = _query(given)
        over = window(given, self._now())
        if isinstance(wanted, Selection):
            return await self._lines(wanted, over, given)
        moments = steps(given, over)
        if isinstance(wanted, Constant):
            found: Samples = {(): [(moments.start + at * moments.step, wanted.value) for at in range(moments.count)]}
            return answers.matrix((), found)
        return answers.matrix(_names(wanted), await self._samples(wanted, moments))

    async def query(self, given: Mapping[str, str], _request: web.Request) -> Json:
        """The samples of a metric at one moment."""
        wanted, at = _query(given), moment(given, self._now())
        if isinstance(wanted, Selection):
            raise QueryError(
                "log queries are not supported as an instant query type, please change your query to a range query type"
            )
        if isinstance(wanted, Constant):
            return answers.vector((), {(): [(at, wanted.value)]})
        return answers.vector(_names(wanted), await self._samples(wanted, Steps.once(at)))

    async def _lines(self, wanted: Selection, over: Window, given: Mapping[str, str]) -> Json:
        limit, forward = _limit(given), _forward(given)
        async with self._turn():
            table = await asyncio.to_thread(self._view.logs().lines, wanted, over, limit, forward)
        return await asyncio.to_thread(_streams, table)

    async def _samples(self, wanted: Metric, moments: Steps) -> Samples:
        sized = wanted.function in (Function.BYTES, Function.BYTES_RATE)
        cut = slices(wanted, moments)
        async with self._turn():
            table = await asyncio.to_thread(self._view.logs().counts, wanted.selection, cut, _names(wanted), sized)
        return await asyncio.to_thread(_sampled, wanted, moments, table, "bytes" if sized else "lines")

    # ── labels ───────────────────────────────────────────────────────────────────────────────────

    async def labels(self, given: Mapping[str, str], _request: web.Request) -> Json:
        """The names of the labels that streams have."""
        table = await self._streams(given, LABELS)
        used = {name for row in table.column("labels").to_pylist() for name, _ in answers.labelled(LABELS, row[:-1])}
        return answers.success([name for name in sorted(LABELS) if name in used])

    async def values(self, given: Mapping[str, str], request: web.Request) -> Json:
        """The values of one label."""
        name = request.match_info["name"]
        if name not in LABELS:
            return answers.success([])
        table = await self._streams(given, (name,))
        return answers.success(sorted({row[0] for row in table.column("labels").to_pylist()} - {""}))

    async def series(self, given: Mapping[str, str], request: web.Request) -> Json:
        """The label sets of the streams that a selector means."""
        matches = [*request.query.getall("match[]", []), *request.query.getall("match", [])]
        if not matches:
            raise QueryError("0 matcher groups supplied; write `match[]`")
        if len(matches) > 10:
            raise QueryError("more than 10 matcher groups")
        found: dict[answers.Labels, None] = {}
        for match in matches:
            table = await self._streams({**given, "query": match}, LABELS)
            found |= {answers.labelled(LABELS, row[:-1]): None for row in table.column("labels").to_pylist()}
        return answers.success([dict(labels) for labels in sorted(found)])

    async def stats(self, given: Mapping[str, str], _request: web.Request) -> Json:
        """How much a selector means. There are no chunks here, so there are as many as streams."""
        table = await self._streams({"query": "", **given}, LABELS, sized=True)
        lines, size = (int(sum(table.column(name).to_pylist())) for name in ("lines", "bytes"))
        return {"streams": len(table), "chunks": len(table), "entries": lines, "bytes": size}

    async def _streams(self, given: Mapping[str, str], names: tuple[str, ...], sized: bool = False) -> pa.Table:
        over = window(given, self._now(), LOOK_BACK)
        text = given.get("query", "").strip()
        wanted = selection(text) if text and text != "{}" else None
        async with self._turn():
            return await asyncio.to_thread(self._view.logs().streams, wanted, over, names, sized)

    def _now(self) -> int:
        return int(self._clock() * SECOND)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= WAITING:
            raise _TooManyError
        self._waiting += 1
        try:
            await self._running.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._running.release()


def _query(given: Mapping[str, str]) -> Query:
    text = given.get("query", "")
    if not text.strip():
        raise QueryError("parse error at line 1, col 1: syntax error: unexpected the end; write a `query`")
    return parse(text)


def _names(metric: Metric) -> tuple[str, ...]:
    return LABELS if metric.by is None else tuple(name for name in metric.by if name not in NOTHING)


def _limit(given: Mapping[str, str]) -> int:
    text = given.get("limit") or str(LINES)
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
        raise QueryError(f"limit: {text[:40]!r} is no number greater than 0")
    if int(text) > MOST_LINES:
        raise QueryError(f"max entries limit per query exceeded, limit > max_entries_limit ({text} > {MOST_LINES})")
    return int(text)


def _forward(given: Mapping[str, str]) -> bool:
    text = (given.get("direction") or "backward").lower()
    if text not in ("forward", "backward"):
        raise QueryError(f"invalid direction {text[:40]!r}; there are forward and backward")
    return text == "forward"


def _streams(table: pa.Table) -> Json:
    # A row ends with an empty label, so that it is a list even where no label is asked for.
    times = table.column("time").cast(pa.int64()).to_pylist()
    labels = (answers.labelled(LABELS, row[:-1]) for row in table.column("labels").to_pylist())
    nanoseconds = (milliseconds * (SECOND // 1000) for milliseconds in times)
    return answers.streams(zip(labels, nanoseconds, table.column("line").to_pylist(), strict=True))


def _sampled(metric: Metric, moments: Steps, table: pa.Table, what: str) -> Samples:
    counted: dict[Group, tuple[list[int], list[int]]] = {}
    columns = (table.column(name).to_pylist() for name in ("labels", "slice", what))
    for labels, number, amount in zip(*columns, strict=True):
        numbers, amounts = counted.setdefault(tuple(labels[:-1]), ([], []))
        numbers.append(number)
        amounts.append(amount)
    if len(counted) > MOST_SERIES and not (metric.top or metric.bottom):
        raise QueryError(f"maximum of series ({MOST_SERIES}) reached for a single query; aggregate with `sum by (…)`")
    if len(counted) * moments.count > MOST_SAMPLES * 10:
        raise QueryError("too many groups at too many moments; write a greater step or fewer labels in `by`")
    found = samples(metric, moments, {group: (_ints(a), _ints(b)) for group, (a, b) in counted.items()})
    if sum(map(len, found.values())) > MOST_SAMPLES:
        raise QueryError(f"the answer has more than {MOST_SAMPLES:,} samples; write a greater step or fewer labels")
    return found


def _ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)
