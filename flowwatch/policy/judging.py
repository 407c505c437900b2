"""One end, one direction: what its policies say of a connection, given which of their entries match.

The verdict is three-valued. Where what is known of the ends leaves more than one verdict possible it is unknown, and
the reason says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from flowwatch.policy.decide import ANY_REQUEST, Ending, Outcome, Requests, is_reached, levels_of, possible, settle
from flowwatch.policy.entries import Effect, Entry, Peers, Policy, Tier, Undecidable
from flowwatch.policy.index import NONE, Matches, PeerIndex, PortIndex, SubjectIndex
from flowwatch.policy.l7 import Request, allows
from flowwatch.policy.options import Enforcement, Options
from flowwatch.policy.parties import Party
from flowwatch.policy.resolve import Resolver


class Verdict(StrEnum):
    """What the policies about one end say of a connection. DENY_L7: the connection is allowed, the request is not."""

    ALLOW = "allow"
    DENY = "deny"
    DENY_L7 = "deny-l7"
    UNKNOWN = "unknown"


class Implicit(StrEnum):
    """Why a connection is allowed or denied that no entry decides."""

    NONE = ""
    UNPOLICED = "unpoliced"
    """The end is none that policies are enforced on here."""
    UNISOLATED = "unisolated"
    """No policy isolates the end."""
    LOCALHOST = "localhost"
    """It comes from the end's own node."""
    ISOLATED = "isolated"
    """The end is isolated, and nothing allows it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The answer for one end. `governed`: a policy isolates it in this direction, or an entry decided.

    `entries` are those that decide; `isolating` the policies that together isolate the end.
    """

    verdict: Verdict
    governed: bool
    entries: tuple[Entry, ...] = ()
    isolating: tuple[Policy, ...] = ()
    implicit: Implicit = Implicit.NONE
    reason: str = ""


_UNPOLICED = Judged(Verdict.ALLOW, False, implicit=Implicit.UNPOLICED)
_UNISOLATED = Judged(Verdict.ALLOW, False, implicit=Implicit.UNISOLATED)


