"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, read into views.

Settles what Cilium makes of what is empty, absent or left out: the namespace it adds to selectors,
rules without peers, lists without elements, directions that isolate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowwatch.allowlist.ports import ICMP_TYPES, ICMPV6_TYPES
from flowwatch.lint.labels import EXISTS, IN, NAMESPACE, NAMESPACE_LABELS, RESERVED, Labels, Term, equal
from flowwatch.lint.objects import Object, number_of
from flowwatch.lint.peers import Atom, Entity, Everyone, Name, Other, Pods, Range, parse_network
from flowwatch.lint.portsets import ANY, EVERYTHING, ICMP_V4, ICMP_V6, PortSet, Span
from flowwatch.lint.reading import Reading, canonical, port_set, read_port
from flowwatch.lint.views import Action, Direction, Grant, Kind, Peer, Policy, Role, Rule, Selector, Spec
from flowwatch.yamlmarks import Marked

SECTIONS = {
    "ingress": (Direction.INGRESS, Action.ALLOW),
    "ingressDeny": (Direction.INGRESS, Action.DENY),
    "egress": (Direction.EGRESS, Action.ALLOW),
    "egressDeny": (Direction.EGRESS, Action.DENY),
}
INGRESS_PEERS = ("fromEndpoints", "fromEntities", "fromCIDR", "fromCIDRSet", "fromNodes", "fromGroups")
EGRESS_PEERS = (
    *("toEndpoints", "toEntities", "toCIDR", "toCIDRSet", "toNodes", "toGroups"),
    *("toServices", "toFQDNs"),
)
PEERS = {Direction.INGRESS: INGRESS_PEERS, Direction.EGRESS: EGRESS_PEERS}
EMPTY_IS_EVERYONE = ("toFQDNs", "toGroups", "fromGroups")
"""Lists that, left without an element, mean any peer on the ports beside them."""
L7_LISTS = ("http", "dns")

_DEMANDS = ("serverNames", "listener", "terminatingTLS", "originatingTLS")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def read_policy(thing: Object, kind: Kind, reading: Reading) -> Policy:
    """The policy that an object is."""
    policy = Policy(thing, kind)
    fields = reading.mapping(thing.root)
    written = [fields["spec"]] if "spec" in fields else []
    for at in (*written, *reading.list(fields.get("specs"))):
        policy.specs.append(_read_spec(policy, at, reading))
    return policy


def _read_spec(policy: Policy, at: Marked, reading: Reading) -> Spec:
    spec = Spec(policy, at, reading.mapping(at))
    _read_subject(spec, reading)
    for section, (direction, action) in SECTIONS.items():
        for element in reading.list(spec.fields.get(section)):
            spec.rules.append(_read_rule(spec, element, direction, action, reading))
    off = reading.mapping(spec.fields.get("enableDefaultDeny"))
    for direction in Direction:
        asked = off.get(direction.value)
        if any(spec.towards(direction)) and not (asked is not None and asked.value is False):
            spec.isolates.add(direction)
    return spec


def _read_subject(spec: Spec, reading: Reading) -> None:
    if "nodeSelector" in spec.fields:
        node = spec.fields["nodeSelector"]
        spec.selects_nodes = True
        spec.selectors.append(Selector(node, Role.NODE, Labels(reading.terms(node))))
    if "endpointSelector" not in spec.fields:
        return
    at = spec.fields["endpointSelector"]
    labels = Labels(reading.terms(at))
    if spec.policy.kind is Kind.CNP:
        labels = labels.without(NAMESPACE).and_(equal(NAMESPACE, spec.policy.thing.namespace))
    spec.selectors.append(Selector(at, Role.SUBJECT, labels))
    if not spec.selects_nodes:
        spec.select(labels)


def _read_rule(spec: Spec, at: Marked, direction: Direction, action: Action, reading: Reading) -> Rule:
    rule = Rule(spec, at, direction, action, reading.mapping(at))
    has_ports = bool(reading.list(rule.fields.get("toPorts")) or reading.list(rule.fields.get("icmps")))
    rule.peers = tuple(_peers(rule, has_ports, reading))
    rule.grants = tuple(_grants(rule, reading))
    return rule


def _peers(rule: Rule, has_ports: bool, reading: Reading) -> Iterator[Peer]:
    written = [key for key in PEERS[rule.direction] if key in rule.fields]
    found = [peer for key in written for peer in _peers_of(rule, key, reading)]
    yield from found
    if found or not has_ports:
        return
    holding = [key for key in written if rule.fields[key].elements()]
    closed = [key for key in written if key not in EMPTY_IS_EVERYONE]
    if not holding and not closed:
        yield Peer(rule.at, Everyone())


