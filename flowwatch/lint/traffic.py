"""What was observed of the pods of each rule, in the direction the rule is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flowwatch.lint.labels import Labels
from flowwatch.lint.observed import Endpoint, Observed, Seen, means
from flowwatch.lint.portsets import PortSet, Span
from flowwatch.lint.views import CLUSTER_POLICIES, Direction, Peer, Rule, Spec


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """What was seen of the pods of a rule, in the rule's direction, and at which other end."""

    rule: Rule
    seen: tuple[tuple[Seen, Endpoint], ...]

    def of(self, peer: Peer) -> Iterator[Seen]:
        """What one of its peers may have been meant by, on whatever port."""
        outgoing = self.rule.direction is Direction.EGRESS
        for seen, other in self.seen:
            if means(peer.atom, other, seen.ip if outgoing else "", seen.names if outgoing else ()):
                yield seen

    def used(self, peer: Peer) -> Iterator[Seen]:
        """What it is about: its peers on its ports."""
        return (seen for seen in self.of(peer) if _on(self.rule.ports, seen))


def traffic_of(
    specs: Iterable[Spec], observed: Observed, pods_of: Callable[[Labels], Iterable[Endpoint]]
) -> Iterator[Traffic]:
    """What was seen of the pods of every rule that allows."""
    for spec in specs:
        if spec.subject is None or spec.policy.kind in CLUSTER_POLICIES:
            continue
        pods = list(pods_of(spec.scope))
        for direction in Direction:
            rules = [rule for rule in spec.towards(direction) if rule.is_allow]
            seen = tuple(_seen(pods, observed, direction)) if rules else ()
            yield from (Traffic(rule, seen) for rule in rules)


def _seen(pods: Iterable[Endpoint], observed: Observed, direction: Direction) -> Iterator[tuple[Seen, Endpoint]]:
    for pod in pods:
        if direction is Direction.EGRESS:
            yield from ((each, each.destination) for each in observed.by_source.get(id(pod), ()))
        else:
            yield from ((each, each.source) for each in observed.by_destination.get(id(pod), ()))


def _on(ports: PortSet, seen: Seen) -> bool:
    if ports.everything:
        return True
    exact = Span(seen.protocol, seen.port, seen.port)
    return any(span.meets(exact) if span.name else span.holds(exact) for span in ports.spans)
