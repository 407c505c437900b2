"""The page as it is written: every view, with everything escaped, below any prefix, and quick with many findings."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from pytest_aiohttp.plugin import AiohttpClient

from flowwatch import web
from flowwatch.errors import QueryTimeoutError
from flowwatch.model import Snapshot
from tests.support.samples import (
    HOSTILE,
    blocked_finding,
    denied_finding,
    hostile_finding,
    loki_finding,
    pod,
    quiet_snapshot,
    snapshot,
    world,
)
from tests.support.view import EDGE, FLOW, PATCH, View

VIEWS = ("/", "/findings", "/edges", "/flows", "/matrix", "/coverage", "/conditions", "/search?text=loki", "/search")
FINDING = f"/findings/{loki_finding().fingerprint}"
VOID = {"meta", "link", "img", "input", "br", "hr", "rect"}
CONDITION = {
    "type": "LogsReachStorage",
    "status": "False",
    "reason": "PathBlocked",
    "message": "declared but dropped by policy: loki → seaweedfs",
    "lastTransitionTime": "2026-10-01T01:02:03Z",
}


class Markup(HTMLParser):
    """Reads a page as a browser would: its tags, its text, and whether they are well nested."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.wrong: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> stays open" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if len(dict(attrs)) != len(attrs):
            self.wrong.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"</{tag}> closes something else at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """All of its text, white space aside."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        """The attributes of every such tag."""
        return (attributes for name, attributes in self.tags if name == tag)


@pytest.fixture
def view() -> View:
    return View(snapshot(conditions=(CONDITION,)))


@pytest.fixture
async def client(view: View, aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    return await aiohttp_client(web.build(view))


async def look(client: TestClient[Any, Any], path: str, status: int = 200, **headers: str) -> Markup:
    response = await client.get(path, headers={"Accept": "text/html", **headers})
    text = await response.text()
    assert response.status == status, text[:500]
    assert response.content_type == "text/html"
    return Markup(text)


@pytest.mark.parametrize("path", [*VIEWS, FINDING, "/nowhere"])
async def test_every_view_is_sound(client: TestClient[Any, Any], path: str) -> None:
    """Well nested, with one h1, landmarks, a skip link, a label for each field, headings for columns; nothing inline,
    nothing from elsewhere."""
    page = await look(client, path, 404 if path == "/nowhere" else 200)
    assert page.wrong == []
    names = [name for name, _ in page.tags]
    assert [names.count(tag) for tag in ("h1", "main", "header", "footer")] == [1] * 4
    assert names.count("title") == 1 + names.count("rect")
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert next(page.all("a"))["href"] == "#content"
    assert "content" in ids
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for reference in ("aria-labelledby", "aria-describedby"):
            assert (attributes.get(reference) or "content") in ids
        for address in (attributes.get(name) for name in ("href", "src", "action")):
            assert address is None or re.match(r"[/#](?!/)", address), address
    assert all(script.get("src") for script in page.all("script"))
    assert all(field.get("name") for tag in ("input", "select") for field in page.all(tag))
    assert names.count("input") + names.count("select") == names.count("label")
    assert all(head.get("scope") for head in page.all("th"))
    assert all(drawing.get("aria-label") for drawing in page.all("svg"))


async def test_what_it_is_about_is_there(client: TestClient[Any, Any]) -> None:
    """The conclusion, what we were blind to, the square, the findings with their parts in the same order each,
    conditions with reason and time."""
    text = (await look(client, "/")).text
    for part in (
        "Drift 2 edges are forwarded but not declared",
        "We were blind: node talos-w-3 is not streaming",
        "312 expected",
        "unexpected monitoring/loki → 203.0.113.7:443/TCP is forwarded but not declared",
        "blocked monitoring/grafana → database/shared-pg:5432/TCP is declared but dropped by policy (POLICY_DENIED)",
        "declared by grafana → database/shared-pg:5432/TCP",
        "LogsReachStorage False PathBlocked declared but dropped by policy: loki → seaweedfs 2026-10-01 01:02:03",
    ):
        assert part in text, part


async def test_one_finding_with_its_evidence(client: TestClient[Any, Any]) -> None:
    """Everything it rests on, and what would end it."""
    page = await look(client, FINDING)
    for part in (
        "unexpected monitoring/loki → 203.0.113.7:443/TCP is forwarded but not declared",
        "2026-10-01 02:56:00 UTC, 16 min ago",
        "42 flows in 12 connections",
        "Side egress",
        "99.2 % of what happened was seen",
        "monitoring/loki → seaweedfs/filer:8333/TCP differs in destination and port",
        "no rule declares it",
        "k8s:app.kubernetes.io/component=write",
        "1a3401bd-c6f6-44e6-8711-dd9b08e7ab6e",
        "2026-10-01 03:12:00 DROPPED POLICY_DENIED loki-0",
        "- {from: monitoring/loki, to: outside, ports: 443/TCP}",
    ):
        assert part in page.text, part
    copied = {button["data-copy"] for button in page.all("button") if button.get("data-copy")}
    assert copied == {"whole", "allowlist", "policy"}
    assert PATCH in "".join(page.words)


async def test_a_finding_that_is_over_says_so(client: TestClient[Any, Any], view: View) -> None:
    """Its link still leads to it."""
    view.now = quiet_snapshot()
    assert "over, not seen since 2026-09-30" in (await look(client, f"/findings/{denied_finding().fingerprint}")).text
    assert "no finding has or had" in (await look(client, "/findings/0123456789abcdef", 404)).text.lower()


async def test_filters_and_pages(client: TestClient[Any, Any], view: View) -> None:
    """Each filter narrows the list and stays in the form and in the links; pages follow each other to the end."""
    page = await look(client, "/findings?square=blocked&namespace=monitoring&direction=ingress&text=pg")
    assert "1 finding of 4" in page.text
    assert {option["value"] for option in page.all("option") if "selected" in option} == {
        *("blocked", "monitoring", "ingress")
    }
    edges = (replace(loki_finding().edge, source=pod(f"a/w{at}")) for at in range(120))
    many = tuple(loki_finding(edge=edge, first_seen=1e9 - at) for at, edge in enumerate(edges))
    view.now = snapshot(findings=many)
    path, seen = "/findings?square=unexpected", set()
    for shown in (50, 50, 20):
        page = await look(client, path)
        rows = {row["id"] for row in page.all("tr") if row.get("id")}
        assert len(rows) == shown
        seen |= rows
        links = [link["href"] for link in page.all("a") if link.get("rel") == "next"]
        path = links[0] or "" if links else ""
    assert (len(seen), path) == (120, "")


async def test_nothing_is_told_that_was_not_watched(client: TestClient[Any, Any], view: View) -> None:
    """An empty list after a gap says little, and says that."""
    view.now = quiet_snapshot(coverage=0.5)
    assert "that says little" in (await look(client, "/findings")).text
    view.now = quiet_snapshot()
    assert "No active findings." in (await look(client, "/findings")).text


async def test_the_store_may_be_slow(client: TestClient[Any, Any], view: View) -> None:
    """What is known without it is shown; what is not says why."""
    view.trouble = QueryTimeoutError("given up after 20 s")
    for path in ("/", FINDING):
        assert "given up after 20 s" in (await look(client, path)).text
    assert "Something is wrong here" in (await look(client, "/edges", 503)).text


@pytest.mark.parametrize("path", [*VIEWS, "/findings/{}", f"/search?text={HOSTILE!r}"])
async def test_foreign_text_stays_text(client: TestClient[Any, Any], view: View, path: str) -> None:
    """Markup, scripts, escape sequences and direction marks in names, labels, URLs and rules are shown, not obeyed."""
    finding = hostile_finding()
    condition = dict.fromkeys(("type", "status", "reason", "message", "lastTransitionTime"), HOSTILE)
    names = {"source": HOSTILE, "destination": f"{HOSTILE}/{HOSTILE}", "rule": HOSTILE, "square": "unexpected"}
    view.now = snapshot(
        findings=(finding, blocked_finding(drop_reasons=(HOSTILE,))),
        conditions=(condition,),
        source=HOSTILE,
        cluster=HOSTILE,
        unused_rules=(HOSTILE,),
        stream_error=HOSTILE,
        lost={HOSTILE: 3},
        version=HOSTILE,
    )
    view.edges, view.flows, view.patch = [EDGE | names], [FLOW], HOSTILE
    page = await look(client, path.format(finding.fingerprint))
    assert page.wrong == []
    assert [image["src"] for image in page.all("img")] == ["/static/icon.svg"]
    assert [script["src"] for script in page.all("script")] == ["/static/page.js"]
    whole = "".join(page.words)
    assert "onerror=alert(1)" in whole
    assert not re.search("[\x1b\u202e]", whole)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert not (attributes.get("href") or "").lower().startswith("javascript")


@pytest.mark.parametrize(
    ("prefix", "forwarded", "asked", "root"),
    [
        ("", "", "", ""),
        ("/net", "", "/net", "/net"),
        ("", "/tools/net/", "", "/tools/net"),
        ("/net", "/tools", "/net", "/tools/net"),
    ],
)
async def test_below_a_prefix(
    view: View, aiohttp_client: AiohttpClient, prefix: str, forwarded: str, asked: str, root: str
) -> None:
    """Ours, the proxy's, or both: every link leads to where it is served; metrics and health stay at the root, too."""
    client = await aiohttp_client(web.build(view, prefix=prefix))
    for path in ("/", "/findings", "/matrix", FINDING):
        page = await look(client, f"{asked}{path}", 200, **{"X-Forwarded-Prefix": forwarded})
        links = [a.get(n) or "" for _, a in page.tags for n in ("href", "src", "action") if a.get(n)]
        assert all(link.startswith((f"{root}/", "#")) for link in links), links
        for link in {link.removeprefix(root.removesuffix(asked)) for link in links if not link.startswith("#")}:
            assert (await client.get(link)).status == 200, link
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/metrics")).status == 200
    response = await client.get("/", allow_redirects=False)
    assert response.status == (302 if prefix else 200)


