"""What every request goes through: what no client of ours sends is turned away, and every error is told alike."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
from collections.abc import Callable, Collection

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from flowwatch.errors import FlowwatchError, QueryError, QueryTimeoutError
from flowwatch.web.answers import RefusedError, problem
from flowwatch.web.view import ROOT
from flowwatch.words import printable

LONGEST_QUERY_STRING = 4096
OPEN = ("/healthz", "/readyz")
"""What is answered without a token or a certificate: whoever probes has neither."""
PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,64}){0,8}")

log = logging.getLogger("flowwatch.web")

Token = Callable[[], str]
"""Gives the token in force; raises `OSError` where it cannot be read."""


def errors(page: Callable[[web.Request, int, str], web.Response]) -> Middleware:
    """Tell what went wrong: as JSON, or where a browser asked for a page, as what `page` makes of it."""

    def told(request: web.Request, status: int, text: str) -> web.Response:
        is_page = "/api/" not in request.path and "text/html" in request.headers.get(hdrs.ACCEPT, "")
        return page(request, status, text) if is_page else problem(status, text)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RefusedError as error:
            refusal = told(request, error.status, str(error))
            refusal.headers.update(error.headers)
            return refusal
        except QueryTimeoutError as error:
            return told(request, 503, str(error))
        except FlowwatchError as error:
            return told(request, 400 if isinstance(error, QueryError) else 503, printable(str(error)))
        except web.HTTPRedirection:
            raise
        except web.HTTPException as error:
            nothing = f"there is nothing at {printable(request.path)[:200]}"
            return told(request, error.status, nothing if error.status == 404 else error.reason)
        except Exception:
            log.exception("cannot answer %s %s", request.method, printable(request.path))
            return told(request, 500, "internal error; the log says more")

    return middleware


def guard(names: Collection[str]) -> Middleware:
    """Turn away what no client of ours sends, before anything is looked up. `names`, where given, are the only
    hosts that are answered."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            refusal = problem(405, f"{printable(request.method)[:20]} is not allowed; only GET and HEAD are")
            refusal.headers[hdrs.ALLOW] = "GET, HEAD"
            refusal.force_close()
            return refusal
        if request.body_exists:
            refusal = problem(413, "a request has no body here")
            refusal.force_close()
            return refusal
        host = re.sub(r":\d+$", "", request.host).lower()
        if names and host not in names:
            raise RefusedError(421, f"this is not {printable(host)[:100]}; it answers to {', '.join(sorted(names))}")
        if len(request.rel_url.raw_query_string) > LONGEST_QUERY_STRING:
            raise RefusedError(414, f"the query string is longer than {LONGEST_QUERY_STRING} characters")
        return await handler(request)

    return middleware


def authentication(token: Token | None, *, certificates: bool) -> Middleware:
    """Answer only who shows the token, as bearer or as the password of basic authentication (which is how a
    browser can), and with `certificates` only who came with one. Health is answered to anyone."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.removeprefix(request.app[ROOT]) in OPEN:
            return await handler(request)
        if certificates and not (request.transport and request.transport.get_extra_info("peercert")):
            raise RefusedError(401, "a client certificate is asked for (web.tls.client_ca)")
        if token is not None:
            try:
                wanted = token()
            except OSError as error:
                raise RefusedError(503, f"the token cannot be read: {error.strerror}") from error
            if not wanted or not _shows(request.headers.get(hdrs.AUTHORIZATION, ""), wanted):
                challenge = {str(hdrs.WWW_AUTHENTICATE): 'Basic realm="flowwatch", charset="UTF-8"'}
                raise RefusedError(401, "a token is asked for (web.token_file): as bearer, or as a password", challenge)
        return await handler(request)

    return middleware


def _shows(header: str, token: str) -> bool:
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(given.strip(), validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return False
        given = decoded.partition(":")[2]
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())


def root_of(request: web.Request, prefix: str) -> str:
    """What links begin with: the path that a proxy says it took away (`X-Forwarded-Prefix`), and our own. What is
    not a plain path there is left aside."""
    forwarded = request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
    plain = forwarded if PREFIX.fullmatch(forwarded) else ""
    return plain + prefix
