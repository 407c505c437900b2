"""Short ways to write policies and ends of connections."""

from __future__ import annotations

from flowwatch.errors import Problem
from flowwatch.model import Edge, Identity, Kind, Peer, Protocol
from flowwatch.policy.compiled import PolicySet
from flowwatch.policy.objects import Objects, read_objects, unpack
from flowwatch.policy.options import DECLARED, Options
from flowwatch.yamlmarks import load_documents

HEADERS = {
    "cnp": "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, namespace: shop}\n",
    "ccnp": "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\n",
    "knp": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n",
    "kcnp": "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n",
    "anp": "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: p}\n",
}


def read_text(text: str, options: Options = DECLARED) -> Objects:
    """Everything in a text of YAML documents, with what is wrong with it."""
    loaded = load_documents(text, "policies.yaml")
    objects = read_objects((one for document in loaded.documents for one in unpack(document)), options)
    objects.problems = loaded.problems + objects.problems
    return objects


def policy(kind: str, spec: str, name: str = "p") -> str:
    """A document of a kind with its spec in flow style."""
    return HEADERS[kind].replace("name: p", f"name: {name}") + f"spec: {spec}\n"


def policies(*documents: str, options: Options = DECLARED, cluster: str = "") -> PolicySet:
    """The compiled policies of some documents, which must be sound."""
    objects = read_text("---\n".join(documents), options)
    assert objects.problems == []
    return PolicySet(objects, cluster=cluster)


def problems(kind: str, spec: str, options: Options = DECLARED) -> list[Problem]:
    """What is wrong with one document."""
    return read_text(policy(kind, spec), options).problems


def pod(namespace: str, cluster: str = "here", **labels: str) -> Peer:
    """A pod as flows tell of it."""
    every = {
        "io.kubernetes.pod.namespace": namespace,
        "io.cilium.k8s.policy.cluster": cluster,
        "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": namespace,
        **labels,
    }
    found = tuple(sorted(f"k8s:{key}={value}" for key, value in every.items()))
    return Peer(Identity(Kind.POD, cluster, namespace, found), labels.get("app", ""))


def entity(name: str, *others: str) -> Peer:
    """A peer of reserved labels."""
    return Peer(Identity(Kind(name), "", "", tuple(sorted(f"reserved:{one}" for one in (name, *others)))))


def world(ip: str = "", *names: str) -> Peer:
    """An address outside the cluster."""
    return Peer(Identity(Kind.WORLD, "", "", ("reserved:world",)), "", ip, tuple(sorted(names)))


UNKNOWN = Peer(Identity(Kind.UNKNOWN, "", "", ()))


def edge(source: Peer, destination: Peer, port: int = 80, protocol: Protocol = Protocol.TCP) -> Edge:
    """A connection."""
    return Edge(source, destination, protocol, port)
