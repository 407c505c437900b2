"""How edges were carried: is what a rule asks of the wire so?

Knows what Hubble says of encryption and of authentication, and where its silence means nothing. It
keeps no clock and decides nothing about whether an edge is declared. TLS and a service mesh's mutual
TLS are inside the packets Hubble reports, so nothing is ever concluded about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag, StrEnum

import numpy as np
import numpy.typing as npt

from flowwatch.allowlist.rules import Transport
from flowwatch.codes import Event, Point, Verdict

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WINDOW = 86_400.0
"""Seconds for which what was seen is taken for how things are."""


class Carried(IntFlag):
    """What one flow says about how its packet was carried; nothing at all is 0."""

    ENCRYPTED = 1
    PLAIN = 2
    """It left a node in the clear."""
    AUTHENTICATED = 4
    UNAUTHENTICATED = 8
    """A connection was allowed without authentication: says something only beside others of its edge."""


@dataclass(frozen=True, slots=True)
class Carriage:
    """When each was last seen of one edge, in seconds since the epoch; 0: never.

    The times of authentication are those of one side's policy verdicts; where both sides report, each
    side has its own and they are judged apart.
    """

    encrypted: float = 0.0
    plain: float = 0.0
    authenticated: float = 0.0
    unauthenticated: float = 0.0


class Standing(StrEnum):
    """Whether a requirement is met."""

    SATISFIED = "satisfied"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a requirement is met, and why, in words."""

    standing: Standing
    reason: str


def carried(event: Ints, point: Ints, verdict: Ints, encrypted: Bools, auth_type: Ints) -> Ints:
    """What each flow says of its transport, as `Carried`.

    One element per flow: event type, trace point and verdict as Hubble numbers them, `IP.encrypted`, and
    `auth_type`. Only traces know about encryption. A trace without the mark says something only at
    TO_NETWORK, where the packet leaves the node as it is: before, it may still be encrypted on its way out,
    and what stays on the node never is. Only policy verdicts that let something pass know about
    authentication.
    """
    trace = event == Event.TRACE
    ciphered = trace & (encrypted | (point == Point.FROM_CRYPTO) | (point == Point.TO_CRYPTO))
    plain = trace & ~ciphered & (point == Point.TO_NETWORK)
    passed = (event == Event.POLICY_VERDICT) & ((verdict == Verdict.FORWARDED) | (verdict == Verdict.REDIRECTED))
    authenticated = passed & (auth_type != 0)
    result: Ints = np.zeros(len(event), dtype=np.int64)
    for mask, meaning in (
        (ciphered, Carried.ENCRYPTED),
        (plain, Carried.PLAIN),
        (authenticated, Carried.AUTHENTICATED),
        (passed & ~authenticated, Carried.UNAUTHENTICATED),
    ):
        result |= mask * int(meaning)
    return result


def judge(asked: Transport, seen: Carriage, now: float, window: float = WINDOW) -> Answer:
    """Whether an edge is carried as asked, from what was seen of it within `window` seconds before `now`."""
    if asked is Transport.ENCRYPTED:
        return _judge_encryption(seen, now - window)
    return _judge_authentication(seen, now - window)


def together(answers: tuple[Answer, ...]) -> Answer:
    """One answer for several edges, or for both sides of one: the first violation, else the first that is
    satisfied, else that nothing is known. For no answers at all: unknown."""
    for standing in (Standing.VIOLATED, Standing.SATISFIED):
        for answer in answers:
            if answer.standing is standing:
                return answer
    return answers[0] if answers else Answer(Standing.UNKNOWN, "no edge was seen")


def _judge_encryption(seen: Carriage, since: float) -> Answer:
    if seen.plain and seen.plain >= since:
        also = ", although others were encrypted" if seen.encrypted and seen.encrypted >= since else ""
        return Answer(Standing.VIOLATED, f"packets left a node in the clear{also}")
    if seen.encrypted and seen.encrypted >= since:
        return Answer(Standing.SATISFIED, "packets were encrypted, and none left a node in the clear")
    return Answer(Standing.UNKNOWN, "Hubble reported no packet of it where it leaves a node")


def _judge_authentication(seen: Carriage, since: float) -> Answer:
    if not seen.authenticated:
        return Answer(Standing.UNKNOWN, "Hubble reported no authentication: it is off, or not reported")
    if seen.unauthenticated > seen.authenticated:
        if seen.unauthenticated >= since:
            return Answer(Standing.VIOLATED, "the newest connection was not authenticated, earlier ones were")
    elif seen.authenticated >= since:
        return Answer(Standing.SATISFIED, "the newest connection was authenticated")
    return Answer(Standing.UNKNOWN, "no connection was seen recently")
