"""Ranges of addresses as policies write them.

Reads `10.0.0.0/8` and what is taken out of it; says nothing of who is meant.
"""

from __future__ import annotations

import ipaddress
import re

from flowwatch.policy.entries import Addresses, Group
from flowwatch.policy.labels import read_selector
from flowwatch.policy.nodes import Node
from flowwatch.policy.reading import Reader
from flowwatch.yamlmarks import clip

_CIDR = re.compile(r"[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?")


def read_cidr(node: Node, read: Reader) -> str:
    """A range with its prefix length, host bits masked; empty where it is none."""
    text = read.text(node)
    if not isinstance(node.value, str):
        return ""
    if _CIDR.fullmatch(text) and ("/" in text or read.options.bare_addresses):
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            pass
    elif _CIDR.fullmatch(text) and _is_address(text):
        length = ipaddress.ip_address(text).max_prefixlen
        read.wrong(node, f"`{text}` has no prefix length", f"write `{text}/{length}`")
        return ""
    read.wrong(node, f"expected a range of addresses such as `10.0.0.0/8`, not {node.described}")
    return ""


def read_exceptions(nodes: Node | None, cidr: str, read: Reader) -> tuple[str, ...]:
    """The ranges taken out of `cidr`, which must hold them (unless it is empty: not known)."""
    found = []
    for node in read.elements(nodes):
        exception = read_cidr(node, read)
        if exception and cidr and not _contains(cidr, exception):
            read.wrong(node, f"`{exception}` does not lie in `{cidr}`")
        elif exception:
            found.append(exception)
    return tuple(found)


def read_cidr_rule(node: Node, read: Reader) -> Addresses | Group | None:
    """An element of `fromCIDRSet` or `toCIDRSet`: one of a range, a group and a selector of groups."""
    fields = read.fields(node, ("cidr", "except", "cidrGroupRef", "cidrGroupSelector"))
    kinds = [key for key in ("cidr", "cidrGroupRef", "cidrGroupSelector") if key in fields]
    if len(kinds) != 1:
        found = " and ".join(f"`{kind}`" for kind in kinds) or "none"
        if node.is_mapping:
            read.wrong(node, f"expected one of `cidr`, `cidrGroupRef` and `cidrGroupSelector`, not {found}")
        return None
    if "cidr" in fields:
        cidr = read_cidr(fields["cidr"], read)
        exceptions = read_exceptions(fields.get("except"), cidr, read)
        return Addresses(cidr, exceptions) if cidr else None
    exceptions = read_exceptions(fields.get("except"), "", read)
    if "cidrGroupRef" in fields:
        name = read.text(fields["cidrGroupRef"])
        if not name and isinstance(fields["cidrGroupRef"].value, str):
            read.wrong(fields["cidrGroupRef"], "expected the name of a CiliumCIDRGroup")
        return Group(clip(name, 253), (), exceptions)
    return Group("", read_selector(fields["cidrGroupSelector"], read).requirements, exceptions)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _contains(outer: str, inner: str) -> bool:
    one, other = ipaddress.ip_network(outer), ipaddress.ip_network(inner)
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return other.subnet_of(one)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return other.subnet_of(one)
    return False