def _peers_of(rule: Rule, key: str, reading: Reading) -> Iterator[Peer]:
    for at in reading.list(rule.fields[key]):
        match key.removeprefix("from").removeprefix("to"):
            case "Endpoints":
                labels = _peer_labels(rule.spec.policy, reading.terms(at))
                rule.spec.selectors.append(Selector(at, Role.PEER, labels))
                yield Peer(at, Pods(labels))
            case "Entities":
                yield Peer(at, Entity(reading.text(at)))
            case "CIDR":
                network = parse_network(reading.text(at))
                if network is not None:
                    yield Peer(at, Range(network))
            case "CIDRSet":
                atom = _cidr_set(at, reading)
                if atom is not None:
                    yield Peer(at, atom)
            case "FQDNs" if rule.action is Action.ALLOW:
                fields = reading.mapping(at)
                pattern = reading.text(fields.get("matchName")) or reading.text(fields.get("matchPattern"))
                if pattern:
                    yield Peer(at, Name(pattern.lower()))
            case "Nodes":
                rule.spec.selectors.append(Selector(at, Role.NODE, Labels(reading.terms(at))))
                yield Peer(at, Other("nodes", canonical(at)))
            case "Services":
                yield Peer(at, Other("a service", canonical(at)))
            case "Groups":
                yield Peer(at, Other("groups", canonical(at)))


def _peer_labels(policy: Policy, terms: tuple[Term, ...]) -> Labels:
    """A peer's conditions with the scope Cilium adds to them."""
    mentions_namespace = any(each.key == NAMESPACE for each in terms)
    by_namespace_labels = any(each.key.startswith(NAMESPACE_LABELS) for each in terms)
    if any(each.key.startswith(RESERVED) for each in terms):
        return Labels(terms)
    if policy.kind is Kind.CNP and not mentions_namespace and not by_namespace_labels:
        return Labels((*terms, equal(NAMESPACE, policy.thing.namespace)))
    positive = any(each.key.startswith(NAMESPACE_LABELS) and each.operator in (IN, EXISTS) for each in terms)
    if (policy.kind is Kind.CCNP and not mentions_namespace) or positive:
        return Labels((*terms, Term(NAMESPACE, EXISTS)))
    return Labels(terms)


def _cidr_set(at: Marked, reading: Reading) -> Atom | None:
    fields = reading.mapping(at)
    if "cidr" in fields:
        network = parse_network(reading.text(fields["cidr"]))
        taken = [parse_network(reading.text(each)) for each in reading.list(fields.get("except"))]
        return None if network is None else Range(network, frozenset(each for each in taken if each is not None))
    if "cidrGroupRef" in fields or "cidrGroupSelector" in fields:
        return Other("a CIDR group", canonical(at))
    return None


def _grants(rule: Rule, reading: Reading) -> Iterator[Grant]:
    authentication = canonical(rule.fields["authentication"]) if "authentication" in rule.fields else ""
    items = reading.list(rule.fields.get("toPorts"))
    icmps = reading.list(rule.fields.get("icmps"))
    for at in items:
        yield _grant(at, authentication, reading)
    for at in icmps:
        fields = reading.list(reading.mapping(at).get("fields"))
        types = frozenset(span for each in fields for span in _icmp(reading.mapping(each)))
        yield Grant(at, PortSet(types), demands=authentication)
    if not items and not icmps:
        yield Grant(rule.at, EVERYTHING, demands=authentication)


def _grant(at: Marked, authentication: str, reading: Reading) -> Grant:
    fields = reading.mapping(at)
    ports = tuple(read_port(each, reading.mapping(each), ANY) for each in reading.list(fields.get("ports")))
    rules = reading.mapping(fields.get("rules"))
    l7 = {key: rules[key] for key in L7_LISTS if key in rules and reading.list(rules[key])}
    demands = [f"{key}: {canonical(value)}" for key, value in l7.items()]
    demands += [f"{key}: {canonical(fields[key])}" for key in _DEMANDS if key in fields]
    demands += [authentication] if authentication else []
    return Grant(at, port_set(ports), ports, fields, l7, "; ".join(demands))


def _icmp(fields: dict[str, Marked]) -> Iterator[Span]:
    family = fields["family"].raw if "family" in fields else "IPv4"
    protocol, types = (ICMP_V6, ICMPV6_TYPES) if family == "IPv6" else (ICMP_V4, ICMP_TYPES)
    text = fields["type"].raw if "type" in fields else ""
    number = number_of(text, -1)
    if number < 0:
        number = types.get(_WORDS.sub("-", text).lower(), -1)
    if number >= 0:
        yield Span(protocol, number, number)
