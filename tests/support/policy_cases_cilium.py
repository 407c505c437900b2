"""Generated CiliumNetworkPolicies and CiliumClusterwideNetworkPolicies."""

from __future__ import annotations

from typing import Any

from tests.support.policy_cases_l4 import icmps, port_member, to_ports
from tests.support.policy_cases_selectors import (
    NAMESPACE,
    Maker,
    cidr,
    cidr_rule,
    fqdn,
    plain_selector,
    sourced_selector,
    term,
)
from tests.support.policy_dice import Dice

ENTITIES = [
    *("all", "world", "cluster", "host", "remote-node", "kube-apiserver", "health", "ingress"),
    *("unmanaged", "cluster-mesh", "init", "none"),
]
SECTIONS = ["ingress", "egress", "ingressDeny", "egressDeny"]


def cilium_policy(maker: Maker, name: str) -> dict[str, Any]:
    """A CNP in namespace a (mostly) or b, or a CCNP, with `spec`, `specs` or both."""
    dice = maker.dice
    clusterwide = dice.chance(35)
    meta: dict[str, Any] = {"name": name}
    if clusterwide:
        dice.mark("§7 ccnp")
    else:
        meta["namespace"] = dice.pick(["a", "a", "a", "a", "a", "b", "b", "kube-system"])
    result: dict[str, Any] = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy" if clusterwide else "CiliumNetworkPolicy",
        "metadata": meta,
    }
    specs = 0 if dice.chance(85) else 1 + dice.below(2)
    if not specs or dice.chance(50):
        result["spec"] = spec(maker, clusterwide)
    if specs:
        dice.mark("§2 spec and specs" if "spec" in result else "§2 specs")
        result["specs"] = [spec(maker, clusterwide) for _ in range(specs)]
    return result


def spec(maker: Maker, clusterwide: bool) -> dict[str, Any]:
    """One rule of the policy: whom it selects, and up to four sections."""
    dice = maker.dice
    on_node = clusterwide and dice.chance(60 if maker.config.get("host_firewall") else 3)
    result: dict[str, Any] = {}
    if on_node:
        result["nodeSelector"] = node_selector(dice)
    else:
        result["endpointSelector"] = subject(dice, clusterwide)
    sections = [dice.pick(SECTIONS[:2])]
    if dice.chance(50):
        sections = dice.some(SECTIONS, 1, 3)
    if all(section.endswith("Deny") for section in sections):
        dice.mark("§1 deny only")
    for section in sections:
        result[section] = [rule(maker, section, on_node) for _ in range(1 + dice.below(3))]
    for section in SECTIONS:
        if section not in result and dice.chance(5):
            result[section] = dice.pick([[], None])
            dice.mark("§2 cilium section null" if result[section] is None else "§2 cilium section [] beside another")
    add_default_deny(dice, result)
    return result


def add_default_deny(dice: Dice, spec: dict[str, Any]) -> None:
    """`enableDefaultDeny`, for directions with and without rules."""
    if not dice.chance(25):
        return
    said: dict[str, bool] = {}
    for direction in dice.some(["ingress", "egress"], 1, 2):
        has_rules = bool(spec.get(direction) or spec.get(direction + "Deny"))
        said[direction] = dice.chance(25)
        if said[direction]:
            dice.mark("§1 enableDefaultDeny true" if has_rules else "§1 enableDefaultDeny true without rules")
        else:
            dice.mark("§1 enableDefaultDeny false")
            if "'http'" in str(spec.get(direction)) or "'dns'" in str(spec.get(direction)):
                dice.mark("§8 l7 without default deny")
    spec["enableDefaultDeny"] = said


def node_selector(dice: Dice) -> dict[str, Any]:
    """A nodeSelector, every node or by label."""
    dice.mark("§7 nodeSelector")
    if dice.chance(50):
        dice.mark("§7 nodeSelector with labels")
        if dice.chance(50):
            return {"matchLabels": {"zone": dice.pick(["x", "y"])}}
        return {"matchExpressions": [term(dice, dice.pick(["zone", "kubernetes.io/os"]), ["x", "linux"])]}
    return {}


