"""A deliberately naive judge: one rule after the other, every peer by hand, nothing compiled.

It is written from the description of the format alone and shares no code with the real one
beyond the values both speak about.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from flowwatch.allowlist.rules import Declaration, Entity, External, Operator, Pods, PortSet, Requirement, Rule, Same
from flowwatch.allowlist.rules import Selector as AnySelector
from flowwatch.model import Declared, Edge, Identity, Kind, Peer, Protocol

NODES_AND_OTHERS = ("host", "remote-node", "kube-apiserver", "ingress", "health", "init", "unmanaged")
WORLDS = ("world", "world-ipv4", "world-ipv6")


def judged(declaration: Declaration, edge: Edge, now: float, cluster: str = "") -> tuple[Declared, int]:
    """What is to be said of an edge, and the first rule that declares it (-1: none)."""
    hits = [rule.id for rule in declaration.rules if declares(rule, edge, now, cluster)]
    ends = (edge.source.identity, edge.destination.identity)
    if not any(may_be_governed(declaration, identity) for identity in ends):
        return Declared.UNGOVERNED, -1
    if hits:
        return Declared.YES, hits[0]
    if any(identity.kind is Kind.UNKNOWN or (identity.kind is Kind.POD and not identity.labels) for identity in ends):
        return Declared.UNKNOWN, -1
    if edge.protocol is Protocol.NONE and any(
        is_alive(rule, now) and joins(rule, edge, cluster) for rule in declaration.rules
    ):
        return Declared.UNKNOWN, -1
    return Declared.NO, -1


def may_be_governed(declaration: Declaration, identity: Identity) -> bool:
    """Whether an identity is, or could be, a pod of a governed namespace."""
    if identity.kind is Kind.UNKNOWN:
        return True
    return identity.kind is Kind.POD and (declaration.governs is None or identity.namespace in declaration.governs)


def declares(rule: Rule, edge: Edge, now: float, cluster: str = "") -> bool:
    """Whether a rule declares an edge."""
    return is_alive(rule, now) and joins(rule, edge, cluster) and covers(rule.ports, edge.protocol, edge.port)


def is_alive(rule: Rule, now: float) -> bool:
    """Whether a rule still holds: until the end of its last day."""
    return rule.expires is None or datetime.fromtimestamp(now, UTC).date() <= rule.expires


def joins(rule: Rule, edge: Edge, cluster: str) -> bool:
    """Whether a rule means both ends of an edge."""
    for source in rule.sources:
        for destination in rule.destinations:
            if isinstance(destination, Same):
                if belong_together(source, edge, cluster):
                    return True
            elif isinstance(source, Same):
                if belong_together(destination, edge, cluster):
                    return True
            elif means(source, edge.source, cluster) and means(destination, edge.destination, cluster):
                return True
    return False


def is_hint(rule: Rule, differs: tuple[str, ...]) -> bool:
    """Whether a rule that differs in these parts is worth naming: unless source and port agree, or both ends
    do, the end that agrees must not be everybody."""
    if differs in (("port",), ("destination",)):
        return True
    end = rule.destinations if differs[0] == "source" else rule.sources
    return all(is_spelt_out(selector) for selector in end)


def is_spelt_out(selector: AnySelector) -> bool:
    """Whether a selector means some in particular, and not everybody of a kind."""
    if isinstance(selector, Pods):
        return bool(selector.requirements)
    if isinstance(selector, External):
        return bool(selector.patterns) or any(not cidr.endswith("/0") for cidr in selector.cidrs)
    return isinstance(selector, Entity) and selector.name not in ("all", "cluster", "world")


def belong_together(workload: AnySelector, edge: Edge, cluster: str) -> bool:
    """Whether both ends are of the workload that a selector stands for."""
    if not isinstance(workload, Pods):
        return False
    if not (means(workload, edge.source, cluster) and means(workload, edge.destination, cluster)):
        return False
    if workload.requirements:
        return True
    one, other = edge.source, edge.destination
    if (one.identity.cluster, one.identity.namespace) != (other.identity.cluster, other.identity.namespace):
        return False
    return one.identity.labels == other.identity.labels or one.workload == other.workload != ""


def covers(ports: PortSet, protocol: int, port: int) -> bool:
    """Whether ports hold a port."""
    if ports.everything:
        return True
    return any(span.protocol == protocol and span.first <= port <= span.last for span in ports.ranges)


def means(selector: AnySelector, peer: Peer, cluster: str = "") -> bool:
    """Whether a selector means a peer."""
    if isinstance(selector, Entity):
        return is_member(selector.name, peer.identity, cluster)
    if isinstance(selector, External):
        return is_member("world", peer.identity, cluster) and (has_name(selector, peer) or has_address(selector, peer))
    return isinstance(selector, Pods) and is_one_of(selector, peer.identity, cluster)


def is_member(entity: str, identity: Identity, cluster: str) -> bool:
    """Whether an entity contains an identity."""
    reserved = {label.partition(":")[2] for label in identity.labels if label.startswith("reserved:")}
    reserved.add(identity.kind.value)
    if entity == "all":
        return True
    if entity == "world":
        return any(name in reserved for name in WORLDS)
    if entity == "cluster":
        is_pod_here = identity.kind is Kind.POD and not is_foreign(identity, cluster)
        return is_pod_here or any(name in reserved for name in NODES_AND_OTHERS)
    return entity in reserved


def is_foreign(identity: Identity, cluster: str) -> bool:
    """Whether an identity is known to be of another cluster."""
    return bool(cluster) and identity.cluster not in ("", cluster)


def is_one_of(pods: Pods, identity: Identity, cluster: str) -> bool:
    """Whether an identity is one of the pods."""
    names_cluster = any(requirement.key == "io.cilium.k8s.policy.cluster" for requirement in pods.requirements)
    return (
        identity.kind is Kind.POD
        and pods.namespace in ("", identity.namespace)
        and (names_cluster or not is_foreign(identity, cluster))
        and (bool(identity.labels) or not pods.requirements)
        and all(is_met(requirement, identity) for requirement in pods.requirements)
    )


def is_met(requirement: Requirement, identity: Identity) -> bool:
    """Whether an identity meets a requirement."""
    values: list[str] = []
    for label in (*identity.labels, f"k8s:io.kubernetes.pod.namespace={identity.namespace}"):
        source, rest = label.split(":", 1)
        key, value = rest.split("=", 1) if "=" in rest else (rest, "")
        if key == requirement.key and requirement.source in ("", source):
            values.append(value)
    match requirement.operator:
        case Operator.IN:
            return any(value in requirement.values for value in values)
        case Operator.NOT_IN:
            return all(value not in requirement.values for value in values)
        case Operator.EXISTS:
            return bool(values)
        case Operator.DOES_NOT_EXIST:
            return not values


def has_name(external: External, peer: Peer) -> bool:
    """Whether an external goes by a name of a peer; the names Cilium knows count where there is none."""
    if peer.names:
        return any(fits(pattern, name.lower()) for pattern in external.patterns for name in peer.names)
    labelled = [label.removeprefix("fqdn:") for label in peer.identity.labels if label.startswith("fqdn:")]
    return any(
        pattern == name or ("*" not in name and fits(pattern, name))
        for pattern in external.patterns
        for name in labelled
    )


def fits(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern, label by label."""
    if not pattern.strip("*"):
        return True
    if pattern.startswith("**."):
        labels = name.split(".")
        return any(fits_labels(pattern[3:].split("."), labels[skip:]) for skip in range(1, len(labels)))
    return fits_labels(pattern.split("."), name.split("."))


def fits_labels(pattern: list[str], name: list[str]) -> bool:
    """Whether as many labels fit one by one."""
    return len(pattern) == len(name) and all(fits_label(*pair) for pair in zip(pattern, name, strict=True))


def fits_label(pattern: str, label: str) -> bool:
    """Whether one label fits, `*` standing for any part of it."""
    if not pattern:
        return not label
    if pattern[0] == "*":
        return fits_label(pattern[1:], label) or (bool(label) and fits_label(pattern, label[1:]))
    return bool(label) and pattern[0] == label[0] and fits_label(pattern[1:], label[1:])


def has_address(external: External, peer: Peer) -> bool:
    """Whether an external's ranges, less the exceptions, hold the address of a peer."""
    if not peer.ip:
        return False
    address = ipaddress.ip_address(peer.ip)
    inside = any(address in ipaddress.ip_network(cidr) for cidr in external.cidrs)
    return inside and not any(address in ipaddress.ip_network(cidr) for cidr in external.exceptions)
