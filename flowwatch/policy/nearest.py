"""The entry that comes closest to allowing what an end's policies do not allow, and in what it differs.

Closest means: it agrees in as many of subject, peer and port as possible, both ends before the port. Among equals,
what differs should at least be of the same sort, in the same namespace, about the same port.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowwatch.policy.entries import Addresses, Entity, Entry, Labels, Name, Nodes, Peers, Ports, Subject
from flowwatch.policy.index import Matches
from flowwatch.policy.judging import Direction
from flowwatch.policy.parties import Party
from flowwatch.selectors import NAMESPACE_LABEL, Operator, Requirement

_MOST = 200
"""How many entries are compared before the best of them will do."""
_OTHER_PROTOCOL = 65_536
_FAR = 10 * _OTHER_PROTOCOL


@dataclass(frozen=True, slots=True)
class Near:
    """An entry, and which of `source`, `destination` and `port` it differs in."""

    entry: Entry
    differs: tuple[str, ...]


def nearest(
    direction: Direction, subject: Party, peer: Party, masks: tuple[Matches, Matches, Matches], protocol: int, port: int
) -> Near | None:
    """The nearest entry that allows something, given the entries about the subject, those that mean the peer and those
    that mean the port; None where none agrees in any end."""
    this, other = ("destination", "source") if direction.ingress else ("source", "destination")
    about, means, ports = (mask.certain & direction.allowing for mask in masks)
    for candidates, differs in (
        (about & means, ("port",)),
        (about & ports, (other,)),
        (means & ports, (this,)),
        (about, (other, "port")),
        (means, (this, "port")),
    ):
        best: tuple[tuple[int, int, int], Entry] | None = None
        for number, entry in enumerate(direction.those(candidates)):
            score = (
                _unlike(entry.peers, peer) if other in differs else 0,
                _unlike_subject(entry.subject, subject) if this in differs else 0,
                _distance(entry.ports, protocol, port) if "port" in differs else 0,
            )
            if best is None or score < best[0]:
                best = score, entry
            if number >= _MOST:
                break
        if best is not None:
            return Near(best[1], tuple(part for part in ("source", "destination", "port") if part in differs))
    return None


def _unlike_subject(subject: Subject, party: Party) -> int:
    return _unlike_labels(subject.requirements, party)


def _unlike_labels(requirements: tuple[Requirement, ...], party: Party) -> int:
    namespaces = [one for one in requirements if one.key == NAMESPACE_LABEL and one.operator is Operator.IN]
    return 0 if any(party.namespace in one.values for one in namespaces) else 1


def _unlike(peers: tuple[Peers, ...] | None, party: Party) -> int:
    return min((_unlike_one(peer, party) for peer in peers or ()), default=3)


def _unlike_one(peer: Peers, party: Party) -> int:
    if isinstance(peer, Labels):
        return _unlike_labels(peer.requirements, party) if party.is_pod else 3
    if party.is_world:
        if isinstance(peer, Name):
            return 0 if party.names else 1
        return 1 if isinstance(peer, Addresses) else 2
    if isinstance(peer, (Entity, Nodes)):
        return 2 if party.is_pod else 0
    return 3


def _distance(ports: Ports, protocol: int, port: int) -> int:
    return min(
        (
            max(span.first - port, port - span.last, 0) + (0 if span.protocol == protocol else _OTHER_PROTOCOL)
            for span in ports.spans
        ),
        default=_FAR,
    )
