"""Ports as policies write them: numbers, ranges, names, protocols and ICMP types.

Reads the `toPorts` and `icmps` of Cilium and the `ports` of Kubernetes into the same few values.
"""

from __future__ import annotations

import re

from flowwatch.policy.entries import NamedPort, Ports, Span
from flowwatch.policy.nodes import Node
from flowwatch.policy.reading import Reader
from flowwatch.yamlmarks import clip

TCP, UDP, SCTP = 6, 17, 132
WITH_PORTS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
WITHOUT_PORTS = {"VRRP": 112, "IGMP": 2, "GRE": 47, "IPIP": 4, "IPV6": 41, "ESP": 50, "AH": 51}
ANY = "ANY"
LAST = 65_535
MOST = 40
"""How many ports, and how many ICMP types, one list may hold."""

ICMP, ICMPV6 = 1, 58
ICMP_TYPES = {
    ICMP: {
        "EchoReply": 0,
        "DestinationUnreachable": 3,
        "Redirect": 5,
        "Echo": 8,
        "EchoRequest": 8,
        "RouterAdvertisement": 9,
        "RouterSelection": 10,
        "TimeExceeded": 11,
        "ParameterProblem": 12,
        "Timestamp": 13,
        "TimestampReply": 14,
        "Photuris": 40,
        "ExtendedEchoRequest": 42,
        "ExtendedEchoReply": 43,
    },
    ICMPV6: {
        "DestinationUnreachable": 1,
        "PacketTooBig": 2,
        "TimeExceeded": 3,
        "ParameterProblem": 4,
        "EchoRequest": 128,
        "EchoReply": 129,
        "MulticastListenerQuery": 130,
        "MulticastListenerReport": 131,
        "MulticastListenerDone": 132,
        "RouterSolicitation": 133,
        "RouterAdvertisement": 134,
        "NeighborSolicitation": 135,
        "NeighborAdvertisement": 136,
        "RedirectMessage": 137,
        "RouterRenumbering": 138,
        "ICMPNodeInformationQuery": 139,
        "ICMPNodeInformationResponse": 140,
        "InverseNeighborDiscoverySolicitation": 141,
        "InverseNeighborDiscoveryAdvertisement": 142,
        "HomeAgentAddressDiscoveryRequest": 144,
        "HomeAgentAddressDiscoveryReply": 145,
        "MobilePrefixSolicitation": 146,
        "MobilePrefixAdvertisement": 147,
        "DuplicateAddressRequestCodeSuffix": 157,
        "DuplicateAddressConfirmationCodeSuffix": 158,
        "ExtendedEchoRequest": 160,
        "ExtendedEchoReply": 161,
    },
}

_SERVICE_NAME = re.compile(r"(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9]([A-Za-z0-9]|-(?=[A-Za-z0-9])){0,14}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,5}")
_EVERY_PROTOCOL = tuple(WITH_PORTS.values())


def read_cilium_ports(node: Node | None, read: Reader) -> Ports:
    """The `ports` of one element of `toPorts`. Without any, nothing at all is matched."""
    spans: list[Span] = []
    named: list[NamedPort] = []
    elements = read.elements(node)
    if node is not None and len(elements) > MOST:
        read.wrong(node, f"{len(elements)} ports are too many: at most {MOST} may stand in one list")
    for element in elements[:MOST]:
        fields = read.fields(element, ("port", "endPort", "protocol"))
        protocols = _cilium_protocols(fields.get("protocol"), read)
        text = read.text(fields.get("port"))
        end = read.whole(fields.get("endPort"), 0, LAST)
        if protocols and protocols[0] not in _EVERY_PROTOCOL:
            if text not in ("", "0"):
                read.wrong(fields["port"], "this protocol has no ports", "leave `port` out")
            spans += [Span(protocol, 0, LAST) for protocol in protocols]
        elif "port" not in fields or (not text and isinstance(fields["port"].value, str)):
            if element.is_mapping:
                read.wrong(fields.get("port", element), "`port` is missing", 'write `port: "0"` for every port')
        elif _SERVICE_NAME.fullmatch(text):
            named.append(NamedPort(text.lower(), protocols))
        elif text and (port := _number(fields["port"], text, read)) is not None:
            first, last = (port, max(port, end or 0)) if port else (0, LAST)
            spans += [Span(protocol, first, last) for protocol in protocols]
    return Ports(False, tuple(spans), tuple(named))


