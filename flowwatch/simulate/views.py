"""How an endpoint looks from a node: only a node's own pods have an endpoint id and workloads there.

Identities of names and addresses are numbers private to each node, given out in the order in which
they are first needed, as Cilium does; a run of the simulation therefore has its own `Views`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from flowwatch.hubble import flow_pb2
from flowwatch.simulate.cluster import Cluster, Gateway, Health, Host, Node, Outside, Party, Pod

_FIRST_LOCAL_IDENTITY = 1 << 24
_HOST, _HEALTH, _REMOTE_NODE, _KUBE_APISERVER, _INGRESS, _WORLD_IPV4, _WORLD_IPV6 = 1, 4, 6, 7, 8, 9, 10


class Views:
    """The endpoints of flows, as each node describes them, serialised once."""

    def __init__(self, cluster: Cluster) -> None:
        self._patterns = {node: cluster.patterns_on(node) for node in cluster.nodes}
        self._identities: dict[Node, dict[tuple[str, ...], int]] = {node: {} for node in cluster.nodes}
        self.serialized = lru_cache(maxsize=16384)(self._serialize)
        """`serialized(party, node, names)`: the `flow.Endpoint` on the wire."""

    def _serialize(self, party: Party, node: Node, names: tuple[str, ...]) -> bytes:
        return self.endpoint(party, node, names).SerializeToString()

    def endpoint(self, party: Party, node: Node, names: tuple[str, ...] = ()) -> flow_pb2.Endpoint:
        """The endpoint as `node` reports it; `names` are the DNS names it was looked up by there."""
        match party:
            case Pod():
                return _pod(party, node)
            case Host():
                return _host(party, node)
            case Gateway():
                return flow_pb2.Endpoint(identity=_INGRESS, labels=["reserved:ingress"])
            case Health():
                endpoint = flow_pb2.Endpoint(identity=_HEALTH, labels=["reserved:health"])
                endpoint.ID = 63 if party.node == node else 0
                return endpoint
            case Outside():
                return self._outside(party, node, names)

    def _outside(self, party: Outside, node: Node, names: tuple[str, ...]) -> flow_pb2.Endpoint:
        world = "reserved:world-ipv6" if party.v6 else "reserved:world-ipv4"
        labels = [f"cidr:{pattern}/32" for pattern in self._patterns[node] if pattern == party.ip]
        labels += [f"fqdn:{pattern}" for pattern in self._patterns[node] if any(_fits(name, pattern) for name in names)]
        if not labels:
            return flow_pb2.Endpoint(identity=_WORLD_IPV6 if party.v6 else _WORLD_IPV4, labels=[world])
        known = self._identities[node]
        key = (*sorted(labels), world)
        number = known.setdefault(key, _FIRST_LOCAL_IDENTITY + 1 + len(known))
        return flow_pb2.Endpoint(identity=number, labels=key)


def _pod(pod: Pod, node: Node) -> flow_pb2.Endpoint:
    component = pod.component
    endpoint = flow_pb2.Endpoint(
        identity=pod.identity,
        namespace=component.namespace,
        labels=component.labels,
        pod_name=pod.name,
        cluster_name=pod.node.cluster,
    )
    if pod.node == node:
        endpoint.ID = pod.endpoint
        endpoint.workloads.add(name=component.workload, kind=component.kind)
    return endpoint


def _host(host: Host, node: Node) -> flow_pb2.Endpoint:
    own, api = host.node == node, host.node.control_plane
    if own:
        labels = ["reserved:host", "reserved:kube-apiserver"] if api else ["reserved:host"]
        return flow_pb2.Endpoint(identity=_HOST, labels=labels)
    if api:
        return flow_pb2.Endpoint(identity=_KUBE_APISERVER, labels=["reserved:kube-apiserver", "reserved:remote-node"])
    return flow_pb2.Endpoint(identity=_REMOTE_NODE, labels=["reserved:remote-node"])


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", "[-a-z0-9_]*"))


def _fits(name: str, pattern: str) -> bool:
    """Whether a name is matched by a `toFQDNs` pattern, whose `*` does not cross a dot."""
    return _pattern(pattern).fullmatch(name) is not None