def many_findings(count: int) -> Snapshot:
    """A snapshot with very many findings."""
    base = loki_finding()
    findings = (
        replace(
            base,
            first_seen=base.first_seen - at,
            edge=replace(base.edge, source=pod(f"team-{at % 97}/web-{at}"), destination=world(f"198.51.{at % 200}.7")),
        )
        for at in range(count)
    )
    return snapshot(findings=tuple(findings))


async def test_ten_thousand_findings(client: TestClient[Any, Any], view: View, record_property: Any) -> None:
    """They come in pages no larger than those of a few, and the filters find among them all."""
    view.now = many_findings(10_000)
    for path, told in {
        "/": "All 10,000",
        "/findings": "10,000 findings",
        "/findings?namespace=team-7": "104 findings of 10,000",
        "/findings?text=web-9876": "1 finding of 10,000",
        "/search?text=web-123": "11 findings",
    }.items():
        start = time.perf_counter()
        page = await look(client, path)
        record_property(path, time.perf_counter() - start)
        assert told in page.text
        assert len([row for row in page.all("tr") if row.get("class") == "finding"]) <= 50


async def test_a_token_is_asked_for(view: View, tmp_path: Path) -> None:
    """As bearer or as a password; health answers anyone, and a changed file holds at once."""
    file = tmp_path / "token"
    file.write_text("first\n", encoding="utf-8")
    app = web.build(view, token=lambda: file.read_text(encoding="utf-8").strip())
    async with TestServer(app) as server, aiohttp.ClientSession() as session:

        async def status(path: str, **headers: str) -> int:
            async with session.get(server.make_url(path), headers=headers) as answer:
                assert answer.headers.get("WWW-Authenticate", "").startswith("Basic") == (answer.status == 401)
                return answer.status

        for path in ("/", "/api/v1/status", "/metrics", "/static/page.css", "/nowhere", "/findings/healthz"):
            assert await status(path) == 401, path
            assert await status(path, Authorization="Bearer second") == 401
            assert await status(path, Authorization="Basic Zm9v") == 401
            assert await status(path, Authorization="Bearer first") in (200, 404)
            assert await status(path, Authorization=aiohttp.encode_basic_auth("any", "first")) in (200, 404)
        assert await status("/healthz") == await status("/readyz") == 200
        file.write_text("second\n", encoding="utf-8")
        assert await status("/", Authorization="Bearer first") == 401
        assert await status("/", Authorization="Bearer second") == 200
        file.write_text("", encoding="utf-8")
        assert await status("/", Authorization="Bearer ") == 401
        file.unlink()
        assert await status("/", Authorization="Bearer second") == 503


