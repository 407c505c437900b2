"""How answers are written: JSON, files, refusals, and the headers that every one of them bears."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import hdrs, web

from flowwatch.words import Json, json_text

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
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"


class RefusedError(Exception):
    """A request that gets no answer, and why."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = dict(headers or {})
        super().__init__(text)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers that all have."""
    response.headers.update(HEADERS)
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def answer(body: bytes, content_type: str, status: int = 200) -> web.Response:
    """An answer, compressed where that is worth it."""
    response = web.Response(
        body=body, status=status, headers={hdrs.CONTENT_TYPE: content_type}, zlib_executor_size=COMPRESS_FROM * 16
    )
    if len(body) >= COMPRESS_FROM:
        response.enable_compression()
    return response


def json_answer(value: Json, status: int = 200) -> web.Response:
    """A JSON value."""
    return answer(json_text(value).encode(), JSON, status)


def problem(status: int, text: str) -> web.Response:
    """What is wrong with a request, or with us, as JSON."""
    return json_answer({"error": text}, status)
