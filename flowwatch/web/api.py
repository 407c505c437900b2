"""The JSON API: each endpoint with its parameters, its answer and the words that document it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from flowwatch import report
from flowwatch.errors import QueryError
from flowwatch.listing import DIRECTIONS, Filter, page, place_of
from flowwatch.model import Finding, Square
from flowwatch.render import finding_json, table
from flowwatch.reread import finding_of_row
from flowwatch.status import conclude, nodes_json, status_json
from flowwatch.web import parameters as p
from flowwatch.web.answers import JSON, RefusedError, answer, json_answer
from flowwatch.web.schemas import EDGE_SQUARES
from flowwatch.web.view import VIEW, QueryResult, View
from flowwatch.words import Json, json_text, plain, printable

STATUS_FINDINGS = 500
"""Findings in one status; `/api/v1/findings` has them all, page by page."""
QUERY_TYPES: Mapping[str, str] = {
    "json": JSON,
    "csv": "text/csv; charset=utf-8",
    "table": "text/plain; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
}
VERDICTS = ("FORWARDED", "DROPPED", "ERROR", "AUDIT", "REDIRECTED", "TRACED", "TRANSLATED")
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
QUERY_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
MOST_MINUTES = 10_000
MOST_ROWS = 1_000_000
"""Rows of one query, as it comes whole; to be asked in pages, there is no such limit."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that answers: `{name}` in the path is what `inside` describes, `answers` names the schema of its
    JSON in `schemas`, `also` other statuses it may give."""

    path: str
    summary: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    answers: str
    parameters: tuple[p.Parameter, ...] = ()
    inside: str = ""
    also: tuple[int, ...] = ()


NAMESPACE = p.place("namespace", "Only what has part in this namespace; `world`, `host` and so on for ends outside.")
TEXT = p.text("text", "Only what holds all of these words, in any of its texts.")
FINDING_FILTERS = (
    p.choice("square", "Only findings of this square.", Square),
    NAMESPACE,
    p.choice("direction", "Only findings on this side of the connection.", DIRECTIONS),
    TEXT,
)
EDGE_FILTERS = (
    p.choice("square", "Only edges of this square.", EDGE_SQUARES),
    p.place("source", "Only edges from this namespace; `world`, `host` and so on for ends outside."),
    p.place("destination", "Only edges to this namespace."),
    TEXT,
)
FLOW_FILTERS = (
    p.text("source", "Only flows of this client: `namespace/workload`, an address, or an entity."),
    p.text("destination", "Only flows to this server: `namespace/workload`, a name, an address, or an entity."),
    p.choice("verdict", "Only flows of this verdict.", VERDICTS),
    TEXT,
)


def filter_of(given: Mapping[str, Any]) -> Filter:
    """What the parameters of a list of findings select."""
    return Filter(given["square"], given["namespace"], given["direction"], given["text"])


async def _status(request: web.Request) -> web.Response:
    p.read(request, ())
    return json_answer(status_json(request.app[VIEW].snapshot(), STATUS_FINDINGS))


async def _findings(request: web.Request) -> web.Response:
    given = p.read(request, FINDINGS)
    snapshot = request.app[VIEW].snapshot()
    try:
        found = snapshot.findings
        shown = await asyncio.to_thread(page, found, filter_of(given), given["cursor"], given["limit"])
    except ValueError as error:
        raise RefusedError(400, str(error)) from error
    conclusion = conclude(snapshot)
    body: dict[str, Json] = {
        "state": str(conclusion.state),
        "blind": list(conclusion.blind),
        "coverage": plain(snapshot.coverage),
        "total": shown.total,
        "next": shown.next or None,
        "findings": [finding_json(finding) for finding in shown.findings],
    }
    return answer(await asyncio.to_thread(lambda: json_text(body).encode()), JSON)


async def find(view: View, fingerprint: str) -> tuple[Finding, bool]:
    """The finding of that fingerprint and whether it is active; as it was last reported, where it is not."""
    if not FINGERPRINT.fullmatch(fingerprint):
        raise RefusedError(404, "there is no such finding: a fingerprint is 16 hexadecimal digits")
    for finding in view.snapshot().findings:
        if finding.fingerprint == fingerprint:
            return finding, True
    for row in (await view.select("finding", {"fingerprint": fingerprint})).records():
        return finding_of_row(row), False
    raise RefusedError(404, f"no finding has or had the fingerprint {fingerprint}")


async def _finding(request: web.Request) -> web.Response:
    p.read(request, ())
    view = request.app[VIEW]
    finding, active = await find(view, request.match_info["name"])
    patches = view.patches(finding)
    return json_answer(
        {
            **finding_json(finding),
            "active": active,
            "allowlist_patch": patches.allowlist,
            "policy_patch": patches.policy,
        }
    )


async def edges(view: View, given: Mapping[str, Any]) -> list[dict[str, object]]:
    """The edges of a window that the parameters select, gravest squares first."""
    result = await view.query("edges", {"since": given["since"], "until": given["until"]})

    def wanted(edge: Mapping[str, object]) -> bool:
        source, destination = str(edge["source"]), str(edge["destination"])
        if given["square"] not in ("", edge["square"]) or given["source"] not in ("", place_of(source)):
            return False
        if given["destination"] not in ("", place_of(destination)):
            return False
        told = f"{source} → {destination}:{edge['service']} {edge['rule']}".lower()
        return all(word in told for word in given["text"].lower().split())

    return [edge for edge in result.records() if wanted(edge)]


async def _edges(request: web.Request) -> web.Response:
    given = p.read(request, EDGES)
    return _part("edges", await edges(request.app[VIEW], given), given)


def _part(name: str, found: list[dict[str, object]], given: Mapping[str, Any]) -> web.Response:
    start, limit = p.offset(given["cursor"]), given["limit"]
    more = start + limit < len(found)
    shown = found[start : start + limit]
    return json_answer({"total": len(found), "next": str(start + limit) if more else None, name: plain(shown)})


async def flows(view: View, given: Mapping[str, Any], now: float) -> tuple[list[dict[str, object]], str]:
    """A page of flows, newest first, and the cursor of the next one. A cursor is the time of the last flow in
    milliseconds and how many of that time were shown."""
    before, _, skip = given["cursor"].partition("-")
    if given["cursor"] and not (before.isdigit() and skip.isdigit() and len(before) < 15 and len(skip) < 10):
        raise RefusedError(400, "`cursor` is not one that an answer gave")
    window = p.window(given, now)
    values = {
        "since": window["since"],
        "before": report.of_milliseconds(int(before)) if before else window["until"],
        "source": given["source"],
        "destination": given["destination"],
        "verdict": given["verdict"],
        "words": given["text"].lower().split(),
        "limit": given["limit"] + 1,
        "skip": int(skip or 0),
    }
    found = (await view.select("flows", values)).records()
    shown = found[: given["limit"]]
    if len(found) == len(shown):
        return shown, ""
    last = _moment(shown[-1])
    again = sum(_moment(flow) == last for flow in shown)
    return shown, f"{last}-{again + (int(skip) if before and int(before) == last else 0)}"


def _moment(flow: Mapping[str, Any]) -> int:
    return report.milliseconds(flow["time"])


async def _flows(request: web.Request) -> web.Response:
    given = p.read(request, FLOWS)
    shown, following = await flows(request.app[VIEW], given, request.app[VIEW].snapshot().now)
    return json_answer({"next": following or None, "flows": plain(shown)})


async def _coverage(request: web.Request) -> web.Response:
    given = p.read(request, COVERAGE)
    view = request.app[VIEW]
    snapshot, skip = view.snapshot(), p.offset(given["cursor"])
    values = {
        **p.window(given, snapshot.now),
        "limit": given["limit"] + 1,
        "skip": skip,
    }
    found = (await view.select("coverage_minutes", values)).records()
    more = len(found) > given["limit"]
    return json_answer(
        {
            "coverage": plain(snapshot.coverage),
            "blind": list(conclude(snapshot).blind),
            "nodes": nodes_json(snapshot),
            "next": str(skip + given["limit"]) if more else None,
            "minutes": plain(found[: given["limit"]]),
        }
    )


async def _conditions(request: web.Request) -> web.Response:
    p.read(request, ())
    return json_answer({"conditions": [dict(condition) for condition in request.app[VIEW].snapshot().conditions]})


async def _queries(request: web.Request) -> web.Response:
    p.read(request, ())
    return json_answer({"queries": plain(request.app[VIEW].queries())})


async def _query(request: web.Request) -> web.Response:
    """A query, page by page."""
    given = p.read(request, QUERY)
    view, name = request.app[VIEW], request.match_info["name"]
    known = {str(query["name"]): query for query in view.queries()}
    if name not in known:
        raise RefusedError(404, f"there is no query `{printable(name)[:80]}`; there is {', '.join(sorted(known))}")
    takes = known[name].get("params")
    params = {key: given[key] for key in ("since", "until") if isinstance(takes, list) and key in takes}
    result = await view.query(name, params)
    start, limit = p.offset(given["cursor"]), given["limit"]
    more = start + limit < len(result.rows)
    body: dict[str, Json] = {
        "total": len(result.rows),
        "next": str(start + limit) if more else None,
        "columns": list(result.columns),
        "rows": plain(result.rows[start : start + limit]),
    }
    return answer(await asyncio.to_thread(lambda: json_text(body).encode()), JSON)


async def _whole_query(request: web.Request) -> web.Response:
    """A query as `flowwatch query` asks for it: all rows at once, in the format it wants."""
    params = p.plainly(request)
    name, format = request.match_info["name"], params.pop("format", "json")
    if format not in QUERY_TYPES:
        raise RefusedError(400, f"there is no format `{printable(format)[:80]}`; there is {', '.join(QUERY_TYPES)}")
    if any(p.ACTING.search(value) for value in params.values()):
        raise RefusedError(400, "a parameter holds control characters")
    view = request.app[VIEW]
    try:
        result = await view.query(name, params)
    except QueryError as error:
        known = {query.get("name") for query in view.queries()}
        raise RefusedError(400 if name in known else 404, printable(str(error))) from error
    if len(result.rows) > MOST_ROWS:
        raise RefusedError(400, f"more than {MOST_ROWS} rows: ask for less time, or page by page at /api/v1/queries/")
    # A large result takes a while to write; the loop has others to serve.
    body = await asyncio.to_thread(_written, result, format)
    return answer(body, QUERY_TYPES[format])


def _written(result: QueryResult, format: str) -> bytes:
    if format == "arrow":
        return result.arrow()
    known = {"csv": "csv", "table": "table"}.get(format, "json")
    text = table(result.columns, result.rows, known)  # type: ignore[arg-type]  # one of the three
    return f"{text}\n".encode("utf-8", "backslashreplace")


FINDINGS = (*FINDING_FILTERS, p.CURSOR, p.limit(1000))
EDGES = (*EDGE_FILTERS, p.SINCE, p.UNTIL, p.CURSOR, p.limit(1000))
FLOWS = (*FLOW_FILTERS, p.SINCE, p.UNTIL, p.CURSOR, p.limit(1000))
COVERAGE = (p.SINCE, p.UNTIL, p.CURSOR, p.limit(MOST_MINUTES, 1000))
QUERY = (p.SINCE, p.UNTIL, p.CURSOR, p.limit(10_000, 1000))

ENDPOINTS = (
    Endpoint("/api/v1/status", "Everything at one instant.", _status, "status"),
    Endpoint("/api/v1/findings", "The active findings, newest first.", _findings, "findings", FINDINGS),
    Endpoint(
        "/api/v1/findings/{name}",
        "One finding with its evidence and what would end it; also when it is over.",
        _finding,
        "finding",
        inside="fingerprint",
        also=(404,),
    ),
    Endpoint("/api/v1/edges", "The edges seen in a window, gravest squares first.", _edges, "edges", EDGES),
    Endpoint("/api/v1/flows", "The flows themselves, newest first.", _flows, "flows", FLOWS),
    Endpoint("/api/v1/coverage", "What was seen and lost, by node and minute.", _coverage, "coverage", COVERAGE),
    Endpoint("/api/v1/conditions", "The status conditions that rules bear.", _conditions, "conditions"),
    Endpoint("/api/v1/queries", "The named queries.", _queries, "queries"),
    Endpoint(
        "/api/v1/queries/{name}",
        "A named query, page by page.",
        _query,
        "query",
        QUERY,
        inside="query",
        also=(404,),
    ),
)

ROUTES = [
    *(web.get(endpoint.path, endpoint.handler) for endpoint in ENDPOINTS),
    web.get(rf"/api/v1/query/{{name:{QUERY_NAME.pattern}}}", _whole_query),
]
