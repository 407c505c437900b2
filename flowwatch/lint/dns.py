"""What the DNS proxy learns: which pods' lookups it sees, and which names it lets them look up.

Names in `toFQDNs` only work for pods whose lookups go through a DNS rule, no matter in which
policy. Whether a rule means the same pods is decided by their labels, and where those leave it
open, by the pods that are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flowwatch.lint.context import Context
from flowwatch.lint.index import LabelIndex
from flowwatch.lint.labels import Labels, covers, matches
from flowwatch.lint.objects import fields_of
from flowwatch.lint.views import Direction, Grant, Spec
from flowwatch.yamlmarks import Marked


@dataclass(frozen=True, slots=True, eq=False)
class DnsRule:
    """DNS rules of one list of ports."""

    spec: Spec
    grant: Grant
    patterns: tuple[str, ...]

    @property
    def at(self) -> Marked:
        """Where they are written."""
        return self.grant.l7["dns"]


class Lookups:
    """The DNS rules of all policies."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.rules = tuple(rule for spec in context.specs if spec.subject is not None for rule in _dns_rules(spec))
        self._index = LabelIndex((rule.spec.scope, rule) for rule in self.rules)

    def meeting(self, subject: Labels) -> list[DnsRule]:
        """The DNS rules that may hold for some of the pods."""
        return list(self._index.meeting(subject))

    def are_seen(self, subject: Labels) -> bool:
        """Whether the lookups of the pods go through a DNS rule, as far as can be told."""
        found = self.meeting(subject)
        if any(covers(rule.spec.scope, subject) for rule in found):
            return True
        known = [each.labels for each in self._context.endpoints_of(subject)]
        known += [self._context.carried(workload) for workload in self._context.workloads_of(subject)]
        if known:
            return all(any(matches(rule.spec.scope, pod) for rule in found) for pod in known)
        return bool(found)


def _dns_rules(spec: Spec) -> Iterator[DnsRule]:
    for rule in spec.towards(Direction.EGRESS):
        for grant in rule.grants if rule.is_allow and rule.peers else ():
            if "dns" in grant.l7:
                written = (fields_of(each) for each in grant.l7["dns"].elements())
                patterns = (fields.get("matchName") or fields.get("matchPattern") for fields in written)
                yield DnsRule(spec, grant, tuple(each.raw for each in patterns if each is not None))
