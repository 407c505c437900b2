"""Generated probes: most of them aimed at one rule, so that they nearly match it, on one side or the other.

An aimed probe takes its subject from whom the policy selects, its peer from the kind of peers of the rule, its port
and protocol from the ports of the rule, and its L7 request from what the rule restricts.
"""

from __future__ import annotations

from typing import Any

from tests.support.policy_cases_selectors import Maker
from tests.support.policy_dice import Dice

Endpoint = dict[str, Any]

PORTS = [80, 443, 53, 8080, 9090, 5353, 1, 65535, 12345, 8050]
PROTOCOLS = [*(["tcp"] * 10), *(["udp"] * 4), "sctp", "sctp", "icmp", "icmp", "icmp", "icmpv6"]
REQUESTS: dict[str, list[str]] = {
    "method": ["GET", "GET", "HEAD", "POST", "get"],
    "path": ["/api", "/api", "/api/x", "/", "/pi", "/api?x=1"],
    "host": ["svc.local", "svc.local", "svcXlocal", "evil.example"],
}
HEADERS: list[dict[str, str]] = [
    {"X-Token": "42"},
    {},
    {"X-Token": "43", "X-Other": "1"},
    {"x-token": "42"},
]
QUERIES = ["api.example.com", "example.com", "a.b.example.com.", "API.example.com", "cdn.example.net", "myexample.com"]
OUTSIDE = ("FQDNs", "CIDR", "ipBlock", "networks", "domainNames", "Groups", "Services", "'world'", "'all'")
SECTIONS = ("ingress", "egress", "ingressDeny", "egressDeny")


def probe(
    maker: Maker, pods: list[Endpoint], endpoints: list[Endpoint], policies: list[dict[str, Any]]
) -> dict[str, Any]:
    """A probe without its id."""
    dice = maker.dice
    policy = dice.pick(policies)
    spec = dice.pick([item for item in [policy.get("spec"), *(policy.get("specs") or [])] if item is not None])
    rules = [(section, rule) for section in SECTIONS for rule in spec.get(section) or []]
    if not rules or dice.chance(35):
        return stray_probe(maker, pods, endpoints, policies)
    restricted = [item for item in rules if "'http': [{" in str(item) or "'dns': [{" in str(item)]
    section, rule = dice.pick(restricted if restricted and dice.chance(70) else rules)
    focus = subject_of(dice, policy, spec, pods, endpoints)
    peer = peer_of(dice, rule, pods, endpoints)
    if peer is focus and dice.chance(90):
        peer = dice.pick(endpoints)
    mark_sides(dice, focus, peer)
    source, destination = (peer, focus) if section.startswith("ingress") else (focus, peer)
    result: dict[str, Any] = {"src": source["id"], "dst": destination["id"]}
    result["proto"], result["port"] = port_of(maker, rule, destination)
    return finish(dice, result, destination, policies)


def stray_probe(
    maker: Maker, pods: list[Endpoint], endpoints: list[Endpoint], policies: list[dict[str, Any]]
) -> dict[str, Any]:
    """A connection between any two, at a port somebody mentions."""
    dice = maker.dice
    focus = pods[0] if dice.chance(50) else dice.pick(pods)
    if maker.config.get("host_firewall") and dice.chance(30):
        focus = endpoints[len(pods)]
    elif dice.chance(12):
        focus = dice.pick([item for item in endpoints if item["id"] in {"health", "ingress", "init"}])
    peer = dice.pick(pods) if dice.chance(45) else dice.pick(endpoints)
    if peer is focus and dice.chance(90):
        peer = dice.pick(endpoints)
    mark_sides(dice, focus, peer)
    source, destination = (focus, peer) if dice.chance(50) else (peer, focus)
    result: dict[str, Any] = {"src": source["id"], "dst": destination["id"], "proto": dice.pick(PROTOCOLS)}
    result["port"] = dice.pick([8, 128, 0, 3, 129, 1])
    if not result["proto"].startswith("icmp"):
        result["port"] = stray_port(maker, destination)
    return finish(dice, result, destination, policies)


def subject_of(
    dice: Dice, policy: dict[str, Any], spec: dict[str, Any], pods: list[Endpoint], endpoints: list[Endpoint]
) -> Endpoint:
    """Somebody the policy probably selects."""
    if "nodeSelector" in spec:
        return endpoints[len(pods)]
    for name in ("health", "ingress", "init"):
        if f"reserved:{name}" in str(spec.get("endpointSelector")) and dice.chance(80):
            return next(item for item in endpoints if item["id"] == name)
    namespace = policy["metadata"].get("namespace")
    inside = [pod for pod in pods if namespace in {None, pod["namespace"]}]
    return dice.pick([pods[0], pods[0], *inside])


def peer_of(dice: Dice, rule: dict[str, Any], pods: list[Endpoint], endpoints: list[Endpoint]) -> Endpoint:
    """Somebody of the kind the rule is about, more often than not."""
    text = str(rule)
    if dice.chance(15):
        return dice.pick(endpoints)
    others = endpoints[len(pods) :]
    named = [item for item in others if f"'{item.get('entity')}'" in text or f"reserved:{item.get('entity')}" in text]
    if any(word in text for word in OUTSIDE) and dice.chance(85):
        named = [item for item in others if "world" in {item.get("entity"), *(item.get("entities") or [])}]
        near = [item for item in named if resembles(item, text)]
        named = near if near and dice.chance(75) else named
    elif "odes'" in text or "172.16" in text:
        named = [item for item in others if item["ip"].startswith("172.16.9.")]
    if named and dice.chance(90):
        return dice.pick(named)
    near = [pod for pod in pods if resembles(pod, text)]
    return dice.pick(near if near and dice.chance(75) else pods)


