"""Gateway API routes, Gateways and Ingresses: what leads traffic from outside to which Service.

Read as far as checks of policies need them, and no further.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowwatch.lint.objects import Backend, Gateway, Object, Route, at, elements, fields_of, text_at
from flowwatch.yamlmarks import Marked

GATEWAY_API = "gateway.networking.k8s.io"
ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute")

_INGRESS_CLASS = "kubernetes.io/ingress.class"
_PASSTHROUGH = "ssl-passthrough"


def gateways_of(objects: Iterable[Object]) -> Iterator[Gateway]:
    """The Gateways among objects."""
    for thing in objects:
        if thing.kind == "Gateway" and thing.group == GATEWAY_API:
            listeners = elements(at(thing.root, "spec", "listeners"))
            terminates = {text_at(each, "name") for each in listeners if text_at(each, "tls", "mode") != "Passthrough"}
            yield Gateway(thing, text_at(thing.root, "spec", "gatewayClassName"), frozenset(terminates))


def routes_of(objects: Iterable[Object], gateways: Iterable[Gateway]) -> Iterator[Route]:
    """The routes and Ingresses among objects."""
    known = {(gateway.thing.namespace, gateway.thing.name): gateway for gateway in gateways}
    for thing in objects:
        if thing.group == GATEWAY_API and thing.kind in ROUTES:
            parents = tuple(_parent(thing, each) for each in elements(at(thing.root, "spec", "parentRefs")))
            yield Route(
                thing,
                tuple(_backends(thing)),
                parents,
                passthrough=thing.kind == "TLSRoute" and not _all_terminate(parents, known),
            )
        elif thing.kind == "Ingress" and thing.group == "networking.k8s.io":
            annotations = fields_of(at(thing.root, "metadata", "annotations"))
            old = annotations.get(_INGRESS_CLASS)
            yield Route(
                thing,
                tuple(_ingress_backends(thing)),
                controller=text_at(thing.root, "spec", "ingressClassName") or (old.raw if old is not None else ""),
                passthrough=any(
                    key.endswith(_PASSTHROUGH) and value.raw == "true" for key, value in annotations.items()
                ),
            )


def _parent(thing: Object, parent: Marked) -> tuple[str, str, str]:
    return text_at(parent, "namespace") or thing.namespace, text_at(parent, "name"), text_at(parent, "sectionName")


def _all_terminate(parents: Iterable[tuple[str, str, str]], known: dict[tuple[str, str], Gateway]) -> bool:
    """Whether every gateway the route hangs on is known, and ends TLS itself there."""
    ends = []
    for namespace, name, listener in parents:
        gateway = known.get((namespace, name))
        ends.append(gateway is not None and listener in gateway.terminates)
    return bool(ends) and all(ends)


def _backends(thing: Object) -> Iterator[Backend]:
    for rule in elements(at(thing.root, "spec", "rules")):
        for each in elements(at(rule, "backendRefs")):
            yield Backend(text_at(each, "namespace") or thing.namespace, text_at(each, "name"), text_at(each, "port"))


def _ingress_backends(thing: Object) -> Iterator[Backend]:
    paths = [path for rule in elements(at(thing.root, "spec", "rules")) for path in elements(at(rule, "http", "paths"))]
    written = [at(thing.root, "spec", "defaultBackend"), *(at(path, "backend") for path in paths)]
    for backend in written:
        service = at(backend, "service")
        if service is not None:
            port = text_at(service, "port", "number") or text_at(service, "port", "name")
            yield Backend(thing.namespace, text_at(service, "name"), port)
