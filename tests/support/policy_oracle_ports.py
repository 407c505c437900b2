"""Ports, protocols, ICMP and L7 rules: sections 5 and 8 of the semantics document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.support.policy_oracle_peers import name_matches

ANY = ("tcp", "udp", "sctp")
ICMP_TYPES = {
    "icmp": {"EchoReply": 0, "DestinationUnreachable": 3, "EchoRequest": 8, "TimeExceeded": 11},
    "icmpv6": {"DestinationUnreachable": 1, "TimeExceeded": 3, "EchoRequest": 128, "EchoReply": 129},
}


@dataclass(frozen=True)
class Port:
    """One thing a rule says about L4: protocols and either a range or a name, with its L7 rules."""

    protocols: tuple[str, ...]
    low: int = 0
    high: int = 65535
    name: str = ""
    l7: dict[str, Any] | None = None


def icmp_number(value: Any, protocol: str) -> int:
    """§5, an ICMP type is a number or the name of one."""
    if isinstance(value, int):
        return value
    return int(value) if value.isdigit() else ICMP_TYPES[protocol][value]


def icmp_ports(icmps: list[dict[str, Any]]) -> list[Port]:
    """§5, `family` defaults to IPv4; the code is ignored."""
    result = []
    for block in icmps:
        for field in block.get("fields") or []:
            protocol = "icmpv6" if field.get("family") == "IPv6" else "icmp"
            number = icmp_number(field["type"], protocol)
            result.append(Port((protocol,), number, number))
    return result


def numbered(protocols: tuple[str, ...], port: int, end: int, l7: dict[str, Any] | None = None) -> Port:
    """§5, port 0 is all ports; endPort is inclusive, and a smaller or equal one is a single port."""
    if port == 0:
        return Port(protocols, l7=l7)
    return Port(protocols, port, end if end > port else port, l7=l7)


def l7_of(rules: dict[str, Any] | None) -> dict[str, Any] | None:
    """§2, `http: []`, `dns: []`, `rules: {}` restrict nothing; §8, kafka and l7 are pruned (1.20)."""
    kept = {kind: (rules or {}).get(kind) for kind in ("http", "dns") if (rules or {}).get(kind)}
    return kept or None


def cilium_ports(rule: dict[str, Any]) -> list[Port] | None:
    """§2 and §5: None is every protocol; a `toPorts` member without ports is no port at all."""
    if not rule.get("toPorts") and not rule.get("icmps"):
        return None
    result = icmp_ports(rule.get("icmps") or [])
    for member in rule.get("toPorts") or []:
        l7 = l7_of(member.get("rules"))
        for port in member.get("ports") or []:
            result.append(cilium_port(port, l7))
    return result


def cilium_port(port: dict[str, Any], l7: dict[str, Any] | None) -> Port:
    """§5, an omitted protocol is ANY: TCP, UDP and SCTP, never ICMP; endPort is ignored for a name."""
    protocol = (port.get("protocol") or "ANY").lower()
    protocols = ANY if protocol == "any" else (protocol,)
    written = str(port["port"])
    if not written.isdigit():
        return Port(protocols, name=written.lower(), l7=l7)
    return numbered(protocols, int(written), port.get("endPort") or 0, l7)


def kubernetes_ports(ports: list[dict[str, Any]] | None) -> list[Port] | None:
    """§2 and §5: `ports: []` is absent; an omitted protocol is TCP, an omitted port all of them."""
    if not ports:
        return None
    result = []
    for port in ports:
        protocols = ((port.get("protocol") or "TCP").lower(),)
        written = port.get("port")
        if written is None:
            result.append(Port(protocols))
        elif isinstance(written, str):
            result.append(Port(protocols, name=written.lower()))
        else:
            result.append(numbered(protocols, written, port.get("endPort") or 0))
    return result


def cluster_ports(protocols: list[dict[str, Any]] | None) -> list[Port] | None:
    """§9, `protocols` absent is all; a number, a range, or a named port of any protocol."""
    if not protocols:
        return None
    result = []
    for element in protocols:
        if "destinationNamedPort" in element:
            result.append(Port(ANY, name=element["destinationNamedPort"].lower()))
            continue
        for protocol in ANY:
            if protocol in element:
                port = element[protocol]["destinationPort"]
                span = port.get("range") or {"start": port.get("number"), "end": port.get("number")}
                result.append(Port((protocol,), span["start"], span["end"]))
    return result


def port_matches(port: Port, probe: dict[str, Any], destination: dict[str, Any]) -> bool:
    """§5, a name is looked up in the destination pod's own ports, whose protocol must agree."""
    if probe["proto"] not in port.protocols:
        return False
    if not port.name:
        return bool(port.low <= probe["port"] <= port.high)
    wanted = (port.name, probe["port"], probe["proto"])
    declared = destination.get("ports") or []
    return any(
        (item["name"].lower(), item["port"], (item.get("proto") or "TCP").lower()) == wanted for item in declared
    )


def header_holds(line: str, headers: dict[str, str]) -> bool:
    """§8, `"X: y"` is exact and `"X"` is presence."""
    name, colon, value = line.partition(":")
    for key, actual in headers.items():
        if key.lower() == name.strip().lower():
            return not colon or actual == value.strip()
    return False


def http_allows(rule: dict[str, Any], request: dict[str, Any]) -> bool:
    """§8, all given fields of an HTTP rule must match, as full-match expressions."""
    for field in ("method", "path", "host"):
        if rule.get(field) and not re.fullmatch(rule[field], request.get(field) or ""):
            return False
    headers = request.get("headers") or {}
    for line in rule.get("headers") or []:
        if not header_holds(line, headers):
            return False
    for match in rule.get("headerMatches") or []:
        if not match.get("mismatch") and not header_holds(f"{match['name']}: {match['value']}", headers):
            return False
    return True


def l7_allows(rules: dict[str, Any] | None, request: dict[str, Any]) -> bool:
    """§8, HTTP rules are ORed; DNS names follow §4.3; no rules is no restriction."""
    if rules is None:
        return True
    if "http" in request:
        return any(http_allows(rule, request["http"]) for rule in rules.get("http") or [])
    return any(name_matches(item, request["dns"]) for item in rules.get("dns") or [])
