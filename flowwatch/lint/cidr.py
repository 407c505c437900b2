"""Checks of address ranges: are they valid, and do they mean whom they seem to mean?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.labels import Labels, matches
from flowwatch.lint.objects import at as value_at
from flowwatch.lint.objects import elements, fields_of, texts
from flowwatch.lint.peers import Entity, Network, Range, is_address, parse_network, within
from flowwatch.lint.reading import Reading
from flowwatch.lint.views import CILIUM, Kind, Peer, Rule
from flowwatch.yamlmarks import Marked, clip

_CHOICES = ("cidr", "cidrGroupRef", "cidrGroupSelector")
_LISTS = ("fromCIDR", "toCIDR")
_SETS = ("fromCIDRSet", "toCIDRSet")
_GROUP = "CiliumCIDRGroup"


def cidr_invalid(context: Context) -> Iterator[Problem]:
    """Ranges that are none."""
    for rule, at in _written(context):
        if not at.is_scalar or parse_network(at.raw) is None:
            hint = f"write `{at.raw}/{ipaddress.ip_address(at.raw).max_prefixlen}`" if is_address(at.raw) else ""
            if is_address(at.raw) and not context.since((1, 20)) and rule.spec.policy.kind in CILIUM:
                continue
            yield at.problem(
                f"expected a range of addresses such as `10.0.0.0/8`, not {at.described}: the policy is rejected", hint
            )


def cidr_except_outside(context: Context) -> Iterator[Problem]:
    """Exceptions from what is not allowed anyway."""
    for at in _blocks(context):
        fields = fields_of(at)
        network = parse_network(fields["cidr"].raw) if "cidr" in fields else None
        for each in elements(fields.get("except")):
            taken = parse_network(each.raw)
            if network is not None and taken is not None and not within(taken, network):
                yield each.problem(
                    f"`{clip(each.raw)}` lies outside of `{network}`, so the policy is rejected",
                    "an exception takes addresses out of its own `cidr` only",
                )


def cidr_choice(context: Context) -> Iterator[Problem]:
    """Elements of a CIDR set that say what they are twice, or not at all."""
    for rule in context.rules:
        for at in _in_sets(rule):
            chosen = [key for key in _CHOICES if key in fields_of(at)]
            if len(chosen) != 1:
                said = " and ".join(f"`{key}`" for key in chosen) or "none"
                yield at.problem(
                    f"expected exactly one of `cidr`, `cidrGroupRef` and `cidrGroupSelector`, and this has {said}",
                    "make one element for each",
                )


def cidr_group_missing(context: Context) -> Iterator[Problem]:
    """Groups of addresses that are not there, although others are."""
    groups = [thing for thing in context.objects if thing.kind == _GROUP and thing.group == "cilium.io"]
    if not groups:
        return
    names = {thing.name for thing in groups}
    labels = [texts(value_at(thing.root, "metadata", "labels")) for thing in groups]
    for rule in context.rules:
        for at in _in_sets(rule):
            fields = fields_of(at)
            if "cidrGroupRef" in fields and fields["cidrGroupRef"].raw not in names:
                yield fields["cidrGroupRef"].problem(
                    f"there is no {_GROUP} `{clip(fields['cidrGroupRef'].raw)}` among the files, so this means nobody",
                    f"there are: {', '.join(sorted(names)[:5])}",
                )
            elif "cidrGroupSelector" in fields:
                asked = Labels(Reading().terms(fields["cidrGroupSelector"]))
                if not any(matches(asked, each) for each in labels):
                    yield fields["cidrGroupSelector"].problem(
                        f"no {_GROUP} among the files has these labels, so this means nobody",
                        f"there are: {', '.join(sorted(names)[:5])}",
                    )


def except_reopened(context: Context) -> Iterator[Problem]:
    """Exceptions that another rule allows after all."""
    for rule in context.rules:
        if not rule.is_allow or rule.spec.subject is None:
            continue
        for peer in rule.peers:
            if not isinstance(peer.atom, Range) or not peer.atom.exceptions:
                continue
            written = {parse_network(each.raw): each for each in elements(_except_of(peer.at))}
            for taken in sorted(peer.atom.exceptions, key=str):
                other = _reopening(context, rule, peer, taken)
                if other is not None:
                    yield (written.get(taken) or peer.at).problem(
                        f"`{taken}` is taken out here and allowed by `{other[1].atom}` in {other[0].place}",
                        "take it out there, too, or deny it with `egressDeny` or `ingressDeny`",
                    )


def _except_of(at: Marked) -> Marked | None:
    block = fields_of(at).get("ipBlock", at)
    return fields_of(block).get("except")


def _reopening(context: Context, rule: Rule, peer: Peer, taken: Network) -> tuple[Rule, Peer] | None:
    for spec in context.selecting.covering(rule.spec.scope):
        for other in spec.towards(rule.direction):
            if not other.is_allow or not any(grant.ports.meets(rule.ports) for grant in other.grants):
                continue
            for each in other.peers:
                if each is not peer and _allows_all(each.atom, taken):
                    return other, each
    return None


def _allows_all(atom: object, taken: Network) -> bool:
    if isinstance(atom, Entity):
        return atom.name in ("world", "all")
    if not isinstance(atom, Range) or not within(taken, atom.network):
        return False
    return not any(taken.overlaps(each) for each in atom.exceptions)


def _in_sets(rule: Rule) -> Iterator[Marked]:
    if rule.spec.policy.kind in CILIUM:
        for key in _SETS:
            yield from rule.fields[key].elements() if key in rule.fields else ()


def _blocks(context: Context) -> Iterator[Marked]:
    """Every mapping that has a `cidr` and may have exceptions."""
    for rule in context.rules:
        yield from _in_sets(rule)
        if rule.spec.policy.kind is Kind.KNP:
            for key in ("from", "to"):
                for at in elements(rule.fields.get(key)):
                    block = fields_of(at).get("ipBlock")
                    if block is not None:
                        yield block


def _written(context: Context) -> Iterator[tuple[Rule, Marked]]:
    """Every range as it is written."""
    for rule in context.rules:
        for key in _LISTS if rule.spec.policy.kind in CILIUM else ():
            yield from ((rule, at) for at in elements(rule.fields.get(key)))
        blocks = [*_in_sets(rule)]
        for key in ("from", "to"):
            for at in elements(rule.fields.get(key)) if rule.spec.policy.kind not in CILIUM else ():
                fields = fields_of(at)
                blocks += [fields["ipBlock"]] if "ipBlock" in fields else []
                yield from ((rule, each) for each in elements(fields.get("networks")))
        for block in blocks:
            fields = fields_of(block)
            yield from ((rule, fields[key]) for key in ("cidr",) if key in fields)
            yield from ((rule, each) for each in elements(fields.get("except")))


CHECKS = (
    Check(
        "cidr-invalid",
        Severity.ERROR,
        "A range of addresses has a prefix length; a bare address is rejected since Cilium 1.20.",
        cidr_invalid,
        rejects=True,
    ),
    Check(
        "cidr-except-outside",
        Severity.ERROR,
        "An exception must lie inside its own range.",
        cidr_except_outside,
        rejects=True,
    ),
    Check(
        "cidr-choice",
        Severity.ERROR,
        "An element of a CIDR set has exactly one of `cidr`, `cidrGroupRef` and `cidrGroupSelector`.",
        cidr_choice,
        rejects=True,
    ),
    Check(
        "cidr-group-missing",
        Severity.WARNING,
        "A CIDR group that does not exist means nobody; checked where any group is among the files.",
        cidr_group_missing,
    ),
    Check(
        "except-reopened",
        Severity.WARNING,
        "An exception belongs to its own range: another rule may allow the same addresses after all.",
        except_reopened,
    ),
)
