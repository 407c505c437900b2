"""An allowlist as the diagram of its perimeters: a Mermaid flowchart.

Every namespace is a perimeter with its components in it; nodes, the API server and what is outside
the cluster stand around them. Each arrow is a declared path with its ports. Ids are made of names
and everything is in their order, so that the text changes where the allowlist does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from flowwatch.allowlist.notation import written
from flowwatch.allowlist.rules import Entity, External, Pods, Rule, Same, Selector
from flowwatch.allowlist.show import View, tells_ends
from flowwatch.words import printable

_STYLES = (
    "classDef outside fill:transparent,stroke:#60a5fa,stroke-width:2px;",
    "classDef inside fill:transparent,stroke:#22c55e,stroke-width:2px;",
)
_KINDS: Mapping[type, str] = {Pods: "pods", Entity: "entity", External: "external"}
_MOST_PORTS = 6
_SPECIAL = re.compile(r"[\"#&<>`\\|{}\[\];]")
_NO_ID = re.compile(r"[^A-Za-z0-9]+")


def as_mermaid(shown: View) -> str:
    """The flowchart of the rules that hold; those that do not tell their ends are only mentioned."""
    edges = _edges(shown.holding)
    ends = {end for pair in edges for end in pair}
    ids = _ids(ends)
    lines = ["flowchart LR"]
    perimeters: dict[str, list[Pods]] = {}
    for end in ends:
        if isinstance(end, Pods) and end.namespace:
            perimeters.setdefault(end.namespace, []).append(end)
    outside = sorted((end for end in ends if not (isinstance(end, Pods) and end.namespace)), key=ids.__getitem__)
    lines += [f"    {_node(end, ids[end])}" for end in outside]
    for namespace, frame in zip(sorted(perimeters), _numbered(map(_frame, sorted(perimeters))), strict=True):
        pods = perimeters[namespace]
        governed = shown.governs is None or namespace in shown.governs
        title = namespace if governed else f"{namespace} (not governed)"
        lines.append(f'    subgraph {frame}["{_label(title)}"]')
        lines += [f"        {_node(end, ids[end], namespace)}" for end in sorted(pods, key=ids.__getitem__)]
        lines.append("    end")
    pairs = sorted(edges.items(), key=lambda item: (ids[item[0][0]], ids[item[0][1]]))
    lines += [f'    {ids[source]} -->|"{_label(_ports(texts))}"| {ids[to]}' for (source, to), texts in pairs]
    if ends:
        lines += [f"    {style}" for style in _STYLES]
    for name, members in (("outside", outside), ("inside", sorted(ends - set(outside), key=ids.__getitem__))):
        if members:
            lines.append(f"    class {','.join(ids[end] for end in members)} {name};")
    lines += [f"    %% not drawn: {printable(rule.title)} ({printable(rule.place)})" for rule in shown.untold()]
    return "\n".join(lines)


def _edges(rules: Iterable[Rule]) -> dict[tuple[Selector, Selector], list[str]]:
    """The ports of every path, by its ends."""
    found: dict[tuple[Selector, Selector], list[str]] = {}
    for rule in rules:
        if tells_ends(rule):
            for pair in _pairs(rule):
                found.setdefault(pair, []).extend(rule.ports.texts)
    return found


def _pairs(rule: Rule) -> Iterator[tuple[Selector, Selector]]:
    for source in rule.sources:
        for destination in rule.destinations:
            ends = [end for end in (source, destination) if not isinstance(end, Same)]
            if len(ends) == 2:
                yield source, destination
            elif ends and isinstance(ends[0], Pods):
                yield ends[0], ends[0]


def _ids(ends: Iterable[Selector]) -> dict[Selector, str]:
    """An id for every node, made of its name; where two would be the same, they are numbered."""
    ordered = sorted(ends, key=lambda end: (written(end), repr(end)))
    return dict(
        zip(ordered, _numbered(f"{_KINDS.get(type(end), 'peer')}_{_slug(end.name)}" for end in ordered), strict=True)
    )


def _frame(namespace: str) -> str:
    return f"perimeter_{_slug(namespace)}"


def _numbered(ids: Iterable[str]) -> Iterator[str]:
    taken: dict[str, int] = {}
    for each in ids:
        taken[each] = taken.get(each, 0) + 1
        yield each if taken[each] == 1 else f"{each}__{taken[each]}"


def _slug(name: str) -> str:
    return _NO_ID.sub("_", name).strip("_")[:60]


def _node(end: Selector, identifier: str, home: str = "") -> str:
    label = _label(written(end, home).removesuffix(" (external)"))
    if isinstance(end, External):
        return f'{identifier}(["{label}"])'
    return f'{identifier}["{label}"]'


def _ports(texts: list[str]) -> str:
    every = list(dict.fromkeys(texts))
    if "any" in every:
        return "any"
    shown = every if len(every) <= _MOST_PORTS else [*every[: _MOST_PORTS - 1], f"+{len(every) - _MOST_PORTS + 1}"]
    return ", ".join(shown)


def _label(text: str) -> str:
    """Text for a label within quotes: what would end it, or be markup there, as a character's number."""
    return _SPECIAL.sub(lambda found: f"#{ord(found[0])};", printable(text))
