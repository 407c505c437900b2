"""The JSON API against its own document: every answer is what it says, and nothing anybody sends breaks it."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import jsonschema
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from flowwatch import web
from flowwatch.errors import QueryTimeoutError
from flowwatch.web.api import ENDPOINTS
from flowwatch.web.openapi import document
from tests.support.samples import HOSTILE, denied_finding, hostile_finding, loki_finding, snapshot
from tests.support.view import EDGE, FLOW, View

FINGERPRINT = loki_finding().fingerprint


@pytest.fixture
async def view() -> View:
    findings = tuple(loki_finding(first_seen=1e9 + at) for at in range(3))
    condition = {
        "type": "LogsReachStorage",
        "status": "Unknown",
        "reason": "NotObserved",
        "message": HOSTILE,
        "lastTransitionTime": "2026-10-01T00:00:00Z",
    }
    return View(
        snapshot(findings=(hostile_finding(), *findings), conditions=(condition,)),
        edges=[EDGE | {"flows": at} for at in range(250)],
        flows=[FLOW | {"client_port": at} for at in range(250)],
    )


@pytest.fixture
async def server(view: View) -> AsyncIterator[TestServer]:
    async with TestServer(web.build(view)) as server:
        yield server


async def ask(server: TestServer, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(server.make_url(path)) as answer:
        return answer.status, await answer.json()


def check(value: object, schema: str) -> None:
    whole = document()["components"]
    assert isinstance(whole, dict)
    validator = jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": whole})
    errors = [f"{list(error.absolute_path)}: {error.message[:300]}" for error in validator.iter_errors(value)]
    assert not errors, errors


def test_the_document_is_openapi() -> None:
    """Version 3.1; each path has what the server needs to answer it, and schemas are themselves valid."""
    told: Any = document("/below")
    assert told["openapi"].startswith("3.1.")
    assert told["servers"] == [{"url": "/below"}]
    assert set(told["paths"]) == {endpoint.path for endpoint in ENDPOINTS}
    for path, item in told["paths"].items():
        assert set(item) == {"get"}, path
        named = [parameter["name"] for parameter in item["get"]["parameters"] if parameter["in"] == "path"]
        assert named == re.findall(r"{(\w+)}", path)
    for schema in told["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_the_document_is_what_is_routed(server: TestServer) -> None:
    """Served, and it has every address of the API but itself and the one for whole queries."""
    _, told = await ask(server, "/api/v1/openapi.json")
    routed = {resource.canonical for resource in server.app.router.resources()}
    api = {path for path in routed if path.startswith("/api/")}
    assert api - set(told["paths"]) == {"/api/v1/openapi.json", "/api/v1/query/{name}"}


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/api/v1/status", "status"),
        ("/api/v1/findings", "findings"),
        ("/api/v1/findings?square=unexpected&direction=egress&namespace=monitoring&text=loki&limit=1", "findings"),
        (f"/api/v1/findings/{FINGERPRINT}", "finding"),
        (f"/api/v1/findings/{denied_finding().fingerprint}", "finding"),
        ("/api/v1/edges?square=unexpected&source=monitoring&destination=world&since=7d&limit=3", "edges"),
        ("/api/v1/flows?verdict=DROPPED&text=loki&limit=3", "flows"),
        ("/api/v1/coverage", "coverage"),
        ("/api/v1/conditions", "conditions"),
        ("/api/v1/queries", "queries"),
        ("/api/v1/queries/verdicts?limit=1", "query"),
        ("/api/v1/queries/nonsense", "error"),
        ("/api/v1/findings?limit=0", "error"),
    ],
)
async def test_answers_are_what_the_document_says(server: TestServer, path: str, schema: str) -> None:
    """Each holds to the schema of its address."""
    _, told = await ask(server, path)
    check(told, schema)


@pytest.mark.parametrize("name", ["findings", "edges", "flows"])
async def test_lists_come_page_by_page(server: TestServer, view: View, name: str) -> None:
    """Following `next` gives everything once, and then ends."""
    found, cursor = [], ""
    for _ in range(500):
        _, told = await ask(server, f"/api/v1/{name}?limit=7&cursor={cursor}")
        assert len(told[name]) <= 7
        found += told[name]
        cursor = told["next"]
        if cursor is None:
            break
    expected = {"findings": len(view.now.findings), "edges": len(view.edges), "flows": len(view.flows)}[name]
    key = {"findings": "first_seen", "edges": "flows", "flows": "client_port"}[name]
    assert len(found) == len({each[key] for each in found}) == expected


async def test_a_finding_that_is_over_is_told_from_the_store(server: TestServer) -> None:
    """Links to it go on leading somewhere."""
    _, told = await ask(server, f"/api/v1/findings/{FINGERPRINT}")
    assert told["active"] is True
    assert "monitoring/loki" in told["allowlist_patch"]
    _, told = await ask(server, f"/api/v1/findings/{denied_finding().fingerprint}")
    assert (told["active"], told["sentence"]) == (False, denied_finding().sentence)


async def test_a_query_that_takes_too_long_is_given_up(server: TestServer, view: View) -> None:
    """With a status and a reason, and what needs no store is there all the same."""
    view.trouble = QueryTimeoutError("queries/report/edges.sql: given up after 20 s")
    status, told = await ask(server, "/api/v1/edges")
    assert (status, "given up" in told["error"]) == (503, True)
    assert (await ask(server, "/api/v1/findings"))[0] == 200


def test_schemathesis(tmp_path: Path) -> None:
    """What a tester who only knows the document comes up with is answered as it says."""
    port = tmp_path / "port"
    script = (
        "import sys; from pathlib import Path; from aiohttp import web as a; from flowwatch import web;"
        "from tests.support.view import View;"
        "from tests.support.servers import serve_on_free_port;"
        "serve_on_free_port(web.build(View()), Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", script, str(port)], cwd=root) as server:
        try:
            for _ in range(600):
                if port.exists() or server.poll() is not None:
                    break
                asyncio.run(asyncio.sleep(0.05))
            address = f"http://127.0.0.1:{port.read_text()}/api/v1/openapi.json"
            # Dates that no calendar has are rightly refused, which no pattern can say.
            options = ["--max-examples=40", "--exclude-checks=positive_data_acceptance", "--seed=1", "--no-color"]
            command = [sys.executable, "-m", "schemathesis.cli", "run", *options, address]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        finally:
            server.terminate()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


# What nobody honest sends

PIECES = [
    *("'", '"', "<script>alert(1)</script>", HOSTILE, "\0", "\r\nX: y", "\ud800", "%", "%zz", "%00", "..", "../.."),
    *("//", "\\", "a" * 300, "😀", "\u202e", "{{7*7}}", "${x}", "$since", "; DROP TABLE flows; --", "NaN", "-1"),
    *("0" * 40, "9" * 40, "٣", "١h", "0000-00-00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "all"),
    *("999999999d", "99999999999999999999-99999999999999999999", "1-ffffffffffffffff", "-", "[]", "null", "true", ""),
]
NAMES = ["square", "namespace", "direction", "text", "cursor", "limit", "since", "until", "source", "destination"]
NAMES += ["verdict", "window", "format", "name", "", "x", "limit[]", "__proto__"]
PATHS = [endpoint.path for endpoint in ENDPOINTS]
PATHS += ["/", "/findings", "/findings/{name}", "/edges", "/flows", "/matrix", "/coverage", "/conditions", "/search"]
PATHS += ["/api/v1/query/{name}", "/static/{name}", "/{name}", "/metrics", "/healthz", "/api/v1/{name}"]
HEADERS = ["Host", "Accept", "Range", "X-Forwarded-Prefix", "Authorization", "If-None-Match", "Accept-Encoding"]
METHODS = ["GET"] * 20 + ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


def hostile(dice: random.Random) -> tuple[str, str, dict[str, str]]:
    """A request: a method, a target as it goes over the wire, and headers."""

    def piece() -> str:
        text = dice.choice(PIECES)
        if dice.random() < 0.2:
            return text.encode("ascii", "ignore").decode().translate({13: None, 10: None, 32: None, 0: None, 35: None})
        return quote(text.encode("utf-8", "surrogatepass"), safe=dice.choice(["", "/", "/.;:[]{}"]))

    path = dice.choice(PATHS).replace("{name}", piece() or "x")
    given = [f"{dice.choice(NAMES)}={piece()}" for _ in range(dice.choice([0, 1, 1, 2, 3, 40]))]
    headers = {}
    if dice.random() < 0.3:
        name = dice.choice(HEADERS)
        headers[name] = re.sub(r"[^\x20-\x7e]", "", dice.choice(PIECES)) or "x"
    if dice.random() < 0.5:
        headers.setdefault("Accept", "text/html")
    return dice.choice(METHODS), path + ("?" + "&".join(given) if given else ""), headers


async def test_a_thousand_hostile_requests(server: TestServer) -> None:
    """None of them is answered with an error of ours, runs anything, or leaves the server any worse."""
    dice = random.Random(20261001)
    statuses: Counter[int] = Counter()
    for number in range(1_000):
        method, target, headers = hostile(dice)
        status, head, body = await raw(server, method, target, headers)
        statuses[status] += 1
        assert 200 <= status < 500, (number, method, target, headers, status, body[:300])
        assert b"Traceback" not in body
        if b"text/html" in head:
            assert b"<script>alert" not in body, target
            assert b"<img src=x" not in body, target
    assert set(statuses) >= {200, 400, 404, 405}, statuses
    assert (await ask(server, "/api/v1/status"))[0] == 200


async def raw(server: TestServer, method: str, target: str, headers: dict[str, str]) -> tuple[int, bytes, bytes]:
    """A request written by hand, for clients would put most of these right."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in ({"Host": "localhost"} | headers).items())]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "replace"))
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), head, body


@pytest.mark.parametrize(
    "prefix", ['/evil"><script>', "//evil.example", "javascript:alert(1)", "/a/../..", "/%2e%2e", "/a b"]
)
async def test_a_forwarded_prefix_cannot_lead_elsewhere(server: TestServer, prefix: str) -> None:
    """What is not a plain path is left aside."""
    async with aiohttp.ClientSession() as session:
        headers = {"X-Forwarded-Prefix": prefix}
        async with session.get(URL(server.make_url("/findings"), encoded=True), headers=headers) as answer:
            text = await answer.text()
    links = set(re.findall(r'(?:href|src|action)="([^"]*)"', text))
    assert {re.match(r"(?:/\w*|#)", link)[0] for link in links} == {  # type: ignore[index]  # links begin with / or #
        *("/", "/static", "/findings", "/edges", "/matrix", "/flows", "/coverage", "/conditions", "/search", "#"),
        *("/metrics", "/api"),
    }
