"""What a search may cost: how many at once, how long, how much; and that nothing anybody sends breaks it."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from flowwatch import web_loki
from flowwatch.errors import QueryTimeoutError, StoreError

RANGE = "/loki/api/v1/query_range"
PIECES = ("{", "}", "(", ")", "[5m]", "|", "|=", "json", "level", "=", '"a"', "=~", '".+"', "sum", "by", "rate", ",",
          "1", "topk", "\x00", "\ud800", "é", "`", "vector", "\\", "namespace", "or", "drop", "__error__")  # fmt: skip


class Logs:
    """A store that does as it is told."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.go = threading.Event()
        self.go.set()
        self.running = self.most = 0
        self.groups = 1
        self._lock = threading.Lock()

    def logs(self) -> Logs:
        """Itself."""
        return self

    def lines(self, *_: Any) -> pa.Table:
        """No lines, when it is time."""
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(30)
        with self._lock:
            self.running -= 1
        if self.trouble:
            raise self.trouble
        return pa.table({"labels": pa.array([], pa.list_(pa.string())), "time": pa.array([], pa.timestamp("ms")),
                         "line": pa.array([], pa.string())})  # fmt: skip

    def counts(self, *_: Any) -> pa.Table:
        """One line in each of so many groups."""
        labels = [[str(number), ""] for number in range(self.groups)]
        ones = [1] * self.groups
        return pa.table({"labels": labels, "slice": ones, "lines": ones, "bytes": ones})

    def streams(self, *_: Any, **__: Any) -> pa.Table:
        """No streams."""
        nothing = pa.array([], pa.int64())
        return pa.table({"labels": pa.array([], pa.list_(pa.string())), "lines": nothing, "bytes": nothing})


@pytest.fixture
def logs() -> Logs:
    """A store without flows."""
    return Logs()


@pytest.fixture
async def client(logs: Logs, aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    """The routes over it."""
    app = web.Application()
    app.add_routes(web_loki.routes(logs))
    return await aiohttp_client(app)


async def test_few_run_and_some_wait(client: TestClient[Any, Any], logs: Logs) -> None:
    """So many search at a time, so many wait, and whoever comes then is told so; all others get their answer."""
    logs.go.clear()
    every = web_loki.AT_ONCE + web_loki.WAITING + 5
    asked = [asyncio.ensure_future(client.get(RANGE, params={"query": '{a="b"}'})) for _ in range(every)]
    refused = []
    while len(refused) < 5:
        done, _ = await asyncio.wait(asked, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        refused = [one for one in asked if one.done()]
        assert done
    assert {one.result().status for one in refused} == {429}
    assert await refused[0].result().text() == "too many outstanding requests\n"
    logs.go.set()
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status for answer in answers) == [200] * (every - 5) + [429] * 5
    assert logs.most <= web_loki.AT_ONCE


@pytest.mark.parametrize(
    ("trouble", "status"),
    [(QueryTimeoutError("stopped after 30 s"), 504), (StoreError("a.duckdb: disk full"), 503)],
)
async def test_trouble_is_told(client: TestClient[Any, Any], logs: Logs, trouble: Exception, status: int) -> None:
    """With its status, as text; the next search works."""
    logs.trouble = trouble
    answer = await client.get(RANGE, params={"query": '{a="b"}'})
    assert (answer.status, await answer.text()) == (status, f"{trouble}\n")
    logs.trouble = None
    assert (await client.get(RANGE, params={"query": '{a="b"}'})).status == 200


async def test_too_many_series(client: TestClient[Any, Any], logs: Logs) -> None:
    """More series than allowed are refused, unless only the greatest are asked for."""
    logs.groups = web_loki.MOST_SERIES + 1
    query = 'sum by (namespace) (count_over_time({a="b"}[1m]))'
    answer = await client.get("/loki/api/v1/query", params={"query": query})
    assert answer.status == 400
    assert "maximum of series (500)" in await answer.text()
    answer = await client.get("/loki/api/v1/query", params={"query": f"topk(3, {query})"})
    assert len((await answer.json())["data"]["result"]) == 3


async def test_too_many_samples(client: TestClient[Any, Any], logs: Logs) -> None:
    """More samples than allowed are refused."""
    logs.groups = 400
    query = 'sum by (namespace) (count_over_time({a="b"}[300d]))'
    answer = await client.get(RANGE, params={"query": query, "start": "0", "end": "10999", "step": "1"})
    assert answer.status == 400
    assert "greater step" in await answer.text()


async def test_whatever_is_sent_is_answered_or_refused(client: TestClient[Any, Any]) -> None:
    """A thousand requests from pieces of queries and parameters: never a failure of ours."""
    dice = random.Random(7)
    paths = ("query_range", "query", "labels", "label/namespace/values", "label/%00/values", "series", "index/stats")
    names = ("query", "start", "end", "step", "time", "limit", "direction", "since", "interval", "match[]")
    values = ("", "1", "-1", "0", "9" * 19, "1e309", "NaN", "forward", "5m", "2026-01-01", "\u0661", "inf")
    for _ in range(1000):
        text = " ".join(dice.choices(PIECES, k=dice.randint(1, 15))).encode("utf-8", "replace").decode()
        params = [(dice.choice(names), dice.choice((*values, text))) for _ in range(dice.randint(0, 4))]
        answer = await client.get(f"/loki/api/v1/{dice.choice(paths)}", params=params)
        assert answer.status in (200, 400), (answer.status, params, await answer.text())
