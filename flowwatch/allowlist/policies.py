"""Network policies as part of an allowlist: what they declare, and how they agree with native rules.

An edge is declared by policies where they allow it on every side they govern, and they govern one at least. What they
mean is decided in `flowwatch.policy`; here their answers become judgements, and each policy a rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowwatch.allowlist.rules import PortSet, Rule, listed
from flowwatch.errors import Problem
from flowwatch.model import Declared, Edge, Judgement, Kind
from flowwatch.policy.compiled import PolicySet, SideJudgements
from flowwatch.policy.entries import Entry, Policy
from flowwatch.policy.judging import Implicit, Judged, Verdict
from flowwatch.policy.objects import Object, Objects, read_objects, unpack
from flowwatch.policy.options import DECLARED, Options
from flowwatch.selectors import parse_address
from flowwatch.yamlmarks import Marked

_MEANING = ("ingress", "subject", "peers", "ports", "default_deny", "l7", "authentication", "wild_if_unresolved")
_NATIVE_GROUP = "flowwatch"
_NATIVE_KIND = "Allowlist"
UNGOVERNED = Judgement(Declared.UNGOVERNED, "no policy governs either end")


@dataclass(frozen=True, slots=True)
class PolicyRule(Rule):
    """A network policy among the rules: its peers and ports are those of its entries, not listed here."""

    policy: str = ""

    @property
    def title(self) -> str:
        """The policy, as `Kind:namespace/name`."""
        return self.policy


def split(documents: Iterable[Marked]) -> tuple[list[Marked], list[Object]]:
    """Documents in the native format (or meant to be), and Kubernetes objects, those in lists one by one."""
    native: list[Marked] = []
    objects: list[Object] = []
    for document in documents:
        for one in unpack(document):
            foreign = one.version.partition("/")[0] != _NATIVE_GROUP
            # A list of ours whose version is misspelt must be an error, not one of the kinds that are ignored.
            if one.kind and one.version and foreign and one.kind != _NATIVE_KIND:
                objects.append(one)
            elif isinstance(one.node, Marked):
                native.append(one.node)
    return native, objects


def read_policies(objects: Iterable[Object], problems: list[Problem], options: Options = DECLARED) -> Objects:
    """What Kubernetes objects declare together. Anything wrong is added to `problems`."""
    read = read_objects(objects, options)
    problems += read.problems
    return read


def meaning_of(objects: Objects) -> str:
    """Everything that policies and what they refer to say, as text; where it is written does not matter. Empty where
    there is none."""
    entries = [
        (entry.policy.ref, *(getattr(entry, name) for name in _MEANING), entry.effect, entry.tier, entry.order)
        for entry in objects.entries
    ]
    options = () if objects.options == DECLARED else (objects.options,)
    said = (sorted(map(repr, entries)), options, objects.groups, objects.services, sorted(objects.addresses.items()))
    return repr(said) if any(said) else ""


class Policies:
    """Judges edges by the declared policies. Their rules are numbered on from `first`."""

    def __init__(self, objects: Objects, first: int, *, cluster: str = "") -> None:
        self.set = PolicySet(objects, cluster=cluster)
        self.rules = tuple(
            PolicyRule(
                first + number,
                (),
                (),
                PortSet(()),
                reason=policy.description or "a network policy",
                file=policy.file,
                line=policy.line,
                policy=str(policy),
            )
            for number, policy in enumerate(objects.policies)
        )
        self._by_policy = {id(policy): rule for policy, rule in zip(objects.policies, self.rules, strict=True)}

    def judge(self, edge: Edge) -> Judgement:
        """What the policies together say of an edge."""
        sides = self.set.judge(edge)
        egress, ingress = sides.egress, sides.ingress
        if Verdict.DENY in (egress.verdict, ingress.verdict):
            return self._denied(edge, sides)
        unknown = [side.reason for side in (egress, ingress) if side.verdict is Verdict.UNKNOWN]
        if unknown:
            return Judgement(Declared.UNKNOWN, "; ".join(dict.fromkeys(unknown)))
        if not egress.governed and not ingress.governed:
            return UNGOVERNED
        rules = self._rules_of(sides)
        parts = [
            f"{end} by {_because(side)}"
            for end, side in (("at its source", egress), ("at its destination", ingress))
            if side.governed
        ]
        title = (
            ", ".join(_named(entry.policy, entry) for entry in _deciding(sides)) or "the traffic of a pod's own node"
        )
        rule_id = rules[0].id if rules else -1
        return Judgement(Declared.YES, f"allowed {' and '.join(parts)}", title, rule_id)

    def declaring(self, edge: Edge) -> tuple[Rule, ...]:
        """Every policy that has part in declaring an edge; none where they do not."""
        sides = self.set.judge(edge)
        judged = (sides.egress, sides.ingress)
        if any(side.verdict is not Verdict.ALLOW for side in judged):
            return ()
        return self._rules_of(sides)

    def address_class(self, ip: str) -> tuple[int, int]:
        """Equal for addresses outside the cluster that no policy tells apart, as a source and as a destination."""
        address = parse_address(ip)
        return (0, 0) if address is None else self.set.address_class(address)

    def _rules_of(self, sides: SideJudgements) -> tuple[Rule, ...]:
        entries = (*sides.egress.entries, *sides.ingress.entries)
        found = dict.fromkeys(self._by_policy[id(entry.policy)].id for entry in entries)
        first = self.rules[0].id if self.rules else 0
        return tuple(self.rules[number - first] for number in found)

    def _denied(self, edge: Edge, sides: SideJudgements) -> Judgement:
        ingress = sides.egress.verdict is not Verdict.DENY
        side, end, at = (
            (sides.ingress, edge.destination, "ingress") if ingress else (sides.egress, edge.source, "egress")
        )
        if side.entries:
            by = [_named(entry.policy, entry) for entry in side.entries]
            return Judgement(
                Declared.NO, f"{listed(by, ', ')} denies {edge} ({at} of {end})", denied_by=tuple(dict.fromkeys(by))
            )
        reason = f"no policy allows {edge} ({at} of {end})"
        if side.isolating:
            reason += f", which is denied by default because of {_together(side.isolating)}"
        if not ingress and edge.destination.identity.kind is Kind.WORLD and not edge.destination.names:
            reason += "; the flow carried no DNS name"
        isolating = tuple(map(str, side.isolating))
        near = self.set.near(edge, ingress=ingress)
        if near is None:
            return Judgement(Declared.NO, reason, isolated_by=isolating)
        named = _named(near.entry.policy, near.entry)
        return Judgement(Declared.NO, reason, nearest=named, differs=near.differs, isolated_by=isolating)


def _together(policies: tuple[Policy, ...]) -> str:
    named = [_named(policy) for policy in policies]
    return named[0] if len(named) == 1 else f"{listed(named, ', ')} together"


def _deciding(sides: SideJudgements) -> list[Entry]:
    """The entries that allow, one of each policy and side."""
    found: dict[tuple[bool, str], Entry] = {}
    for entry in (*sides.egress.entries, *sides.ingress.entries):
        found.setdefault((entry.ingress, entry.policy.ref), entry)
    return list(found.values())


def _because(side: Judged) -> str:
    if side.entries:
        return listed(list(dict.fromkeys(_named(entry.policy, entry) for entry in side.entries)), ", ")
    return "its own node" if side.implicit is Implicit.LOCALHOST else "default"


def _named(policy: Policy, entry: Entry | None = None) -> str:
    return f"{policy} ({policy.file}:{entry.line if entry else policy.line})"
