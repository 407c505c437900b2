"""Generated NetworkPolicies and ClusterNetworkPolicies."""

from __future__ import annotations

from typing import Any

from tests.support.policy_cases_selectors import (
    CIDRS,
    HOLES,
    Maker,
    cidr,
    namespace_selector,
    plain_selector,
)
from tests.support.policy_dice import Dice


def network_policy(maker: Maker, name: str) -> dict[str, Any]:
    """A NetworkPolicy whose rules only stand in directions it has."""
    dice = maker.dice
    spec: dict[str, Any] = {}
    choice = dice.below(6)
    if choice <= 2:
        spec["podSelector"] = {"matchLabels": {"app": "web"}}
    elif choice == 3:
        dice.mark("§2 knp podSelector absent")
    else:
        spec["podSelector"] = plain_selector(dice)
    types = dice.pick([None, ["Ingress"], ["Egress"], ["Ingress", "Egress"]])
    if types is None:
        dice.mark("§6 policyTypes absent")
        directions = dice.pick([["ingress"], ["ingress", "egress"], ["egress"]])
    else:
        dice.mark("§6 policyTypes both" if len(types) == 2 else f"§6 policyTypes {types[0].lower()}")
        spec["policyTypes"] = types
        directions = [item.lower() for item in types]
    for direction in directions:
        if types is not None and dice.chance(8):
            dice.mark("§6 policyTypes without rules")
        elif dice.chance(5):
            dice.mark("§2 knp section []")
            spec[direction] = []
        else:
            spec[direction] = [network_rule(maker, direction) for _ in range(1 + dice.below(2))]
    meta = {"name": name, "namespace": dice.pick(["a", "a", "a", "b"])}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def network_rule(maker: Maker, direction: str) -> dict[str, Any]:
    """One rule: peers, ports, both or neither."""
    dice = maker.dice
    side = "from" if direction == "ingress" else "to"
    result: dict[str, Any] = {}
    if dice.chance(6):
        dice.mark("§2 knp from []")
        result[side] = []
    elif dice.chance(80):
        result[side] = [network_peer(dice) for _ in range(1 + dice.below(2))]
        if len(result[side]) > 1:
            dice.mark("§6 two peers")
    if dice.chance(6):
        dice.mark("§2 knp ports []")
        result["ports"] = []
    elif dice.chance(60):
        result["ports"] = [network_port(maker) for _ in range(1 + dice.below(2))]
        if side not in result:
            dice.mark("§2 knp ports only")
    if not result:
        dice.mark("§2 knp rule {}")
    return result


def network_peer(dice: Dice) -> dict[str, Any]:
    """One member of `from` or `to`."""
    choice = dice.below(5)
    if choice == 0:
        dice.mark("§6 ipBlock")
        text = dice.pick(CIDRS)
        if text in HOLES and dice.chance(60):
            dice.mark("§6 ipBlock except")
            return {"ipBlock": {"cidr": text, "except": dice.some(HOLES[text], 1, 2)}}
        return {"ipBlock": {"cidr": text}}
    result: dict[str, Any] = {}
    if choice in {1, 2}:
        result["namespaceSelector"] = namespace_selector(dice)
        if not result["namespaceSelector"]:
            dice.mark("§2 knp namespaceSelector {}")
    if choice != 1:
        result["podSelector"] = plain_selector(dice)
        if not result["podSelector"]:
            dice.mark("§2 knp podSelector {} peer")
    dice.mark({1: "§6 ns only", 2: "§6 ns and pod"}.get(choice, "§6 pod only"))
    return result


def network_port(maker: Maker) -> dict[str, Any]:
    """One member of `ports`."""
    dice = maker.dice
    result: dict[str, Any] = {}
    protocol = dice.pick(["TCP", None, "UDP", "SCTP"])
    if protocol is None:
        dice.mark("§5 knp protocol absent")
    else:
        result["protocol"] = protocol
    choice = dice.below(8)
    if choice == 0:
        dice.mark("§5 knp port absent" if result else "§2 knp ports [{}]")
    elif choice == 1:
        dice.mark("§5 knp named port")
        result["port"] = dice.pick(["http", "metrics", "dns", "nosuch"])
    else:
        result["port"] = maker.port()
        if choice == 2:
            dice.mark("§5 knp endPort")
            result["endPort"] = result["port"] + dice.pick([0, 1, 100])
            maker.ports.append(result["endPort"])
    return result


