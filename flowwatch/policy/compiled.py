"""Policies in the form in which connections are held against them.

Both ends and both directions at once: what is found out about one end is remembered, so that the same end twice costs
one look-up. Knows nothing of how policies are written.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowwatch.memo import Memo
from flowwatch.model import Edge, Peer
from flowwatch.policy.index import Matches
from flowwatch.policy.judging import Direction, Judged
from flowwatch.policy.l7 import Request
from flowwatch.policy.nearest import Near, nearest
from flowwatch.policy.objects import Objects
from flowwatch.policy.parties import Party, party_of
from flowwatch.policy.resolve import Resolver


@dataclass(frozen=True, slots=True)
class SideJudgements:
    """The answers for both ends of an edge: the source's egress and the destination's ingress."""

    egress: Judged
    ingress: Judged


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of one end: its part in policies about it, and in those that mean it as a peer."""

    party: Party
    about: tuple[Matches, Matches]
    means: tuple[Matches, Matches]


class PolicySet:
    """All policies together. `cluster` names the local cluster (empty: clusters are not told apart); `complete`
    says that the objects read are all there are, so that a name without object stands for nothing."""

    def __init__(self, objects: Objects, *, cluster: str = "", complete: bool = False) -> None:
        self.options = options = objects.options
        self.cluster = cluster
        self.objects = objects
        resolver = Resolver(objects, options, complete=complete)
        ordered = sorted(objects.entries, key=lambda entry: (entry.tier, entry.order))
        self.egress = Direction([one for one in ordered if not one.ingress], resolver, options, ingress=False)
        self.ingress = Direction([one for one in ordered if one.ingress], resolver, options, ingress=True)
        self._memo: Memo[Peer, Seen] = Memo()

    def see(self, party: Party) -> Seen:
        """Everything about one end that does not depend on the other."""
        return Seen(
            party,
            (self.egress.subject(party), self.ingress.subject(party)),
            (self.egress.peer(party, self.cluster), self.ingress.peer(party, self.cluster)),
        )

    def of_peer(self, peer: Peer) -> Seen:
        """What is remembered of an end of an edge."""
        found = self._memo.get(peer)
        return self._memo.put(peer, self.see(party_of(peer, self.cluster))) if found is None else found

    def judge(self, edge: Edge, now: float = 0.0) -> SideJudgements:  # noqa: ARG002 - policies do not expire
        """What the policies about its source and its destination say of an edge."""
        source, destination = self.of_peer(edge.source), self.of_peer(edge.destination)
        return SideJudgements(*self.answer(source, destination, int(edge.protocol), edge.port))

    def answer(
        self, source: Seen, destination: Seen, protocol: int, port: int, request: Request | None = None
    ) -> tuple[Judged, Judged]:
        """The egress and the ingress answer for a connection of a protocol to a port (of ICMP: a type)."""
        server = destination.party
        egress = self.egress.judge(
            source.party,
            server,
            source.about[0],
            destination.means[0],
            self.egress.port(protocol, port, server),
            request,
        )
        ingress = self.ingress.judge(
            server,
            source.party,
            destination.about[1],
            source.means[1],
            self.ingress.port(protocol, port, server),
            request,
        )
        return egress, ingress

    def near(self, edge: Edge, *, ingress: bool) -> Near | None:
        """The entry that comes closest to allowing an edge, for the side that does not allow it."""
        source, destination = self.of_peer(edge.source), self.of_peer(edge.destination)
        direction = self.ingress if ingress else self.egress
        subject, peer = (destination, source) if ingress else (source, destination)
        port = direction.port(int(edge.protocol), edge.port, destination.party)
        masks = (subject.about[ingress], peer.means[ingress], port)
        return nearest(direction, subject.party, peer.party, masks, int(edge.protocol), edge.port)

    def address_class(self, address: tuple[int, int]) -> tuple[int, int]:
        """Equal for addresses outside the cluster that no policy tells apart, as a client and as a server."""
        source, destination = self.ingress.of_address(address), self.egress.of_address(address)
        family = 2 if address[0] == 6 else 1
        if self.ingress.goes_by_family:
            source = source << 2 | family
        if self.egress.goes_by_family:
            destination = destination << 2 | family
        return source, destination
