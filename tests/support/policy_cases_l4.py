"""Generated `toPorts`, `icmps` and L7 rules of Cilium policies."""

from __future__ import annotations

from typing import Any

from tests.support.policy_cases_selectors import Maker, cilium_port, fqdn
from tests.support.policy_dice import Dice


def icmps(dice: Dice) -> list[dict[str, Any]]:
    """The ICMP block of a rule."""
    fields = []
    for _ in range(1 + dice.below(2)):
        family = dice.pick(["IPv4", "IPv6", None])
        item: dict[str, Any] = {}
        if family is None:
            dice.mark("§5 icmp default family")
        else:
            dice.mark("§5 icmp v4" if family == "IPv4" else "§5 icmp v6")
            item["family"] = family
        if dice.chance(40):
            dice.mark("§5 icmp by name")
            item["type"] = dice.pick(["EchoRequest", "EchoReply", "DestinationUnreachable", "TimeExceeded"])
        else:
            item["type"] = dice.pick([8, 128, 3, 0])
        fields.append(item)
    return [{"fields": fields}]


def to_ports(maker: Maker, egress: bool, denies: bool, on_node: bool) -> dict[str, Any]:
    """`toPorts`, with the empty forms of §2 now and then."""
    dice = maker.dice
    if dice.chance(4):
        dice.mark("§2 toPorts []")
        return {"toPorts": []}
    if dice.chance(4):
        member: dict[str, Any] = dice.pick([{}, {"ports": []}])
        dice.mark("§2 ports []" if member else "§2 toPorts [{}]")
        return {"toPorts": [member]}
    members = []
    for _ in range(1 + dice.below(2)):
        if denies or dice.chance(45):
            members.append(port_member(maker, egress))
        elif egress and dice.chance(40):
            members.append(dns_member(maker))
        elif not on_node:
            members.append(http_member(maker, egress))
        else:
            members.append(port_member(maker, egress))
    return {"toPorts": members}


def port_member(maker: Maker, egress: bool) -> dict[str, Any]:
    """One member of toPorts without L7 rules, or with rules that restrict nothing."""
    dice = maker.dice
    return {"ports": [cilium_port(maker, egress=egress) for _ in range(1 + dice.below(2))]}


def http_member(maker: Maker, egress: bool) -> dict[str, Any]:
    """One member of toPorts with HTTP rules (or Kafka ones, which mean nothing any more)."""
    dice = maker.dice
    maker.ports += [80, 8080, 80, 8080]
    port: dict[str, Any] = {"port": dice.pick(["80", "8080", "http", "80"]), "protocol": "TCP"}
    if port["port"] == "80" and dice.chance(15):
        port["endPort"] = 90
    if dice.chance(6):
        dice.mark("§8 kafka")
        return {"ports": [port], "rules": {"kafka": [{"topic": "t"}]}}
    if dice.chance(8):
        dice.mark("§2 rules without restriction")
        return {"ports": [port], "rules": dice.pick([{"http": []}, {}])}
    rules = [http_rule(dice) for _ in range(1 + dice.below(2))]
    if len(rules) > 1:
        dice.mark("§8 two http rules")
    if egress:
        dice.mark("§8 l7 on egress")
    return {"ports": [port], "rules": {"http": rules}}


def http_rule(dice: Dice) -> dict[str, Any]:
    """One HTTP rule of one to three fields."""
    if dice.chance(6):
        dice.mark("§2 http [{}]")
        return {}
    fields: dict[str, Any] = {
        "method": dice.pick(["GET", "GET|HEAD", "P.*"]),
        "path": dice.pick(["/api", "/api/.*", "/", "/a?pi"]),
        "host": dice.pick(["svc.local", "svc\\.local", ".*local"]),
        "headers": [dice.pick(["X-Token: 42", "X-Token", "X-Other"])],
        "headerMatches": [{"name": "X-Token", "value": dice.pick(["42", "43"])}],
    }
    if dice.chance(50):
        fields["headerMatches"][0]["mismatch"] = dice.pick(["LOG", "ADD", "DELETE", "REPLACE"])
    result = {key: fields[key] for key in dice.some(list(fields), 1, 2)}
    for key in result:
        dice.mark(f"§8 http {key}")
    if result.get("headers") in (["X-Token"], ["X-Other"]):
        dice.mark("§8 http header presence")
    if "mismatch" in str(result.get("headerMatches")):
        dice.mark("§8 http mismatch")
    return result


def dns_member(maker: Maker) -> dict[str, Any]:
    """One member of toPorts with DNS rules."""
    dice = maker.dice
    dice.mark("§8 dns")
    maker.ports += [53, 53]
    port: dict[str, Any] = {"port": dice.pick(["53", "53", "dns"])}
    protocol = dice.pick(["UDP", "ANY", "TCP", None])
    if protocol:
        port["protocol"] = protocol
    if dice.chance(6):
        dice.mark("§2 rules without restriction")
        return {"ports": [port], "rules": {"dns": []}}
    return {"ports": [port], "rules": {"dns": [fqdn(dice) for _ in range(1 + dice.below(2))]}}
