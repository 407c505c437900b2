"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, read into entries.

One thing wrong with any rule rejects the whole object, as in Cilium: nothing of it is enforced.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flowwatch.policy.addresses import read_cidr, read_cidr_rule
from flowwatch.policy.entries import (
    EVERY_PORT,
    Addresses,
    Effect,
    Entity,
    Entry,
    Name,
    Nodes,
    Peers,
    Policy,
    Ports,
    Service,
    Subject,
    Undecidable,
)
from flowwatch.policy.fqdn import read_fqdn
from flowwatch.policy.l7 import L7
from flowwatch.policy.l7rules import read_rules
from flowwatch.policy.labels import Selector, cilium_peer, cilium_subject, read_selector
from flowwatch.policy.nodes import Node
from flowwatch.policy.ports import read_cilium_ports, read_icmps
from flowwatch.policy.reading import Reader
from flowwatch.yamlmarks import clip

ENTITIES = (
    "all",
    "world",
    "world-ipv4",
    "world-ipv6",
    "cluster",
    "cluster-mesh",
    "host",
    "remote-node",
    "kube-apiserver",
    "health",
    "ingress",
    "init",
    "unmanaged",
    "none",
)
_NOT_IN_SCHEMA = ("world-ipv4", "world-ipv6")
_SECTIONS = ("ingress", "ingressDeny", "egress", "egressDeny")
_SPEC = ("endpointSelector", "nodeSelector", *_SECTIONS, "enableDefaultDeny", "labels", "description", "log")
_INGRESS = ("fromEndpoints", "fromEntities", "fromCIDR", "fromCIDRSet", "fromNodes", "fromGroups")
_EGRESS = ("toEndpoints", "toEntities", "toCIDR", "toCIDRSet", "toNodes", "toGroups", "toServices", "toFQDNs")
_LEAVE_WILD = ("toFQDNs", "toGroups", "fromGroups", "toServices")
"""Empty lists of these leave everyone as peer, where ports are given; empty lists of any other leave nobody."""
_AUTHENTICATION = ("required", "disabled", "test-always-fail")


@dataclass(frozen=True, slots=True)
class _Context:
    policy: Policy
    read: Reader
    subject: Subject
    selector: Selector
    default_deny: bool
    ingress: bool
    deny: bool


def read_cilium_policy(node: Node, policy: Policy, read: Reader) -> list[Entry]:
    """The entries of an object; of no use where `read` found problems."""
    specs: list[Node] = []
    one, several = node.get("spec"), node.get("specs")
    if one is not None and not one.is_null:
        specs.append(one)
    if several is not None and not several.is_null:
        specs.extend(read.elements(several))
    if not specs:
        read.wrong(node, "expected `spec` or `specs`")
    return [entry for spec in specs for entry in _read_spec(spec, policy, read)]


def _read_spec(node: Node, policy: Policy, read: Reader) -> Iterator[Entry]:
    fields = read.fields(node, _SPEC)
    if not node.is_mapping:
        return
    subject, selector = _read_subject(node, fields, policy, read)
    wanted = read.fields(fields["enableDefaultDeny"], ("ingress", "egress")) if "enableDefaultDeny" in fields else {}
    rules = {section: read.elements(fields.get(section)) for section in _SECTIONS}
    if not any(rules.values()) and not read.options.empty_rules:
        sections = ", ".join(f"`{section}`" for section in _SECTIONS)
        read.wrong(node, f"expected at least one rule in one of {sections}", "`ingress: [{}]` lets nothing in")
    for section in _SECTIONS:
        ingress = section.startswith("ingress")
        asked = read.flag(wanted.get("ingress" if ingress else "egress"))
        default_deny = asked is not False or not read.options.non_default_deny
        context = _Context(policy, read, subject, selector, default_deny, ingress, section.endswith("Deny"))
        for rule in rules[section]:
            yield from _read_rule(rule, context)


def _read_subject(node: Node, fields: dict[str, Node], policy: Policy, read: Reader) -> tuple[Subject, Selector]:
    endpoints, nodes = fields.get("endpointSelector"), fields.get("nodeSelector")
    if (endpoints is None) == (nodes is None):
        found = "both" if endpoints else "neither"
        read.wrong(node, f"expected either `endpointSelector` or `nodeSelector`, not {found}")
    if nodes is not None:
        if policy.namespace:
            hint = "nodes belong to no namespace; write a CiliumClusterwideNetworkPolicy"
            read.wrong(nodes, f"a {policy.kind} cannot select nodes", hint)
        selector = read_selector(nodes, read)
        return Subject(selector.requirements, node=True), selector
    selector = read_selector(endpoints, read) if endpoints is not None else Selector()
    return cilium_subject(selector, policy.namespace), selector


def _read_rule(node: Node, context: _Context) -> Iterator[Entry]:
    read = context.read
    known = _INGRESS if context.ingress else _EGRESS
    requires = "fromRequires" if context.ingress else "toRequires"
    allowed = [key for key in known if not (context.deny and key == "toFQDNs")]
    extra = () if context.deny else ("authentication",)
    fields = read.fields(node, (*allowed, requires, "toPorts", "icmps", *extra))
    if not node.is_mapping:
        return
    given = [key for key in known if key in fields]
    filled = [key for key in given if read.elements(fields[key])]
    if len(filled) > 1:
        read.wrong(node, f"`{filled[0]}` and `{filled[1]}` cannot stand in one rule", "write two rules")
    peers: list[Peers] = [peer for key in given for peer in _read_peers(key, fields[key], context)]
    if requires in fields and read.elements(fields[requires]):
        if not read.options.requires:
            read.wrong(fields[requires], f"`{requires}` must be empty since Cilium 1.19", "use `fromEndpoints`")
        peers = [Undecidable(f"`{requires}` is not evaluated", by_address=False)]
    matched = _read_matches(node, fields, context)
    nobody = any(key not in _LEAVE_WILD for key in given) or not matched
    yield from _entries(node, context, fields, tuple(peers) if peers or nobody else None, matched)