class Direction:
    """All entries for one direction."""

    def __init__(self, entries: Sequence[Entry], resolver: Resolver, options: Options, *, ingress: bool) -> None:
        self.ingress = ingress
        self.entries = tuple(entries)
        self._options = options
        self._levels = levels_of(self.entries)
        self._subjects = SubjectIndex(self.entries)
        self._ports = PortIndex(self.entries)
        peers: dict[Peers, int] = {}
        everyone = 0
        self._undecidable: dict[int, str] = {}
        self.default_deny = self._baseline = 0
        self._limited = self._authenticated = self.allowing = 0
        for index, entry in enumerate(self.entries):
            bit = 1 << index
            resolved = resolver.peers(entry)
            if resolved is None:
                everyone |= bit
            for peer in resolved or ():
                peers[peer] = peers.get(peer, 0) | bit
                if isinstance(peer, Undecidable):
                    self._undecidable.setdefault(index, peer.reason)
            if entry.default_deny:
                self.default_deny |= bit
            if entry.effect is Effect.ALLOW and entry.says_something:
                self.allowing |= bit
            if entry.tier is Tier.BASELINE:
                self._baseline |= bit
            if entry.l7 is not None:
                self._limited |= bit
            if entry.authentication in ("required", "test-always-fail"):
                self._authenticated |= bit
        self._peers = PeerIndex(peers, everyone, options)
        self.goes_by_family = self._peers.goes_by_family

    def subject(self, party: Party) -> Matches:
        """The entries about an end."""
        return self._subjects.find(party) if self.entries else NONE

    def peer(self, party: Party, cluster: str) -> Matches:
        """The entries whose peers include an end."""
        return self._peers.find(party, cluster) if self.entries else NONE

    def port(self, protocol: int, port: int, server: Party) -> Matches:
        """The entries that mean a protocol and port of an end that is connected to."""
        return self._ports.find(protocol, port, server)

    def of_address(self, address: tuple[int, int]) -> int:
        """The entries that mean an address outside the cluster by its range."""
        return self._peers.of_address(address) if self.entries else 0

    def judge(
        self,
        subject: Party,
        peer: Party,
        about: Matches,
        means: Matches,
        port: Matches,
        request: Request | None = None,
    ) -> Judged:
        """What the subject's policies say, given the entries about it, those that mean its peer and the port."""
        options = self._options
        if not subject.policed:
            return self._unknown_subject(about) if "unknown" in subject.entities else _UNPOLICED
        if self._is_off(subject):
            return _UNISOLATED
        if not about.certain and not about.perhaps:
            return self._selected_by_none(subject, peer)
        certain = about.certain & means.certain & port.certain
        perhaps = (
            (about.certain | about.perhaps) & (means.certain | means.perhaps) & (port.certain | port.perhaps)
        ) & ~certain
        isolated = bool(about.certain & self.default_deny) or self._always(subject)
        if isolated and not options.baseline_overrides_isolation:
            certain, perhaps = certain & ~self._baseline, perhaps & ~self._baseline
        may_isolate = bool(about.perhaps & self.default_deny) and not isolated
        if not perhaps and not may_isolate:
            outcome = settle(self._levels, certain)
            if outcome.effect is None:
                return self._undecided(subject, peer, about, isolated=isolated)
            return self._decided(outcome, subject, peer, request, isolated=isolated)
        return self._perhaps(subject, peer, about, means, port, certain, perhaps, request, may_isolate=may_isolate)

    def _is_off(self, subject: Party) -> bool:
        never = self._options.enforcement is Enforcement.NEVER
        return never or (subject.is_host and not self._options.host_firewall)

    def _always(self, subject: Party) -> bool:
        return self._options.enforcement is Enforcement.ALWAYS or "init" in subject.entities

    def _selected_by_none(self, subject: Party, peer: Party) -> Judged:
        if not self._always(subject):
            return _UNISOLATED
        if self._is_localhost(subject, peer) and not self._options.always_drops_localhost:
            return Judged(Verdict.ALLOW, True, implicit=Implicit.LOCALHOST)
        return Judged(Verdict.DENY, True, implicit=Implicit.ISOLATED)

    def _is_localhost(self, subject: Party, peer: Party) -> bool:
        return self.ingress and peer.is_host and not subject.is_host and self._options.allow_localhost

    def _undecided(self, subject: Party, peer: Party, about: Matches, *, isolated: bool) -> Judged:
        if not isolated:
            return _UNISOLATED
        isolating = tuple(dict.fromkeys(entry.policy for entry in self.those(about.certain & self.default_deny)))
        if self._is_localhost(subject, peer):
            return Judged(Verdict.ALLOW, True, isolating=isolating, implicit=Implicit.LOCALHOST)
        return Judged(Verdict.DENY, True, isolating=isolating, implicit=Implicit.ISOLATED)

    def _decided(
        self, outcome: Outcome, subject: Party, peer: Party, request: Request | None, *, isolated: bool
    ) -> Judged:
        entries = tuple(self.those(outcome.deciding))
        if outcome.effect is Effect.DENY:
            return Judged(Verdict.DENY, True, entries)
        if self._options.mesh_auth and (outcome.deciding & self._authenticated):
            failing = any(entry.authentication == "test-always-fail" for entry in entries)
            reason = "the rule asks for mutual authentication, which the connection does not tell"
            return Judged(Verdict.DENY if failing else Verdict.UNKNOWN, True, entries, reason="" if failing else reason)
        requests = self._requests(outcome.deciding, subject, peer, request, isolated=isolated)
        (ending,) = requests.endings(outcome.deciding, 0)
        reason = "the request cannot be held against the rule" if ending is Ending.UNTOLD else ""
        return Judged(Verdict(str(ending)), True, entries, reason=reason)

    def _requests(
        self, asked: int, subject: Party, peer: Party, request: Request | None, *, isolated: bool
    ) -> Requests:
        """What each of the asked entries does with the request. Where nobody isolates the end, and for what comes from
        its own node, every request passes."""
        limited = asked & self._limited
        free = not isolated and self._options.l7_default_deny_only
        if request is None or not limited or free or self._is_localhost(subject, peer):
            return ANY_REQUEST
        through, untold = ~self._limited, 0
        for index, entry in enumerate(self.entries):
            if limited >> index & 1 and entry.l7 is not None:
                answer = allows(entry.l7, request)
                through |= (answer is True) << index
                untold |= (answer is None) << index
        return Requests(through, untold)

    def _perhaps(
        self,
        subject: Party,
        peer: Party,
        about: Matches,
        means: Matches,
        port: Matches,
        certain: int,
        perhaps: int,
        request: Request | None,
        *,
        may_isolate: bool,
    ) -> Judged:
        isolated = bool(about.certain & self.default_deny) or self._always(subject)
        requests = self._requests(certain | perhaps, subject, peer, request, isolated=isolated)
        endings = possible(self._levels, certain, perhaps, requests)
        verdicts = {Verdict(str(ending)) for ending in endings if ending is not Ending.OPEN}
        if Ending.OPEN in endings:
            if may_isolate:
                verdicts |= {Verdict.ALLOW, Verdict.DENY}
            else:
                verdicts.add(self._undecided(subject, peer, about, isolated=isolated).verdict)
        if verdicts == {Verdict.DENY, Verdict.DENY_L7}:
            return Judged(Verdict.DENY, True)
        if len(verdicts) > 1:
            entries = tuple(self.those(perhaps | (about.perhaps & self.default_deny)))
            reason = self._why(subject, peer, about, means, port, perhaps)
            return Judged(Verdict.UNKNOWN, True, entries, reason=reason)
        # Whatever is not known, the verdict is the same; what is certain explains it as far as it can.
        outcome = settle(self._levels, certain)
        if outcome.effect is not None:
            judged = self._decided(outcome, subject, peer, request, isolated=isolated)
            if not is_reached(self._levels, certain, perhaps, outcome.deciding):
                judged = replace(judged, entries=())
        else:
            judged = self._undecided(subject, peer, about, isolated=isolated)
        return judged if judged.verdict in verdicts else Judged(verdicts.pop(), True, tuple(self.those(perhaps)))

    def _unknown_subject(self, about: Matches) -> Judged:
        if not self.entries or self._options.enforcement is Enforcement.NEVER:
            return _UNPOLICED
        end = "destination" if self.ingress else "source"
        reason = f"the flow does not say what its {end} is"
        return Judged(Verdict.UNKNOWN, False, tuple(self.those(about.certain | about.perhaps)), reason=reason)

    def _why(self, subject: Party, peer: Party, about: Matches, means: Matches, port: Matches, perhaps: int) -> str:
        this, other = ("destination", "source") if self.ingress else ("source", "destination")
        if about.perhaps & perhaps or about.perhaps & self.default_deny & ~about.certain:
            what = "node labels" if subject.is_host else "labels"
            return f"the flow does not carry the {what} of its {this}"
        for index, reason in self._undecidable.items():
            if perhaps & means.perhaps & (1 << index):
                return f"{reason} ({self.entries[index].policy}, {self.entries[index].place})"
        if perhaps & means.perhaps:
            what = "node labels" if "remote-node" in peer.entities else "labels"
            missing = f"the {what} of its {other}" if "unknown" not in peer.entities else f"what its {other} is"
            return f"the flow does not carry {missing}"
        if perhaps & port.perhaps:
            for entry in self.those(perhaps & port.perhaps):
                for named in entry.ports.named:
                    return f"which port `{named.name}` is, only the pods tell ({entry.policy}, {entry.place})"
            return "the flow carries no port"
        return "the flow does not tell enough"

    def those(self, mask: int) -> Iterator[Entry]:
        """The entries of a mask, in order."""
        while mask:
            lowest = mask & -mask
            yield self.entries[lowest.bit_length() - 1]
            mask ^= lowest
