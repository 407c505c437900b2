"""Checks against Services and routes: do they exist, what are their real ports, and who comes through them?"""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.behind import backend_ports, pods_behind, pods_of, services_of, target_ports
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.labels import Labels, disjoint
from flowwatch.lint.objects import Route, ServicePort, elements, fields_of
from flowwatch.lint.peers import Entity, covers
from flowwatch.lint.portsets import ANY, PortSet
from flowwatch.lint.views import CILIUM, Direction, Port, Rule, Spec
from flowwatch.yamlmarks import Marked, clip

_INGRESS = Entity("ingress")
_CILIUM = "cilium"


def service_missing(context: Context) -> Iterator[Problem]:
    """Services that are not there, or that cannot be meant."""
    known: dict[str, set[str]] = {}
    for service in context.services:
        known.setdefault(service.thing.namespace, set()).add(service.thing.name)
    for rule in context.rules:
        for at in elements(rule.fields.get("toServices")) if rule.spec.policy.kind in CILIUM else ():
            fields = fields_of(fields_of(at).get("k8sService"))
            if "serviceName" not in fields:
                continue
            name = fields["serviceName"].raw
            namespace = fields["namespace"].raw if "namespace" in fields else rule.spec.policy.thing.namespace
            if (namespace, name) == ("default", "kubernetes"):
                yield fields["serviceName"].problem(
                    "the API server is not meant by its Service: its addresses are those of nodes",
                    "use `toEntities: [kube-apiserver]`",
                )
            elif namespace in known and name not in known[namespace]:
                wide = "everyone is meant on these ports" if "toPorts" in rule.fields else "nobody is meant"
                yield fields["serviceName"].problem(
                    f"no Service `{clip(name)}` of `{clip(namespace)}` is among the files: until there is one, {wide}",
                    f"there are: {', '.join(sorted(known[namespace])[:5])}",
                )


def service_port(context: Context) -> Iterator[Problem]:
    """Ports of Services where those of pods are needed."""
    for rule in context.rules:
        for grant in rule.grants if context.services else ():
            for port in grant.written:
                if port.number > 0 and port.end <= port.number:
                    yield from _service_port(context, rule, port)


def _service_port(context: Context, rule: Rule, port: Port) -> Iterator[Problem]:
    for labels in pods_of(rule):
        exposed = [(service, each) for service in services_of(context, labels) for each in service.ports]
        mapped = [(service, each) for service, each in exposed if each.number == port.number and _fits(each, port)]
        targets = [target_ports(context, service, each) for service, each in exposed]
        if not mapped or any(_may_be(ports, port) for ports in targets) or _is_container_port(context, labels, port):
            continue
        service, each = mapped[0]
        yield port.at.problem(
            f"{port.number} is the port of {service.thing.title}; its pods answer on {each.target}, and policies see "
            "the pods' ports",
            f"write `{each.target}`",
        )


def _fits(each: ServicePort, port: Port) -> bool:
    return port.protocol in (ANY, each.protocol.upper())


def _may_be(ports: PortSet, port: Port) -> bool:
    numbers = [span for span in ports.spans if not span.name]
    return not numbers or any(span.first <= port.number <= span.last for span in numbers)


def _is_container_port(context: Context, labels: Labels, port: Port) -> bool:
    return any(each.number == port.number for workload in context.workloads_of(labels) for each in workload.ports)


def gateway_backend(context: Context) -> Iterator[Problem]:
    """Pods behind Cilium's Gateway or Ingress that do not let it in."""
    told: set[int] = set()
    for route in context.routes:
        for backend in route.backends if _is_cilium(context, route) else ():
            service, ports = backend_ports(context, backend)
            if service is None or not service.selector:
                continue
            behind = pods_behind(service)
            isolating = next(context.isolating[Direction.INGRESS].covering(behind), None)
            if isolating is None or id(isolating) in told or _is_let_in(context, behind, ports):
                continue
            told.add(id(isolating))
            yield _ingress_of(isolating).problem(
                f"{route.thing.title} leads to these pods, and no policy lets Cilium's proxy in",
                "allow `fromEntities: [ingress]` on the pods' port; `world` does not mean the proxy",
            )


def _is_let_in(context: Context, behind: Labels, ports: PortSet) -> bool:
    for spec in context.speaking.meeting(behind, disjoint):
        for rule in spec.towards(Direction.INGRESS):
            on_port = not ports.spans or rule.ports.meets(ports)
            if rule.is_allow and on_port and any(covers(peer.atom, _INGRESS) for peer in rule.peers):
                return True
    return False


def _ingress_of(spec: Spec) -> Marked:
    return spec.fields.get("ingress") or spec.fields.get("ingressDeny") or spec.at


def _is_cilium(context: Context, route: Route) -> bool:
    if route.controller == _CILIUM:
        return True
    named = {(namespace, name) for namespace, name, _ in route.gateways}
    return any(
        gateway.controller.startswith(_CILIUM) and (gateway.thing.namespace, gateway.thing.name) in named
        for gateway in context.gateways
    )


CHECKS = (
    Check(
        "service-missing",
        Severity.WARNING,
        "`toServices` of a Service that does not exist means nobody, or beside ports everyone; `default/kubernetes` "
        "cannot be meant at all.",
        service_missing,
    ),
    Check(
        "service-port",
        Severity.WARNING,
        "Policies see the ports of pods: the port of a Service that maps it to another one matches nothing.",
        service_port,
    ),
    Check(
        "gateway-backend",
        Severity.WARNING,
        "Pods behind Cilium's Gateway API or Ingress must allow the entity `ingress`.",
        gateway_backend,
    ),
)
