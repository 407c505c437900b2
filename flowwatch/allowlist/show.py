"""An allowlist shown as the tables and the diagram of its own documentation.

What is shown is what was read: every rule once with its reason, and for each namespace what its
components may be reached by and what they may reach. Nothing here judges; a rule that tells
neither its ends nor its ports, such as a network policy, is shown by its title.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import date
from typing import Literal

from flowwatch.allowlist.notation import written
from flowwatch.allowlist.rules import Entity, External, Pods, PortSet, Rule, Same, Selector
from flowwatch.words import Json, json_text, plain

Format = Literal["table", "mermaid", "json", "markdown"]

EVERYWHERE = "Every namespace"
CROSS, OUTSIDE, WITHIN, OTHERS = (
    "Cross-namespace communication",
    "External destinations",
    "Within namespaces",
    "Nodes, ingress and the API server",
)
"""The tables of paths, in the order in which they are shown."""

_KINDS = {Pods: "pods", Entity: "entity", External: "external", Same: "self"}
_COMMON_PROTOCOL = "/TCP"


@dataclass(frozen=True, slots=True)
class Link:
    """What one rule says of a component in one direction."""

    peers: tuple[Selector, ...]
    ports: PortSet
    expires: date | None = None

    def ports_text(self) -> str:
        """The ports as they stand in the cell of a component: `9333/19333`, `53/UDP+53/TCP`, `any`."""
        texts = self.ports.texts
        if all(text.endswith(_COMMON_PROTOCOL) for text in texts):
            return "/".join(text.removesuffix(_COMMON_PROTOCOL) for text in texts)
        return "+".join(texts)


@dataclass(slots=True)
class Component:
    """Pods, what may reach them and what they may reach."""

    pods: Pods
    ingress: list[Link]
    egress: list[Link]


@dataclass(frozen=True, slots=True)
class View:
    """What is shown: the rules that are asked for, those among them that hold, and the namespaces spoken about."""

    rules: tuple[Rule, ...]
    holding: tuple[Rule, ...]
    governs: frozenset[str] | None
    namespace: str = ""
    """The one namespace whose components are asked for; empty: all of them."""

    def sections(self) -> dict[str, list[Rule]]:
        """The rules that tell their ends, by the table they belong to; empty tables are left out."""
        found: dict[str, list[Rule]] = {title: [] for title in (CROSS, OUTSIDE, WITHIN, OTHERS)}
        for rule in self.rules:
            if tells_ends(rule):
                found[_section(rule)].append(rule)
        return {title: rules for title, rules in found.items() if rules}

    def untold(self) -> list[Rule]:
        """The rules that do not tell their ends."""
        return [rule for rule in self.rules if not tells_ends(rule)]

    def perimeters(self) -> dict[str, list[Component]]:
        """The components of every namespace, in the order of the rules; `""` is every namespace."""
        found: dict[Pods, Component] = {}
        for rule in self.holding:
            for source in rule.sources:
                _link(found, source, rule, rule.destinations, "egress")
            for destination in rule.destinations:
                _link(found, destination, rule, rule.sources, "ingress")
        by_namespace: dict[str, list[Component]] = {}
        for component in found.values():
            if not self.namespace or component.pods.namespace in ("", self.namespace):
                by_namespace.setdefault(component.pods.namespace, []).append(component)
        return dict(sorted(by_namespace.items(), key=lambda item: (not item[0], item[0])))


def view(rules: Sequence[Rule], governs: frozenset[str] | None, now: float, namespace: str = "") -> View:
    """What to show of an allowlist at the time `now`; with `namespace`, only what concerns its pods."""
    shown = tuple(narrow for rule in rules for narrow in (_narrowed(rule, namespace) if namespace else (rule,)))
    return View(shown, tuple(rule for rule in shown if rule.ends > now), governs, namespace)


def namespaces_of(rules: Iterable[Rule], governs: frozenset[str] | None) -> list[str]:
    """Every namespace an allowlist names, sorted."""
    found = set(governs or ())
    for rule in rules:
        ends = (*rule.sources, *rule.destinations)
        found.update(end.namespace for end in ends if isinstance(end, Pods))
        found.add(_namespace_in_title(rule))
    return sorted(found - {""})


def tells_ends(rule: Rule) -> bool:
    """Whether a rule lists its peers."""
    return bool(rule.sources and rule.destinations)


def as_json(shown: View) -> str:
    """Everything the rules say, with the place each is written at, as JSON."""
    governs: Json = None if shown.governs is None else [plain(name) for name in sorted(shown.governs)]
    return json_text({"governs": governs, "rules": [_rule_json(rule) for rule in shown.rules]}, indent=2)


def _rule_json(rule: Rule) -> dict[str, Json]:
    spans: list[Json] = [
        {"protocol": span.protocol.name, "first": span.first, "last": span.last} for span in rule.ports.ranges
    ]
    return {
        "id": rule.id,
        "title": rule.title,
        "from": [_selector_json(selector) for selector in rule.sources],
        "to": [_selector_json(selector) for selector in rule.destinations],
        "ports": {"texts": [*rule.ports.texts], "everything": rule.ports.everything, "ranges": spans},
        "reason": rule.reason,
        "transport": None if rule.transport is None else str(rule.transport),
        "conditions": [*rule.conditions],
        "owner": rule.owner,
        "ticket": rule.ticket,
        "expires": plain(rule.expires),
        "file": rule.file,
        "line": rule.line,
    }


def _selector_json(selector: Selector) -> dict[str, Json]:
    fields = {key: plain(value) for key, value in asdict(selector).items()} if is_dataclass(selector) else {}
    return {"kind": _KINDS.get(type(selector), type(selector).__name__.lower()), "text": written(selector), **fields}


def _section(rule: Rule) -> str:
    if any(isinstance(end, External) or end == Entity("world") for end in rule.destinations):
        return OUTSIDE
    ends = [end for end in (*rule.sources, *rule.destinations) if not isinstance(end, Same)]
    namespaces = {end.namespace if isinstance(end, Pods) else "" for end in ends}
    if "" in namespaces:
        return OTHERS
    return CROSS if len(namespaces) > 1 else WITHIN


def _link(
    found: dict[Pods, Component],
    end: Selector,
    rule: Rule,
    others: Sequence[Selector],
    way: Literal["ingress", "egress"],
) -> None:
    if not isinstance(end, Pods):
        return
    component = found.setdefault(end, Component(end, [], []))
    links, back = (component.egress, component.ingress) if way == "egress" else (component.ingress, component.egress)
    links.append(Link(tuple(others), rule.ports, rule.expires))
    # A path of a workload to itself is told at both of its ends, which are one.
    if Same() in others:
        back.append(Link((Same(),), rule.ports, rule.expires))


def _narrowed(rule: Rule, namespace: str) -> Iterator[Rule]:
    """What a rule says of the pods of one namespace: what they reach, and what else reaches them."""
    if not tells_ends(rule):
        if _namespace_in_title(rule) in ("", namespace):
            yield rule
        return
    own = tuple(end for end in rule.sources if _concerns(end, namespace))
    if own:
        yield replace(rule, sources=own)
    others = tuple(end for end in rule.sources if end not in own)
    reached = tuple(end for end in rule.destinations if _concerns(end, namespace))
    if others and reached:
        yield replace(rule, sources=others, destinations=reached)


def _concerns(end: Selector, namespace: str) -> bool:
    return isinstance(end, Pods) and end.namespace in ("", namespace)


def _namespace_in_title(rule: Rule) -> str:
    """The namespace of a rule that goes by `Kind:namespace/name`; empty for any other."""
    if tells_ends(rule):
        return ""
    return rule.title.partition(":")[2].rpartition("/")[0]


def listed_ends(ends: Iterable[Selector], home: str = "") -> list[str]:
    """Each of some peers as one text."""
    return [written(end, home) for end in ends]
