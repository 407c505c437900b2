"""The HTTP surface: metrics, health, the JSON API and the page. It only reads.

Everything is answered from a `View`; nothing here knows streams or databases. Every error is told in a sentence,
no input can reach a file, and a page from elsewhere can neither frame these nor read them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import resources

from aiohttp import hdrs, web

from flowwatch import runbook, web_loki
from flowwatch.web import api, pages
from flowwatch.web.answers import RefusedError, add_headers, answer, json_answer
from flowwatch.web.guard import Token, authentication, errors, guard, root_of
from flowwatch.web.openapi import document
from flowwatch.web.view import ROOT, VIEW, Patches, QueryResult, View

__all__ = ["LOOPBACK_NAMES", "Patches", "QueryResult", "RefusedError", "View", "build"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names a browser uses for this machine; pass them as `names` when listening on loopback."""
LONGEST_BODY = 1024

STATIC_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES: web.AppKey[Mapping[str, bytes]] = web.AppKey("files")


def build(
    view: View,
    names: Collection[str] = (),
    *,
    prefix: str = "",
    token: Token | None = None,
    certificates: bool = False,
) -> web.Application:
    """The application over this view.

    `names`, where given, are the only host names it answers to: on loopback that keeps a hostile page from reading
    it through a name of its own. `prefix` is a path that everything is below (`/flowwatch`), for proxies that hand
    it on; metrics and health are at the root as well. `token` and `certificates`: see `guard.authentication`.
    """
    middlewares = [errors(pages.wrong), guard(frozenset(names)), authentication(token, certificates=certificates)]
    app = web.Application(middlewares=middlewares, client_max_size=LONGEST_BODY)
    app[VIEW] = view
    app[ROOT] = prefix
    app[FILES] = _files()
    app.on_response_prepare.append(add_headers)
    machines = [web.get("/metrics", _metrics), web.get("/healthz", _health), web.get("/readyz", _ready)]
    routes = [
        *machines,
        web.get("/runbook", _runbook),
        web.get("/api/v1/openapi.json", _openapi),
        web.get("/static/{name}", _static),
    ]
    searches = web_loki.routes(view)
    for route in (*routes, *api.ROUTES, *pages.ROUTES, *searches):
        app.router.add_get(prefix + route.path, route.handler)
    if prefix:
        app.add_routes([*machines, web.get("/", _to_prefix), web.get(prefix, _to_prefix)])
    return app


def _files() -> dict[str, bytes]:
    """Every static file of the page, read once: no request is ever turned into a path."""
    folder = resources.files("flowwatch") / "page"
    return {file.name: file.read_bytes() for file in folder.iterdir() if _suffix(file.name) in STATIC_TYPES}


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


async def _to_prefix(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(f"{root_of(request, request.app[ROOT])}/")


async def _metrics(request: web.Request) -> web.Response:
    body, content_type = request.app[VIEW].metrics(request.headers.get(hdrs.ACCEPT, ""))
    return answer(body, content_type)


async def _runbook(request: web.Request) -> web.Response:  # noqa: ARG001
    return answer(runbook.page().encode(), "text/html; charset=utf-8")


async def _health(request: web.Request) -> web.Response:
    return _components(request.app[VIEW].health())


async def _ready(request: web.Request) -> web.Response:
    return _components(request.app[VIEW].ready())


def _components(components: Mapping[str, str]) -> web.Response:
    well = all(state.partition(",")[0] == "ok" for state in components.values())
    return json_answer(dict(components), 200 if well else 503)


async def _openapi(request: web.Request) -> web.Response:
    return json_answer(document(root_of(request, request.app[ROOT])))


async def _static(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    body = request.app[FILES].get(name)
    if body is None:
        raise web.HTTPNotFound
    response = answer(body, STATIC_TYPES[_suffix(name)])
    response.headers[hdrs.CACHE_CONTROL] = "no-cache"
    return response
