"""The page in a real browser: what a person does with it, and what it must not do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestServer

from flowwatch import web
from tests.support.browser import Tab, browser
from tests.support.samples import (
    HOSTILE,
    NOW,
    blocked_finding,
    denied_finding,
    four_findings,
    hostile_finding,
    loki_finding,
    pod,
    snapshot,
)
from tests.support.view import EDGE, FLOW, PATCH, View

pytestmark = [pytest.mark.chromium, pytest.mark.xdist_group("chromium")]

ATTACKS = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload=window.pwned=1>',
    "'-alert(1)-'",
    "javascript:window.pwned=1//",
    "{{constructor.constructor('window.pwned=1')()}}",
    "</title></textarea></pre><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "<base href=//evil.example/><link rel=stylesheet href=//evil.example/x.css>",
    "&lt;script&gt;window.pwned=1&lt;/script&gt;",
    HOSTILE,
)


@asynccontextmanager
async def opened(
    view: View, path: str = "/", *, scripts: bool = True, width: int = 1280
) -> AsyncIterator[tuple[Tab, str]]:
    """The page in a browser, and where it is served. Afterwards: it asked nobody else, and complained of nothing."""
    async with TestServer(web.build(view)) as server, browser() as tab:
        address = str(server.make_url("/")).rstrip("/")
        await tab.look(width, scripts=scripts)
        await tab.goto(f"{address}{path}")
        yield tab, address
        asked = {urlsplit(each)[:2] for each in tab.requests}
        assert {host for scheme, host in asked if scheme not in ("data", "blob")} == {urlsplit(address).netloc}
        assert tab.complaints == []


ROWS = "[...document.querySelectorAll('tr.finding .edge')].map(e => e.textContent.trim())"


async def test_filters_without_a_reload() -> None:
    """Typing and choosing narrow the list, the address follows, and the page was never left."""
    async with opened(View(), "/findings") as (tab, address):
        await tab.evaluate("window.stayed = true")
        assert len(await tab.evaluate(ROWS)) == 4
        await tab.evaluate("document.querySelector('#filters [name=text]').focus()")
        await tab.write("releases")
        assert await tab.until(f"{ROWS}.length === 1 && {ROWS}[0]") == str(denied_finding().edge)
        assert await tab.until("location.href.endsWith('?text=releases')")
        await tab.evaluate(
            "f = document.getElementById('filters'); f.elements.text.value = ''; f.elements.square.value = 'blocked';"
            "f.elements.square.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        assert await tab.until(f"{ROWS}.length === 1 && {ROWS}[0] === '{blocked_finding().edge}'")
        assert await tab.until("location.href.endsWith('?square=blocked')")
        assert await tab.evaluate("window.stayed") is True
        await tab.goto(f"{address}/findings?square=blocked")
        assert await tab.evaluate(ROWS) == [str(blocked_finding().edge)]


async def test_the_page_refreshes_and_keeps_its_place() -> None:
    """New findings appear by themselves; the focus and a selection stay where they are."""
    view = View(snapshot(findings=four_findings()[:2]))
    async with opened(view, "/") as (tab, _):
        await tab.evaluate("document.querySelector('tr.finding .edge').focus()")
        focused = await tab.evaluate("document.activeElement.href")
        await tab.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
        newer = loki_finding(edge=replace(loki_finding().edge, source=pod("shop/new")), first_seen=NOW - 1)
        view.now = snapshot(findings=(newer, *four_findings()))
        assert await tab.until(f"{ROWS}.length === 5 && {ROWS}[0].startsWith('shop/new')")
        assert await tab.evaluate("document.activeElement.href") == focused
        assert await tab.evaluate("getSelection().toString().length") > 0


async def test_copying_a_patch() -> None:
    """The buttons appear with the script, and what they copy is the patch, line by line."""
    async with opened(View(), f"/findings/{loki_finding().fingerprint}") as (tab, address):
        await tab.call(
            "Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"], origin=address
        )
        await tab.until("document.querySelectorAll('button[data-copy]:not([hidden])').length === 3")
        await tab.evaluate("document.querySelector('[data-copy=allowlist]').click()")
        await tab.until("document.querySelector('[data-copy=allowlist]').textContent === 'Copied'")
        assert await tab.evaluate("navigator.clipboard.readText()") == PATCH
        await tab.until("document.querySelector('[data-copy=allowlist]').textContent === 'Copy'")


async def test_with_the_keyboard_alone() -> None:
    """The first stop skips to the content; the links are reached and followed; what has the focus shows it."""
    async with opened(View(), "/findings") as (tab, _):
        await tab.press("Tab")
        assert await tab.evaluate("document.activeElement.className") == "skip"
        assert await tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
        await tab.press("Enter")
        assert await tab.until("document.activeElement.id === 'content'")
        stops = []
        for _ in range(12):
            await tab.press("Tab")
            stops.append(await tab.evaluate("document.activeElement.name || document.activeElement.className"))
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert await tab.evaluate(outline) != "none", stops
            if stops[-1] == "edge":
                break
        assert stops[:4] == ["square", "namespace", "direction", "text"]
        assert stops[-1] == "edge"
        await tab.press("Enter")
        await tab.until("location.pathname.startsWith('/findings/') && document.querySelector('#evidence') !== null")


async def test_without_scripts() -> None:
    """Everything is there, and filters work with their button."""
    async with opened(View(), "/findings?square=denied", scripts=False) as (tab, address):
        await tab.look()
        assert await tab.evaluate(ROWS) == [str(denied_finding().edge)]
        assert await tab.evaluate("getComputedStyle(document.querySelector('#filters button')).display") != "none"
        assert await tab.evaluate("document.getElementById('filters').action") == f"{address}/findings"


VIEWS = ("/", "/findings/{}", "/edges", "/flows", "/matrix", "/search?text=pwned", "/conditions")


async def test_flows_cannot_script_the_page() -> None:
    """Whatever labels, names, URLs, rules and policies hold: nothing of it runs, and nobody else is asked."""
    attacks = " ".join(ATTACKS)
    finding = hostile_finding()
    edge = replace(finding.edge, source=pod("monitoring/loki", *(f"k8s:x{at}={a}" for at, a in enumerate(ATTACKS))))
    finding = replace(finding, edge=edge, policies=ATTACKS, samples=ATTACKS)
    condition = dict.fromkeys(("type", "status", "reason", "message", "lastTransitionTime"), attacks)
    texts = {"source": attacks, "stream_error": attacks, "unused_rules": ATTACKS}
    before = snapshot(findings=(finding,), conditions=(condition,), **texts)
    view = View(
        before,
        edges=[EDGE | {"source": f"a/{a}", "destination": a, "rule": a} for a in ATTACKS],
        flows=[FLOW | {"http_url": a, "dns_query": a, "client_pod": a, "destination": a} for a in ATTACKS],
        patch=attacks,
    )
    async with opened(view) as (tab, address):
        for path in VIEWS:
            view.now = before
            await tab.goto(f"{address}{path.format(finding.fingerprint)}")
            assert "pwned" in await tab.evaluate("document.body.textContent"), path
            # Once more as the refresh takes it over.
            view.now = replace(before, flows=1, now=NOW + 60)
            await tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            await tab.until("document.getElementById('foot').textContent.includes('03:13:00')", path)
            assert await tab.evaluate("window.pwned ?? 0") == 0, path
            foreign = "iframe, base, img:not([alt='']), script:not([src])"
            assert await tab.evaluate(f'document.querySelectorAll("{foreign}").length') == 0, path


@pytest.mark.parametrize("width", [360, 768, 1280])
async def test_it_fits_the_window(width: int) -> None:
    """Nothing has to be scrolled sideways but wide tables within themselves."""
    async with opened(View(), width=width) as (tab, address):
        for path in ("/", "/findings", f"/findings/{loki_finding().fingerprint}", "/matrix", "/coverage", "/flows"):
            await tab.goto(f"{address}{path}")
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width, path
