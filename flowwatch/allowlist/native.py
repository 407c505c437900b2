"""The native format: YAML documents of `kind: Allowlist`, read into a declaration.

Knows how an allowlist is written and nothing of how it is judged. Every document is read,
names first and rules after them, so that any document may use what another one defines; all
that is wrong is reported together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from flowwatch.allowlist.peerfields import read_list
from flowwatch.allowlist.ports import EXPECTED as PORTS_EXPECTED
from flowwatch.allowlist.ports import parse_ports
from flowwatch.allowlist.rules import Declaration, Entity, External, Pods, PortSet, Rule, Same, Selector, Transport
from flowwatch.allowlist.vocabulary import NAMESPACE, NAMESPACE_EXPECTED, Vocabulary
from flowwatch.errors import Problem
from flowwatch.yamlmarks import Marked, did_you_mean

API_VERSION = "flowwatch/v1"
KIND = "Allowlist"
DOCUMENT_KEYS = ("apiVersion", "kind", "governs", "workloads", "externals", "aliases", "rules")
RULE_KEYS = ("from", "to", "ports", "reason", "transport", "condition", "owner", "ticket", "expires")
REQUIRED_RULE_KEYS = ("from", "to", "ports", "reason")

CONDITION = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read(documents: Sequence[Marked], problems: list[Problem], vocabulary: Vocabulary | None = None) -> Declaration:
    """What the documents declare together. Anything wrong is added to `problems`; the
    declaration is only of use where nothing was added. The names they define are added to
    `vocabulary`, for whoever reads more of the same allowlist."""
    vocabulary = Vocabulary(problems) if vocabulary is None else vocabulary
    governs: set[str] = set()
    at_aliases: list[Marked] = []
    at_rules: list[Marked] = []
    for document in documents:
        fields = document.fields(DOCUMENT_KEYS, (), problems)
        if not document.is_mapping:
            continue
        _check_header(document, "apiVersion", API_VERSION, problems)
        _check_header(document, "kind", KIND, problems)
        if "governs" in fields:
            governs.update(read_list(fields["governs"], _read_namespace, problems))
        if "workloads" in fields:
            vocabulary.define_workloads(fields["workloads"])
        if "externals" in fields:
            vocabulary.define_externals(fields["externals"])
        if "aliases" in fields:
            at_aliases.append(fields["aliases"])
        if "rules" in fields:
            at_rules.extend(_elements(fields["rules"], problems))
    for aliases in at_aliases:
        vocabulary.define_aliases(aliases)
    rules = (_read_rule(number, marked, vocabulary, problems) for number, marked in enumerate(at_rules))
    return Declaration(tuple(rule for rule in rules if rule is not None), frozenset(governs) if governs else None)


def _check_header(document: Marked, key: str, expected: str, problems: list[Problem]) -> None:
    value = document.get(key)
    if value is None:
        problems.append(document.problem(f"`{key}` is missing; expected `{key}: {expected}`"))
    elif value.raw != expected:
        hint = did_you_mean(value.raw, (expected,))
        problems.append(value.problem(f"expected `{key}: {expected}`, not {value.described}", hint))


def _elements(marked: Marked, problems: list[Problem]) -> list[Marked]:
    if not marked.is_list:
        problems.append(marked.problem(f"expected a list of rules, not {marked.described}"))
    return marked.elements()


def _read_namespace(marked: Marked, problems: list[Problem]) -> str | None:
    if NAMESPACE.fullmatch(marked.raw):
        return marked.raw
    hint = "leave out `governs` to speak about every namespace" if marked.raw == "*" or marked.is_null else ""
    problems.append(marked.problem(f"{NAMESPACE_EXPECTED}, not {marked.described}", hint))
    return None


def _read_rule(number: int, marked: Marked, vocabulary: Vocabulary, problems: list[Problem]) -> Rule | None:
    fields = marked.fields(RULE_KEYS, REQUIRED_RULE_KEYS, problems)
    sources: list[Selector] = read_list(fields["from"], vocabulary.peer, problems) if "from" in fields else []
    destinations: list[Selector] = read_list(fields["to"], vocabulary.peer, problems) if "to" in fields else []
    if sources and destinations:
        _check_self(fields["from"], sources, destinations, problems)
        _check_self(fields["to"], destinations, sources, problems)
    ports = _read_ports(fields["ports"], problems) if "ports" in fields else PortSet(())
    if not sources or not destinations:
        return None
    return Rule(
        number,
        tuple(sources),
        tuple(destinations),
        ports,
        reason=_read_text(fields.get("reason"), "why the path is needed", problems),
        owner=_read_text(fields.get("owner"), "who answers for the rule", problems),
        ticket=_read_text(fields.get("ticket"), "the ticket of the rule", problems),
        expires=_read_date(fields["expires"], problems) if "expires" in fields else None,
        transport=_read_transport(fields["transport"], (*sources, *destinations), problems)
        if "transport" in fields
        else None,
        conditions=_read_conditions(fields.get("condition"), problems),
        file=marked.file,
        line=marked.line,
    )


def _check_self(place: Marked, peers: list[Selector], others: list[Selector], problems: list[Problem]) -> None:
    if any(isinstance(peer, Same) for peer in peers) and not any(isinstance(other, Pods) for other in others):
        problems.append(place.problem("`self` needs a workload at the other end of the rule"))


def _read_ports(marked: Marked, problems: list[Problem]) -> PortSet:
    return parse_ports(read_list(marked, _read_port, problems))


def _read_port(marked: Marked, problems: list[Problem]) -> str | None:
    if not marked.is_scalar or not marked.raw or marked.is_null:
        problems.append(marked.problem(f"{PORTS_EXPECTED}, not {marked.described}"))
        return None
    try:
        parse_ports([marked.raw])
    except ValueError as error:
        problems.append(marked.problem(str(error)))
        return None
    return marked.raw


def _read_transport(marked: Marked, peers: Sequence[Selector], problems: list[Problem]) -> Transport | None:
    if marked.raw not in list(Transport):
        expected = " or ".join(f"`{transport}`" for transport in Transport)
        hint = did_you_mean(marked.raw, list(Transport))
        problems.append(marked.problem(f"expected {expected}, not {marked.described}", hint))
        return None
    if any(_is_outside(selector) for selector in peers):
        what = "Cilium encrypts and authenticates within the cluster, and an end of this rule is outside"
        problems.append(marked.problem(what, "write a rule of its own, without `transport`, for what is outside"))
    return Transport(marked.raw)


def _is_outside(selector: Selector) -> bool:
    return isinstance(selector, External) or selector == Entity("world")


def _read_conditions(marked: Marked | None, problems: list[Problem]) -> tuple[str, ...]:
    return () if marked is None else tuple(read_list(marked, _read_condition, problems))


def _read_condition(marked: Marked, problems: list[Problem]) -> str | None:
    if CONDITION.fullmatch(marked.raw):
        return marked.raw
    what = "expected the name of a condition, such as `GatewayIntegrationReady`"
    problems.append(marked.problem(f"{what} (letters and digits), not {marked.described}"))
    return None


def _read_text(marked: Marked | None, expected: str, problems: list[Problem]) -> str:
    if marked is None:
        return ""
    text = " ".join(marked.raw.split())
    if not marked.is_scalar or marked.is_null or not text:
        problems.append(marked.problem(f"expected {expected}, in words, not {marked.described}"))
    return text


def _read_date(marked: Marked, problems: list[Problem]) -> date | None:
    if _DATE.fullmatch(marked.raw):
        try:
            return date.fromisoformat(marked.raw)
        except ValueError:
            pass
    problems.append(marked.problem(f"expected a day such as `2027-03-31`, not {marked.described}"))
    return None