def _cilium_protocols(node: Node | None, read: Reader) -> tuple[int, ...]:
    known = (*WITH_PORTS, ANY, *WITHOUT_PORTS)
    word = read.text(node)
    if node is None or not isinstance(node.value, str) or word.upper() in ("", ANY):
        return _EVERY_PROTOCOL
    upper = word.upper()
    exact = upper if upper != "IPV6" else "IPv6"
    if upper not in known or (read.strict and word != exact):
        shown = ", ".join("IPv6" if name == "IPV6" else name for name in known)
        hint = "write `icmps` beside `toPorts`" if upper.startswith("ICMP") else ""
        read.wrong(node, f"expected one of {shown}, not {node.described}", hint)
        return _EVERY_PROTOCOL
    return (WITH_PORTS.get(upper) or WITHOUT_PORTS[upper],)


def _number(node: Node, text: str, read: Reader) -> int | None:
    # A leading zero means octal to Cilium.
    if _DECIMAL.fullmatch(text):
        port = int(text)
    elif re.fullmatch(r"0[0-7]{1,6}", text):
        port = int(text, 8)
    else:
        read.wrong(node, f"expected a port from 0 to {LAST} or the name of one, not `{clip(text)}`")
        return None
    if port > LAST:
        read.wrong(node, f"expected a port from 0 to {LAST}, not `{clip(text)}`")
        return None
    return port


def read_icmps(node: Node, read: Reader) -> Ports:
    """The ICMP types that an `icmps` list names."""
    spans: list[Span] = []
    for element in read.elements(node):
        listed = read.fields(element, ("fields",)).get("fields")
        types = read.elements(listed)
        if listed is not None and len(types) > MOST:
            read.wrong(listed, f"{len(types)} types are too many: at most {MOST} may stand in one list")
        for one in types[:MOST]:
            fields = read.fields(one, ("family", "type"), ("type",))
            family = read.choice(fields.get("family"), ("IPv4", "IPv6", "")) or "IPv4"
            protocol = ICMPV6 if family == "IPv6" else ICMP
            number = _icmp_type(fields["type"], protocol, read) if "type" in fields else None
            if number is not None:
                spans.append(Span(protocol, number, number))
    return Ports(False, tuple(spans))


def _icmp_type(node: Node, protocol: int, read: Reader) -> int | None:
    value = node.value
    if not isinstance(value, str):
        return read.whole(node, 0, 255)
    if value in ICMP_TYPES[protocol]:
        return ICMP_TYPES[protocol][value]
    if _DECIMAL.fullmatch(value) and int(value) <= 255:
        return int(value)
    read.wrong(node, f"expected an ICMP type from 0 to 255 or the name of one, not {node.described}")
    return None


def read_kubernetes_ports(node: Node | None, read: Reader) -> Ports | None:
    """The `ports` of a NetworkPolicy rule; None where there are none, which means all."""
    elements = read.elements(node)
    if not elements:
        return None
    spans: list[Span] = []
    named: list[NamedPort] = []
    for element in elements:
        fields = read.fields(element, ("port", "endPort", "protocol"))
        word = read.choice(fields.get("protocol"), WITH_PORTS) if "protocol" in fields else "TCP"
        protocol = WITH_PORTS.get(word, TCP)
        end = read.whole(fields.get("endPort"), 0, LAST)
        port = fields.get("port")
        if port is None:
            if end is not None and read.strict:
                read.wrong(fields["endPort"], "`endPort` needs a `port`")
            spans.append(Span(protocol, 0, LAST))
        elif isinstance(port.value, str):
            if not _SERVICE_NAME.fullmatch(port.value):
                hint = "write the number without quotes" if port.value.isdigit() else ""
                read.wrong(port, f"expected a port number or the name of a port, not {port.described}", hint)
            elif end is not None and read.strict:
                read.wrong(fields["endPort"], "`endPort` needs a `port` that is a number")
            else:
                named.append(NamedPort(port.value.lower(), (protocol,)))
        else:
            first = read.whole(port, 1 if read.strict else 0, LAST)
            if first is not None and end is not None and end < first and read.strict:
                read.wrong(fields["endPort"], f"`endPort` {end} comes before `port` {first}")
            elif first is not None:
                spans.append(Span(protocol, first, max(first, end or 0)) if first else Span(protocol, 0, LAST))
    return Ports(False, tuple(spans), tuple(named))