def subject(dice: Dice, clusterwide: bool) -> dict[str, Any]:
    """An endpointSelector; half of the time it selects the pod everything is about."""
    choice = dice.below(10)
    if choice <= 3:
        return {"matchLabels": {"app": "web"}}
    if choice <= 5:
        dice.mark("§2 endpointSelector {}")
        return {}
    if choice == 6:
        return sourced_selector(dice)
    if choice == 7:
        return subject_by_namespace(dice, clusterwide)
    return plain_selector(dice)


def subject_by_namespace(dice: Dice, clusterwide: bool) -> dict[str, Any]:
    """A subject that names a namespace, which a CNP overwrites or loses by; or a reserved endpoint in a CCNP."""
    key = dice.pick(["k8s:", "", "any:"]) + NAMESPACE
    if clusterwide and dice.chance(40):
        dice.mark("§3 ccnp subject reserved")
        return {"matchLabels": {dice.pick(["reserved:health", "reserved:ingress", "reserved:init"]): ""}}
    if clusterwide:
        dice.mark("§3 ccnp subject namespace")
        if dice.chance(50):
            return {"matchExpressions": [term(dice, key, ["a", "kube-system"])]}
        return {"matchLabels": {key: dice.pick(["a", "b"])}}
    dice.mark("§3 cnp subject k8s namespace" if key.startswith("k8s:") else "§3 cnp subject bare namespace")
    return {"matchLabels": {key: dice.pick(["a", "b"]), **({"app": "web"} if dice.chance(50) else {})}}


def endpoint_peer(dice: Dice) -> dict[str, Any]:
    """One member of fromEndpoints or toEndpoints."""
    choice = dice.below(10)
    if choice <= 3:
        return plain_selector(dice)
    if choice <= 5:
        return sourced_selector(dice)
    if choice == 6:
        dice.mark("§2 fromEndpoints [{}]")
        return {}
    if choice <= 8:
        return peer_by_namespace(dice)
    dice.mark("§3 source reserved")
    name = "reserved:" + dice.pick(["host", "remote-node", "world", "kube-apiserver", "health", "ingress", "init"])
    if dice.chance(40):
        return {"matchLabels": {name: ""}}
    result = term(dice, name, [""], ("Exists", "DoesNotExist"))
    if result["operator"] == "DoesNotExist":
        dice.mark("§3 peer reserved DoesNotExist")
    return {"matchExpressions": [result]}


def peer_by_namespace(dice: Dice) -> dict[str, Any]:
    """A peer that says which namespace, so that the policy's own is not added."""
    source = dice.pick(["k8s", "any", "bare"])
    dice.mark(f"§3 peer namespace {source}")
    key = ("" if source == "bare" else source + ":") + NAMESPACE
    result: dict[str, Any] = {}
    if dice.chance(50):
        result["matchLabels"] = {key: dice.pick(["a", "b", "kube-system"])}
    else:
        expression = term(dice, key, ["a", "b", "kube-system"], ("In", "NotIn", "Exists"))
        dice.mark(f"§3 peer namespace {expression['operator']}")
        result["matchExpressions"] = [expression]
    if dice.chance(40):
        result.setdefault("matchLabels", {})["app"] = dice.pick(["web", "db"])
    return result


def rule(maker: Maker, section: str, on_node: bool) -> dict[str, Any]:
    """One rule of a section: peers, then ports or ICMP."""
    dice = maker.dice
    denies = section.endswith("Deny")
    egress = section.startswith("egress")
    if denies:
        dice.mark("§1 deny section")
    if dice.chance(5):
        dice.mark("§2 deny rule {}" if denies else "§2 cilium rule {}")
        return {}
    result = peers(maker, egress, denies)
    choice = dice.below(10)
    if "toPorts" in result:
        pass
    elif choice <= 5 or not result:
        result.update(to_ports(maker, egress, denies, on_node))
    elif choice == 6:
        result["icmps"] = icmps(dice)
        if denies:
            dice.mark("§5 icmp in deny")
        dice.mark("§5 icmp with peers")
    mark_emptiness(dice, result)
    if not denies and dice.chance(4):
        dice.mark("§8 authentication")
        result["authentication"] = {"mode": dice.pick(["required", "disabled"])}
    return result


