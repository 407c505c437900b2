"""Documents to policies: which kind a document is, and who reads it.

Lists are unpacked, objects that policies refer to (CiliumCIDRGroup, Service and its addresses) are kept beside them,
and of other kinds nothing is known but how many there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flowwatch.errors import Problem
from flowwatch.policy.addresses import read_cidr
from flowwatch.policy.cnp import read_cilium_policy
from flowwatch.policy.entries import Entry, Policy
from flowwatch.policy.kcnp import read_tiered_policy
from flowwatch.policy.knp import read_network_policy
from flowwatch.policy.nodes import Node
from flowwatch.policy.options import DECLARED, Options
from flowwatch.policy.reading import Reader
from flowwatch.yamlmarks import clip

_Read = Callable[[Node, Policy, Reader], list[Entry]]
_POLICIES: dict[str, tuple[str, tuple[str, ...], bool, _Read]] = {
    "NetworkPolicy": ("networking.k8s.io", ("v1",), True, read_network_policy),
    "CiliumNetworkPolicy": ("cilium.io", ("v2",), True, read_cilium_policy),
    "CiliumClusterwideNetworkPolicy": ("cilium.io", ("v2",), False, read_cilium_policy),
    "ClusterNetworkPolicy": ("policy.networking.k8s.io", ("v1alpha2",), False, read_tiered_policy),
    "AdminNetworkPolicy": ("policy.networking.k8s.io", ("v1alpha1",), False, read_tiered_policy),
    "BaselineAdminNetworkPolicy": ("policy.networking.k8s.io", ("v1alpha1",), False, read_tiered_policy),
}
"""By kind: its group, the versions understood, whether it has a namespace, and who reads it."""
_REFERRED = {
    "CiliumCIDRGroup": "cilium.io",
    "Service": "",
    "Endpoints": "",
    "EndpointSlice": "discovery.k8s.io",
}
KINDS = (*_POLICIES, *_REFERRED)
_OF_SERVICE = "kubernetes.io/service-name"
_DEEPEST_LIST = 4


@dataclass(frozen=True, slots=True)
class CidrGroup:
    """A CiliumCIDRGroup: its labels and ranges."""

    name: str
    labels: tuple[tuple[str, str], ...]
    cidrs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KubernetesService:
    """A Service: what it selects, or where it selects nothing, its addresses."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    selector: tuple[tuple[str, str], ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(slots=True)
