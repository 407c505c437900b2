"""Checks of rules against the traffic that was observed: what did they let through, and what not?"""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check, Needs
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.labels import CLUSTER
from flowwatch.lint.observed import in_range
from flowwatch.lint.peers import EVERY_NAME, Name, Pods, Range, name_fits, normal_name
from flowwatch.lint.views import Direction

_FEW = 3
_WIDE_BITS = {4: 24, 6: 64}
_ICMP = ("ICMP", "ICMPv6")


def rule_unused(context: Context) -> Iterator[Problem]:
    """Rules that no traffic needed."""
    for traffic in context.traffic:
        rule = traffic.rule
        if traffic.seen and rule.peers and not any(seen for peer in rule.peers for seen in traffic.used(peer)):
            yield rule.at.problem(
                f"no traffic was seen {context.window} that needs this rule", "remove it if nothing needs it any more"
            )


def fqdn_one_name(context: Context) -> Iterator[Problem]:
    """Patterns that one name would do for."""
    for traffic in context.traffic:
        for peer in traffic.rule.peers:
            if not isinstance(peer.atom, Name) or "*" not in peer.atom.pattern:
                continue
            pattern = normal_name(peer.atom.pattern)
            used = {normal_name(name) for seen in traffic.used(peer) for name in seen.names if name_fits(pattern, name)}
            if len(used) == 1 and pattern not in EVERY_NAME:
                yield peer.at.problem(
                    f"of all the names this means, one was seen {context.window}: `{min(used)}`",
                    f"write `matchName: {min(used)}`",
                )


def cidr_few_addresses(context: Context) -> Iterator[Problem]:
    """Ranges that a few addresses would do for."""
    for traffic in context.traffic:
        if traffic.rule.direction is not Direction.EGRESS:
            continue
        for peer in traffic.rule.peers:
            atom = peer.atom
            if not isinstance(atom, Range) or not 0 < atom.network.prefixlen <= _WIDE_BITS[atom.network.version]:
                continue
            used = sorted({seen.ip for seen in traffic.used(peer) if in_range(atom, seen.ip)})
            if 0 < len(used) <= _FEW:
                yield peer.at.problem(
                    f"of the {atom.network.num_addresses} addresses this means, {len(used)} were seen "
                    f"{context.window}: {', '.join(used)}",
                    "narrow the range",
                )


def port_range_few(context: Context) -> Iterator[Problem]:
    """Ranges of ports that one port would do for."""
    for traffic in context.traffic:
        ranges = [port for grant in traffic.rule.grants for port in grant.written if port.end > port.number > 0]
        if not ranges:
            continue
        used = {seen.port for peer in traffic.rule.peers for seen in traffic.used(peer)}
        for port in ranges:
            within = sorted(number for number in used if port.number <= number <= port.end)
            if len(within) == 1:
                yield port.at.problem(
                    f"of the ports {port.number} to {port.end}, one was seen {context.window}: {within[0]}",
                    f"write `port: {within[0]}` alone",
                )


def icmp_excluded(context: Context) -> Iterator[Problem]:
    """ICMP that is dropped between ends whose other traffic is allowed."""
    for traffic in context.traffic:
        rule = traffic.rule
        if rule.ports.everything or any(span.protocol in _ICMP for span in rule.ports.spans):
            continue
        dropped = (seen for peer in rule.peers for seen in traffic.of(peer) if seen.protocol in _ICMP and seen.dropped)
        first = next((seen for seen in dropped if not seen.passed), None)
        if first is not None:
            yield (rule.fields.get("toPorts") or rule.fields.get("ports") or rule.at).problem(
                f"a rule with ports leaves out ICMP, and {first.protocol} of type {first.port} was dropped "
                f"{context.window}",
                "allow it with a rule of its own that has `icmps`",
            )


def mesh_scope(context: Context) -> Iterator[Problem]:
    """Peers of another cluster."""
    if not context.since((1, 19)):
        return
    for traffic in context.traffic:
        outgoing = traffic.rule.direction is Direction.EGRESS
        for peer in traffic.rule.peers:
            if not isinstance(peer.atom, Pods) or any(each.key == CLUSTER for each in peer.atom.labels.terms):
                continue
            for seen in traffic.used(peer):
                here, there = (seen.source, seen.destination) if outgoing else (seen.destination, seen.source)
                away = there.identity.cluster
                if here.identity.cluster and away and here.identity.cluster != away:
                    yield peer.at.problem(
                        f"since Cilium 1.19 this means pods of the own cluster only, and pods of `{away}` were seen "
                        f"{context.window}",
                        f"add `k8s:{CLUSTER}: {away}`",
                    )
                    break


CHECKS = (
    Check(
        "rule-unused",
        Severity.INFO,
        "An allow rule that no observed traffic needed may be left over.",
        rule_unused,
        Needs.OBSERVED,
    ),
    Check(
        "fqdn-one-name",
        Severity.INFO,
        "A pattern under which one name was seen could be that name.",
        fqdn_one_name,
        Needs.OBSERVED,
    ),
    Check(
        "cidr-few-addresses",
        Severity.INFO,
        "A wide range of which three addresses at most were seen could be narrower.",
        cidr_few_addresses,
        Needs.OBSERVED,
    ),
    Check(
        "port-range-few",
        Severity.INFO,
        "A range of ports of which one was seen could be that port.",
        port_range_few,
        Needs.OBSERVED,
    ),
    Check(
        "icmp-excluded",
        Severity.WARNING,
        "A rule with ports never allows ICMP; told where ICMP between the same ends was dropped.",
        icmp_excluded,
        Needs.OBSERVED,
    ),
    Check(
        "mesh-scope",
        Severity.WARNING,
        "Since Cilium 1.19 selectors mean the own cluster, before all of a mesh; told where another one was seen.",
        mesh_scope,
        Needs.OBSERVED,
    ),
)
