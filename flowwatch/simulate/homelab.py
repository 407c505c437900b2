"""What `homelab.yaml` says, as values: machines, components, and who is declared to reach whom.

The file ships with the package and was written from a real homelab's policy document, row by row.
This module reads it and knows nothing of pods, addresses or traffic.

Left out of the declared traffic, because the document contradicts itself there or names no peer:
`sensor (talos-build) → workflows-server` (the server's row does not list it), Tetragon, Cilium and
the other hostNetwork components (they are nodes to the network), and whoever is behind the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from flowwatch.model import Protocol

CLUSTER_NAME = "default"
_SECTIONS = ("nodes", "lookups")
_PORT = re.compile(r"(\d+)(?:/(TCP|UDP|HTTP))?")


@dataclass(frozen=True, slots=True)
class Port:
    """A declared port; `http`: the connection passes the HTTP proxy."""

    number: int
    protocol: Protocol
    http: bool = False


@dataclass(frozen=True, slots=True)
class Declaration:
    """Some peers on some ports, as written in one line."""

    peers: tuple[str, ...]
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """One node of the cluster."""

    name: str
    address: str
    control_plane: bool


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """One component: what its pods look like to policies, and what is declared for them.

    `labels` are the complete identity labels as Hubble prints them, sorted. `replicas` 0 stands
    for one pod on every node; `nodes` empty for the workers in turn.
    """

    namespace: str
    name: str
    kind: str
    workload: str
    labels: tuple[str, ...]
    policy: str
    replicas: int = 1
    nodes: tuple[str, ...] = ()
    probes: tuple[int, ...] = ()
    egress: tuple[Declaration, ...] = ()
    ingress: tuple[Declaration, ...] = ()
    governed: bool = True
    denies_world: bool = False

    @property
    def ref(self) -> str:
        """`namespace/component`, as declarations call it."""
        return f"{self.namespace}/{self.name}"

    @property
    def title(self) -> str:
        """`namespace/workload`, as findings call it."""
        return f"{self.namespace}/{self.workload}"


@dataclass(frozen=True, slots=True)
class Homelab:
    """The whole file. `lookups` gives the names looked up for a pattern, or by a component the world is open to."""

    machines: tuple[Machine, ...]
    components: Mapping[str, Component]
    lookups: Mapping[str, tuple[str, ...]]


def read_homelab(cluster: str = CLUSTER_NAME) -> Homelab:
    """The cluster that ships with the package, under a name."""
    text = resources.files("flowwatch.simulate").joinpath("homelab.yaml").read_text(encoding="utf-8")
    document: dict[str, dict[str, Any]] = yaml.safe_load(text)
    machines = tuple(
        Machine(name, entry["address"], entry.get("control-plane", False)) for name, entry in document["nodes"].items()
    )
    components = {component.ref: component for component in _components(document, cluster)}
    lookups = {pattern: tuple(names.split()) for pattern, names in document["lookups"].items()}
    return Homelab(machines, components, lookups)


def _components(document: Mapping[str, Mapping[str, Any]], cluster: str) -> Iterator[Component]:
    for namespace, entries in document.items():
        if namespace in _SECTIONS:
            continue
        for name, entry in entries.items():
            yield _component(namespace, name, entry, cluster)


def _component(namespace: str, name: str, entry: Mapping[str, Any], cluster: str) -> Component:
    kind, _, workload = entry["workload"].partition("/")
    replicas = entry.get("replicas", 1)
    return Component(
        namespace=namespace,
        name=name,
        kind=kind,
        workload=workload,
        labels=_labels(namespace, entry.get("account", workload), entry["labels"], cluster),
        policy=entry.get("policy", name),
        replicas=0 if replicas == "nodes" else replicas,
        nodes=tuple(entry.get("nodes", ())),
        probes=tuple(entry.get("probes", ())),
        egress=_declarations(entry.get("egress", {}), f"{namespace}/{name}"),
        ingress=_declarations(entry.get("ingress", {}), f"{namespace}/{name}"),
        governed=not entry.get("ungoverned", False),
        denies_world=entry.get("denies") == "world",
    )


def _labels(namespace: str, account: str, labels: Mapping[str, str], cluster: str) -> tuple[str, ...]:
    """The component's labels with those Cilium adds to every pod."""
    added = {
        "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": namespace,
        "io.cilium.k8s.policy.cluster": cluster,
        "io.cilium.k8s.policy.serviceaccount": account,
        "io.kubernetes.pod.namespace": namespace,
    }
    return tuple(sorted(f"k8s:{key}={value}" for key, value in {**labels, **added}.items()))


def _declarations(entry: Mapping[Any, Any], own: str) -> tuple[Declaration, ...]:
    return tuple(
        Declaration(tuple(own if peer == "self" else peer for peer in str(peers).split()), _ports(str(ports)))
        for peers, ports in entry.items()
    )


def _ports(text: str) -> tuple[Port, ...]:
    ports = []
    for word in text.split():
        match = _PORT.fullmatch(word)
        if match is None:
            raise ValueError(f"homelab.yaml: {word!r} is not a port")
        protocol = Protocol.UDP if match[2] == "UDP" else Protocol.TCP
        ports.append(Port(int(match[1]), protocol, match[2] == "HTTP"))
    return tuple(ports)
