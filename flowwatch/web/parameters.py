"""Parameters of requests: each is written down once, and is both how a request is read and how it is documented."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from flowwatch import report
from flowwatch.errors import QueryError
from flowwatch.web.answers import RefusedError
from flowwatch.words import Json, printable

MOST_PARAMETERS = 32
LONGEST_TEXT = 200
ACTING = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PLACE = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)?")
_CURSOR = re.compile(r"(?:[0-9]{1,20}-)?[0-9a-f]{1,20}")
_SPAN = r"([0-9]{1,6}(ms|s|m|h|d|w)){1,6}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z?)?"
_MOMENT = rf"^(all|now|{_SPAN}|{_TIME})?$"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the query string. `parse` raises `ValueError` with what is wrong."""

    name: str
    doc: str
    schema: Mapping[str, Json]
    parse: Callable[[str], Any]
    default: Any = ""


def choice(name: str, doc: str, values: Iterable[str]) -> Parameter:
    """One of these words; empty, as a form sends it, for all."""
    known = [str(value) for value in values]

    def parse(text: str) -> str:
        if text and text not in known:
            raise ValueError(f"there is no {name} `{printable(text)[:80]}`; there is {', '.join(known)}")
        return text

    return Parameter(name, doc, {"type": "string", "enum": ["", *known]}, parse)


def place(name: str, doc: str) -> Parameter:
    """A namespace, or what stands for one outside of all (`world`, `host` …)."""

    def parse(text: str) -> str:
        if not _PLACE.fullmatch(text):
            raise ValueError(
                f"`{printable(text)[:80]}` is not a namespace; one is at most 63 lower-case letters, digits and -"
            )
        return text

    return Parameter(name, doc, {"type": "string", "pattern": f"^{_PLACE.pattern}$", "maxLength": 63}, parse)


def text(name: str, doc: str) -> Parameter:
    """Some text to look for."""

    def parse(text: str) -> str:
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"`{name}` is longer than {LONGEST_TEXT} characters")
        if ACTING.search(text):
            raise ValueError(f"`{name}` holds control characters")
        return text

    pattern = r"^[^\x00-\x1F\x7F-\x9F]*$"
    return Parameter(name, doc, {"type": "string", "maxLength": LONGEST_TEXT, "pattern": pattern}, parse)


def integer(name: str, doc: str, least: int, most: int, default: int) -> Parameter:
    """A number between two others."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"`{name}` is a number from {least} to {most}, not `{printable(text)[:80]}`")
        return int(text)

    schema: dict[str, Json] = {"type": "integer", "minimum": least, "maximum": most, "default": default}
    return Parameter(name, doc, schema, parse, default)


def limit(most: int, default: int = 100) -> Parameter:
    """How many of a list to give."""
    return integer("limit", "How many to give at most.", 1, most, default)


def moment(name: str, doc: str, default: str) -> Parameter:
    """A time as `flowwatch query` takes it; stays text until the present is known, see `window`."""

    def parse(text: str) -> str:
        if len(text) > 40:
            raise ValueError(f"`{name}` is longer than 40 characters")
        try:
            report.moment(text or default, 0.0, name)
        except QueryError as error:
            raise ValueError(printable(str(error))) from error
        return text or default

    schema: dict[str, Json] = {"type": "string", "pattern": _MOMENT, "default": default, "maxLength": 40}
    return Parameter(name, doc, schema, parse, default)


def _cursor(text: str) -> str:
    if text and not _CURSOR.fullmatch(text):
        raise ValueError("`cursor` is not one that an answer gave")
    return text


CURSOR = Parameter(
    "cursor",
    "Where to go on: `next` of the answer before. Empty or left out: at the beginning.",
    {"type": "string", "pattern": f"^({_CURSOR.pattern})?$"},
    _cursor,
)
SINCE = moment("since", "From when: a span such as `1h` or `7d`, a time such as `2026-01-31T12:00:00Z`, `all`.", "1h")
UNTIL = moment("until", "Until when, written alike.", "now")


def window(given: Mapping[str, Any], now: float) -> dict[str, datetime]:
    """`since` and `until` of a request as times, at `now`; `until=now` reaches a little ahead, for nodes' clocks
    are not ours."""
    ahead = 3600.0 if given["until"] == "now" else 0.0
    return {
        "since": report.moment(given["since"], now, "since"),
        "until": report.moment(given["until"], now + ahead, "until"),
    }


def offset(cursor: str) -> int:
    """A cursor that is a position in a list."""
    if cursor and not re.fullmatch("[0-9]{1,9}", cursor):
        raise RefusedError(400, "`cursor` is not one that an answer gave")
    return int(cursor or 0)


def read(request: web.Request, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """The values of these parameters in a request; nothing else may be in it."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {name: parameter.default for name, parameter in known.items()}
    for name, written in plainly(request).items():
        if name not in known:
            told = ", ".join(known) if known else "none"
            raise RefusedError(400, f"there is no parameter `{printable(name)[:80]}`; there is {told}")
        try:
            values[name] = known[name].parse(written)
        except ValueError as error:
            raise RefusedError(400, str(error)) from error
    return values


def plainly(request: web.Request) -> dict[str, str]:
    """The query string as a mapping."""
    params: dict[str, str] = {}
    for name, value in request.query.items():
        if name in params:
            raise RefusedError(400, f"`{printable(name)[:80]}` is given more than once")
        params[name] = value
    if len(params) > MOST_PARAMETERS:
        raise RefusedError(400, f"more than {MOST_PARAMETERS} parameters")
    return params
