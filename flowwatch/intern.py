"""Every endpoint, address, node and policy once: bytes and strings become small dense numbers.

Downstream of here a flow is a row of numbers. What is new since the last `drain` is handed to the
store, which keeps the numbers' meaning; `restore` reads it back, so that numbers and workload names
survive a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowwatch.codes import Reply
from flowwatch.decode.columns import Columns, split_policies
from flowwatch.growing import GrowingInts
from flowwatch.hubble import flow_pb2
from flowwatch.identity import identity_of, names_in, workload_of
from flowwatch.model import Identity, Kind, Peer
from flowwatch.names import Names
from flowwatch.parties import AddressClass, Parties, one_class

Ints = npt.NDArray[np.int64]

MAX_CACHED_ENDPOINTS = 200_000
"""Distinct endpoint encodings remembered; beyond it the cache starts anew (numbers stay)."""
MAX_CACHED_PEERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One pod (or entity) as flows name it."""

    identity: int
    pod: str
    workload: str
    workload_kind: str


@dataclass(slots=True)
class News:
    """What was interned since the last drain, as rows for the store's dimension tables."""

    nodes: list[tuple[int, str, str]] = field(default_factory=list)
    """(number, cluster, name)."""
    identities: list[tuple[int, Identity]] = field(default_factory=list)
    workloads: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Identities whose workload became known or better known: (name, kind)."""
    peers: list[tuple[int, int, str, str]] = field(default_factory=list)
    """(peer, identity, pod, ip)."""
    policies: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Interned:
    """A batch's dictionary columns as numbers, one element per flow."""

    node: Ints
    source: Ints
    """Peer numbers."""
    destination: Ints
    source_local: Ints
    destination_local: Ints
    health: Ints
    same_endpoint: Ints
    stale_identity: Ints
    """An end is labelled as world although its address is a pod's."""
    allowed_by: Ints
    """Policy-set numbers; 0 is the empty set."""
    denied_by: Ints


