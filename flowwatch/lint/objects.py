"""The objects in the documents: what they are, and the few things beside policies that matter.

Lists are taken apart. Workloads, Services, routes and the agent's configuration are read as far as
checks of policies need them; everything unknown is kept as an object and otherwise left alone.
Whatever has the wrong shape reads as if it were not there: saying so is the business of a check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flowwatch.yamlmarks import Marked

_TEMPLATED = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """One object: `group` is empty for the core group; `namespace` where none is written, too."""

    root: Marked
    group: str
    version: str
    kind: str
    namespace: str
    name: str

    @property
    def title(self) -> str:
        """`CiliumNetworkPolicy argocd/server`."""
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {name}".rstrip()


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A port that a container declares."""

    name: str
    number: int
    protocol: str


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Pods that some controller makes, or a single one."""

    thing: Object
    labels: dict[str, str]
    host_network: bool
    ports: tuple[ContainerPort, ...]
    account: str = "default"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service; `target` is a number or the name of a container's port."""

    name: str
    number: int
    target: str
    protocol: str
    application: str


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A Service. Without a `selector` somebody else says which pods are behind it."""

    thing: Object
    selector: dict[str, str]
    ports: tuple[ServicePort, ...]
    kind: str = "ClusterIP"
    keeps_client: bool = False
    """`externalTrafficPolicy: Local`."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What a route sends traffic to."""

    namespace: str
    service: str
    port: str


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A Gateway API route or an Ingress: `gateways` as (namespace, name, listener)."""

    thing: Object
    backends: tuple[Backend, ...]
    gateways: tuple[tuple[str, str, str], ...] = ()
    controller: str = ""
    """The class of an Ingress."""
    passthrough: bool = False
    """TLS reaches the backend as the client sent it."""


@dataclass(frozen=True, slots=True, eq=False)
class Gateway:
    """A Gateway; `terminates` names the listeners that end TLS themselves."""

    thing: Object
    controller: str
    terminates: frozenset[str] = field(default_factory=frozenset)


def fields_of(marked: Marked | None) -> dict[str, Marked]:
    """The values of a mapping by key. What was left empty counts as not there."""
    if marked is None:
        return {}
    return {key.raw: value for key, value in marked.items() if not value.is_null}


def at(marked: Marked | None, *path: str) -> Marked | None:
    """The value at a path of keys; None where there is none or it was left empty."""
    for key in path:
        if marked is None:
            return None
        marked = marked.get(key)
    return None if marked is None or marked.is_null else marked


def text_at(marked: Marked | None, *path: str) -> str:
    """A scalar at a path of keys, as written; empty where there is none."""
    found = at(marked, *path)
    return found.raw if found is not None else ""


def elements(marked: Marked | None) -> list[Marked]:
    """The elements of a list; empty for anything else."""
    return marked.elements() if marked is not None else []


def texts(marked: Marked | None) -> dict[str, str]:
    """A mapping of text to text, such as labels."""
    return {key: value.raw for key, value in fields_of(marked).items() if value.is_scalar}


def number_of(text: str, missing: int = 0) -> int:
    """A whole number as written in decimal; `missing` where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else missing


def objects_of(documents: Iterable[Marked]) -> Iterator[Object]:
    """Every object, those in lists one by one. Documents that are no objects are left out."""
    for document in documents:
        fields = fields_of(document)
        kind = fields["kind"].raw if "kind" in fields else ""
        if kind.endswith("List") and "items" in fields and fields["items"].is_list:
            yield from objects_of(fields["items"].elements())
        elif kind:
            group, slash, version = text_at(document, "apiVersion").rpartition("/")
            metadata = fields.get("metadata")
            name, namespace = text_at(metadata, "name"), text_at(metadata, "namespace")
            yield Object(document, group if slash else "", version, kind, namespace, name)


def workloads_of(objects: Iterable[Object]) -> Iterator[Workload]:
    """The pods that objects make."""
    for thing in objects:
        if thing.kind not in _TEMPLATED or thing.group not in ("", "apps", "batch"):
            continue
        pod = at(thing.root, *_TEMPLATED[thing.kind])
        spec = at(pod, "spec")
        if spec is None:
            continue
        containers = [each for key in ("initContainers", "containers") for each in elements(at(spec, key))]
        ports = [_container_port(port) for each in containers for port in elements(at(each, "ports"))]
        yield Workload(
            thing,
            texts(at(pod, "metadata", "labels")),
            _is_true(at(spec, "hostNetwork")),
            tuple(ports),
            text_at(spec, "serviceAccountName") or "default",
        )


def services_of(objects: Iterable[Object]) -> Iterator[Service]:
    """The Services among objects."""
    for thing in objects:
        if thing.kind == "Service" and not thing.group:
            spec = at(thing.root, "spec")
            yield Service(
                thing,
                texts(at(spec, "selector")),
                tuple(_service_port(port) for port in elements(at(spec, "ports"))),
                text_at(spec, "type") or "ClusterIP",
                text_at(spec, "externalTrafficPolicy") == "Local",
            )


def _container_port(port: Marked) -> ContainerPort:
    fields = texts(port)
    return ContainerPort(
        fields.get("name", ""), number_of(fields.get("containerPort", "")), fields.get("protocol", "TCP")
    )


def _service_port(port: Marked) -> ServicePort:
    fields = texts(port)
    number = fields.get("port", "")
    return ServicePort(
        fields.get("name", ""),
        number_of(number),
        fields.get("targetPort", number),
        fields.get("protocol", "TCP"),
        fields.get("appProtocol", ""),
    )


def _is_true(marked: Marked | None) -> bool:
    return marked is not None and marked.is_scalar and marked.value is True
