"""Which Services lead to which pods, and what the ports of those pods are called.

Only claims what the files say: a Service leads to the pods of a selector if either certainly means
everything the other does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flowwatch.lint.context import Context
from flowwatch.lint.labels import NAMESPACE, Labels, covers, equal
from flowwatch.lint.objects import Backend, Service, ServicePort, number_of
from flowwatch.lint.peers import Pods
from flowwatch.lint.portsets import TCP, PortSet, Span
from flowwatch.lint.views import Direction, Port, Rule


@dataclass(frozen=True, slots=True)
class Called:
    """What somebody calls a port. `application` is a protocol, where one is named."""

    name: str
    application: str
    by: str


def pods_of(rule: Rule) -> Iterator[Labels]:
    """The pods that answer on the ports of a rule, as selectors."""
    if rule.direction is Direction.INGRESS:
        if rule.spec.subject is not None:
            yield rule.spec.scope
    else:
        for peer in rule.peers:
            if isinstance(peer.atom, Pods):
                yield peer.atom.labels


def pods_behind(service: Service) -> Labels:
    """The pods a Service leads to."""
    own = (equal(key, value) for key, value in service.selector.items())
    return Labels((*own, equal(NAMESPACE, service.thing.namespace)))


def services_of(context: Context, labels: Labels) -> Iterator[Service]:
    """The Services that lead to the pods of a selector."""
    for service in context.services:
        if service.selector and labels.namespace in (None, service.thing.namespace):
            behind = pods_behind(service)
            if covers(labels, behind) or covers(behind, labels):
                yield service


def target_ports(context: Context, service: Service, port: ServicePort) -> PortSet:
    """The ports of pods that a port of a Service stands for: by number, and by name where it has one."""
    protocol = port.protocol.upper()
    number = number_of(port.target)
    if number:
        return PortSet(frozenset((Span(protocol, number, number),)))
    found = {Span(protocol, 0, 65_535, port.target.lower())}
    for workload in context.workloads_of(pods_behind(service)):
        for each in workload.ports:
            if each.name == port.target:
                found.add(Span(protocol, each.number, each.number))
    return PortSet(frozenset(found))


def backend_ports(context: Context, backend: Backend) -> tuple[Service | None, PortSet]:
    """The Service a route leads to, where it is among the files, and the ports of the pods behind it."""
    for service in context.services:
        if (service.thing.namespace, service.thing.name) == (backend.namespace, backend.service):
            for port in service.ports:
                if backend.port in ("", str(port.number), port.name):
                    return service, target_ports(context, service, port)
            return service, PortSet()
    number = number_of(backend.port)
    return None, PortSet(frozenset((Span(TCP, number, number),)) if number else frozenset())


def calls(context: Context, rule: Rule, port: Port) -> Iterator[Called]:
    """What containers and Services call a port of a rule."""
    if port.name:
        yield Called(port.name, "", "the policy")
    for labels in pods_of(rule):
        for workload in context.workloads_of(labels):
            for each in workload.ports:
                if each.name and (each.number == port.number or each.name.lower() == port.name):
                    yield Called(each.name, "", workload.thing.title)
        for service in services_of(context, labels):
            for exposed in service.ports:
                if exposed.target in (str(port.number), port.name):
                    yield Called(exposed.name, exposed.application, service.thing.title)