class Interner:
    """Hands out the numbers. One thread uses it."""

    def __init__(self, address_class: AddressClass = one_class, clusters: Sequence[str] = ()) -> None:
        """`clusters` names them all where flows come from several: their identities are then told apart."""
        self.parties = Parties(self.identity, address_class)
        self.names = Names()
        self.nodes: dict[tuple[str, str], int] = {}
        self.identities: list[Identity] = []
        self.workloads: list[tuple[str, str]] = []
        self.policies: list[tuple[str, ...]] = [()]
        self._certain: list[bool] = []
        self._identity_numbers: dict[Identity, int] = {}
        self._clusters = frozenset(clusters)
        self._encodings: dict[tuple[str, bytes], tuple[int, str, bool]] = {}
        self._peer_numbers: dict[tuple[int, str, str], int] = {}
        self._policy_numbers: dict[tuple[str, ...], int] = {(): 0}
        self._policy_encodings: dict[bytes, int] = {b"": 0}
        self.peer_identity = GrowingInts()
        self._peer_as_client = GrowingInts()
        self._peer_as_server = GrowingInts()
        self._peer_is_stale = GrowingInts()
        self._world_ips: dict[int, str] = {}
        self._world_peers: dict[str, list[int]] = {}
        self._pod_ips: set[str] = set()
        self._next_peer = 0
        self._news = News()
        self.newborn: list[tuple[int, int, str]] = []
        """Peers that are new since somebody last emptied the list: (peer, identity, address)."""

    # ── a batch ──────────────────────────────────────────────────────────────────────────────────

    def intern(self, columns: Columns, cluster: str) -> Interned:
        """Number the endpoints, addresses, nodes and policies of a batch that comes from a cluster."""
        source, source_local = self._peers(columns.source, columns.source_ip, cluster)
        destination, destination_local = self._peers(columns.destination, columns.destination_ip, cluster)
        identity = self.peer_identity.values
        is_health = np.array([i.kind is Kind.HEALTH for i in self.identities] or [False])
        is_pod = np.array([i.kind is Kind.POD for i in self.identities] or [False])
        stale = self._peer_is_stale.values
        health = is_health[identity[source]] | is_health[identity[destination]]
        return Interned(
            self._nodes(columns.node, cluster),
            source,
            destination,
            source_local,
            destination_local,
            health.astype(np.int64),
            ((source == destination) & is_pod[identity[source]]).astype(np.int64),
            stale[source] | stale[destination],
            self._policy_sets(columns.allowed_by),
            self._policy_sets(columns.denied_by),
        )

    def parties_of(
        self, columns: Columns, client: Ints, server: Ints, swapped: npt.NDArray[np.bool_]
    ) -> tuple[Ints, Ints]:
        """The ends of the edges that rows of a batch belong to (party numbers): an identity, and for
        servers outside the cluster the name they were looked up by, or else the address."""
        clients = self._peer_as_client.values[client]
        servers = self._peer_as_server.values[server].copy()
        codes, names = _indices(columns.names), columns.names.dictionary.to_pylist()
        is_world = np.array([identity.kind is Kind.WORLD for identity in self.identities] or [False])
        has_name = np.array([bool(name) for name in names] or [False])
        outside = is_world[self.peer_identity.values[server]] & ~swapped
        rows, groups = _distinct(np.flatnonzero(outside & has_name[codes]), server, codes)
        if groups:
            told = [self._named(peer, tuple(names[code].split(","))) for _, peer, code in groups]
            servers[rows.members] = np.array(told, dtype=np.int64)[rows.group]
        if len(self.names):
            identity = self.peer_identity.values[client]
            rows, groups = _distinct(np.flatnonzero(outside & ~has_name[codes]), server, identity)
            if groups:
                learnt = [self._from_answers(peer, who, int(columns.time[row])) for row, peer, who in groups]
                servers[rows.members] = np.array(learnt, dtype=np.int64)[rows.group]
        return clients, servers

    def _named(self, peer: int, told: tuple[str, ...]) -> int:
        return self.parties.named(self.identities[int(self.peer_identity.values[peer])], self._world_ips[peer], told)

    def _from_answers(self, peer: int, client: int, time: int) -> int:
        """A server without a name: by the DNS answers the client's own workload was given, if any."""
        if names_in(self.identities[int(self.peer_identity.values[peer])]):
            return int(self._peer_as_server.values[peer])
        told = self.names.of(client, self._world_ips[peer], time / 1e9)
        return self._named(peer, told) if told else int(self._peer_as_server.values[peer])

    def learn_names(self, columns: Columns, client: Ints) -> None:
        """Learn from the DNS answers of a batch which names their clients know addresses by."""
        ips = columns.dns_ips.dictionary.to_pylist()
        has_ips = np.array([bool(value) for value in ips] or [False])
        codes = _indices(columns.dns_ips)
        answers = np.flatnonzero(has_ips[codes] & (columns.reply == Reply.YES))
        if not len(answers):
            return
        queries, asked = columns.dns_query.dictionary.to_pylist(), _indices(columns.dns_query)
        identity = self.peer_identity.values[client]
        for at in answers.tolist():
            addresses = ips[codes[at]].split(",")
            ttl, now = float(columns.dns_ttl[at]), int(columns.time[at]) / 1e9
            self.names.learn(int(identity[at]), queries[asked[at]], addresses, ttl, now)

    def party(self, number: int) -> Peer:
        """The end of an edge a party number stands for, with its workload as known now."""
        identity, ip, names = self.parties.all[number]
        return Peer(self.identities[identity], self.workloads[identity][0], ip, names)

    def drain(self) -> News:
        """What was interned since the last call."""
        news, self._news = self._news, News()
        return news

    def renew(self) -> None:
        """Make everything interned new again, for a store that has nothing. Peers that were let go of, or
        belong to an earlier run, get another number when they are seen again."""
        self._news = News(
            nodes=[(number, cluster, name) for (cluster, name), number in self.nodes.items()],
            identities=list(enumerate(self.identities)),
            peers=[(number, *key) for key, number in self._peer_numbers.items()],
            policies=[(number, names) for names, number in self._policy_numbers.items() if number],
        )

    # ── one value at a time ──────────────────────────────────────────────────────────────────────

    def node(self, cluster: str, name: str) -> int:
        """The number of a node, by the operator's name of its cluster and its own as flows carry it."""
        number = self.nodes.get((cluster, name))
        if number is None:
            number = self.nodes[cluster, name] = len(self.nodes)
            self._news.nodes.append((number, cluster, name))
        return number

    def identity(self, identity: Identity) -> int:
        """The number of an identity."""
        number = self._identity_numbers.get(identity)
        if number is None:
            number = self._identity_numbers[identity] = len(self.identities)
            self.identities.append(identity)
            self.workloads.append(("", ""))
            self._certain.append(False)
            self._news.identities.append((number, identity))
        return number

    def _nodes(self, column: pa.DictionaryArray, cluster: str) -> Ints:
        numbers = np.array([self.node(cluster, name) for name in column.dictionary.to_pylist()] or [0], dtype=np.int64)
        return numbers[_indices(column)]

    def _peers(self, endpoints: pa.DictionaryArray, addresses: pa.DictionaryArray, cluster: str) -> tuple[Ints, Ints]:
        """Peer numbers and locality for a column of endpoints with their addresses."""
        encodings = [self._endpoint(encoding, cluster) for encoding in endpoints.dictionary.to_pylist()]
        ips = addresses.dictionary.to_pylist()
        codes, width = _indices(endpoints), max(len(ips), 1)
        pairs, inverse = np.unique(codes * width + _indices(addresses), return_inverse=True)
        numbers = np.empty(len(pairs), dtype=np.int64)
        for at, pair in enumerate(pairs.tolist()):
            identity, pod, _ = encodings[pair // width]
            numbers[at] = self._peer(identity, pod, ips[pair % width])
        local = np.array([endpoint[2] for endpoint in encodings] or [False], dtype=np.int64)
        return numbers[inverse], local[codes]

    def _endpoint(self, encoding: bytes, cluster: str) -> tuple[int, str, bool]:
        known = self._encodings.get((cluster, encoding))
        if known is not None:
            return known
        endpoint = flow_pb2.Endpoint.FromString(encoding)
        meaning = identity_of(endpoint)
        if self._clusters and meaning.cluster not in self._clusters:
            # Cilium's own name for the cluster the flow comes from, `default` as often as not, or none.
            meaning = replace(meaning, cluster=cluster)
        identity = self.identity(meaning)
        self._learn_workload(identity, endpoint)
        known = (identity, endpoint.pod_name, endpoint.ID != 0)
        if len(self._encodings) >= MAX_CACHED_ENDPOINTS:
            self._encodings.clear()
        self._encodings[cluster, encoding] = known
        return known

    def _learn_workload(self, identity: int, endpoint: flow_pb2.Endpoint) -> None:
        name, kind, certain = workload_of(endpoint)
        if not name or self._certain[identity] or (self.workloads[identity][0] and not certain):
            return
        self.workloads[identity] = (name, kind)
        self._certain[identity] = certain
        self._news.workloads[identity] = (name, kind)

    def _peer(self, identity: int, pod: str, ip: str) -> int:
        key = (identity, pod, ip)
        number = self._peer_numbers.get(key)
        if number is None:
            if len(self._peer_numbers) >= MAX_CACHED_PEERS:
                self._peer_numbers.clear()
            number = self._next_peer
            self._peer_numbers[key] = number
            self._news.peers.append((number, identity, pod, ip))
            self._add_peer(number, identity, ip)
        return number

    def _add_peer(self, number: int, identity: int, ip: str) -> None:
        self._next_peer = max(self._next_peer, number + 1)
        self.newborn.append((number, identity, ip))
        self.peer_identity.set(number, identity)
        meaning = self.identities[identity]
        if meaning.kind is Kind.WORLD:
            self._peer_as_client.set(number, self.parties.client_outside(ip))
            self._peer_as_server.set(number, self.parties.server_outside(ip, names_in(meaning)))
            self._world_ips[number] = ip
            self._world_peers.setdefault(ip, []).append(number)
            self._peer_is_stale.set(number, int(ip in self._pod_ips))
        else:
            party = self.parties.inside(identity)
            self._peer_as_client.set(number, party)
            self._peer_as_server.set(number, party)
            self._peer_is_stale.set(number, 0)
            if meaning.kind is Kind.POD and ip and ip not in self._pod_ips:
                self._pod_ips.add(ip)
                for stale in self._world_peers.get(ip, ()):
                    self._peer_is_stale.set(stale, 1)

    def _policy_sets(self, column: pa.DictionaryArray) -> Ints:
        numbers = [self._policy_set(joined) for joined in column.dictionary.to_pylist()]
        return np.array(numbers or [0], dtype=np.int64)[_indices(column)]

    def _policy_set(self, joined: bytes) -> int:
        number = self._policy_encodings.get(joined)
        if number is not None:
            return number
        names = tuple(sorted({policy_name(flow_pb2.Policy.FromString(one)) for one in split_policies(joined)}))
        number = self._policy_numbers.get(names)
        if number is None:
            number = self._policy_numbers[names] = len(self.policies)
            self.policies.append(names)
            self._news.policies.append((number, names))
        if len(self._policy_encodings) >= MAX_CACHED_ENDPOINTS:  # the revision is part of the encoding
            self._policy_encodings.clear()
        self._policy_encodings[joined] = number
        return number

    # ── after a restart ──────────────────────────────────────────────────────────────────────────

    def restore(
        self,
        nodes: Iterable[tuple[int, str, str]],
        identities: Iterable[tuple[int, Identity, str, str]],
        policies: Iterable[tuple[int, tuple[str, ...]]],
        next_peer: int,
    ) -> None:
        """Take up the numbers an earlier run stored. Peers are numbered on from `next_peer`."""
        for number, cluster, name in sorted(nodes):
            self.nodes[cluster, name] = number
        for number, identity, workload, kind in sorted(identities, key=lambda row: row[0]):
            if self.identity(identity) != number:
                raise ValueError(f"identity {number} is not in its place")
            self.workloads[number] = (workload, kind)
            self._certain[number] = bool(kind)
        for number, names in sorted(policies):
            if number:
                self._policy_numbers[names] = number
                self.policies.append(names)
        self._next_peer = next_peer
        self.drain()

    def stored_party(self, identity: int, ip: str, names: tuple[str, ...], server: bool) -> int:
        """The number of a stored edge's end."""
        outside = self.identities[identity].kind is Kind.WORLD
        return self.parties.stored(identity, ip, names, outside, server)


def policy_name(policy: flow_pb2.Policy) -> str:
    """A policy as people name it: `CiliumNetworkPolicy:shop/checkout`."""
    place = f"{policy.namespace}/{policy.name}" if policy.namespace else policy.name
    return f"{policy.kind}:{place}" if policy.kind else place


def _indices(column: pa.DictionaryArray) -> Ints:
    return np.asarray(column.indices.to_numpy(zero_copy_only=False)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a batch, and the group each of them is in."""

    members: Ints
    group: Ints


def _distinct(rows: Ints, first: Ints, second: Ints) -> tuple[_Rows, list[tuple[int, int, int]]]:
    """Group rows by two numbers; of each group: (one of its rows, first number, second number)."""
    if not len(rows):
        return _Rows(rows, rows), []
    width = int(second[rows].max()) + 1
    keys, at, group = np.unique(first[rows] * width + second[rows], return_index=True, return_inverse=True)
    return _Rows(rows, group), [
        (int(row), key // width, key % width) for row, key in zip(rows[at], keys.tolist(), strict=True)
    ]
