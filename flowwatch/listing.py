"""Findings by square, namespace, direction and text, a page at a time: one way for page, HTTP API and terminal.

Pure. Findings come newest first and stay so. A cursor names the last finding that was shown, not a position, so
that nothing is shown twice or left out when new findings come in between two pages.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowwatch.model import Finding, Kind, Peer, Side, Square

FINDING_SQUARES = (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED)
"""The squares that findings are in."""
DIRECTIONS = ("egress", "ingress")
_SIDES = {"egress": Side.EGRESS, "ingress": Side.INGRESS}
_ENTITIES = frozenset(Kind) - {Kind.POD, Kind.WORLD}


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list; what is empty selects everything. `text` is words, all of which must occur."""

    square: str = ""
    namespace: str = ""
    direction: str = ""
    text: str = ""

    def matches(self, finding: Finding) -> bool:
        """Whether a finding is wanted."""
        edge = finding.edge
        if self.square and finding.square != self.square:
            return False
        if self.direction and finding.side is not _SIDES[self.direction]:
            return False
        if self.namespace and self.namespace not in (_place(edge.source), _place(edge.destination)):
            return False
        return not self.text or holds(self.text, searched(finding)) or self.text.strip() == finding.fingerprint


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list: how many match in all, those of this page, and the cursor of the next one (empty: no more)."""

    total: int
    findings: tuple[Finding, ...]
    next: str


def wanted(findings: Iterable[Finding], filter: Filter) -> list[Finding]:
    """The findings that match, in their order."""
    if filter == Filter():
        return list(findings)
    return [finding for finding in findings if filter.matches(finding)]


def page(findings: Sequence[Finding], filter: Filter, cursor: str, limit: int) -> Page:
    """The next `limit` matching findings after `cursor` (empty: from the newest). Raises `ValueError` for a
    cursor that no page gave."""
    matching = wanted(findings, filter)
    start = 0
    if cursor:
        moment, _, fingerprint = cursor.partition("-")
        if not moment.isdigit() or not fingerprint:
            raise ValueError("`cursor` is not one that an answer gave")
        # Newest first: among those of one time, by fingerprint.
        start = bisect_right(matching, (-int(moment), fingerprint), key=_key)
    shown = matching[start : start + limit]
    more = start + limit < len(matching)
    return Page(len(matching), tuple(shown), _cursor(shown[-1]) if more and shown else "")


def places(findings: Iterable[Finding]) -> list[str]:
    """The namespaces that findings have part in, and what stands for one outside of all."""
    return sorted({_place(peer) for f in findings for peer in (f.edge.source, f.edge.destination)})


def place_of(peer: str) -> str:
    """The namespace of an end as people read it (`monitoring/loki`): its first part, an entity (`host`), or `world`."""
    namespace, slash, _ = peer.partition("/")
    if slash:
        return namespace
    return peer if peer in _ENTITIES else str(Kind.WORLD)


def searched(finding: Finding) -> str:
    """What the words of a search are looked for in, in lower case."""
    edge, judgement = finding.edge, finding.judgement
    parts = [finding.sentence, judgement.rule, *finding.policies, *finding.drop_reasons]
    for peer in (edge.source, edge.destination):
        parts += [peer.ip, *peer.names, *peer.identity.labels]
    return "\n".join(parts).lower()


def holds(text: str, within: str) -> bool:
    """Whether all words of `text` occur in `within`, which is in lower case."""
    return all(word in within for word in text.lower().split())


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _place(peer: Peer) -> str:
    """As `place_of`, of an end itself."""
    return peer.identity.namespace if peer.identity.kind is Kind.POD else str(peer.identity.kind)


def _key(finding: Finding) -> tuple[int, str]:
    return (-round(finding.first_seen * 1e9), finding.fingerprint)


def _cursor(finding: Finding) -> str:
    return f"{round(finding.first_seen * 1e9)}-{finding.fingerprint}"
