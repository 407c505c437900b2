"""Checks of ports that are meant by a name, against the ports that containers declare."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.labels import Labels
from flowwatch.lint.objects import ContainerPort, Workload
from flowwatch.lint.peers import Entity, Everyone, Name, Pods, Range
from flowwatch.lint.portsets import ANY
from flowwatch.lint.views import Direction, Port, Rule


def named_port_undefined(context: Context) -> Iterator[Problem]:
    """Names that no container of the pods in question gives to a port."""
    for rule, port in _named(context):
        meant = list(_declaring(context, rule))
        if not meant or any(_declares(each, port) for workload in meant for each in workload.ports):
            continue
        other = [each for workload in meant for each in workload.ports if each.name.lower() == port.name]
        if other:
            what = f"`{port.name}` is a {other[0].protocol} port, so this matches nothing"
        else:
            titles = ", ".join(sorted({workload.thing.title for workload in meant})[:3])
            what = f"no container of {titles} names a port `{port.name}`, so this matches nothing"
        yield port.at.problem(what, "declare the port under `ports` of the container, or write its number")


def named_port_outside(context: Context) -> Iterator[Problem]:
    """Names of ports at peers that are no pods."""
    for rule, port in _named(context):
        if rule.direction is not Direction.EGRESS:
            continue
        outside = [peer for peer in rule.peers if isinstance(peer.atom, Range | Name) or peer.atom == Entity("world")]
        if outside and len(outside) == len(rule.peers):
            yield port.at.problem(
                f"`{port.name}` is a name that pods give to their ports; `{outside[0].atom}` has none",
                "write the number of the port",
            )


def named_port_ambiguous(context: Context) -> Iterator[Problem]:
    """Names that stand for different numbers in different pods."""
    if context.since((1, 20)):
        return
    numbers: dict[str, set[int]] = {}
    for workload in context.workloads:
        for each in workload.ports:
            numbers.setdefault(each.name.lower(), set()).add(each.number)
    for rule, port in _named(context):
        known = sorted(numbers.get(port.name, ()))
        if rule.direction is Direction.EGRESS and len(known) > 1:
            written = " and ".join(map(str, known[:4]))
            yield port.at.problem(
                f"`{port.name}` is {written} in different pods, and before Cilium 1.20 such a rule is ignored",
                "write the number of the port",
            )


def port_named_and_numbered(context: Context) -> Iterator[Problem]:
    """One port by its name and by its number."""
    for rule in context.rules:
        written = [port for grant in rule.grants for port in grant.written]
        names = [port for port in written if port.name]
        if not names:
            continue
        declared = [each for workload in _declaring(context, rule) for each in workload.ports]
        for port in names:
            numbers = {each.number for each in declared if _declares(each, port)}
            twins = [other for other in written if other.number in numbers and _same_protocol(other, port)]
            if twins:
                yield port.at.problem(
                    f"`{port.name}` is {twins[0].number}, which this rule allows by its number, too",
                    "write the port once; some versions of Cilium fail to start pods otherwise",
                )


def _named(context: Context) -> Iterator[tuple[Rule, Port]]:
    for rule in context.rules:
        for grant in rule.grants:
            for port in grant.written:
                if port.name:
                    yield rule, port


def _declaring(context: Context, rule: Rule) -> Iterator[Workload]:
    """The workloads of the files whose ports a rule means; none where not all of them can be known."""
    meant: list[Labels] = []
    if rule.direction is Direction.INGRESS:
        meant = [rule.spec.scope] if rule.spec.subject is not None else []
    else:
        for peer in rule.peers:
            if isinstance(peer.atom, Everyone) or not isinstance(peer.atom, Pods):
                return
            meant.append(peer.atom.labels)
    # Without labels of their own, the files need not hold all the pods that are meant.
    if all(labels.own for labels in meant):
        for labels in meant:
            yield from context.workloads_of(labels)


def _declares(each: ContainerPort, port: Port) -> bool:
    return each.name.lower() == port.name and port.protocol in (ANY, each.protocol.upper())


def _same_protocol(one: Port, other: Port) -> bool:
    return ANY in (one.protocol, other.protocol) or one.protocol == other.protocol


CHECKS = (
    Check(
        "named-port-undefined",
        Severity.WARNING,
        "A named port matches nothing where no selected container declares it with that protocol.",
        named_port_undefined,
    ),
    Check(
        "named-port-outside",
        Severity.WARNING,
        "What is outside the cluster has no named ports, so an egress rule by name matches nothing there.",
        named_port_outside,
    ),
    Check(
        "named-port-ambiguous",
        Severity.WARNING,
        "Before Cilium 1.20 an egress rule is ignored if its named port has different numbers in the cluster.",
        named_port_ambiguous,
    ),
    Check(
        "port-named-and-numbered",
        Severity.WARNING,
        "The same port by name and by number in one rule broke the creation of pods in some versions of Cilium.",
        port_named_and_numbered,
    ),
)
