"""The square: what is an edge, given what the allowlist says and what was seen of it?

One pure function over columns, one element per edge. It refuses to know where the numbers come
from; time comes in as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from flowwatch.model import Declared, Square

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class DeclaredCode(IntEnum):
    """`Declared` as a number, for columns."""

    YES = 1
    NO = 2
    UNKNOWN = 3
    UNGOVERNED = 4


DECLARED_CODES = {
    Declared.YES: DeclaredCode.YES,
    Declared.NO: DeclaredCode.NO,
    Declared.UNKNOWN: DeclaredCode.UNKNOWN,
    Declared.UNGOVERNED: DeclaredCode.UNGOVERNED,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of each edge: flows that prove it passed or was dropped, by the side that said so."""

    declared: Ints
    """`DeclaredCode`."""
    server_is_pod: Bools
    forwarded_egress: Ints
    forwarded_ingress: Ints
    """Includes flows of which no side is known."""
    dropped_egress: Ints
    dropped_ingress: Ints
    first_forwarded: Ints
    """Nanoseconds; of the first flow that passed."""
    violated: Bools
    """Declared, but not carried as the declaration asks."""
    undecided: Bools
    """Declared, and whether it is carried as asked cannot be told."""


@dataclass(frozen=True, slots=True)
class Judged:
    """For each edge: did anything get through, was anything dropped, must we still wait."""

    forwarded: Bools
    dropped: Bools
    waiting: Bools
    violated: Bools
    undecided: Bools

    def squares(self, declared: Ints) -> dict[Square, Bools]:
        """Which edges are in which square. An edge that is both is in both."""
        yes, no = declared == DeclaredCode.YES, declared == DeclaredCode.NO
        return {
            Square.EXPECTED: yes & self.forwarded & ~self.violated & ~self.undecided,
            Square.UNEXPECTED: (no | (yes & self.violated)) & self.forwarded,
            Square.BLOCKED: yes & self.dropped,
            Square.DENIED: no & self.dropped,
            Square.UNKNOWN: ((declared == DeclaredCode.UNKNOWN) & (self.forwarded | self.dropped))
            | (yes & self.undecided & self.forwarded),
        }


def judge(seen: Seen, now: int, settle: int) -> Judged:
    """Say what each edge is at `now` (nanoseconds).

    The sending side alone proves only that the packet left: the receiving side may still drop it, on
    another node whose report comes later. So between pods, until the receiving side has spoken or
    `settle` nanoseconds have passed in silence, such an edge waits; and once the receiving side has
    dropped it, the sending side's word counts for nothing.
    """
    only_sent = (seen.forwarded_egress > 0) & (seen.forwarded_ingress == 0)
    sent_to_pod = only_sent & seen.server_is_pod
    refused = seen.dropped_ingress > 0
    silent = now - seen.first_forwarded >= settle
    forwarded = (seen.forwarded_ingress > 0) | (only_sent & ~seen.server_is_pod) | (sent_to_pod & ~refused & silent)
    dropped = (seen.dropped_egress > 0) | refused
    return Judged(forwarded, dropped, sent_to_pod & ~refused & ~silent, seen.violated, seen.undecided)
