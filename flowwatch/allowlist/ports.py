"""How ports are written: `8333`, `53/UDP`, `53/ANY`, `2379-2381/TCP`, `icmp/8`, `any`.

Reads one such text and nothing else; a text that is none of these is a `ValueError` whose
message says what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from flowwatch.allowlist.rules import PortRange, PortSet, port_text
from flowwatch.model import Protocol
from flowwatch.yamlmarks import clip

EXPECTED = "expected ports such as `8333`, `53/UDP`, `53/ANY`, `2379-2381/TCP`, `icmp/8` or `any`"
_PORT_EXPECTED = "expected a port from 1 to 65535"

WITH_PORTS = {"TCP": Protocol.TCP, "UDP": Protocol.UDP, "SCTP": Protocol.SCTP}
ANY_PROTOCOL = "ANY"

ICMP_TYPES = {
    "echo-reply": 0,
    "destination-unreachable": 3,
    "redirect": 5,
    "echo-request": 8,
    "router-advertisement": 9,
    "router-solicitation": 10,
    "time-exceeded": 11,
    "parameter-problem": 12,
    "timestamp-request": 13,
    "timestamp-reply": 14,
}
ICMPV6_TYPES = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "router-solicitation": 133,
    "router-advertisement": 134,
    "neighbor-solicitation": 135,
    "neighbor-advertisement": 136,
    "redirect": 137,
}

_NUMBER = re.compile(r"[-+]?[0-9]+")
_PORTS = re.compile(r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?(?:/([A-Za-z]+))?")
_ICMP = re.compile(r"(icmp|icmpv6)(?:/(0|[1-9][0-9]{0,2}|[a-z-]+))?", re.IGNORECASE | re.ASCII)


def parse_ports(texts: Iterable[str]) -> PortSet:
    """The set of ports that one or more texts stand for. Raises ValueError on the first bad one."""
    ranges: list[PortRange] = []
    written: list[str] = []
    everything = False
    for text in texts:
        if text.lower() == "any":
            everything = True
            written.append("any")
            continue
        found, as_written = _parse(text)
        ranges.extend(found)
        written.append(as_written)
    return PortSet(tuple(dict.fromkeys(written)), tuple(dict.fromkeys(ranges)), everything)


def _parse(text: str) -> tuple[list[PortRange], str]:
    if matched := _ICMP.fullmatch(text):
        return _icmp(text, matched[1].lower(), matched[2])
    matched = _PORTS.fullmatch(text)
    if matched is None:
        raise ValueError(f"{_PORT_EXPECTED if _NUMBER.fullmatch(text) else EXPECTED}, not `{clip(text)}`")
    first, last = int(matched[1]), int(matched[2] or matched[1])
    if max(first, last) > 65535:
        raise ValueError(f"{_PORT_EXPECTED}, not `{max(first, last)}`")
    if last < first:
        raise ValueError(f"the range ends before it begins; expected `{last}-{first}`")
    name = (matched[3] or "TCP").upper()
    if name == ANY_PROTOCOL:
        numbers = f"{first}-{last}" if last > first else str(first)
        return [PortRange(protocol, first, last) for protocol in WITH_PORTS.values()], f"{numbers}/ANY"
    if name not in WITH_PORTS:
        raise ValueError(f"expected the protocol TCP, UDP, SCTP or ANY, not `{matched[3]}`")
    return [PortRange(WITH_PORTS[name], first, last)], port_text(WITH_PORTS[name], first, last)


def _icmp(text: str, family: str, kind: str | None) -> tuple[list[PortRange], str]:
    protocol, names = (Protocol.ICMP, ICMP_TYPES) if family == "icmp" else (Protocol.ICMPV6, ICMPV6_TYPES)
    if kind is None:
        return [PortRange(protocol, 0, 255)], port_text(protocol, 0, 255)
    if kind.isdigit():
        number = int(kind)
        if number > 255:
            raise ValueError("expected an ICMP type from 0 to 255")
    elif kind.lower() in names:
        number = names[kind.lower()]
    else:
        raise ValueError(f"`{text}` names no type of {protocol.name}; expected a number or one of {', '.join(names)}")
    return [PortRange(protocol, number, number)], port_text(protocol, number, number)
