"""Whether a port carries TLS or plain HTTP, as far as anything in the files says so."""

from __future__ import annotations

import re

from flowwatch.lint.behind import Called, backend_ports, calls, pods_behind, pods_of
from flowwatch.lint.context import Context
from flowwatch.lint.labels import Labels, covers
from flowwatch.lint.objects import Backend, Route
from flowwatch.lint.views import Direction, Grant, Port, Rule

TLS_PORTS = (443, 6443, 8443, 9443)
"""Ports that carry TLS unless somebody says otherwise."""

_TLS_NAME = re.compile(r"(?:^|[-_.])(?:https|tls|ssl|mtls)(?:$|[-_.0-9])|^https")
_HTTP_NAME = re.compile(r"(?:^|[-_.])(?:http|http2|h2c|web|grpc|ws|metrics)(?:$|[-_.0-9])")
_TLS_APPLICATIONS = frozenset({"https", "tls", "kubernetes.io/wss", "wss", "grpcs"})
_HTTP_APPLICATIONS = frozenset({"http", "http2", "grpc", "kubernetes.io/h2c", "kubernetes.io/ws", "ws"})
_HTTP_ROUTES = ("HTTPRoute", "GRPCRoute")


def passthrough_of(context: Context, rule: Rule, grant: Grant) -> Route | None:
    """The route that passes TLS through to a port of an ingress rule's subject."""
    if rule.direction is not Direction.INGRESS or rule.spec.subject is None:
        return None
    for route in context.routes:
        if route.passthrough and any(_leads_to(context, backend, rule, grant) for backend in route.backends):
            return route
    return None


def tls_reason(context: Context, rule: Rule, port: Port) -> str:
    """Why a port carries TLS, as the beginning of a sentence; empty where nothing says so."""
    for called in calls(context, rule, port):
        if _is_tls(called):
            return f"{called.by} calls this port `{called.application or called.name}`"
    return ""


def is_plain_http(context: Context, rule: Rule, port: Port) -> bool:
    """Whether something says that a port carries HTTP without TLS."""
    if any(_is_http(called) for called in calls(context, rule, port)):
        return True
    for route in context.routes:
        if route.passthrough or route.thing.kind not in (*_HTTP_ROUTES, "Ingress"):
            continue
        for backend in route.backends:
            service, ports = backend_ports(context, backend)
            if service is not None and _selects(rule, pods_behind(service)) and ports.has("TCP", port.number):
                return True
    return False


def _leads_to(context: Context, backend: Backend, rule: Rule, grant: Grant) -> bool:
    service, ports = backend_ports(context, backend)
    if not any(mine.holds(theirs) for mine in grant.ports.spans for theirs in ports.spans):
        return False
    if service is not None:
        return bool(service.selector) and _selects(rule, pods_behind(service))
    # The Service is not among the files: most are called as their pods are.
    scope = rule.spec.scope
    if scope.namespace not in (None, backend.namespace):
        return False
    return backend.service in {value for _, value in scope.pairs} or backend.service == rule.spec.policy.thing.name


def _selects(rule: Rule, behind: Labels) -> bool:
    return any(covers(labels, behind) or covers(behind, labels) for labels in pods_of(rule))


def _is_tls(called: Called) -> bool:
    if called.application:
        return called.application.lower() in _TLS_APPLICATIONS
    return bool(_TLS_NAME.search(called.name.lower()))


def _is_http(called: Called) -> bool:
    if called.application:
        return called.application.lower() in _HTTP_APPLICATIONS
    return bool(_HTTP_NAME.search(called.name.lower()))
