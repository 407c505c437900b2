"""Policies as written, turned into entries: sections 2, 6, 7 and 9 of the semantics document.

An entry is one rule of one policy in one direction. A policy the cluster would reject yields none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.support.policy_oracle_labels import (
    Need,
    cnp_subject,
    kubernetes_pods,
    needs,
    with_local_cluster,
)
from tests.support.policy_oracle_peers import EVERYTHING, Peer, cilium_peers, network, node_peer
from tests.support.policy_oracle_ports import (
    ANY,
    Port,
    cilium_ports,
    cluster_ports,
    kubernetes_ports,
)
from tests.support.policy_oracle_rejects import known_fields, rejected

ADMIN, NORMAL, BASELINE = 100, 200, 250


@dataclass(frozen=True)
class Entry:
    """One rule: whom it is about, in which direction, and what it says; `ports` of None is every protocol."""

    by: str
    direction: str
    action: str
    subject: list[Need]
    on_node: bool
    default_deny: bool
    peers: list[Peer]
    ports: list[Port] | None
    tier: int = NORMAL
    priority: tuple[int, int] = (0, 0)


def entries_of(scenario: dict[str, Any]) -> list[Entry]:
    """§1, all policy entries from every object; an object that is rejected gives none (§2, below the table)."""
    result: list[Entry] = []
    for policy in scenario["policies"]:
        if rejected(policy, scenario.get("config") or {}):
            continue
        kind = policy["kind"]
        if kind == "NetworkPolicy":
            result += network_policy(policy)
        elif kind == "ClusterNetworkPolicy":
            result += cluster_network_policy(policy)
        else:
            result += cilium_policy(policy, scenario)
    return result


def name_of(policy: dict[str, Any]) -> str:
    """README of the probes: `Kind:namespace/name`, with an empty namespace for what is cluster-wide."""
    meta = policy["metadata"]
    clusterwide = policy["kind"] not in {"NetworkPolicy", "CiliumNetworkPolicy"}
    return f"{policy['kind']}:{'' if clusterwide else namespace_of(policy)}/{meta['name']}"


def namespace_of(policy: dict[str, Any]) -> str:
    """Kubernetes: an object without a namespace is in `default`."""
    return policy["metadata"].get("namespace") or "default"


def cilium_policy(policy: dict[str, Any], scenario: dict[str, Any]) -> list[Entry]:
    """§2, below the table: `spec` and every member of `specs` apply, each on its own."""
    result: list[Entry] = []
    for spec in [policy.get("spec"), *(policy.get("specs") or [])]:
        if spec is not None:
            result += cilium_spec(policy, spec, scenario)
    return result


def cilium_spec(policy: dict[str, Any], spec: dict[str, Any], scenario: dict[str, Any]) -> list[Entry]:
    """§2 row 1 and §1: every rule, `{}` included, is an entry, so selecting the subject isolates it."""
    namespace = namespace_of(policy) if policy["kind"] == "CiliumNetworkPolicy" else None
    on_node = spec.get("nodeSelector") is not None
    chosen = spec["nodeSelector"] if on_node else spec["endpointSelector"]
    subject = needs(chosen, cilium=True) if namespace is None else cnp_subject(chosen, namespace)
    is_init = any(need.source == "reserved" and need.key == "init" for need in subject)
    result = []
    for section, direction, action in (
        ("ingress", "ingress", "allow"),
        ("ingressDeny", "ingress", "deny"),
        ("egress", "egress", "allow"),
        ("egressDeny", "egress", "deny"),
    ):
        for written in spec.get(section) or []:
            rule = known_fields(written, section)
            side = "from" if direction == "ingress" else "to"
            result.append(
                Entry(
                    by=name_of(policy),
                    direction=direction,
                    action=action,
                    subject=subject,
                    on_node=on_node,
                    default_deny=asks_default_deny(spec, direction, scenario.get("config") or {}),
                    peers=cilium_peers(rule, side, namespace, is_init, scenario),
                    ports=cilium_ports(rule),
                )
            )
    return result


def asks_default_deny(spec: dict[str, Any], direction: str, config: dict[str, Any]) -> bool:
    """§1, enableDefaultDeny unset is true where the direction has a rule; the agent flag makes all of them true."""
    if config.get("non_default_deny_off"):
        return True
    said = (spec.get("enableDefaultDeny") or {}).get(direction)
    return True if said is None else bool(said)


def directions_of(spec: dict[str, Any]) -> list[str]:
    """§6, policyTypes absent is Ingress always and Egress iff `egress` has a rule."""
    types = spec.get("policyTypes")
    if types:
        return [direction for direction in ("ingress", "egress") if direction.capitalize() in types]
    return ["ingress", "egress"] if spec.get("egress") else ["ingress"]


def network_policy(policy: dict[str, Any]) -> list[Entry]:
    """§6, each direction isolates by itself; rules of a direction outside policyTypes are enforced as Cilium does."""
    spec = policy.get("spec") or {}
    namespace = namespace_of(policy)
    subject = kubernetes_pods(None, spec.get("podSelector"), namespace)
    result = []
    for direction in ("ingress", "egress"):
        rules = spec.get(direction) or []
        pairs: list[tuple[list[Peer], list[Port] | None]] = []
        for rule in rules:
            peers = rule.get("from" if direction == "ingress" else "to")
            pairs.append((network_policy_peers(peers, namespace), kubernetes_ports(rule.get("ports"))))
        if not rules and direction in directions_of(spec):
            pairs = [([], None)]
        for found, ports in pairs:
            result.append(Entry(name_of(policy), direction, "allow", subject, False, True, found, ports))
    return result


def network_policy_peers(peers: list[dict[str, Any]] | None, namespace: str) -> list[Peer]:
    """§2, column KNP: no peers and an empty list are everyone; §6, two members are ORed; §4.2 for ipBlock."""
    if not peers:
        return [EVERYTHING]
    result: list[Peer] = []
    for peer in peers:
        block = peer.get("ipBlock")
        if block:
            result.append(("cidr", network(block["cidr"]), [network(text) for text in block.get("except") or []]))
        else:
            pods = kubernetes_pods(peer.get("namespaceSelector"), peer.get("podSelector"), namespace)
            result.append(("labels", with_local_cluster(pods)))
    return result


def cluster_network_policy(policy: dict[str, Any]) -> list[Entry]:
    """§9, never isolates; ordered by tier, priority, and place in the list."""
    spec = policy["spec"]
    subject = cluster_pods(spec["subject"])
    tier = ADMIN if spec["tier"] == "Admin" else BASELINE
    result = []
    for direction in ("ingress", "egress"):
        for place, rule in enumerate(spec.get(direction) or []):
            action = {"Accept": "allow", "Deny": "deny", "Pass": "pass"}[rule["action"]]
            peers = rule.get("from" if direction == "ingress" else "to")
            ports = cluster_ports(rule.get("protocols"))
            triples = [(action, cluster_peers(peers), ports)]
            triples += [("allow", found, l4) for found, l4 in domain_dns(rule)]
            if action != "allow" and any(not is_known_peer(peer) for peer in peers or []):
                triples.append(("deny", [EVERYTHING], ports))
            priority = (spec["priority"], place)
            for what, found, l4 in triples:
                result.append(Entry(name_of(policy), direction, what, subject, False, False, found, l4, tier, priority))
    return result


def cluster_pods(chosen: dict[str, Any]) -> list[Need]:
    """§9, `namespaces` xor `pods`."""
    if chosen.get("pods") is not None:
        return kubernetes_pods(chosen["pods"].get("namespaceSelector") or {}, chosen["pods"].get("podSelector"), None)
    return kubernetes_pods(chosen["namespaces"], None, None)


def is_known_peer(peer: dict[str, Any]) -> bool:
    """§9, a peer nobody knows fails closed: an Accept skips it, a Deny denies everyone, and so does a Pass."""
    return any(peer.get(kind) is not None for kind in ("pods", "namespaces", "networks", "nodes", "domainNames"))


def cluster_peers(peers: list[dict[str, Any]] | None) -> list[Peer]:
    """§9, the peers of a ClusterNetworkPolicy; networks by the CIDR rule of §4.2."""
    if not peers:
        return [EVERYTHING]
    result: list[Peer] = []
    for peer in peers:
        if peer.get("pods") is not None or peer.get("namespaces") is not None:
            result.append(("labels", with_local_cluster(cluster_pods(peer))))
        elif peer.get("networks") is not None:
            result += [("cidr", network(text), []) for text in peer["networks"]]
        elif peer.get("nodes") is not None:
            result.append(node_peer(peer["nodes"]))
        elif peer.get("domainNames") is not None:
            result += [("fqdn", domain_name(name)) for name in peer["domainNames"]]
    return result


def domain_name(name: str) -> dict[str, str]:
    """§4.3, last line: `*.x` of a ClusterNetworkPolicy is recursive, so it is `**.x`."""
    if name.startswith("*"):
        return {"matchPattern": "*" + name}
    return {"matchName": name}


def domain_dns(rule: dict[str, Any]) -> list[tuple[list[Peer], list[Port] | None]]:
    """§4.3, last line: domainNames bring their own DNS rule, to the named ports of the pods of kube-dns."""
    result: list[tuple[list[Peer], list[Port] | None]] = []
    for peer in rule.get("to") or []:
        names = [domain_name(name) for name in peer.get("domainNames") or []]
        if names:
            l7 = {"dns": names}
            ports = [Port(ANY, name="dns", l7=l7), Port(ANY, name="dns-tcp", l7=l7)]
            result.append(([("labels", [Need(None, "k8s-app", "In", ("kube-dns",))])], ports))
    return result
