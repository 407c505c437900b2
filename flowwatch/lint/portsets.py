"""Sets of ports, and what can be proven about them.

A `PortSet` holds ranges by protocol, names that stand for ports, or everything. Whether one set
holds another, or shares a port with it, is only claimed where no pod could make it otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TCP, UDP, SCTP = "TCP", "UDP", "SCTP"
WITH_PORTS = (TCP, UDP, SCTP)
ANY = "ANY"
LAST = 65_535
ICMP_V4, ICMP_V6 = "ICMP", "ICMPv6"


@dataclass(frozen=True, slots=True)
class Span:
    """Ports `first` to `last` of a protocol; for ICMP the types. With a `name`, whatever port the
    pod gives that name."""

    protocol: str
    first: int
    last: int
    name: str = ""

    def __str__(self) -> str:
        if self.name:
            return f"{self.name}/{self.protocol}"
        if (self.first, self.last) == (0, LAST):
            return f"every {self.protocol} port"
        return (
            f"{self.first}/{self.protocol}" if self.first == self.last else f"{self.first}-{self.last}/{self.protocol}"
        )

    def holds(self, other: Span) -> bool:
        """Whether every port of the other is certainly one of these."""
        if self.protocol != other.protocol:
            return False
        if self.name:
            return self.name == other.name
        if other.name:
            return self.first <= 1 and self.last == LAST
        return self.first <= other.first and other.last <= self.last

    def meets(self, other: Span) -> bool:
        """Whether there may be a port that is in both."""
        if self.protocol != other.protocol:
            return False
        return bool(self.name or other.name) or (self.first <= other.last and other.first <= self.last)


@dataclass(frozen=True, slots=True)
class PortSet:
    """Some ports. `everything`: every protocol, also those without ports."""

    spans: frozenset[Span] = frozenset()
    everything: bool = False

    def __str__(self) -> str:
        return "any port" if self.everything else ", ".join(sorted(map(str, self.spans))) or "no port"

    def holds(self, other: PortSet) -> bool:
        """Whether every port of the other is certainly one of these."""
        if self.everything:
            return True
        return not other.everything and all(any(mine.holds(span) for mine in self.spans) for span in other.spans)

    def meets(self, other: PortSet) -> bool:
        """Whether there may be a port that is in both."""
        if self.everything or other.everything:
            return bool((self.everything or self.spans) and (other.everything or other.spans))
        return any(mine.meets(span) for mine in self.spans for span in other.spans)

    def has(self, protocol: str, port: int) -> bool:
        """Whether the port is certainly one of these."""
        return self.everything or any(span.holds(Span(protocol, port, port)) for span in self.spans)

    def may_have(self, protocol: str, port: int) -> bool:
        """Whether the port may be one of these."""
        return self.everything or any(span.meets(Span(protocol, port, port)) for span in self.spans)


EVERYTHING = PortSet(everything=True)


def spans(protocol: str, first: int, last: int, name: str = "") -> Iterator[Span]:
    """One range as written; `ANY` is TCP, UDP and SCTP."""
    for each in WITH_PORTS if protocol == ANY else (protocol,):
        yield Span(each, first, last, name)


def union(sets: Iterable[PortSet]) -> PortSet:
    """Every port that is in any of them."""
    every = tuple(sets)
    if len(every) == 1:
        return every[0]
    return PortSet(frozenset(span for each in every for span in each.spans), any(each.everything for each in every))
