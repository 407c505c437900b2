"""The runbook as a page: what to do about each alert, with an anchor for each.

Made from `dashboards/README.md`, of which it understands what is written there: headings, paragraphs, lists,
tables, code. Everything is escaped; nothing is fetched.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

_HEADING = re.compile(r"(#{1,4}) (.+)")
_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_LINK = re.compile(r"\[([^\]]+)\]\((#[-a-z0-9]+)\)")
_OUTER = re.compile(r"\[([^\]]+)\]\([^)#][^)]*\)")


@cache
def page() -> str:
    """The runbook as an HTML document."""
    body = "\n".join(_blocks(_source().read_text(encoding="utf-8").splitlines()))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>flowwatch: runbook</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'


def _source() -> Path:
    """`dashboards/README.md` beside the package in a checkout, inside it once installed."""
    package = Path(str(resources.files("flowwatch")))
    installed = package / "_data" / "runbook.md"
    return installed if installed.is_file() else package.parent / "dashboards" / "README.md"


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip() or line.startswith("<!--"):
            at += 1
        elif line.startswith("```"):
            end = next((to for to in range(at + 1, len(lines)) if lines[to].startswith("```")), len(lines))
            yield f"<pre><code>{html.escape(chr(10).join(lines[at + 1 : end]))}</code></pre>"
            at = end + 1
        elif heading := _HEADING.fullmatch(line):
            level, text = len(heading[1]), heading[2]
            anchor = re.sub(r"[^-a-z0-9 ]", "", text.lower()).replace(" ", "-")
            yield f'<h{level} id="{anchor}">{_inline(text)}</h{level}>'
            at += 1
        else:
            end = next((to for to in range(at, len(lines)) if not lines[to].strip()), len(lines))
            yield _table(lines[at:end]) if line.startswith("|") else f"<p>{_inline(' '.join(lines[at:end]))}</p>"
            at = end


def _table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in rows[2:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _inline(text: str) -> str:
    # Code first, and out of the way of the rest.
    parts = _CODE.split(text)
    shown = []
    for number, part in enumerate(parts):
        safe = html.escape(part)
        if number % 2:
            shown.append(f"<code>{safe}</code>")
        else:
            safe = _LINK.sub(r'<a href="\2">\1</a>', safe)
            shown.append(_BOLD.sub(r"<strong>\1</strong>", _OUTER.sub(r"\1", safe)))
    return "".join(shown)
