"""Who is on the other side: section 4 of the semantics document.

A peer is a plain tuple whose first member names its kind; `peer_matches` answers True, False, or None where no
observation can tell (cloud security groups).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from tests.support.policy_oracle_labels import (
    LOCAL_CLUSTER,
    NAMESPACE,
    Need,
    cilium_peer,
    cluster_of,
    entities_of,
    identity_labels,
    is_pod,
    needs,
    selector_matches,
    with_local_cluster,
)

Peer = tuple[Any, ...]
EVERYTHING: Peer = ("everything",)
CLUSTER_ENTITIES = {"host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"}


def entity_matches(entity: str, endpoint: dict[str, Any]) -> bool:
    """§4.1, the membership of every entity."""
    its = set(entities_of(endpoint))
    if entity == "all":
        return True
    if entity == "cluster":
        return bool(its & CLUSTER_ENTITIES) or is_local_pod(endpoint)
    if entity == "cluster-mesh":
        return bool(its & CLUSTER_ENTITIES) or is_pod(endpoint)
    if entity in {"world-ipv4", "world-ipv6"}:
        return "world" in its and ipaddress.ip_address(endpoint["ip"]).version == int(entity[-1])
    if entity == "none":
        return False
    return entity in its


def is_local_pod(endpoint: dict[str, Any]) -> bool:
    """§4.1, `cluster` has the pods of the local cluster only; §1, another cluster's pod has no verdict here."""
    return is_pod(endpoint) and cluster_of(endpoint) == LOCAL_CLUSTER


def network(text: str) -> Any:
    """§4.2, host bits are masked."""
    return ipaddress.ip_network(text, strict=False)


def cidr_can_select(endpoint: dict[str, Any], prefix: Any, config: dict[str, Any]) -> bool:
    """§4.2, a CIDR matches only world; with `nodes` also nodes and the host, with `pods` pods, unless it is a /0."""
    its = entities_of(endpoint)
    if "world" in its:
        return True
    modes = config.get("cidr_match_mode") or []
    if "nodes" in modes and ("host" in its or "remote-node" in its):
        return bool(prefix.prefixlen > 0)
    return is_pod(endpoint) and "pods" in modes and bool(prefix.prefixlen > 0)


def cidr_matches(prefix: Any, excepts: list[Any], endpoint: dict[str, Any], config: dict[str, Any]) -> bool:
    """§4.2, inside the prefix and outside its own `except`; one family never matches the other."""
    address = endpoint["_address"]
    if not cidr_can_select(endpoint, prefix, config) or address not in prefix:
        return False
    return not any(address in hole for hole in excepts)


def pattern_regex(pattern: str) -> str:
    """§4.3, the grammar of matchPattern: `*` never crosses a dot, a leading `**.` is one or more labels (1.19)."""
    pattern = pattern.lower().rstrip(".")
    if pattern in {"*", "**"}:
        return ".*"
    result = ""
    if pattern.startswith("**."):
        result = r"([-a-z0-9_]+\.)+"
        pattern = pattern[3:]
    pattern = re.sub(r"\*+", "*", pattern)
    return result + "".join("[-a-z0-9_]*" if char == "*" else re.escape(char) for char in pattern)


def name_matches(item: dict[str, Any], name: str) -> bool:
    """§4.3, case-insensitive, compared with trailing dot; matchName is literal."""
    name = name.lower().rstrip(".")
    if item.get("matchName"):
        return bool(item["matchName"].lower().rstrip(".") == name)
    return re.fullmatch(pattern_regex(item["matchPattern"]), name) is not None


def fqdn_matches(item: dict[str, Any], endpoint: dict[str, Any], probe: dict[str, Any]) -> bool:
    """§4.3, any one of several names of a world IP suffices; in-cluster IPs carry no name."""
    if "world" not in entities_of(endpoint):
        return False
    names = list(endpoint.get("fqdns") or [])
    if probe.get("fqdn"):
        names.append(probe["fqdn"])
    return any(name_matches(item, name) for name in names)


def peer_matches(peer: Peer, endpoint: dict[str, Any], probe: dict[str, Any], config: dict[str, Any]) -> bool | None:
    """§4, one peer of a rule; None for cloud groups, whose addresses nobody here knows (§4.5)."""
    kind = peer[0]
    if kind == "everything":
        return True
    if kind == "labels":
        return selector_matches(peer[1], identity_labels(endpoint))
    if kind == "entity":
        return entity_matches(peer[1], endpoint)
    if kind == "cidr":
        return cidr_matches(peer[1], peer[2], endpoint, config)
    if kind == "fqdn":
        return fqdn_matches(peer[1], endpoint, probe)
    assert kind == "group"
    return None if cidr_can_select(endpoint, network("10.0.0.0/8"), config) else False