class Objects:
    """Everything that was read. `rejected` objects are not enforced, with the first reason for it."""

    entries: list[Entry] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)
    groups: list[CidrGroup] = field(default_factory=list)
    services: list[KubernetesService] = field(default_factory=list)
    addresses: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Of services, by namespace and name."""
    ignored: dict[str, int] = field(default_factory=dict)
    documents: dict[str, Mapping[str, object]] = field(default_factory=dict)
    """The `spec` and `specs` of each policy as they are written, by its ref."""
    rejected: list[tuple[Policy, Problem]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    options: Options = DECLARED
    """What they were read with, and are judged with."""


def kind_of(node: Node) -> tuple[str, str]:
    """The `apiVersion` and `kind` of a document; empty where it has none."""
    version, kind = node.get("apiVersion"), node.get("kind")
    return (version.raw if version else ""), (kind.raw if kind else "")


@dataclass(frozen=True, slots=True)
class Object:
    """A document with its `apiVersion` and `kind`, which elements of a typed list need not repeat."""

    node: Node
    version: str
    kind: str

    @property
    def is_known(self) -> bool:
        """Whether it is a policy, or something that policies refer to."""
        known = _POLICIES[self.kind][0] if self.kind in _POLICIES else _REFERRED.get(self.kind)
        return known is not None and self.version.rpartition("/")[0] == known


def unpack(node: Node, version: str = "", kind: str = "", depth: int = 0) -> Iterator[Object]:
    """The document itself, or where it is a list of objects, each of them. `version` and `kind` stand in for those it
    does not name."""
    own_version, own_kind = kind_of(node)
    version, kind = own_version or version, own_kind or kind
    items = node.get("items")
    if kind.endswith("List") and items is not None and (items.is_list or items.is_null) and depth < _DEEPEST_LIST:
        of = kind.removesuffix("List")
        for one in items.elements():
            yield from unpack(one, version if of else "", of, depth + 1)
    else:
        yield Object(node, version, kind)


def read_objects(objects: Iterable[Object], options: Options = DECLARED, *, strict: bool = True) -> Objects:
    """Read every object. With `strict`, whatever is wrong is a problem; otherwise an object that Cilium would
    reject is left out and noted, as in a cluster."""
    found = Objects(options=options)
    seen: dict[str, Policy] = {}
    for one in objects:
        _read_object(one, found, seen, options, strict=strict)
    return found


def _read_object(one: Object, found: Objects, seen: dict[str, Policy], options: Options, *, strict: bool) -> None:
    node, kind = one.node, one.kind
    read = Reader(options, strict=strict)
    if kind in _POLICIES and (not strict or one.is_known):
        policy = _policy_of(one, read)
        entries = _POLICIES[kind][3](node, policy, read)
        if policy.ref in seen and strict:
            before = seen[policy.ref]
            read.wrong(node, f"{policy} is already declared at {before.file}:{before.line}")
        seen.setdefault(policy.ref, policy)
        if read.problems:
            found.rejected.append((policy, read.problems[0]))
            found.problems += read.problems
        else:
            found.policies.append(policy)
            found.entries += entries
            found.documents[policy.ref] = {
                name: part.value for name in ("spec", "specs") if (part := node.get(name)) is not None
            }
    elif kind in _REFERRED and (not strict or one.is_known):
        _read_referred(node, kind, found, read)
        found.problems += read.problems
    else:
        # A name that other groups use too is told with its group.
        name = clip(f"{one.version} {kind}" if kind in KINDS else kind or "(no kind)")
        found.ignored[name] = found.ignored.get(name, 0) + 1


def _policy_of(one: Object, read: Reader) -> Policy:
    node, kind = one.node, one.kind
    _, versions, namespaced, _ = _POLICIES[kind]
    if read.strict and one.version.rpartition("/")[2] not in versions:
        at = node.get("apiVersion") or node
        read.wrong(at, f"expected version {' or '.join(versions)} of {kind}, not `{clip(one.version)}`")
    namespace, name = _metadata(node, read)
    spec = node.get("spec")
    described = spec.get("description") if spec is not None else None
    text = clip(described.raw, 300) if described is not None else ""
    return Policy(kind, (namespace or "default") if namespaced else "", name, node.file, node.line, text)


def _metadata(node: Node, read: Reader) -> tuple[str, str]:
    metadata = node.get("metadata")
    if metadata is None or not metadata.is_mapping:
        read.wrong(metadata or node, "`metadata` with a `name` is missing")
        return "", "?"
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if name is None or not read.text(name):
        read.wrong(metadata, "`name` is missing")
    if namespace is not None and namespace.is_null:
        namespace = None
    return clip(read.text(namespace), 253), clip(name.raw if name is not None else "?", 253)


def _labels(node: Node | None, read: Reader) -> tuple[tuple[str, str], ...]:
    if node is None or node.is_null:
        return ()
    if not node.is_mapping:
        read.wrong(node, f"expected labels, not {node.described}")
    return tuple((key.raw, read.text(value)) for key, value in node.items())


def _inner(node: Node, key: str) -> Node | None:
    found = node.get(key)
    return None if found is None or found.is_null else found


def _read_referred(node: Node, kind: str, found: Objects, read: Reader) -> None:
    namespace, name = _metadata(node, read)
    namespace = namespace or "default"
    metadata = node.get("metadata")
    labels = _labels(metadata.get("labels") if metadata is not None else None, read)
    spec = _inner(node, "spec")
    match kind:
        case "CiliumCIDRGroup":
            ranges = read.elements(_inner(spec, "externalCIDRs") if spec is not None else None)
            cidrs = tuple(cidr for one in ranges if (cidr := read_cidr(one, read)))
            found.groups.append(CidrGroup(name, labels, cidrs))
        case "Service":
            selector = _labels(_inner(spec, "selector") if spec is not None else None, read)
            found.services.append(KubernetesService(namespace, name, labels, selector))
        case "EndpointSlice":
            service = dict(labels).get(_OF_SERVICE, "")
            for endpoint in read.elements(_inner(node, "endpoints")):
                _add_addresses(found, namespace, service, read.elements(_inner(endpoint, "addresses")), read)
        case _:
            for subset in read.elements(_inner(node, "subsets")):
                at = [ip for one in read.elements(_inner(subset, "addresses")) if (ip := one.get("ip")) is not None]
                _add_addresses(found, namespace, name, at, read)


def _add_addresses(found: Objects, namespace: str, service: str, nodes: Sequence[Node], read: Reader) -> None:
    addresses = found.addresses.setdefault((namespace, service), [])
    addresses.extend(text for node in nodes if (text := read.text(node)))
