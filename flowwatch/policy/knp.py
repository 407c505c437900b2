"""NetworkPolicy of `networking.k8s.io/v1`, read into entries.

It only ever allows, and always isolates what it selects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flowwatch.policy.addresses import read_cidr, read_exceptions
from flowwatch.policy.entries import EVERY_PORT, Addresses, Entry, Peers, Policy, Subject
from flowwatch.policy.labels import in_namespace, local, read_pods, read_selector
from flowwatch.policy.nodes import Node
from flowwatch.policy.ports import read_kubernetes_ports
from flowwatch.policy.reading import Reader
from flowwatch.selectors import Requirement

_SPEC = ("podSelector", "policyTypes", "ingress", "egress")


@dataclass(frozen=True, slots=True)
class _Direction:
    policy: Policy
    subject: Subject
    ingress: bool


def read_network_policy(node: Node, policy: Policy, read: Reader) -> list[Entry]:
    """The entries of an object; of no use where `read` found problems."""
    spec = node.get("spec")
    if spec is None or spec.is_null:
        # The API server takes an empty spec for one that selects every pod of the namespace.
        spec = None
    fields = read.fields(spec, _SPEC) if spec is not None else {}
    asked: tuple[Requirement, ...] = ()
    if "podSelector" in fields:
        asked = read_selector(fields["podSelector"], read, source="k8s").requirements
    subject = Subject((*asked, in_namespace(policy.namespace)))
    types = {read.choice(one, ("Ingress", "Egress")) for one in read.elements(fields.get("policyTypes"))}
    if not types:
        types = {"Ingress", "Egress"} if read.elements(fields.get("egress")) else {"Ingress"}
    entries: list[Entry] = []
    for name, kind in (("ingress", "Ingress"), ("egress", "Egress")):
        direction = _Direction(policy, subject, kind == "Ingress")
        rules = read.elements(fields.get(name))
        found = [entry for rule in rules for entry in _read_rule(rule, direction, read)]
        if kind in types or not read.options.strict_policy_types:
            entries += found
        if kind in types and not rules:
            at = fields.get(name) or fields.get("policyTypes") or spec or node
            entries.append(Entry(policy, at.line, at.path, direction.ingress, subject, ()))
    return entries


def _read_rule(node: Node, direction: _Direction, read: Reader) -> Iterator[Entry]:
    key = "from" if direction.ingress else "to"
    fields = read.fields(node, (key, "ports"))
    ports = read_kubernetes_ports(fields.get("ports"), read) or EVERY_PORT
    elements = read.elements(fields.get(key))
    peers: tuple[Peers, ...] | None = None
    if elements:
        found = (_read_peer(one, direction.policy.namespace, read) for one in elements)
        peers = tuple(peer for peer in found if peer is not None)
    yield Entry(direction.policy, node.line, node.path, direction.ingress, direction.subject, peers, ports)


def _read_peer(node: Node, namespace: str, read: Reader) -> Peers | None:
    fields = read.fields(node, ("podSelector", "namespaceSelector", "ipBlock"))
    if "ipBlock" in fields:
        if len(fields) > 1:
            read.wrong(node, "`ipBlock` stands alone: no selector may stand beside it")
        inner = read.fields(fields["ipBlock"], ("cidr", "except"), ("cidr",))
        cidr = read_cidr(inner["cidr"], read) if "cidr" in inner else ""
        exceptions = read_exceptions(inner.get("except"), cidr, read)
        return Addresses(cidr, exceptions) if cidr else None
    if not fields:
        if node.is_mapping:
            read.wrong(node, "expected `podSelector`, `namespaceSelector` or `ipBlock`")
        return None
    return local(read_pods(fields.get("namespaceSelector"), fields.get("podSelector"), namespace, read))