def cluster_network_policy(maker: Maker, name: str, priority: int) -> dict[str, Any]:
    """A ClusterNetworkPolicy; the priority is unique, for what a tie means is not defined."""
    dice = maker.dice
    tier = dice.pick(["Admin", "Admin", "Baseline"])
    dice.mark(f"§9 {tier}")
    subject: dict[str, Any]
    if dice.chance(40):
        dice.mark("§9 subject namespaces")
        subject = {"namespaces": namespace_selector(dice, positive=True)}
    else:
        dice.mark("§9 subject pods")
        chosen = {"matchLabels": {"app": "web"}} if dice.chance(60) else plain_selector(dice)
        subject = {"pods": {"namespaceSelector": namespace_selector(dice, positive=True), "podSelector": chosen}}
    spec: dict[str, Any] = {"tier": tier, "priority": priority, "subject": subject}
    for direction in dice.some(["ingress", "egress"], 1, 2):
        spec[direction] = [cluster_rule(maker, direction) for _ in range(1 + dice.below(3))]
        if len(spec[direction]) > 1:
            dice.mark("§9 several rules")
    kind = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}
    return {**kind, "metadata": {"name": name}, "spec": spec}


def cluster_rule(maker: Maker, direction: str) -> dict[str, Any]:
    """One rule with its action."""
    dice = maker.dice
    action = dice.pick(["Accept", "Deny", "Pass"])
    dice.mark(f"§9 {action}")
    peers = [cluster_peer(maker, direction == "egress", action) for _ in range(1 + dice.below(2))]
    result: dict[str, Any] = {"action": action, "from" if direction == "ingress" else "to": peers}
    if dice.chance(50):
        result["protocols"] = [cluster_port(maker) for _ in range(1 + dice.below(2))]
    else:
        dice.mark("§9 protocols absent")
    return result


def cluster_peer(maker: Maker, egress: bool, action: str) -> dict[str, Any]:
    """One member of `from` or `to`."""
    dice = maker.dice
    choice = dice.below(12)
    if choice <= 2:
        dice.mark("§9 peer namespaces")
        return {"namespaces": namespace_selector(dice)}
    if egress and choice <= 6:
        return cluster_egress_peer(maker, choice, action)
    if choice == 7 and dice.chance(30):
        dice.mark("§9 unknown peer")
        return dice.pick([{}, {"galaxies": {}}])
    dice.mark("§9 peer pods")
    return {"pods": {"namespaceSelector": namespace_selector(dice), "podSelector": plain_selector(dice)}}


def cluster_egress_peer(maker: Maker, choice: int, action: str) -> dict[str, Any]:
    """Networks, nodes and domain names."""
    dice = maker.dice
    if choice == 3 and maker.config.get("node_selector_labels"):
        dice.mark("§9 nodes")
        return {"nodes": {"matchLabels": {"zone": dice.pick(["x", "y"])}}}
    if choice == 4 and action == "Accept":
        dice.mark("§9 domainNames")
        name = dice.pick(["api.example.com", "*.example.com", "example.com", "*.b.example.com"])
        if name.startswith("*"):
            dice.mark("§9 domainNames wildcard")
        return {"domainNames": [name]}
    dice.mark("§9 networks")
    return {"networks": [cidr(dice) for _ in range(1 + dice.below(2))]}


def cluster_port(maker: Maker) -> dict[str, Any]:
    """One member of `protocols`."""
    dice = maker.dice
    choice = dice.below(5)
    if choice == 0:
        dice.mark("§9 named")
        return {"destinationNamedPort": dice.pick(["http", "dns", "metrics", "nosuch"])}
    number = maker.port()
    protocol = dice.pick(["tcp", "tcp", "udp", "sctp"])
    if choice == 1:
        dice.mark("§9 range")
        maker.ports.append(number + 20)
        return {protocol: {"destinationPort": {"range": {"start": number, "end": number + 20}}}}
    dice.mark("§9 number")
    return {protocol: {"destinationPort": {"number": number}}}