def group_members(rule: dict[str, Any], groups: list[dict[str, Any]]) -> list[str]:
    """§4.2, cidrGroupRef/cidrGroupSelector: the union of the groups' CIDRs; a missing group has none."""
    if rule.get("cidrGroupRef"):
        chosen = [group for group in groups if group["name"] == rule["cidrGroupRef"]]
    else:
        terms = needs(rule["cidrGroupSelector"], cilium=False)
        chosen = [
            group
            for group in groups
            if selector_matches(terms, [("k8s", key, value) for key, value in (group.get("labels") or {}).items()])
        ]
    return [cidr for group in chosen for cidr in group["cidrs"]]


def cidr_set(rules: list[dict[str, Any]], groups: list[dict[str, Any]]) -> list[Peer]:
    """§4.2, `except` subtracts inside its own CIDRRule, groups included."""
    result: list[Peer] = []
    for rule in rules:
        holes = [network(text) for text in rule.get("except") or []]
        for text in [rule["cidr"]] if rule.get("cidr") else group_members(rule, groups):
            result.append(("cidr", network(text), holes))
    return result


def node_peer(selector: dict[str, Any] | None) -> Peer:
    """§4.5, nodes: remote nodes only, by `node:` labels."""
    return ("labels", [*needs(selector, cilium=True), Need("reserved", "remote-node", "Exists")])


def service_is_meant(item: dict[str, Any], service: dict[str, Any]) -> bool:
    """§4.4, by name or by the labels of the service, in its namespace."""
    if item.get("k8sService"):
        named = item["k8sService"]
        return bool(service["Name"] == named["serviceName"] and service["Namespace"] == named["namespace"])
    wanted = item["k8sServiceSelector"]
    labels = [("k8s", key, value) for key, value in (service.get("Labels") or {}).items()]
    return service["Namespace"] == wanted["namespace"] and selector_matches(
        needs(wanted["selector"], cilium=False), labels
    )


def service_peers(items: list[dict[str, Any]], services: list[dict[str, Any]]) -> list[Peer]:
    """§4.4, a selector service is its pods, a selector-less one its addresses."""
    result: list[Peer] = []
    for item in items:
        for service in services:
            if not service_is_meant(item, service):
                continue
            if service.get("Selector"):
                where = Need("k8s", NAMESPACE, "In", (service["Namespace"],))
                pods = needs({"matchLabels": service["Selector"]}, cilium=False)
                result.append(("labels", with_local_cluster([where, *pods])))
            else:
                for address in service.get("Backends") or []:
                    result.append(("cidr", network(address), []))
    return result


def cilium_peers(
    rule: dict[str, Any], side: str, namespace: str | None, subject_is_init: bool, scenario: dict[str, Any]
) -> list[Peer]:
    """§2, the rows on `{}`, empty lists and absent peers, over the peers of §4; side is `from` or `to`."""
    for kind in ("Endpoints", "Entities", "CIDR", "CIDRSet", "Nodes"):
        if rule.get(side + kind) == []:
            return []
    groups = scenario.get("cidrgroups") or []
    services = scenario.get("services") or []
    result: list[Peer] = []
    for selector in rule.get(side + "Endpoints") or []:
        result.append(("labels", cilium_peer(selector, namespace, subject_is_init)))
    result += [("entity", name) for name in rule.get(side + "Entities") or []]
    result += [("cidr", network(text), []) for text in rule.get(side + "CIDR") or []]
    set_peers = cidr_set(rule.get(side + "CIDRSet") or [], groups)
    if rule.get(side + "CIDRSet") and not set_peers:
        return []
    result += set_peers
    result += [node_peer(selector) for selector in rule.get(side + "Nodes") or []]
    result += [("group",) for _ in rule.get(side + "Groups") or []]
    result += [("fqdn", item) for item in rule.get(side + "FQDNs") or []]
    result += service_peers(rule.get(side + "Services") or [], services)
    if not result and (rule.get("toPorts") or rule.get("icmps")):
        return [EVERYTHING]
    return result
