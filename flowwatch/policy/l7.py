"""What a policy asks of a request, once the connection is allowed: HTTP and DNS rules.

Regular expressions are those of RE2, as in the proxy: they take time linear in what they are matched against,
whatever they look like. What a request is not known to be is never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from flowwatch.selectors import NameTable, normal_name

LONGEST_EXPRESSION = 4096


@dataclass(frozen=True, slots=True)
class Header:
    """A header that must be there, with a value or with any (None). `secret`: the value is not known here."""

    name: str
    value: str | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One kind of request that is let through; empty expressions match anything."""

    method: str = ""
    path: str = ""
    host: str = ""
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class L7:
    """The requests that are let through: any that one rule matches. `unread`: rules of another protocol."""

    http: tuple[HttpRule, ...] = ()
    dns: tuple[str, ...] = ()
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was seen: HTTP, or a DNS question (`name`)."""

    name: str | None = None
    method: str = ""
    path: str = ""
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name in lower case."""


def allows(rules: L7, request: Request) -> bool | None:
    """Whether the rules let the request through; None where that cannot be told."""
    if rules.unread:
        return None
    if request.name is not None:
        return bool(
            NameTable((name, True) for name in rules.dns).find(frozenset({normal_name(request.name)}), frozenset())
        )
    answers = [_matches(rule, request) for rule in rules.http]
    if any(answer is True for answer in answers):
        return True
    return None if None in answers else False


def _matches(rule: HttpRule, request: Request) -> bool | None:
    written = ((rule.method, request.method), (rule.path, request.path), (rule.host, request.host))
    if not all(full_match(expression, text) for expression, text in written if expression):
        return False
    hidden = False
    for header in rule.headers:
        value = request.headers.get(header.name.lower())
        if value is None or (header.value is not None and value != header.value):
            return False
        hidden = hidden or header.secret
    return None if hidden else True


def full_match(expression: str, text: str) -> bool:
    """Whether all of the text matches."""
    seen = text.encode("utf-8", "replace").decode()
    return bool(pc.match_substring_regex(pa.scalar(seen), rf"\A(?:{expression})\z").as_py())


def fault_of(expression: str) -> str:
    """What is wrong with a regular expression; empty where nothing is."""
    if len(expression) > LONGEST_EXPRESSION:
        return f"it is longer than {LONGEST_EXPRESSION} characters"
    try:
        # The brackets around it must not be able to close one another.
        pc.match_substring_regex(pa.scalar(""), expression)
        full_match(expression, "")
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        return str(error).removeprefix("Invalid regular expression: ").splitlines()[0]
    return ""


def headers_of(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by their name in lower case."""
    return {name.lower(): value for name, value in pairs}
