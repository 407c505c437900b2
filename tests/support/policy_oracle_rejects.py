"""What the cluster refuses: the rejections of sections 2, 4, 5, 7 and 8 of the semantics document.

If any one rule of an object fails, the whole object is refused and nothing of it is enforced (§2, below the table).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

SECTIONS = ("ingress", "ingressDeny", "egress", "egressDeny")
PEER_KINDS = ("Endpoints", "Entities", "CIDR", "CIDRSet", "Nodes", "Groups", "Services", "FQDNs")
ENTITIES = (
    *("all", "world", "world-ipv4", "world-ipv6", "cluster", "cluster-mesh", "host", "remote-node"),
    *("kube-apiserver", "health", "ingress", "init", "unmanaged", "none"),
)


def rejected(policy: dict[str, Any], config: dict[str, Any]) -> str:
    """Why the cluster refuses this object, or an empty string."""
    if policy["kind"] == "NetworkPolicy":
        return next(network_policy_faults(policy.get("spec") or {}), "")
    if policy["kind"] == "ClusterNetworkPolicy":
        return ""
    for spec in [policy.get("spec"), *(policy.get("specs") or [])]:
        if spec is not None:
            for fault in spec_faults(spec, policy["kind"], config):
                return fault
    return ""


def selector_faults(selector: Any) -> Iterator[str]:
    """§2, last row: In/NotIn without values, Exists/DoesNotExist with values."""
    for term in (selector or {}).get("matchExpressions") or []:
        wants_values = term["operator"] in {"In", "NotIn"}
        if wants_values != bool(term.get("values")):
            yield f"{term['operator']} with {len(term.get('values') or [])} values"


def spec_faults(spec: dict[str, Any], kind: str, config: dict[str, Any]) -> Iterator[str]:
    """§2, rows `ingress: []` and selector absent; §7, nodeSelector only in a CCNP."""
    chosen = [name for name in ("endpointSelector", "nodeSelector") if spec.get(name) is not None]
    if len(chosen) != 1:
        yield "needs endpointSelector xor nodeSelector"
        return
    on_node = chosen == ["nodeSelector"]
    if on_node and kind == "CiliumNetworkPolicy":
        yield "nodeSelector in a CiliumNetworkPolicy"
    if not any(spec.get(section) for section in SECTIONS):
        yield "must have at least one rule"
    yield from selector_faults(spec[chosen[0]])
    for section in SECTIONS:
        for written in spec.get(section) or []:
            rule = known_fields(written, section)
            yield from combination_faults(rule, section, config)
            yield from peer_faults(rule, "from" if section.startswith("ingress") else "to")
            for member in rule.get("toPorts") or []:
                yield from port_faults(member, section, on_node)


def known_fields(rule: dict[str, Any], section: str) -> dict[str, Any]:
    """§4, what ingress and deny rules do not have: toFQDNs, L7 rules; pruned like every unknown field (§8, kafka)."""
    result = {key: value for key, value in rule.items() if key != "toFQDNs" or section == "egress"}
    if section.endswith("Deny") and rule.get("toPorts"):
        result["toPorts"] = [{key: value for key, value in port.items() if key != "rules"} for port in rule["toPorts"]]
    return result


def combination_faults(rule: dict[str, Any], section: str, config: dict[str, Any]) -> Iterator[str]:
    """§4, peer kinds exclude each other; §4.5, requires is gone and nodes need a flag; §5, icmps exclude toPorts."""
    side = "from" if section.startswith("ingress") else "to"
    used = [kind for kind in PEER_KINDS if rule.get(side + kind)]
    if len(used) > 1:
        yield f"{used[0]} and {used[1]} in one rule"
    if rule.get(side + "Requires"):
        yield "requires is gone since 1.19"
    if rule.get(side + "Nodes") and not config.get("node_selector_labels"):
        yield "node selectors are off"
    if rule.get("icmps") and rule.get("toPorts"):
        yield "icmps and toPorts in one rule"


def peer_faults(rule: dict[str, Any], side: str) -> Iterator[str]:
    """§2 last row, §4.1 and §4.2: selectors, entities and CIDRs that do not parse."""
    for selector in [*(rule.get(side + "Endpoints") or []), *(rule.get(side + "Nodes") or [])]:
        yield from selector_faults(selector)
    for name in rule.get(side + "Entities") or []:
        if name not in ENTITIES:
            yield f"unknown entity {name}"
    for text in rule.get(side + "CIDR") or []:
        yield from cidr_faults(text)
    for member in rule.get(side + "CIDRSet") or []:
        yield from cidr_rule_faults(member)


def cidr_faults(text: str) -> Iterator[str]:
    """§4.2, a prefix is required."""
    if "/" not in text:
        yield f"{text} has no prefix length"
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield f"{text} is no prefix"


def cidr_rule_faults(member: dict[str, Any]) -> Iterator[str]:
    """§4.2, exactly one of cidr, cidrGroupRef, cidrGroupSelector; `except` must lie inside `cidr`."""
    if len([name for name in ("cidr", "cidrGroupRef", "cidrGroupSelector") if member.get(name)]) != 1:
        yield "exactly one of cidr, cidrGroupRef, cidrGroupSelector"
    texts = [*([member["cidr"]] if member.get("cidr") else []), *(member.get("except") or [])]
    for text in texts:
        yield from cidr_faults(text)
    if member.get("cidr"):
        outer = ipaddress.ip_network(member["cidr"], strict=False)
        for text in member.get("except") or []:
            hole = ipaddress.ip_network(text, strict=False)
            if hole.network_address not in outer or hole.broadcast_address not in outer:
                yield f"except {text} is outside {outer}"


def port_faults(member: dict[str, Any], section: str, on_node: bool) -> Iterator[str]:
    """§5, at most 40 ports of at most 65535."""
    ports = member.get("ports") or []
    if len(ports) > 40:
        yield "more than 40 ports"
    for port in ports:
        if str(port["port"]).isdigit() and int(port["port"]) > 65535:
            yield f"port {port['port']}"
    rules = {kind: value for kind, value in (member.get("rules") or {}).items() if value and kind in {"http", "dns"}}
    if rules:
        yield from l7_faults(rules, ports, section, on_node)


def l7_faults(rules: dict[str, Any], ports: list[dict[str, Any]], section: str, on_node: bool) -> Iterator[str]:
    """§8, where L7 rules may stand, and on which ports; §4.3 for names."""
    if len(rules) > 1:
        yield "two L7 protocols in one rule"
    if "dns" in rules and section == "ingress":
        yield "DNS rules on ingress"
    if "http" in rules and on_node:
        yield "HTTP rules in a host policy"
    if not ports:
        yield "L7 rules without a port"
    for item in rules.get("dns") or []:
        if len([key for key in ("matchName", "matchPattern") if item.get(key)]) != 1:
            yield "exactly one of matchName and matchPattern"
    for port in ports:
        if str(port["port"]) == "0":
            yield "L7 rules with port 0"
        if "http" in rules and (port.get("protocol") or "ANY").upper() != "TCP":
            yield "HTTP rules on something else than TCP"
        if "dns" in rules and str(port["port"]).isdigit() and (port.get("endPort") or 0) > int(port["port"]):
            yield "DNS rules on a range"


def network_policy_faults(spec: dict[str, Any]) -> Iterator[str]:
    """§2, last row, column KNP; §6, ipBlock is exclusive with selectors."""
    yield from selector_faults(spec.get("podSelector"))
    for section, side in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(section) or []:
            for peer in rule.get(side) or []:
                if not any(value is not None for value in peer.values()):
                    yield "a peer that says nothing"
                if peer.get("ipBlock"):
                    if "podSelector" in peer or "namespaceSelector" in peer:
                        yield "ipBlock with selectors"
                    yield from cidr_rule_faults(peer["ipBlock"])
                yield from selector_faults(peer.get("podSelector"))
                yield from selector_faults(peer.get("namespaceSelector"))
