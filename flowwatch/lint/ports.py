"""Checks of ports as they are written: numbers, ranges, protocols, and the port of DNS."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.objects import fields_of
from flowwatch.lint.peers import Entity
from flowwatch.lint.portsets import LAST, TCP, UDP
from flowwatch.lint.views import CILIUM, Direction, Kind, Port, Rule, Spec
from flowwatch.yamlmarks import Marked

MOST = 40
DNS = 53
LONGEST_NAME = 15
PROTOCOLS = ("TCP", "UDP", "SCTP")
_MAY_ANSWER = ("host", "remote-node", "cluster", "world", "all")
_MORE_PROTOCOLS = ("ANY", "ICMP", "ICMPV6", "VRRP", "IGMP", "GRE", "IPIP", "IPV6", "ESP", "AH")


def icmp_with_ports(context: Context) -> Iterator[Problem]:
    """ICMP and ports in one rule."""
    for rule in context.rules:
        if rule.spec.policy.kind in CILIUM and _held(rule, "icmps") and _held(rule, "toPorts"):
            yield rule.fields["icmps"].problem(
                "`icmps` and `toPorts` exclude each other in one rule, so the policy is rejected",
                "make two rules of it",
            )


def port_invalid(context: Context) -> Iterator[Problem]:
    """Ports that are neither a number nor a name, and lists that are too long."""
    for rule in context.rules:
        for grant in rule.grants:
            for port in grant.written:
                yield from _invalid(port, rule.spec.policy.kind)
            if len(grant.written) > MOST and rule.spec.policy.kind in CILIUM:
                yield grant.written[MOST].at.problem(
                    f"this is one port more than the {MOST} a list may hold, so the policy is rejected",
                    "write ranges with `endPort`, or make two lists of it",
                )
        if rule.spec.policy.kind in CILIUM and "icmps" in rule.fields:
            for at in rule.fields["icmps"].elements():
                types = fields_of(at).get("fields")
                if types is not None and len(types.elements()) > MOST:
                    yield types.elements()[MOST].problem(
                        f"this is one ICMP type more than the {MOST} a list may hold, so the policy is rejected",
                        "make two lists of it",
                    )


def _invalid(port: Port, kind: Kind) -> Iterator[Problem]:
    if port.protocol not in PROTOCOLS and (kind is Kind.KNP or port.protocol not in _MORE_PROTOCOLS):
        yield port.at.problem(f"`{port.protocol}` is no protocol that has ports here", "expected TCP, UDP or SCTP")
    if port.written is None:
        return
    text = port.written.raw
    is_text = port.written.kind == "text"
    if not port.written.is_scalar:
        yield port.written.problem(f"expected a port, not {port.written.described}")
    elif port.number > LAST:
        yield port.written.problem(f"expected a port of at most {LAST}, not `{text}`")
    elif kind is Kind.KNP and is_text and port.number >= 0:
        yield port.written.problem(f"a port in quotes is a name, and `{text}` is none", "leave out the quotes")
    elif kind is Kind.KNP and port.number == 0:
        yield port.written.problem("expected a port from 1 to 65535, not `0`", "leave out `port` for every port")
    elif kind in CILIUM and not is_text:
        yield port.written.problem("a port is text in a Cilium policy, so the policy is rejected", f'write `"{text}"`')
    elif port.number < 0 and not is_service_name(text):
        hint = "write a range with `endPort`" if "-" in text and text[:1].isdigit() else ""
        yield port.written.problem(f"`{text}` is neither a number nor the name of a port", hint)


def is_service_name(text: str) -> bool:
    """Whether it can be the name of a port: at most 15 letters, digits and single hyphens, a letter among them."""
    parts = text.split("-")
    fits = len(text) <= LONGEST_NAME and text.isascii() and all(part.isalnum() for part in parts)
    return fits and any(character.isalpha() for character in text)


def empty_ports(context: Context) -> Iterator[Problem]:
    """Items of `toPorts` that hold no port."""
    for rule in context.rules:
        if rule.spec.policy.kind in CILIUM and _held(rule, "toPorts"):
            for at in rule.fields["toPorts"].elements():
                ports = fields_of(at).get("ports")
                if ports is None or (ports.is_list and not ports.elements()):
                    yield (ports or at).problem(
                        "no port is given, so the rule allows nothing", "leave out `toPorts` for every port"
                    )


def end_port_ignored(context: Context) -> Iterator[Problem]:
    """Ranges that end before they begin, or begin with a name."""
    for _, port in _ports(context):
        at = fields_of(port.at).get("endPort")
        if at is None:
            continue
        if port.name:
            yield at.problem("`endPort` has no effect beside the name of a port", "write the number of the port")
        elif 0 < port.end < port.number:
            yield at.problem(
                f"the range ends at {port.end}, before it begins at {port.number}: only the first port is meant",
                f"write `port: {port.end}` and `endPort: {port.number}`",
            )


def protocol_missing(context: Context) -> Iterator[Problem]:
    """Ports of a NetworkPolicy that do not say of which protocol."""
    for rule, port in _ports(context):
        if rule.spec.policy.kind is Kind.KNP and not port.says_protocol and port.number != DNS:
            yield port.at.problem("without `protocol` this means TCP only", "write `protocol: TCP` if that is meant")


def dns_without_udp(context: Context) -> Iterator[Problem]:
    """Egress to port 53 over TCP alone."""
    for rule, at in _dns_rules(context, TCP, UDP):
        because = "without `protocol` a port is TCP" if rule.spec.policy.kind is Kind.KNP else "only TCP is allowed"
        yield at.problem(f"DNS is asked over UDP first, and {because} here", "allow port 53 with `protocol: UDP`, too")


def dns_without_tcp(context: Context) -> Iterator[Problem]:
    """Egress to port 53 over UDP alone."""
    for _, at in _dns_rules(context, UDP, TCP):
        yield at.problem(
            "answers that do not fit into one UDP packet are asked for again over TCP, which is not allowed here",
            "allow port 53 with `protocol: TCP`, too",
        )


def _dns_rules(context: Context, has: str, lacks: str) -> Iterator[tuple[Rule, Marked]]:
    """Rules to what may be a DNS server that allow one protocol, where no rule of the spec allows the other."""
    for spec in context.specs:
        rules = [rule for rule in spec.towards(Direction.EGRESS) if rule.is_allow and _may_be_dns(rule)]
        if not rules or any(rule.ports.has(lacks, DNS) for rule in _of_the_same(context, spec)):
            continue
        for rule in rules:
            ports = [port for grant in rule.grants for port in grant.written if port.number == DNS]
            if ports and rule.ports.has(has, DNS) and spec.policy.kind in (*CILIUM, Kind.KNP):
                yield rule, ports[0].at


def _of_the_same(context: Context, spec: Spec) -> Iterator[Rule]:
    """The rules to what may be a DNS server that hold for all of a spec's subject, whoever wrote them."""
    others = context.selecting.covering(spec.scope) if spec.subject is not None else (spec,)
    for other in others:
        yield from (rule for rule in other.towards(Direction.EGRESS) if rule.is_allow and _may_be_dns(rule))


