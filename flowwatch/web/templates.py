"""The page's templates: HTML is written in `page/*.html`, and whatever is put into it is escaped.

Every text that is put in is made printable (no control or direction-changing characters) and then escaped for
HTML, by the engine and for all templates; flow contents are written by whoever can send a packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from flowwatch.words import age, clock, number, per_second, percent, plural, printable


def render(name: str, root: str, values: Mapping[str, Any]) -> bytes:
    """The page made from a template; `root` is what links begin with."""

    def url(path: str, **params: object) -> str:
        """A link within: the path, its parts quoted, and those parameters that are not empty."""
        given = {key: value for key, value in params.items() if value not in ("", None)}
        return (
            root + quote(path, safe="/", errors="replace") + (f"?{urlencode(given, errors='replace')}" if given else "")
        )

    return _environment().get_template(name).render(**values, root=root, url=url).encode("utf-8", "backslashreplace")


@cache
def _environment() -> Environment:
    folder = resources.files("flowwatch") / "page"
    sources = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".html")}
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "age": age,
        "clock": clock,
        "number": number,
        "percent": percent,
        "per_second": per_second,
        "lines": _lines,
        "coded": _coded,
        "moment": _moment,
    }
    environment.globals["plural"] = plural
    return environment


def _printable(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable(value)


def _lines(text: str) -> Markup:
    """A text of several lines, for `<pre>`."""
    return Markup("\n").join(Markup.escape(printable(line)) for line in text.split("\n"))


def _coded(text: str) -> Markup:
    """A sentence whose rules stand between backticks, as they are drawn; unpaired ones stay as they are."""
    parts = printable(text).split("`")
    if len(parts) % 2 == 0:
        return Markup.escape(printable(text))
    return Markup("").join(Markup("<code>{}</code>").format(p) if at % 2 else p for at, p in enumerate(parts))


def _moment(when: object) -> str:
    """A time of the store (naive UTC), or an RFC 3339 one, as people read it."""
    text = when.isoformat(" ", "seconds") if isinstance(when, datetime) else str(when or "never")
    return text.replace("T", " ").removesuffix("Z")
