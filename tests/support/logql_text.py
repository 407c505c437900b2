"""Queries at random, as values and as the text a person would write."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from flowwatch.logql.fields import LABELS, NUMBERS, TEXTS
from flowwatch.logql.syntax import (
    Both,
    Compare,
    Either,
    Filter,
    Function,
    LineFilter,
    LineOp,
    Match,
    Metric,
    Op,
    Selection,
)

VALUES = (
    "",
    "shop",
    "DROPPED",
    "FORWARDED",
    "egress",
    "ingress",
    "denied",
    "monitoring/loki",
    "TCP",
    "53/UDP",
    'é"\\`\n',
)
EXPRESSIONS = (
    "",
    ".+",
    ".*",
    "DROP.*|AUDIT",
    "[a-m].*",
    "(?i)forwarded",
    "monitoring|media",
    ".*/.*",
    r"\d+/TCP",
    "e{1,2}gress",
)
PARTS = ("DROPPED", "shop", "/UDP", '"', "no such text", "10.", "POLICY", "é")
PART_EXPRESSIONS = ("POLICY_DEN(Y|IED)", r"\d{4}/TCP", "^{", "x$", "(?i)dropped", '"edge":[0-9]*[13579]\\b')

_TEXT_OPS = (Op.EQUAL, Op.UNEQUAL, Op.MATCHES, Op.MATCHES_NOT)


@st.composite
def matches(draw: st.DrawFn, names: tuple[str, ...]) -> Match:
    """A text compared."""
    op = draw(st.sampled_from(_TEXT_OPS))
    values = VALUES if op in (Op.EQUAL, Op.UNEQUAL) else EXPRESSIONS
    return Match(draw(st.sampled_from(names)), op, draw(st.sampled_from(values)))


def compares() -> st.SearchStrategy[Compare]:
    """A number compared."""
    ops = st.sampled_from([op for op in Op if op not in (Op.MATCHES, Op.MATCHES_NOT)])
    return st.builds(Compare, st.sampled_from(NUMBERS), ops, st.sampled_from((0.0, 1.0, 53.0, 443.0, 8080.5, -1.0)))


def filters() -> st.SearchStrategy[Filter]:
    """Label filters, nested."""
    one = matches((*LABELS, *TEXTS, *NUMBERS)) | compares()
    return st.recursive(
        one, lambda inner: st.builds(Both, inner, inner) | st.builds(Either, inner, inner), max_leaves=4
    )


@st.composite
def line_filters(draw: st.DrawFn) -> LineFilter:
    """A line filter with one text or several."""
    op = draw(st.sampled_from(LineOp))
    texts = PARTS if op in (LineOp.HOLDS, LineOp.HOLDS_NOT) else PART_EXPRESSIONS
    return LineFilter(op, tuple(draw(st.lists(st.sampled_from(texts), min_size=1, max_size=3))))


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    """Selections, at least one matcher of which wants something."""
    anchor = draw(st.sampled_from((Match("verdict", Op.MATCHES, ".+"), Match("level", Op.UNEQUAL, "x"))))
    needed = (Match("cluster", Op.EQUAL, "test"),) if anchor.op is Op.UNEQUAL else ()
    matchers = (anchor, *needed, *draw(st.lists(matches((*LABELS, "unheard_of")), max_size=2)))
    lines = tuple(draw(st.lists(line_filters(), max_size=2)))
    return Selection(matchers, lines, tuple(draw(st.lists(filters(), max_size=2))), True)


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    """Metric queries."""
    names = st.lists(st.sampled_from((*LABELS, "service", "source", "server_port")), unique=True, max_size=3)
    by = draw(st.none() | names.map(tuple))
    seconds = draw(st.sampled_from((1, 7, 10, 30, 60)))
    return Metric(draw(selections()), draw(st.sampled_from(Function)), seconds * 10**9, by)


def quoted(text: str, raw: bool) -> str:
    """A string as LogQL writes it."""
    return f"`{text}`" if raw and "`" not in text else json.dumps(text, ensure_ascii=False)


def written(query: Selection | Metric, raw: bool = False) -> str:
    """A query as text."""
    if isinstance(query, Metric):
        inner = f"{query.function} ({written(query.selection, raw)} [{query.range // 10**9}s])"
        found = (
            inner if query.by is None else f"sum by ({', '.join(query.by)}) ({inner})" if query.by else f"sum({inner})"
        )
        return f"topk({query.top}, {found})" if query.top else found
    matchers = ", ".join(f"{one.name}{one.op}{quoted(one.value, raw)}" for one in query.matchers)
    lines = "".join(f" {one.op} {' or '.join(quoted(text, raw) for text in one.texts)}" for one in query.lines)
    stages = "".join(f" | {_filter(one, raw)}" for one in query.filters)
    return f"{{{matchers}}}{lines}{' | json' if query.parsed else ''}{stages}"


def _filter(wanted: Filter, raw: bool) -> str:
    match wanted:
        case Both(left, right):
            return f"({_filter(left, raw)}) and ({_filter(right, raw)})"
        case Either(left, right):
            return f"({_filter(left, raw)}) or ({_filter(right, raw)})"
        case Compare(name, op, value):
            return f"{name} {'==' if op is Op.EQUAL else op} {value}"
        case Match(name, op, value):
            return f"{name} {op} {quoted(value, raw)}"
