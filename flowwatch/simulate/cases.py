"""The edges a run is made of, by name: what is expected, what is wrong, what only looks wrong.

The names are those that flowwatch prints (`str(Peer)` and `service`), so that its findings can be
held against them. How a case is played is no business of this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flowwatch.model import Protocol, Square, service


class CaseClass(StrEnum):
    """What sort of case it is."""

    EXPECTED = "expected"
    VIOLATION = "violation"
    TRAP = "trap"
    """It resembles a violation in one flow or another and is none."""


@dataclass(frozen=True, slots=True)
class Case:
    """One edge and what ought to be said of it. `square` is None for traps; for ICMP `port` is the type."""

    id: str
    case_class: CaseClass
    kind: str
    source: str
    destination: str
    port: int
    protocol: Protocol
    square: Square | None = None

    @property
    def service(self) -> str:
        """`8333/TCP`."""
        return service(self.protocol, self.port)

    @property
    def edge(self) -> str:
        """`monitoring/loki → seaweedfs/seaweedfs-filer:8333/TCP`."""
        return f"{self.source} → {self.destination}:{self.service}"