def _may_be_dns(rule: Rule) -> bool:
    return any(not isinstance(peer.atom, Entity) or peer.atom.name in _MAY_ANSWER for peer in rule.peers)


def _ports(context: Context) -> Iterator[tuple[Rule, Port]]:
    for rule in context.rules:
        for grant in rule.grants:
            for port in grant.written:
                yield rule, port


def _held(rule: Rule, key: str) -> bool:
    return key in rule.fields and bool(rule.fields[key].elements())


CHECKS = (
    Check(
        "icmp-with-ports",
        Severity.ERROR,
        "`icmps` and `toPorts` cannot stand in one rule.",
        icmp_with_ports,
        rejects=True,
    ),
    Check(
        "port-invalid",
        Severity.ERROR,
        "A port is a number or an IANA service name, text in Cilium's policies; a list holds at most 40.",
        port_invalid,
        rejects=True,
    ),
    Check(
        "empty-ports",
        Severity.WARNING,
        "An item of `toPorts` without ports matches no port and allows nothing.",
        empty_ports,
    ),
    Check(
        "end-port-ignored",
        Severity.WARNING,
        "`endPort` below `port`, or beside a named port, has no effect.",
        end_port_ignored,
    ),
    Check(
        "protocol-missing",
        Severity.WARNING,
        "A port of a NetworkPolicy without `protocol` is TCP only; in a Cilium policy it is TCP, UDP and SCTP.",
        protocol_missing,
    ),
    Check(
        "dns-without-udp",
        Severity.WARNING,
        "DNS allowed over TCP alone does not work: it is asked over UDP first.",
        dns_without_udp,
    ),
    Check(
        "dns-without-tcp",
        Severity.WARNING,
        "DNS allowed over UDP alone fails for long answers.",
        dns_without_tcp,
    ),
)
