"""The page, rendered here: it works without JavaScript, and every view of it has an address of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from flowwatch.errors import QueryError
from flowwatch.listing import DIRECTIONS, FINDING_SQUARES, Filter, page, places, wanted
from flowwatch.model import Finding, Kind, Square
from flowwatch.render import direction
from flowwatch.status import conclude, errors, lost_events, node_share, uptime
from flowwatch.web import api, drawing
from flowwatch.web import parameters as p
from flowwatch.web.answers import HTML, RefusedError, answer
from flowwatch.web.guard import root_of
from flowwatch.web.schemas import EDGE_SQUARES
from flowwatch.web.templates import render
from flowwatch.web.view import ROOT, VIEW

ROWS = 50
"""Rows of a list on one page."""
SHOWN = 8
"""Findings on the overview, and results of each kind of a search before one asks for all."""
SAMPLE_FLOWS = 5
WINDOWS: Mapping[str, int] = {"1h": 60, "6h": 360, "24h": 1440, "7d": 10_080}
"""Windows to look back, each with its length in minutes; `drawing.STEPS` spans of it are drawn."""

WINDOW = p.choice("window", "How far to look back.", WINDOWS)
EVIDENCE = {Square.BLOCKED: "dropped", Square.DENIED: "dropped"}


def _paper(request: web.Request, name: str, code: int = 200, **values: Any) -> web.Response:
    """A page, with what every one of them shows."""
    snapshot = request.app[VIEW].snapshot()
    root = root_of(request, request.app[ROOT])
    common = {
        "snapshot": snapshot,
        "conclusion": conclude(snapshot),
        "uptime": uptime(snapshot),
        "here": request.path.removeprefix(request.app[ROOT]),
        "windows": tuple(WINDOWS),
    }
    return answer(render(name, root, {**common, **values}), HTML, code)


def wrong(request: web.Request, status: int, text: str) -> web.Response:
    """The page that says why there is none."""
    if status == 401:
        # Who may not see anything is told nothing but why.
        return answer(render("refused.html", root_of(request, request.app[ROOT]), {"text": text}), HTML, status)
    return _paper(request, "error.html", status, status=status, text=text)


async def _overview(request: web.Request) -> web.Response:
    given = p.read(request, (WINDOW,))
    snapshot = request.app[VIEW].snapshot()
    since, seconds = _window(given["window"], snapshot.now)
    values = {"since": since, "until": since + timedelta(seconds=seconds * drawing.STEPS), "seconds": seconds}
    trouble = ""
    records: list[dict[str, object]] = []
    try:
        records = (await request.app[VIEW].select("square_over_time", values)).records()
    except QueryError as error:
        # What is known now does not wait for the store.
        trouble = str(error)
    counts = {square: sum(f.square is square for f in snapshot.findings) for square in FINDING_SQUARES}
    return _paper(
        request,
        "overview.html",
        errors=errors(snapshot),
        lost=lost_events(snapshot),
        nodes=node_share(snapshot),
        findings=snapshot.findings[:SHOWN],
        counts=counts,
        window=given["window"] or "1h",
        strips=drawing.strips(records, since, seconds),
        since=since,
        trouble=trouble,
    )


def _window(name: str, now: float) -> tuple[datetime, int]:
    """Where a window begins, and how many seconds one of its spans has; spans begin on whole multiples of theirs."""
    seconds = WINDOWS[name or "1h"] * 60 // drawing.STEPS
    end = (int(now) // seconds + 1) * seconds
    return datetime.fromtimestamp(end - seconds * drawing.STEPS, UTC).replace(tzinfo=None), seconds


async def _findings(request: web.Request) -> web.Response:
    given = p.read(request, (*api.FINDING_FILTERS, p.CURSOR))
    snapshot = request.app[VIEW].snapshot()
    try:
        shown = await asyncio.to_thread(page, snapshot.findings, api.filter_of(given), given["cursor"], ROWS)
    except ValueError as error:
        raise RefusedError(400, str(error)) from error
    return _paper(
        request,
        "findings.html",
        page=shown,
        given=given,
        squares=FINDING_SQUARES,
        directions=DIRECTIONS,
        namespaces=sorted({*places(snapshot.findings), given["namespace"]} - {""}),
    )


async def _finding(request: web.Request) -> web.Response:
    p.read(request, ())
    view = request.app[VIEW]
    finding, active = await api.find(view, request.match_info["name"])
    edge = finding.edge
    values = {
        "source": str(edge.source),
        "destination": str(edge.destination),
        "service": edge.service,
        "evidence": EVIDENCE.get(finding.square, "forwarded"),
        "limit": SAMPLE_FLOWS,
    }
    trouble = ""
    flows: list[dict[str, object]] = []
    try:
        flows = (await view.select("edge_flows", values)).records()
    except QueryError as error:
        trouble = str(error)
    return _paper(
        request,
        "finding.html",
        finding=finding,
        active=active,
        flows=flows,
        trouble=trouble,
        patches=view.patches(finding),
        side=direction(finding.side),
        ends=_ends(finding),
        related=_related(finding, view.snapshot().findings),
    )


def _ends(finding: Finding) -> list[dict[str, Any]]:
    ends = (("From", finding.edge.source), ("To", finding.edge.destination))
    return [{"word": word, "peer": peer, "outside": peer.identity.kind is Kind.WORLD} for word, peer in ends]


def _related(finding: Finding, findings: tuple[Finding, ...]) -> list[Finding]:
    """Other findings of the same client, as a rollout or an intruder makes them."""
    source = finding.edge.source
    same = (f for f in findings if f.edge.source == source and f.fingerprint != finding.fingerprint)
    return list(same)[:SHOWN]


async def _edges(request: web.Request) -> web.Response:
    given = p.read(request, (*api.EDGE_FILTERS, WINDOW, p.CURSOR))
    found = await api.edges(request.app[VIEW], {**given, "since": given["window"] or "1h", "until": "now"})
    start = p.offset(given["cursor"])
    return _paper(
        request,
        "edges.html",
        edges=found[start : start + ROWS],
        total=len(found),
        start=start,
        next=str(start + ROWS) if start + ROWS < len(found) else "",
        given=given,
        squares=EDGE_SQUARES,
    )


async def _flows(request: web.Request) -> web.Response:
    given = p.read(request, (*api.FLOW_FILTERS, WINDOW, p.CURSOR))
    window = {**given, "since": given["window"] or "1h", "until": "now", "limit": ROWS}
    shown, following = await api.flows(request.app[VIEW], window, request.app[VIEW].snapshot().now)
    return _paper(request, "flows.html", flows=shown, next=following, given=given, verdicts=api.VERDICTS)


async def _matrix(request: web.Request) -> web.Response:
    given = p.read(request, (WINDOW,))
    everything = {"square": "", "source": "", "destination": "", "text": ""}
    found = await api.edges(request.app[VIEW], {**everything, "since": given["window"] or "1h", "until": "now"})
    drawn = drawing.matrix(found)
    return _paper(request, "matrix.html", matrix=drawn, marks=drawing.MARKS, window=given["window"] or "1h")


async def _coverage(request: web.Request) -> web.Response:
    given = p.read(request, (WINDOW, p.CURSOR))
    snapshot = request.app[VIEW].snapshot()
    since, seconds = _window(given["window"], snapshot.now)
    values = {"since": since, "until": since + timedelta(seconds=seconds * drawing.STEPS), "seconds": seconds}
    found = await request.app[VIEW].select("coverage_spans", values)
    nodes = {drawing.named(node.cluster, node.node): node for node in snapshot.nodes}
    strips = drawing.node_strips(found.records(), since, seconds, nodes)
    start = p.offset(given["cursor"])
    return _paper(
        request,
        "coverage.html",
        strips=strips[start : start + ROWS],
        nodes=nodes,
        total=len(strips),
        next=str(start + ROWS) if start + ROWS < len(strips) else "",
        since=since,
        seconds=seconds,
        window=given["window"] or "1h",
    )


async def _conditions(request: web.Request) -> web.Response:
    p.read(request, ())
    return _paper(request, "conditions.html")


async def _search(request: web.Request) -> web.Response:
    given = p.read(request, (api.TEXT,))
    text = given["text"].strip()
    findings: list[Finding] = []
    edges: list[dict[str, object]] = []
    if text:
        findings = await asyncio.to_thread(wanted, request.app[VIEW].snapshot().findings, Filter(text=text))
        query = {"square": "", "source": "", "destination": "", "text": text, "since": "24h", "until": "now"}
        edges = await api.edges(request.app[VIEW], query)
    return _paper(request, "search.html", text=text, findings=findings, edges=edges, shown=SHOWN)


ROUTES = [
    web.get("/", _overview),
    web.get("/findings", _findings),
    web.get("/findings/{name}", _finding),
    web.get("/edges", _edges),
    web.get("/flows", _flows),
    web.get("/matrix", _matrix),
    web.get("/coverage", _coverage),
    web.get("/conditions", _conditions),
    web.get("/search", _search),
]