def resembles(endpoint: Endpoint, text: str) -> bool:
    """Whether a rule mentions something of an endpoint: a label, a namespace, half a name, the start of an address."""
    words = [f"'{value}'" for value in (endpoint.get("labels") or {}).values()]
    words += [f"'{endpoint.get('namespace')}'"]
    words += [".".join(name.lower().split(".")[-2:]) for name in endpoint.get("fqdns") or []]
    if "namespace" not in endpoint:
        words.append(f"'{endpoint['ip'][:5]}")
    return any(word in text for word in words)


def port_of(maker: Maker, rule: dict[str, Any], destination: Endpoint) -> tuple[str, int]:
    """A protocol and a port one of the rule's ports means, or lies just beside."""
    dice = maker.dice
    fields = [field for block in rule.get("icmps") or [] for field in block["fields"]]
    if fields and dice.chance(85):
        field = dice.pick(fields)
        kind = "icmpv6" if field.get("family") == "IPv6" else "icmp"
        return kind, field["type"] if isinstance(field["type"], int) else dice.pick([8, 128, 0, 129, 3, 1, 11])
    ports: list[dict[str, Any]] = []
    for member in rule.get("toPorts") or []:
        ports += (member.get("ports") or []) * (4 if member.get("rules") else 1)
    ports += [flat for element in rule.get("protocols") or [] for flat in flatten(element)]
    ports += rule.get("ports") or []
    if not ports or dice.chance(10):
        kind = dice.pick(PROTOCOLS)
        return kind, 8 if kind.startswith("icmp") else stray_port(maker, destination)
    port = dice.pick(ports)
    kind = (port.get("protocol") or "ANY").lower()
    if kind == "any" or dice.chance(8):
        kind = dice.pick(["tcp", "tcp", "udp", "sctp"])
    written = str(port.get("port") or "0")
    if not written.isdigit():
        declared = [item for item in destination.get("ports") or [] if item["name"] == written.lower()]
        if declared and dice.chance(80):
            return (declared[0]["proto"].lower() if dice.chance(80) else kind), declared[0]["port"]
        return kind, stray_port(maker, destination)
    if written == "0":
        return kind, stray_port(maker, destination)
    end = max(int(written), port.get("endPort") or 0)
    return kind, dice.pick([int(written), int(written), end, end, int(written) - 1, end + 1, (int(written) + end) // 2])


def flatten(element: dict[str, Any]) -> list[dict[str, Any]]:
    """A member of `protocols` of a ClusterNetworkPolicy in the shape of the other kinds' ports."""
    if "destinationNamedPort" in element:
        return [{"port": element["destinationNamedPort"]}]
    result = []
    for protocol, what in element.items():
        port = what["destinationPort"]
        span = port.get("range") or {"start": port.get("number"), "end": port.get("number")}
        result.append({"protocol": protocol, "port": span["start"], "endPort": span["end"]})
    return result


def stray_port(maker: Maker, destination: Endpoint) -> int:
    """A port the policies mention, one the destination declares, or any other."""
    dice = maker.dice
    choice = dice.below(10)
    declared = [item["port"] for item in destination.get("ports") or []]
    if choice <= 5 and maker.ports:
        return dice.pick(maker.ports)
    if choice <= 7 and declared:
        return int(dice.pick(declared))
    return dice.pick(PORTS)


def mark_sides(dice: Dice, focus: Endpoint, peer: Endpoint) -> None:
    """Which special endpoints take part."""
    if focus["id"] == peer["id"]:
        dice.mark("§1 pod to itself")
    if focus["id"] in {"host", "health", "ingress", "init"}:
        dice.mark(f"subject {focus['id']}")
    if "entities" in peer:
        dice.mark("peer external kube-apiserver")
    elif peer.get("entity") in {"host", "remote-node", "world", "kube-apiserver", "unmanaged"}:
        dice.mark(f"peer {peer['entity']}")
    if ":" in peer["ip"]:
        dice.mark("probe v6")


def finish(dice: Dice, result: dict[str, Any], destination: Endpoint, policies: list[dict[str, Any]]) -> dict[str, Any]:
    """Names, and an L7 request of the kind that policies restrict at this port."""
    dice.mark(f"probe {result['proto']}")
    if destination.get("fqdns") and dice.chance(70):
        dice.mark("§4 probe with fqdn")
        result["fqdn"] = dice.pick(destination["fqdns"])
    text = str(policies)
    if result["port"] == 53 and result["proto"] in {"tcp", "udp"} and dice.chance(80):
        dice.mark("§8 probe dns")
        result["l7"] = {"dns": dice.pick(QUERIES)}
    elif result["proto"] == "tcp" and result["port"] != 53 and dice.chance(85 if "'http':" in text else 5):
        dice.mark("§8 probe http")
        request: dict[str, Any] = {key: dice.pick(values) for key, values in REQUESTS.items()}
        result["l7"] = {"http": {**request, "headers": dict(dice.pick(HEADERS))}}
    return result
