"""The small world that generated scenarios live in: endpoints, services, CIDR groups, configuration.

Everything is scarce on purpose, so that policies and endpoints keep meeting.
"""

from __future__ import annotations

from typing import Any

from tests.support.policy_dice import Dice

NAMESPACES: dict[str, dict[str, str]] = {
    "a": {"kubernetes.io/metadata.name": "a", "team": "red", "env": "prod"},
    "b": {"kubernetes.io/metadata.name": "b", "team": "blue"},
    "c": {"kubernetes.io/metadata.name": "c", "team": "red"},
    "kube-system": {"kubernetes.io/metadata.name": "kube-system"},
}
APP_LABELS: list[dict[str, str]] = [
    {"app": "web", "tier": "fe"},
    {"app": "db", "tier": "be"},
    {"app": "web"},
    {"app": "cli"},
    {"tier": "be"},
    {"app.kubernetes.io/name": "web", "app": "db"},
    {},
]
POD_PORTS: list[list[dict[str, Any]]] = [
    [{"name": "http", "port": 8080, "proto": "TCP"}, {"name": "dnsp", "port": 5353, "proto": "UDP"}],
    [{"name": "http", "port": 80, "proto": "TCP"}],
    [{"name": "http", "port": 8080, "proto": "SCTP"}],
    [{"name": "metrics", "port": 9090, "proto": "TCP"}],
    [],
]
DNS_PORTS = [{"name": "dns", "port": 53, "proto": "UDP"}, {"name": "dns-tcp", "port": 53, "proto": "TCP"}]
WORLD: list[dict[str, Any]] = [
    {"id": "w-api", "ip": "192.0.2.5", "fqdns": ["api.example.com"]},
    {"id": "w-apex", "ip": "192.0.2.6", "fqdns": ["example.com"]},
    {"id": "w-deep", "ip": "192.0.2.7", "fqdns": ["a.b.example.com", "cdn.example.net"]},
    {"id": "w-my", "ip": "192.0.2.8", "fqdns": ["myexample.com"]},
    {"id": "w-sub", "ip": "198.51.100.9", "fqdns": ["sub1.Example.com"]},
    {"id": "w-deeper", "ip": "198.51.100.10", "fqdns": ["x.a.b.example.com"]},
    {"id": "w-cluster-range", "ip": "10.96.0.10"},
    {"id": "w-pod-range", "ip": "10.1.2.3"},
    {"id": "w-far", "ip": "8.8.8.8"},
]
WORLD_V6 = {"id": "w-v6", "ip": "2001:db8::5", "fqdns": ["six.example.com"]}
NODE_LABELS: list[dict[str, str]] = [{"zone": "x", "kubernetes.io/os": "linux"}, {"zone": "y"}, {}]
SERVICES: list[dict[str, Any]] = [
    {"Name": "db", "Namespace": "a", "Labels": {"svc": "db"}, "Selector": {"app": "db"}, "Backends": []},
    {"Name": "ext", "Namespace": "a", "Labels": {"svc": "ext"}, "Selector": {}, "Backends": ["192.0.2.5"]},
    {"Name": "web", "Namespace": "b", "Labels": {"svc": "web"}, "Selector": {"app": "web"}, "Backends": []},
    {"Name": "two", "Namespace": "b", "Labels": {"svc": "ext"}, "Selector": {}, "Backends": ["8.8.8.8", "10.1.2.3"]},
]
GROUPS: list[dict[str, Any]] = [
    {"name": "g1", "labels": {"zone": "x"}, "cidrs": ["10.1.0.0/16", "192.0.2.0/24"]},
    {"name": "g2", "labels": {"zone": "y"}, "cidrs": ["10.96.0.0/16"]},
    {"name": "g3", "labels": {"zone": "x", "kind": "nodes"}, "cidrs": ["172.16.9.0/24", "2001:db8::/64"]},
]


def pods(dice: Dice) -> list[dict[str, Any]]:
    """Two pods everything is about, then a handful of others, one of kube-dns."""
    shapes: list[tuple[str, str, dict[str, str], list[dict[str, Any]]]] = [
        ("web", "a", APP_LABELS[0], dice.pick(POD_PORTS)),
        ("db", "a", APP_LABELS[1], dice.pick(POD_PORTS)),
        ("dns", "kube-system", {"k8s-app": "kube-dns"}, DNS_PORTS),
    ]
    for place in range(2 + dice.below(4)):
        namespace = dice.pick(["a", "b", "b", "c", "kube-system"])
        shapes.append((f"p{place}", namespace, dice.pick(APP_LABELS), dice.pick(POD_PORTS)))
    result = []
    for place, (name, namespace, labels, ports) in enumerate(shapes):
        pod: dict[str, Any] = {
            "id": name,
            "ip": f"10.1.5.{10 + place}",
            "namespace": namespace,
            "name": name,
            "labels": labels,
            "namespace_labels": dict(NAMESPACES[namespace]),
            "service_account": dice.pick(["web-sa", "db-sa"]),
            "ports": ports,
        }
        if place > 2 and dice.chance(10):
            pod["cluster"] = "west"
            dice.mark("§3 remote cluster pod")
        result.append(pod)
    return result


def others(dice: Dice, config: dict[str, Any]) -> list[dict[str, Any]]:
    """The host, the nodes, the reserved endpoints, and a few addresses of the world."""
    result: list[dict[str, Any]] = [
        {"id": "host", "ip": "172.16.9.5", "entity": "host", "node_labels": dice.pick(NODE_LABELS)},
        {"id": "remote-node", "ip": "172.16.9.12", "entity": "remote-node", "node_labels": dice.pick(NODE_LABELS)},
        {"id": "far-node", "ip": "172.16.9.77", "entity": "remote-node", "node_labels": dice.pick(NODE_LABELS)},
        {"id": "kube-apiserver", "ip": "172.16.9.15", "entity": "kube-apiserver"},
        {"id": "apiserver-ext", "ip": "203.0.113.1", "entities": ["world", "kube-apiserver"]},
        {"id": "health", "ip": "172.16.9.7", "entity": "health"},
        {"id": "ingress", "ip": "172.16.9.8", "entity": "ingress"},
        {"id": "unmanaged", "ip": "10.1.9.10", "entity": "unmanaged"},
        {"id": "init", "ip": "10.1.9.11", "entity": "init"},
    ]
    world = dice.some(WORLD, 3, 5)
    if config.get("ipv6"):
        world.append(WORLD_V6)
    return [*result, *({"entity": "world", **item} for item in world)]


def configuration(dice: Dice) -> dict[str, Any]:
    """Half of the scenarios run with the defaults, the others with a few switches thrown."""
    result: dict[str, Any] = {}
    if dice.chance(20):
        result["host_firewall"] = True
        dice.mark("§7 host_firewall")
    if dice.chance(20):
        result["node_selector_labels"] = True
        dice.mark("§7 node_selector_labels")
    if dice.chance(20):
        result["ipv6"] = True
    if dice.chance(8):
        result["no_localhost"] = True
        dice.mark("§1 no_localhost")
    if dice.chance(8):
        result["non_default_deny_off"] = True
        dice.mark("§1 non_default_deny_off")
    if dice.chance(12):
        result["cidr_match_mode"] = dice.pick([["nodes"], ["nodes"], ["pods"], ["nodes", "pods"]])
        dice.mark("§4 nodes mode" if "nodes" in result["cidr_match_mode"] else "§4 pods mode")
    if dice.chance(8):
        result["enforcement"] = dice.pick(["always", "default", "never"])
        dice.mark(f"§1 enforcement {result['enforcement']}")
    return result
