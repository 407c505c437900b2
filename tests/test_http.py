"""The HTTP surface over a real server: formats, errors, headers, and requests nobody honest sends."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from flowwatch import web
from tests.support.samples import LOKI_SENTENCE, hostile_finding, loki_finding, snapshot
from tests.support.view import View


@pytest.fixture
def view() -> View:
    return View()


@pytest.fixture
async def client(view: View, aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    return await aiohttp_client(web.build(view))


async def get(client: TestClient[Any, Any], path: str, status: int = 200) -> Any:
    response = await client.get(path)
    assert response.status == status, await response.text()
    assert response.content_type == "application/json"
    return await response.json()


async def test_status_and_findings(client: TestClient[Any, Any]) -> None:
    """The snapshot as JSON; findings whole, by square, by namespace, one by one."""
    status = await get(client, "/api/v1/status")
    assert status["flows"] == snapshot().flows
    listed = (await get(client, "/api/v1/findings"))["findings"]
    assert LOKI_SENTENCE in [finding["sentence"] for finding in listed]
    blocked = (await get(client, "/api/v1/findings?square=blocked"))["findings"]
    assert {finding["square"] for finding in blocked} == {"blocked"}
    within = (await get(client, "/api/v1/findings?namespace=monitoring"))["findings"]
    assert 0 < len(within) < len(listed)
    one = await get(client, f"/api/v1/findings/{loki_finding().fingerprint}")
    assert one["sentence"] == LOKI_SENTENCE


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/api/v1/findings?square=round", 400, "square"),
        ("/api/v1/findings?namespace=UPPER!", 400, "namespace"),
        ("/api/v1/findings?colour=red", 400, "colour"),
        ("/api/v1/findings?square=denied&square=blocked", 400, "more than once"),
        ("/api/v1/findings/0123456789abcdef", 404, ""),
        ("/api/v1/findings/nonsense", 404, ""),
        ("/api/v1/query/nonsense", 404, "there is no query"),
        ("/api/v1/query/verdicts?format=pdf", 400, "format"),
        ("/nowhere", 404, "/nowhere"),
        ("/static/nowhere.js", 404, ""),
        ("/static/..%2f..%2fstore.py", 404, ""),
        ("/static/%2e%2e/web.py", 404, ""),
        ("/api/v1/status?" + "x" * 5000, 414, "longer than"),
    ],
)
async def test_what_cannot_be_answered_is_said(client: TestClient[Any, Any], path: str, status: int, told: str) -> None:
    """With a status and a text, as JSON, and never with a file."""
    response = await client.get(URL(path, encoded=True))
    assert response.status == status
    assert told in (await response.json())["error"]


async def test_query_formats(client: TestClient[Any, Any]) -> None:
    """JSON, CSV that starts no formula, a table, and an Arrow stream."""
    answer = await get(client, "/api/v1/query/verdicts?since=1h")
    assert answer == {"columns": ["verdict", "flows"], "rows": [["DROPPED", 3], ["=cmd()", 1]]}
    text = await (await client.get("/api/v1/query/verdicts?format=csv")).text()
    assert "DROPPED,3" in text
    assert "'=cmd()" in text
    assert "DROPPED" in await (await client.get("/api/v1/query/verdicts?format=table")).text()
    body = await (await client.get("/api/v1/query/verdicts?format=arrow")).read()
    assert pa.ipc.open_stream(io.BytesIO(body)).read_all().column("flows").to_pylist() == [3, 1]
    assert (await get(client, "/api/v1/queries"))["queries"][0]["name"] == "verdicts"


async def test_health_and_readiness(client: TestClient[Any, Any], view: View) -> None:
    """Each component with `ok` or its reason; 503 as soon as one is not ok."""
    assert (await get(client, "/healthz"))["writer"] == "ok"
    await get(client, "/readyz")
    view.unready = "disk full"
    assert (await get(client, "/readyz", 503))["store"] == "disk full"


async def test_metrics_negotiate(client: TestClient[Any, Any]) -> None:
    """What the scraper accepts reaches the exposition."""
    response = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert "openmetrics" in await response.text()
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/metrics", "/nowhere", "/static/page.js"])
async def test_every_answer_is_hardened(client: TestClient[Any, Any], path: str) -> None:
    """No answer can be framed, sniffed, or run what is not ours."""
    response = await client.get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_it_only_reads(client: TestClient[Any, Any], method: str) -> None:
    """Nothing but GET and HEAD is allowed."""
    response = await client.request(method, "/api/v1/findings", data=b"x" if method == "POST" else None)
    assert response.status == 405
    assert (await client.head("/api/v1/status")).status == 200


async def test_names_of_strangers_are_refused(view: View, aiohttp_client: AiohttpClient) -> None:
    """On loopback a hostile page cannot read it through a name of its own."""
    client = await aiohttp_client(web.build(view, web.LOOPBACK_NAMES))
    assert (await client.get("/api/v1/status", headers={"Host": "evil.example"})).status == 421
    assert (await client.get("/api/v1/status", headers={"Host": "localhost:9950"})).status == 200


async def test_hostile_text_stays_text(client: TestClient[Any, Any], view: View) -> None:
    """Names, labels and reasons from flows are data in JSON, whatever they hold."""
    view.now = snapshot(findings=(hostile_finding(),))
    response = await client.get("/api/v1/findings")
    body = await response.text()
    assert "\x1b" not in body
    assert "onerror" in json.loads(body)["findings"][0]["sentence"]
