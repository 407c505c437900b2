"""The paths that tables of components declare, each told at one end or at both.

Where the rows of both ends tell of each other, both must let a path pass, as their policies must:
it is declared on the ports that both tell. What only one end tells is declared as it is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from flowwatch.allowlist.mdcells import Path
from flowwatch.allowlist.mdtables import Row
from flowwatch.allowlist.rules import Pods, PortRange, PortSet, Rule, Same, Selector, port_text

Way = Literal["ingress", "egress"]
WAYS: tuple[Way, Way] = ("ingress", "egress")


@dataclass(frozen=True, slots=True)
class _Told:
    row: Row
    component: Pods
    way: Way
    path: Path


class Components:
    """What the rows of components tell, and the rules it comes to."""

    def __init__(self) -> None:
        self._told: list[_Told] = []
        self._sides: dict[tuple[Selector, Way], list[Path]] = {}

    def tell(self, row: Row, component: Pods, way: Way, paths: list[Path]) -> None:
        """Take in one cell of a component's row."""
        self._sides.setdefault((component, way), []).extend(paths)
        self._told.extend(_Told(row, component, way, path) for path in paths)

    def rules(self) -> Iterator[tuple[Row, Rule]]:
        """The rules, each with the row that tells it. A path that both ends tell comes twice."""
        for told in self._told:
            agreed: dict[tuple[PortSet, date | None], list[Selector]] = {}
            for peer in told.path.peers:
                for ports, until in self._agreed(told, peer):
                    agreed.setdefault((ports, until), []).append(peer)
            for (ports, until), peers in agreed.items():
                own: tuple[Selector, ...] = (told.component,)
                sources, destinations = (tuple(peers), own) if told.way == "ingress" else (own, tuple(peers))
                reason = told.path.remark or f"{told.way} of {told.component.name}"
                yield told.row, Rule(0, sources, destinations, ports, reason, expires=until)

    def _agreed(self, told: _Told, peer: Selector) -> Iterator[tuple[PortSet, date | None]]:
        """The ports on which both ends tell a path, and until when."""
        end = told.component if isinstance(peer, Same) else peer
        told_there = [
            path
            for path in self._sides.get((end, "egress" if told.way == "ingress" else "ingress"), ())
            if told.component in path.peers or (end == told.component and Same() in path.peers)
        ]
        if not told_there:
            yield told.path.ports, told.path.until
        for path in told_there:
            ports = _common(told.path.ports, path.ports)
            if ports is not None:
                yield ports, min(filter(None, (told.path.until, path.until)), default=None)


def _common(one: PortSet, other: PortSet) -> PortSet | None:
    """The ports that are in both; None where there are none."""
    if one.everything or other.everything:
        return other if one.everything else one
    spans = tuple(
        PortRange(span.protocol, max(span.first, across.first), min(span.last, across.last))
        for span in one.ranges
        for across in other.ranges
        if span.protocol is across.protocol and max(span.first, across.first) <= min(span.last, across.last)
    )
    if not spans:
        return None
    if spans == one.ranges:
        return one
    return PortSet(tuple(port_text(span.protocol, span.first, span.last) for span in spans), spans)
