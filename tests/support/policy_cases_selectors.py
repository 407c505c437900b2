"""Generated label selectors, FQDN selectors, CIDRs and ports, shared by the policy kinds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.policy_dice import Dice

NAMESPACE = "io.kubernetes.pod.namespace"
CIDRS = [
    *("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.96.0.0/12", "192.0.2.0/24", "192.0.2.5/32", "8.8.8.8/32"),
    *("172.16.9.0/28", "172.16.9.12/32", "172.16.9.5/32", "203.0.113.1/32", "10.1.2.77/16", "10.1.5.0/24", "::/0"),
    *("2001:db8::/32", "198.51.100.0/25"),
]
HOLES = {
    "0.0.0.0/0": ["10.0.0.0/8", "192.0.2.0/24", "172.16.0.0/12"],
    "10.0.0.0/8": ["10.96.0.0/12", "10.1.2.0/24"],
    "10.1.0.0/16": ["10.1.2.3/32"],
    "192.0.2.0/24": ["192.0.2.4/30", "192.0.2.8/32"],
    "172.16.9.0/28": ["172.16.9.12/30"],
    "::/0": ["2001:db8::/64"],
    "2001:db8::/32": ["2001:db8::5/128"],
}
NAMES = ["api.example.com", "API.Example.COM", "example.com.", "example.com", "a.b.example.com", "sub1.example.com"]
PATTERNS = [
    *("*.example.com", "*example.com", "sub*.example.com", "**.example.com", "*", "**", "*.", "a.**.example.com"),
    *("*.*.example.com", "cdn.*.net", "a*.EXAMPLE.com", "*.example.com.", "**.b.example.com", "*b.example.com"),
]
NUMBERS = [80, 53, 443, 8080, 9090, 5353, 8000]


@dataclass
class Maker:
    """What the generators share while a scenario comes about; `ports` are the numbers policies mention."""

    dice: Dice
    config: dict[str, Any]
    ports: list[int] = field(default_factory=list)
    uses_groups: bool = False
    uses_services: bool = False

    def port(self) -> int:
        """A port number, remembered so that probes can aim at it."""
        number = self.dice.pick(NUMBERS)
        self.ports.append(number)
        return number


def term(dice: Dice, key: str, values: list[str], operators: tuple[str, ...] = ()) -> dict[str, Any]:
    """One member of matchExpressions."""
    operator = dice.pick(operators or ("In", "NotIn", "Exists", "DoesNotExist"))
    dice.mark(f"§3 {operator}")
    result: dict[str, Any] = {"key": key, "operator": operator}
    if operator in {"In", "NotIn"}:
        result["values"] = dice.some(values, 1, 2)
    return result


def plain_selector(dice: Dice) -> dict[str, Any]:
    """A selector over pod labels as Kubernetes objects have them, without sources."""
    choice = dice.below(6)
    if choice <= 1:
        dice.mark("§3 matchLabels")
        return {"matchLabels": {"app": dice.pick(["web", "db", "cli"])}}
    if choice == 2:
        return {"matchLabels": {"tier": dice.pick(["fe", "be"]), "app": dice.pick(["web", "db"])}}
    if choice == 3:
        return {}
    keys = {"app": ["web", "db", "cli"], "tier": ["fe", "be"], "role": ["x"], "app.kubernetes.io/name": ["web"]}
    key = dice.pick(list(keys))
    if key == "role":
        dice.mark("§3 missing key")
    result: dict[str, Any] = {"matchExpressions": [term(dice, key, keys[key])]}
    if choice == 5:
        result["matchLabels"] = {"tier": dice.pick(["fe", "be"])}
    return result


def namespace_selector(dice: Dice, *, positive: bool = False) -> dict[str, Any]:
    """A selector over namespace labels; `positive` ones need the key."""
    choice = dice.below(4)
    if choice == 0:
        return {"matchLabels": {"kubernetes.io/metadata.name": dice.pick(["a", "b", "kube-system"])}}
    if choice == 1:
        return {"matchLabels": {"team": dice.pick(["red", "blue"])}}
    if choice == 2:
        return {}
    operators = ("In", "Exists") if positive else ()
    key, values = dice.pick([("team", ["red", "blue"]), ("env", ["prod"])])
    return {"matchExpressions": [term(dice, key, values, operators)]}


def sourced_selector(dice: Dice) -> dict[str, Any]:
    """A selector with the sources only Cilium knows."""
    choice = dice.pick(["k8s", "any", "k8s", "any", "account", "foreign", "foreign", "foreign", "namespace", "cluster"])
    if choice == "namespace":
        return by_namespace_label(dice)
    if choice == "foreign":
        return by_foreign_key(dice)
    if choice == "account":
        dice.mark("§3 service account")
        return {"matchLabels": {"io.cilium.k8s.policy.serviceaccount": dice.pick(["web-sa", "db-sa"])}}
    if choice == "cluster":
        dice.mark("§3 cluster label")
        key = dice.pick(["io.cilium.k8s.policy.cluster", "k8s:io.cilium.k8s.policy.cluster"])
        operators: tuple[str, ...] = ("In", "Exists")
        values = ["default", "west"]
    else:
        dice.mark(f"§3 source {choice}")
        key = dice.pick([f"{choice}:app", f"{choice}:tier"])
        operators = ()
        values = ["web", "db", "cli"] if key.endswith("app") else ["fe", "be"]
    if dice.chance(50):
        return {"matchLabels": {key: dice.pick(values)}}
    return {"matchExpressions": [term(dice, key, values, operators)]}


def by_foreign_key(dice: Dice) -> dict[str, Any]:
    """A key no pod carries, which selects nothing, or everything when negated."""
    keys = {
        "k8s.io.kubernetes.pod.namespace": "§3 dot instead of colon",
        "pod-template-hash": "§3 filtered label",
        "cidr:10.0.0.0/8": "§3 source cidr",
        "fqdn:api.example.com": "§3 source fqdn",
        "gen:app": "§3 source gen",
        "container:app": "§3 source container",
    }
    key = dice.pick(list(keys))
    dice.mark(keys[key])
    if dice.chance(50):
        return {"matchLabels": {key: "web"}}
    return {"matchExpressions": [term(dice, key, ["a", "web"])]}


def by_namespace_label(dice: Dice) -> dict[str, Any]:
    """A selector over the namespace labels inside the identity."""
    prefix = dice.pick(["", "k8s:"]) + "io.cilium.k8s.namespace.labels."
    if dice.chance(50):
        dice.mark("§3 namespace label")
        return {"matchLabels": {prefix + "team": dice.pick(["red", "blue"])}}
    dice.mark("§3 namespace label operator")
    return {"matchExpressions": [term(dice, prefix + dice.pick(["team", "env"]), ["red", "prod"])]}


def cilium_port(maker: Maker, *, egress: bool) -> dict[str, Any]:
    """One member of `ports`."""
    dice = maker.dice
    result: dict[str, Any] = {}
    protocol = dice.pick(["TCP", "TCP", "UDP", "SCTP", "ANY", None])
    if protocol is None:
        dice.mark("§5 protocol absent")
    else:
        dice.mark(f"§5 protocol {protocol}")
        result["protocol"] = protocol
    choice = dice.below(10)
    if choice == 0:
        dice.mark("§5 port 0")
        return {"port": "0", **result}
    if choice <= 2:
        name = dice.pick(["http", "http", "metrics", "dns", "dnsp", "HTTP", "nosuch"])
        dice.mark("§5 named port")
        if name == "HTTP":
            dice.mark("§5 named port upper case")
        if name == "nosuch":
            dice.mark("§5 named port undefined")
        if egress:
            dice.mark("§5 named port egress")
        if dice.chance(10):
            result["endPort"] = 9999
        return {"port": name, **result}
    number = maker.port()
    if choice == 3:
        end = number + dice.pick([1, 100, 20])
        dice.mark("§5 endPort")
        maker.ports += [end]
        result["endPort"] = end
    elif choice == 4:
        dice.mark("§5 endPort not above port")
        result["endPort"] = dice.pick([0, number, number - 3])
    return {"port": str(number), **result}


def fqdn(dice: Dice) -> dict[str, str]:
    """One member of toFQDNs or `rules.dns`."""
    if dice.chance(40):
        name = dice.pick(NAMES)
        dice.mark("§4 matchName")
        if name != name.lower():
            dice.mark("§4 matchName case")
        if name.endswith("."):
            dice.mark("§4 matchName trailing dot")
        return {"matchName": name}
    pattern = dice.pick(PATTERNS)
    dice.mark("§4 matchPattern")
    if pattern.strip(".") in {"*", "**"}:
        dice.mark("§4 matchPattern *")
    elif pattern.startswith("**."):
        dice.mark("§4 matchPattern **.")
    elif "**" in pattern:
        dice.mark("§4 matchPattern inner **")
    return {"matchPattern": pattern}


def cidr(dice: Dice) -> str:
    """A prefix, marked by what it covers."""
    text = dice.pick(CIDRS)
    dice.mark("§4 cidr")
    for mark, texts in (
        ("§4 cidr /0", {"0.0.0.0/0", "::/0"}),
        ("§4 cidr v6", {"::/0", "2001:db8::/32"}),
        ("§4 cidr of pods", {"10.1.5.0/24", "10.1.0.0/16"}),
        ("§4 cidr of nodes", {"172.16.9.0/28", "172.16.9.12/32", "172.16.9.5/32"}),
        ("§4 cidr of apiserver", {"203.0.113.1/32"}),
        ("§4 cidr host bits", {"10.1.2.77/16"}),
    ):
        if text in texts:
            dice.mark(mark)
    return text


def cidr_rule(maker: Maker) -> dict[str, Any]:
    """One member of a CIDRSet: a prefix or a group, with or without exceptions."""
    dice = maker.dice
    dice.mark("§4 cidrSet")
    choice = dice.below(5)
    if choice <= 2:
        text = cidr(dice)
        if text in HOLES and dice.chance(70):
            dice.mark("§4 except")
            return {"cidr": text, "except": dice.some(HOLES[text], 1, 2)}
        return {"cidr": text}
    maker.uses_groups = True
    result: dict[str, Any]
    if choice == 3:
        name = dice.pick(["g1", "g2", "g3", "nosuch"])
        dice.mark("§4 cidrGroup missing" if name == "nosuch" else "§4 cidrGroupRef")
        result = {"cidrGroupRef": name}
    else:
        dice.mark("§4 cidrGroupSelector")
        selector: dict[str, Any] = {"matchLabels": {"zone": dice.pick(["x", "y", "z"])}}
        if dice.chance(30):
            selector = {"matchExpressions": [{"key": "kind", "operator": "Exists"}]}
        result = {"cidrGroupSelector": selector}
    if dice.chance(25):
        dice.mark("§4 cidrGroup except")
        result["except"] = dice.some(["10.1.2.0/24", "192.0.2.4/30"], 1, 1)
    return result