def _entries(
    node: Node,
    context: _Context,
    fields: dict[str, Node],
    peers: tuple[Peers, ...] | None,
    matched: list[tuple[Node, Ports, L7 | None]],
) -> Iterator[Entry]:
    mode = ""
    if "authentication" in fields:
        inner = context.read.fields(fields["authentication"], ("mode",), ("mode",))
        mode = context.read.choice(inner.get("mode"), _AUTHENTICATION)
    for at, ports, l7 in matched or [(node, EVERY_PORT, None)]:
        yield Entry(
            context.policy,
            at.line,
            at.path,
            context.ingress,
            context.subject,
            peers,
            ports,
            Effect.DENY if context.deny else Effect.ALLOW,
            default_deny=context.default_deny,
            l7=l7,
            authentication=mode,
            wild_if_unresolved=bool(matched),
        )


def _read_matches(node: Node, fields: dict[str, Node], context: _Context) -> list[tuple[Node, Ports, L7 | None]]:
    """What the rule matches at L4, one for each element of `toPorts`; none: everything."""
    read = context.read
    elements = read.elements(fields.get("toPorts"))
    icmps = fields.get("icmps")
    if icmps is not None and read.elements(icmps):
        if elements:
            read.wrong(icmps, "`icmps` and `toPorts` cannot stand in one rule", "write two rules")
        return [(icmps, read_icmps(icmps, read), None)]
    if elements and "toServices" in fields and not read.options.services_with_ports:
        read.wrong(node, "`toServices` and `toPorts` cannot stand in one rule before Cilium 1.18")
    return [(element, *_read_port_rule(element, context)) for element in elements]


def _read_port_rule(node: Node, context: _Context) -> tuple[Ports, L7 | None]:
    read = context.read
    more = ("rules", "listener", "terminatingTLS", "originatingTLS", "serverNames")
    fields = read.fields(node, ("ports", *(() if context.deny else more)))
    ports = read_cilium_ports(fields.get("ports"), read)
    names = fields.get("serverNames")
    for name in read.elements(names):
        if not read.text(name):
            read.wrong(name, "expected a server name")
    if "rules" not in fields:
        return ports, None
    at_ports = fields.get("ports", node)
    rules = read_rules(fields["rules"], at_ports, ports, read, ingress=context.ingress, host=context.subject.node)
    if rules and names is not None and read.elements(names) and "terminatingTLS" not in fields:
        read.wrong(names, "`serverNames` beside rules need `terminatingTLS`")
    if rules and "listener" in fields:
        read.wrong(fields["listener"], "a `listener` takes no rules")
    return ports, rules


def _read_peers(key: str, node: Node, context: _Context) -> Iterator[Peers]:
    read = context.read
    elements = read.elements(node)
    if key.endswith("Nodes") and elements and not read.options.node_selector_labels:
        read.wrong(node, f"`{key}` needs Cilium's `enable-node-selector-labels`")
    for one in elements:
        if (peer := _read_peer(key, one, context)) is not None:
            yield peer


def _read_peer(key: str, node: Node, context: _Context) -> Peers | None:
    read = context.read
    peer: Peers | None = None
    match key.removeprefix("from").removeprefix("to"):
        case "Endpoints":
            peer = cilium_peer(read_selector(node, read), context.policy.namespace, context.selector)
        case "Nodes":
            peer = Nodes(read_selector(node, read).requirements)
        case "Entities":
            peer = Entity(_read_entity(node, read))
        case "CIDR":
            cidr = read_cidr(node, read)
            peer = Addresses(cidr) if cidr else None
        case "CIDRSet":
            peer = read_cidr_rule(node, read)
        case "FQDNs":
            name = read_fqdn(node, read)
            peer = Name(name) if name else Entity("none")
        case "Services":
            peer = _read_service(node, read)
        case _:
            read.fields(node, ("aws",))
            peer = Undecidable(f"`{key}` is resolved by the cloud provider")
    return peer


def _read_entity(node: Node, read: Reader) -> str:
    if read.strict and node.raw in _NOT_IN_SCHEMA:
        read.wrong(node, f"the API server does not accept `{node.raw}`", "write `world`")
    return read.choice(node, ENTITIES)


def _read_service(node: Node, read: Reader) -> Service | None:
    fields = read.fields(node, ("k8sService", "k8sServiceSelector"))
    if len(fields) != 1:
        if node.is_mapping:
            read.wrong(node, "expected one of `k8sService` and `k8sServiceSelector`")
        return None
    if "k8sService" in fields:
        inner = read.fields(fields["k8sService"], ("serviceName", "namespace"), ("serviceName",))
        name = read.text(inner.get("serviceName"))
        return Service(clip(name, 253), read.text(inner.get("namespace"))) if name else None
    inner = read.fields(fields["k8sServiceSelector"], ("selector", "namespace"), ("selector",))
    if "selector" not in inner:
        return None
    asked = read_selector(inner["selector"], read).requirements
    return Service("", read.text(inner.get("namespace")), asked)
