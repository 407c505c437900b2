"""Checks of allowlists in flowwatch's own format: expired, nobody's, wider than they say they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.declared import NativeRule
from flowwatch.lint.found import Severity
from flowwatch.lint.objects import at as value_at
from flowwatch.lint.objects import elements, fields_of
from flowwatch.lint.peers import Atom, Entity, Everyone, Name, Range
from flowwatch.lint.views import Rule
from flowwatch.yamlmarks import clip

_MANY = 3
"""From how many rules on a list without a single owner is told once and not of every rule."""

_DOMAIN = re.compile(r"(?<![\w.@/-])(?:[a-z0-9-]+\.)+(?:[a-z]{2,})(?![\w-])")
_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?(?![\w.])")
_PORT = re.compile(r"(?<![\w.:])(?:ports?\s+(\d{2,5})|:(\d{2,5})|(\d{2,5})/(?:tcp|udp|sctp))(?![\w.])", re.IGNORECASE)
_FILE_ENDINGS = (".yaml", ".yml", ".md", ".json", ".sh", ".py", ".go", ".local")
_WIDE = ("world", "all")


def allowlist_invalid(context: Context) -> Iterator[Problem]:
    """What the parser of the format has to say."""
    known = {(problem.file, problem.line, problem.field) for source in context.sources for problem in source.problems}
    for problem in context.native.problems:
        if (problem.file, problem.line, problem.field) not in known:
            yield problem


def rule_expired(context: Context) -> Iterator[Problem]:
    """Rules that no longer hold."""
    for each in context.native.rules:
        if each.rule.ends <= context.options.now:
            at = value_at(each.at, "expires") or each.at
            yield at.problem(
                f"this rule expired after {each.rule.expires} and declares nothing any more",
                "remove it, or say until when it is needed",
            )


def rule_without_owner(context: Context) -> Iterator[Problem]:
    """Rules that nobody answers for."""
    for document in context.native.documents:
        rules = [each for each in elements(fields_of(document).get("rules")) if each.is_mapping]
        ownerless = [each for each in rules if "owner" not in fields_of(each)]
        if len(ownerless) == len(rules) > _MANY:
            yield fields_of(document)["rules"].problem(
                f"none of the {len(rules)} rules names an `owner`", "say who answers for each, with `owner:`"
            )
            continue
        for each in ownerless:
            yield each.problem("nobody answers for this rule", "add `owner:` with a person or a team")


def wider_than_reason(context: Context) -> Iterator[Problem]:
    """Rules for everyone whose reason speaks of somebody."""
    externals = {each.name for each in context.native.definitions if each.labels is None}
    for each in context.native.rules:
        at = value_at(each.at, "reason") or each.at
        yield from (at.problem(*said) for said in _native_wider(each, externals))
    for spec in context.specs:
        about = spec.fields.get("description") or value_at(spec.policy.top, "metadata", "annotations", "description")
        if about is not None and about.is_scalar:
            for rule in spec.rules:
                wide = _wide_of(rule)
                named = _named(about.raw, ())
                if rule.is_allow and wide and named:
                    yield rule.at.problem(
                        f"the policy's description speaks of `{clip(named)}`, and this allows {wide}",
                        "name what is meant, or say why more is needed",
                    )


def _native_wider(each: NativeRule, externals: Iterable[str]) -> Iterator[tuple[str, str]]:
    reason = each.rule.reason
    wide = next((str(atom) for atom in (*each.destinations, *each.sources) if _is_wide(atom)), "")
    named = _named(reason, externals)
    if wide and named:
        yield f"the reason speaks of `{clip(named)}`, and the rule is for {wide}", "name the peer that is meant"
    port = _PORT.search(reason)
    if each.ports.everything and port is not None:
        yield f"the reason speaks of `{port[0]}`, and the rule is for any port", "name the port that is meant"


def _wide_of(rule: Rule) -> str:
    return next((str(peer.atom) for peer in rule.peers if _is_wide(peer.atom)), "")


def _is_wide(atom: Atom) -> bool:
    """Whether it means the whole outside."""
    if isinstance(atom, Entity):
        return atom.name in _WIDE
    if isinstance(atom, Range):
        return atom.network.prefixlen == 0
    return isinstance(atom, Everyone) or (isinstance(atom, Name) and set(atom.pattern) <= {"*", "."})


def _named(text: str, names: Iterable[str]) -> str:
    """What a text names that is outside: an address, a domain, or something that has a name here."""
    lowered = text.lower()
    for pattern in (_ADDRESS, _DOMAIN):
        for found in pattern.finditer(lowered):
            if not found[0].endswith(_FILE_ENDINGS) and found[0] not in ("e.g", "i.e"):
                return found[0]
    words = set(re.findall(r"[a-z0-9][a-z0-9.-]*[a-z0-9]", lowered))
    return next((name for name in names if name.lower() in words), "")


CHECKS = (
    Check(
        "allowlist-invalid",
        Severity.ERROR,
        "The allowlist cannot be used as it is written.",
        allowlist_invalid,
    ),
    Check(
        "rule-expired",
        Severity.WARNING,
        "A rule past its `expires` declares nothing.",
        rule_expired,
    ),
    Check(
        "rule-without-owner",
        Severity.WARNING,
        "A rule without an `owner` is kept for ever, for nobody can say whether it is needed.",
        rule_without_owner,
    ),
    Check(
        "wider-than-reason",
        Severity.INFO,
        "A rule for everyone, or for any port, whose reason names somebody, or a port, is wider than its reason.",
        wider_than_reason,
    ),
)