LUMINANCE = ((0.2126, 0), (0.7152, 1), (0.0722, 2))


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * linear[at] for weight, at in LUMINANCE)


@pytest.mark.parametrize("theme", [0, 1])
def test_contrast(theme: int) -> None:
    """Text stands out from what it is written on by 4.5 : 1, the edges of fields by 3 : 1, in both themes."""
    css = (Path(web.__file__).parents[1] / "page" / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", "".join(blocks[: theme + 1])))

    def contrast(one: str, other: str) -> float:
        high, low = sorted((_luminance(colours[one]), _luminance(colours[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    squares = ("unexpected", "blocked", "denied", "unknown", "expected")
    for text in ("ink", "quiet", "link", *squares):
        for paper in ("paper", "sheet", "hover"):
            assert contrast(text, paper) >= 4.5, (text, paper, contrast(text, paper))
    for square in ("unexpected", "blocked", "denied"):
        assert contrast("on-colour", square) >= 4.5, square
    notices = [("ink", "blind-paper"), ("unknown", "blind-paper"), ("ink", "error-paper")]
    notices += [("unexpected", "error-paper")]
    for text, paper in notices:
        assert contrast(text, paper) >= 4.5, (text, paper)
    assert contrast("edge", "paper") >= 3
    assert contrast("edge", "sheet") >= 3
