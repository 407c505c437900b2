"""Regular expressions that cannot run away: RE2, as Loki and DuckDB have it, and of bounded length."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

LONGEST = 1000
"""Characters in one expression."""


def whole(expression: str) -> str:
    """The expression as one that must match a text from its beginning to its end."""
    return f"^(?:{expression})$"


@lru_cache(maxsize=256)
def wrong(expression: str) -> str:
    """Why this is no expression that can be used; empty if it is one."""
    if len(expression) > LONGEST:
        return f"the expression is longer than {LONGEST} characters"
    try:
        pc.match_substring_regex(pa.array([""]), pattern=expression)
        pc.match_substring_regex(pa.array([""]), pattern=whole(expression))
    except pa.ArrowInvalid as error:
        return str(error).partition("\n")[0]
    return ""


def matches_nothing(expression: str) -> bool:
    """Whether it matches the empty text."""
    return bool(pc.match_substring_regex(pa.array([""]), pattern=whole(expression))[0].as_py())
