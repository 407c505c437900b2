"""The `rules` of `toPorts`, read and held against what they may be combined with.

What requests the rules let through is decided in `l7`; here is only how they are written.
"""

from __future__ import annotations

from flowwatch.policy.entries import Ports
from flowwatch.policy.fqdn import read_fqdn
from flowwatch.policy.l7 import L7, Header, HttpRule, fault_of
from flowwatch.policy.nodes import Node
from flowwatch.policy.ports import LAST, TCP, UDP
from flowwatch.policy.reading import Reader
from flowwatch.yamlmarks import clip

_LEGACY = ("kafka", "l7", "l7proto")
_MISMATCHES = ("LOG", "ADD", "DELETE", "REPLACE")


def read_rules(node: Node, at_ports: Node, ports: Ports, read: Reader, *, ingress: bool, host: bool) -> L7 | None:
    """What `rules` ask of requests; None where they ask for nothing."""
    fields = read.fields(node, ("http", "dns", *_LEGACY))
    rules = _read_rules(fields, read)
    if rules is None:
        return None
    if len([key for key in ("http", "dns", "kafka", "l7proto") if key in fields and _holds(fields[key])]) > 1:
        read.wrong(node, "rules of two protocols stand in one list", "split it in two")
    about_names = "dns" in fields and bool(fields["dns"].elements())
    if about_names:
        _check_dns(node, at_ports, ports, read, ingress=ingress)
    else:
        if host:
            read.wrong(node, "a policy for hosts takes no such rules")
        _check_tcp(node, ports, read)
    if host and about_names and ingress:
        read.wrong(node, "a policy for hosts takes no such rules")
    if not about_names and any(span.first == 0 for span in ports.spans):
        read.wrong(node, "rules need ports; port 0 stands for all")
    return rules


def _read_rules(fields: dict[str, Node], read: Reader) -> L7 | None:
    http = tuple(_read_http(one, read) for one in read.elements(fields.get("http")))
    dns = tuple(name for one in read.elements(fields.get("dns")) if (name := read_fqdn(one, read)))
    asks = any(key in fields and fields[key].elements() for key in ("http", "dns"))
    if read.options.legacy_l7:
        unread = next((key for key in _LEGACY if key in fields and _holds(fields[key])), "")
        if unread:
            return L7(http, dns, unread)
    return L7(http, dns) if asks else None


def _holds(node: Node) -> bool:
    return bool(node.elements()) if node.is_list else bool(node.raw)


def _check_dns(node: Node, at_ports: Node, ports: Ports, read: Reader, *, ingress: bool) -> None:
    if ingress:
        read.wrong(node, "DNS rules are for egress only")
    if not ports.spans and not ports.named and not read.problems:
        read.wrong(at_ports, "DNS rules need a port", 'write `ports: [{port: "53", protocol: ANY}]`')
    for span in ports.spans:
        if span.first != span.last and (span.first, span.last) != (0, LAST):
            read.wrong(node, f"DNS rules take no range of ports such as {span.first}-{span.last}")
            return
        if (span.first, span.last) == (0, LAST):
            read.wrong(node, "rules need ports; port 0 stands for all")
            return
        if span.protocol not in (TCP, UDP, 132):
            read.wrong(node, "DNS rules are for TCP and UDP only")
            return


def _check_tcp(node: Node, ports: Ports, read: Reader) -> None:
    protocols = {span.protocol for span in ports.spans} | {one for port in ports.named for one in port.protocols}
    if protocols - {TCP}:
        read.wrong(node, "rules other than those for DNS need `protocol: TCP` with every port")


def _read_http(node: Node, read: Reader) -> HttpRule:
    fields = read.fields(node, ("method", "path", "host", "headers", "headerMatches"))
    method, path, host = (_read_expression(fields.get(key), read) for key in ("method", "path", "host"))
    headers = [_read_header(one, read) for one in read.elements(fields.get("headers"))]
    headers += [
        header for one in read.elements(fields.get("headerMatches")) if (header := _read_match(one, read)) is not None
    ]
    return HttpRule(method, path, host, tuple(headers))


def _read_expression(node: Node | None, read: Reader) -> str:
    text = read.text(node)
    if node is not None and text and (fault := fault_of(text)):
        read.wrong(node, f"`{clip(text)}` is no regular expression: {fault}")
        return ""
    return text


def _read_header(node: Node, read: Reader) -> Header:
    text = read.text(node)
    if not text:
        read.wrong(node, "expected a header such as `X-Token: 42`")
    name, space, value = text.partition(" ")
    return Header(name.rstrip(":"), value if space else None)


def _read_match(node: Node, read: Reader) -> Header | None:
    fields = read.fields(node, ("name", "value", "secret", "mismatch"), ("name",))
    mismatch = read.choice(fields.get("mismatch"), ("", *_MISMATCHES)) if "mismatch" in fields else ""
    name, value = read.text(fields.get("name")), read.text(fields.get("value"))
    # With `mismatch` the request is changed or logged, and never held back.
    return None if mismatch else Header(name, value or None, secret="secret" in fields)