def mark_emptiness(dice: Dice, result: dict[str, Any]) -> None:
    """The rows of §2 that depend on what else is in the rule."""
    has_ports = bool(result.get("toPorts"))
    emptied = [key for key, value in result.items() if value == [] and key not in {"toPorts", "icmps"}]
    for key in emptied:
        if key in {"toFQDNs", "toGroups", "toServices"}:
            if has_ports:
                dice.mark(f"§2 {key} [] with ports")
            elif key == "toFQDNs":
                dice.mark("§2 toFQDNs [] alone")
        else:
            dice.mark("§2 peers [] with ports" if has_ports else "§2 peers []")
    if has_ports and len(result) == 1:
        dice.mark("§2 ports only")
    if "nosuch" in str(result.get("toServices")):
        dice.mark("§2 toServices missing with ports" if has_ports else "§2 toServices missing alone")


def peers(maker: Maker, egress: bool, denies: bool) -> dict[str, Any]:
    """One kind of peers, or none at all."""
    dice = maker.dice
    side = "to" if egress else "from"
    if dice.chance(8):
        kinds = ["Endpoints", "Entities", "CIDR", "CIDRSet"]
        if egress and not denies:
            kinds = [*kinds, "FQDNs", "FQDNs", "Services", "Groups"]
        return {side + dice.pick(kinds): []}
    if dice.chance(3):
        dice.mark("§2 peers null")
        return {side + dice.pick(["Endpoints", "Entities", "CIDR"]): None, "toPorts": [port_member(maker, egress)]}
    choice = dice.below(12)
    if choice == 9 and maker.config.get("node_selector_labels"):
        dice.mark("§4 nodes")
        zone = {"matchLabels": {"zone": dice.pick(["x", "y"])}}
        exists = {"matchExpressions": [term(dice, "kubernetes.io/os", ["linux"])]}
        return {side + "Nodes": [dice.pick([zone, exists, {}])]}
    if egress and (choice >= 10 or dice.chance(25)):
        return rare_egress_peers(maker, denies)
    if choice == 11:
        return {}
    return common_peers(maker, side, choice)


def common_peers(maker: Maker, side: str, choice: int) -> dict[str, Any]:
    """Endpoints, entities and CIDRs."""
    dice = maker.dice
    if choice in {5, 6}:
        names = dice.some(ENTITIES, 1, 2)
        for name in names:
            dice.mark(f"§4 {name}")
        return {side + "Entities": names}
    if choice == 7:
        return {side + "CIDR": [cidr(dice) for _ in range(1 + dice.below(2))]}
    if choice == 8:
        return {side + "CIDRSet": [cidr_rule(maker) for _ in range(1 + dice.below(2))]}
    return {side + "Endpoints": [endpoint_peer(dice) for _ in range(1 + dice.below(2))]}


def rare_egress_peers(maker: Maker, denies: bool) -> dict[str, Any]:
    """FQDNs, services and cloud groups."""
    dice = maker.dice
    choice = dice.below(9)
    if choice <= 4 and not denies:
        return {"toFQDNs": [fqdn(dice) for _ in range(1 + dice.below(2))]}
    if choice <= 6:
        dice.mark("§4 toGroups")
        return {"toGroups": [{"aws": {"securityGroupsIds": ["sg-0"]}}]}
    maker.uses_services = True
    if dice.chance(60):
        name, namespace = dice.pick([("db", "a"), ("ext", "a"), ("web", "b"), ("two", "b"), ("nosuch", "a")])
        dice.mark("§4 toServices name")
        if name in {"ext", "two"}:
            dice.mark("§4 toServices backends")
        return {"toServices": [{"k8sService": {"serviceName": name, "namespace": namespace}}]}
    dice.mark("§4 toServices selector")
    chosen = {"selector": {"matchLabels": {"svc": dice.pick(["db", "ext", "web", "nosuch"])}}, "namespace": "a"}
    return {"toServices": [{"k8sServiceSelector": chosen}]}
