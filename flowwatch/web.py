"""The HTTP surface: metrics, health, findings, named queries and the page. It only reads.

Everything is answered from a `View`; this module knows formats, status codes and headers, and
nothing of streams or databases. There is no authentication in this version: bind it to loopback
or put a proxy in front. Every error is JSON, no input can reach a file, and a page from
elsewhere can neither frame these nor read them.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from flowwatch import runbook, web_loki
from flowwatch.errors import FlowwatchError, QueryError
from flowwatch.model import Finding, Snapshot, Square
from flowwatch.render import finding_json, table
from flowwatch.status import conclude, status_json
from flowwatch.words import Json, json_text, plain, printable

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names a browser uses for this machine; pass them as `names` when listening on loopback."""
STATUS_FINDINGS = 500
"""Findings in one status; `/api/v1/findings` has them all."""
LONGEST_QUERY_STRING = 4096
MOST_PARAMETERS = 32
LONGEST_BODY = 1024
COMPRESS_FROM = 4096

HEADERS: Mapping[str, str] = {
    "Server": "flowwatch",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
STATIC_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
JSON = "application/json; charset=utf-8"
QUERY_TYPES: Mapping[str, str] = {
    "json": JSON,
    "csv": "text/csv; charset=utf-8",
    "table": "text/plain; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
}
NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
FINGERPRINT = re.compile(r"[0-9a-f]{16}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a named query gave. `rows` are read at most once; `arrow` makes an Arrow IPC stream of it, called
    only when asked for one. Either may happen in another thread."""

    columns: tuple[str, ...]
    rows: Iterable[tuple[object, ...]]
    arrow: Callable[[], bytes]


class View(web_loki.LogView, Protocol):
    """What the HTTP surface asks of the daemon. Calls that are not `async` must be quick."""

    def snapshot(self) -> Snapshot: ...

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition for this Accept header, and its content type."""

    def health(self) -> Mapping[str, str]:
        """Is the process worth keeping? Component to `ok` or a reason."""

    def ready(self) -> Mapping[str, str]:
        """Does it do its work now? Component to `ok` or a reason."""

    async def query(self, name: str, params: Mapping[str, str]) -> QueryResult:
        """Run a named query; `QueryError` says what is wrong with name or parameters."""

    def queries(self) -> Sequence[Mapping[str, object]]:
        """The named queries: `name`, `doc`, `params`, `columns` of each."""


VIEW: web.AppKey[View] = web.AppKey("view")
FILES: web.AppKey[Mapping[str, bytes]] = web.AppKey("files")


def build(view: View, names: Collection[str] = ()) -> web.Application:
    """The application over this view. `names`, where given, are the only host names it answers to:
    on loopback that keeps a hostile page from reading it through a name of its own."""
    app = web.Application(middlewares=[_errors, _guard(frozenset(names))], client_max_size=LONGEST_BODY)
    app[VIEW] = view
    app[FILES] = _page_files()
    app.on_response_prepare.append(_add_headers)
    app.add_routes(
        [
            web.get("/", _page),
            web.get("/static/{name}", _static),
            web.get("/metrics", _metrics),
            web.get("/runbook", _runbook),
            web.get("/healthz", _health),
            web.get("/readyz", _ready),
            web.get("/api/v1/status", _status),
            web.get("/api/v1/findings", _findings),
            web.get("/api/v1/findings/{fingerprint}", _finding),
            web.get("/api/v1/queries", _queries),
            web.get(r"/api/v1/query/{name:[A-Za-z0-9_-]{1,100}}", _query),
        ]
    )
    app.add_routes(web_loki.routes(view))
    return app


def _page_files() -> dict[str, bytes]:
    """Every file of the page, read once: no request is ever turned into a path."""
    folder = resources.files("flowwatch") / "page"
    return {file.name: file.read_bytes() for file in folder.iterdir() if _suffix(file.name) in STATIC_TYPES}


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


# What every request goes through


class _RefusedError(Exception):
    """A request that gets no answer, and why."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except _RefusedError as error:
        return _problem(error.status, str(error))
    except FlowwatchError as error:
        return _problem(400 if isinstance(error, QueryError) else 503, str(error))
    except web.HTTPException as error:
        nothing = f"there is nothing at {printable(request.path)[:200]}"
        return _problem(error.status, nothing if error.status == 404 else error.reason)
    except Exception:
        log.exception("cannot answer %s %s", request.method, printable(request.path))
        return _problem(500, "internal error; the log says more")


def _guard(names: frozenset[str]) -> Middleware:
    """Turn away what no client of ours sends, before anything is looked up."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            refusal = _problem(405, f"{printable(request.method)[:20]} is not allowed; only GET and HEAD are")
            refusal.headers[hdrs.ALLOW] = "GET, HEAD"
            refusal.force_close()
            return refusal
        if request.body_exists:
            refusal = _problem(413, "a request has no body here")
            refusal.force_close()
            return refusal
        host = re.sub(r":\d+$", "", request.host).lower()
        if names and host not in names:
            raise _RefusedError(421, f"this is not {printable(host)[:100]}; it answers to {', '.join(sorted(names))}")
        if len(request.rel_url.raw_query_string) > LONGEST_QUERY_STRING:
            raise _RefusedError(414, f"the query string is longer than {LONGEST_QUERY_STRING} characters")
        return await handler(request)

    return guard


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def _params(request: web.Request, *allowed: str) -> dict[str, str]:
    """The query string as a mapping; with `allowed`, nothing else may be in it."""
    params: dict[str, str] = {}
    for key, value in request.query.items():
        if key in params:
            raise _RefusedError(400, f"`{key}` is given more than once")
        if allowed and key not in allowed:
            raise _RefusedError(400, f"there is no parameter `{key}`; there is {', '.join(allowed)}")
        params[key] = value
    if len(params) > MOST_PARAMETERS:
        raise _RefusedError(400, f"more than {MOST_PARAMETERS} parameters")
    return params


def _answer(body: bytes, content_type: str, status: int = 200) -> web.Response:
    response = web.Response(
        body=body, status=status, headers={hdrs.CONTENT_TYPE: content_type}, zlib_executor_size=COMPRESS_FROM * 16
    )
    if len(body) >= COMPRESS_FROM:
        response.enable_compression()
    return response


def _json(value: Json, status: int = 200) -> web.Response:
    return _answer(json_text(value).encode(), JSON, status)


def _problem(status: int, text: str) -> web.Response:
    return _json({"error": text}, status)


# Health and metrics


async def _runbook(request: web.Request) -> web.Response:  # noqa: ARG001
    return web.Response(text=runbook.page(), content_type="text/html")


async def _metrics(request: web.Request) -> web.Response:
    body, content_type = request.app[VIEW].metrics(request.headers.get(hdrs.ACCEPT, ""))
    return _answer(body, content_type)


async def _health(request: web.Request) -> web.Response:
    return _components(request.app[VIEW].health())


async def _ready(request: web.Request) -> web.Response:
    return _components(request.app[VIEW].ready())


def _components(components: Mapping[str, str]) -> web.Response:
    well = all(state == "ok" for state in components.values())
    return _json(dict(components), 200 if well else 503)


# What there is to know


async def _status(request: web.Request) -> web.Response:
    return _json(status_json(request.app[VIEW].snapshot(), STATUS_FINDINGS))


async def _findings(request: web.Request) -> web.Response:
    params = _params(request, "square", "namespace")
    square, namespace = params.get("square"), params.get("namespace")
    if square is not None and square not in set(Square):
        raise _RefusedError(400, f"there is no square `{square}`; there is {', '.join(Square)}")
    if namespace is not None and not NAMESPACE.fullmatch(namespace):
        raise _RefusedError(400, f"`{namespace}` is not a namespace; one is lower-case letters, digits and -")
    snapshot = request.app[VIEW].snapshot()

    def wanted(finding: Finding) -> bool:
        ends = (finding.edge.source.identity.namespace, finding.edge.destination.identity.namespace)
        return square in (None, finding.square) and (namespace is None or namespace in ends)

    conclusion = conclude(snapshot)
    body: dict[str, Json] = {
        "state": str(conclusion.state),
        "blind": list(conclusion.blind),
        "coverage": plain(snapshot.coverage),
        "findings": [finding_json(finding) for finding in snapshot.findings if wanted(finding)],
    }
    return _answer(await asyncio.to_thread(lambda: json_text(body).encode()), JSON)


async def _finding(request: web.Request) -> web.Response:
    fingerprint = request.match_info["fingerprint"]
    if not FINGERPRINT.fullmatch(fingerprint):
        raise _RefusedError(400, "a fingerprint is 16 hexadecimal digits")
    for finding in request.app[VIEW].snapshot().findings:
        if finding.fingerprint == fingerprint:
            return _json(finding_json(finding))
    raise _RefusedError(404, f"no active finding has the fingerprint {fingerprint}")


async def _queries(request: web.Request) -> web.Response:
    return _json({"queries": plain(request.app[VIEW].queries())})


async def _query(request: web.Request) -> web.Response:
    params = _params(request)
    name, format = request.match_info["name"], params.pop("format", "json")
    if format not in QUERY_TYPES:
        raise _RefusedError(400, f"there is no format `{format}`; there is {', '.join(QUERY_TYPES)}")
    view = request.app[VIEW]
    try:
        result = await view.query(name, params)
    except QueryError as error:
        known = {query.get("name") for query in view.queries()}
        raise _RefusedError(400 if name in known else 404, str(error)) from error
    # A large result takes a while to write; the loop has others to serve.
    body = await asyncio.to_thread(_written, result, format)
    return _answer(body, QUERY_TYPES[format])


def _written(result: QueryResult, format: str) -> bytes:
    match format:
        case "arrow":
            return result.arrow()
        case "csv":
            text = table(result.columns, list(result.rows), "csv")
        case "table":
            text = table(result.columns, list(result.rows), "table")
        case _:
            text = table(result.columns, list(result.rows), "json")
    return f"{text}\n".encode("utf-8", "backslashreplace")


# The page


async def _page(request: web.Request) -> web.Response:
    return _file(request, "index.html")


async def _static(request: web.Request) -> web.Response:
    return _file(request, request.match_info["name"])


def _file(request: web.Request, name: str) -> web.Response:
    body = request.app[FILES].get(name)
    if body is None:
        raise web.HTTPNotFound
    response = _answer(body, STATIC_TYPES[_suffix(name)])
    response.headers[hdrs.CACHE_CONTROL] = "no-cache"
    return response
