"""NetworkPolicy and the policies of cluster administrators, read into views.

NetworkPolicy: lists left out allow everything, directions follow from `policyTypes`. Cluster
policies (ClusterNetworkPolicy and its predecessors AdminNetworkPolicy and
BaselineAdminNetworkPolicy): rules in order, no direction is isolated, nothing is added to selectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowwatch.lint.labels import EXISTS, NAMESPACE, NAMESPACE_LABELS, Labels, Term, equal, term
from flowwatch.lint.objects import Object, number_of
from flowwatch.lint.peers import Atom, Everyone, Name, Other, Pods, Range, parse_network
from flowwatch.lint.portsets import EVERYTHING, LAST, TCP, PortSet, Span, spans
from flowwatch.lint.reading import Reading, canonical, port_set, read_port
from flowwatch.lint.views import (
    Action,
    Direction,
    Grant,
    Kind,
    Peer,
    Policy,
    Role,
    Rule,
    Selector,
    Spec,
)
from flowwatch.yamlmarks import Marked

ACTIONS = {"Accept": Action.ALLOW, "Allow": Action.ALLOW, "Deny": Action.DENY, "Pass": Action.PASS}
PEERS = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
TYPES = {Direction.INGRESS: "Ingress", Direction.EGRESS: "Egress"}


def read_network_policy(thing: Object, reading: Reading) -> Policy:
    """The NetworkPolicy that an object is."""
    policy = Policy(thing, Kind.KNP)
    at = reading.mapping(thing.root).get("spec")
    if at is None:
        return policy
    spec = Spec(policy, at, reading.mapping(at))
    policy.specs.append(spec)
    namespace = equal(NAMESPACE, thing.namespace)
    selector = spec.fields.get("podSelector")
    spec.select(Labels((*reading.terms(selector), namespace)))
    spec.selectors.append(Selector(selector or at, Role.SUBJECT, spec.scope))
    types = {reading.text(each) for each in reading.list(spec.fields.get("policyTypes"))}
    for direction, key in PEERS.items():
        written = reading.list(spec.fields.get(direction.value))
        for element in written:
            rule = Rule(spec, element, direction, Action.ALLOW, reading.mapping(element))
            rule.peers = tuple(_knp_peers(rule, key, reading))
            rule.grants = tuple(_knp_grants(rule, reading))
            spec.rules.append(rule)
        if TYPES[direction] in types or (not types and (direction is Direction.INGRESS or written)):
            spec.isolates.add(direction)
    return policy


def read_cluster_policy(thing: Object, kind: Kind, reading: Reading) -> Policy:
    """The policy of a cluster administrator that an object is."""
    policy = Policy(thing, kind)
    at = reading.mapping(thing.root).get("spec")
    if at is None:
        return policy
    spec = Spec(policy, at, reading.mapping(at))
    policy.specs.append(spec)
    baseline = kind is Kind.BANP or reading.text(spec.fields.get("tier")) == "Baseline"
    policy.tier = "Baseline" if baseline else "Admin"
    policy.priority = number_of(reading.text(spec.fields.get("priority")))
    if "subject" in spec.fields:
        spec.select(_namespaces_or_pods(spec, spec.fields["subject"], Role.SUBJECT, reading))
    for direction, key in PEERS.items():
        for element in reading.list(spec.fields.get(direction.value)):
            fields = reading.mapping(element)
            action = ACTIONS.get(reading.text(fields.get("action")), Action.PASS)
            rule = Rule(spec, element, direction, action, fields)
            peers = ((each, _cluster_peer(spec, each, reading)) for each in reading.list(fields.get(key)))
            rule.peers = tuple(Peer(each, atom) for each, atoms in peers for atom in atoms)
            rule.grants = (Grant(element, _cluster_ports(fields, reading)),)
            spec.rules.append(rule)
    return policy


def _knp_peers(rule: Rule, key: str, reading: Reading) -> Iterator[Peer]:
    written = reading.list(rule.fields.get(key))
    if not written:
        yield Peer(rule.at, Everyone())
    for at in written:
        fields = reading.mapping(at)
        if "ipBlock" in fields:
            block = reading.mapping(fields["ipBlock"])
            network = parse_network(reading.text(block.get("cidr")))
            taken = [parse_network(reading.text(each)) for each in reading.list(block.get("except"))]
            if network is not None:
                yield Peer(at, Range(network, frozenset(each for each in taken if each is not None)))
        elif "podSelector" in fields or "namespaceSelector" in fields:
            yield Peer(at, Pods(_pods(rule.spec, fields, reading)))


def _pods(spec: Spec, fields: dict[str, Marked], reading: Reading) -> Labels:
    """Pods by `podSelector` and `namespaceSelector`; without the latter those of the policy's namespace."""
    terms = list(reading.terms(fields.get("podSelector")))
    if "namespaceSelector" in fields:
        terms += _namespace_terms(spec, fields["namespaceSelector"], reading)
    else:
        terms.append(equal(NAMESPACE, spec.policy.thing.namespace))
    labels = Labels(terms)
    if "podSelector" in fields:
        spec.selectors.append(Selector(fields["podSelector"], Role.PEER, labels))
    return labels


def _namespace_terms(spec: Spec, at: Marked, reading: Reading) -> list[Term]:
    """Conditions on the labels of namespaces as conditions on pods, which carry them, too."""
    own = reading.terms(at)
    spec.selectors.append(Selector(at, Role.NAMESPACE, Labels(own)))
    return [
        *(term(NAMESPACE_LABELS + each.key, each.operator, each.values) for each in own),
        Term(NAMESPACE, EXISTS),
    ]


def _knp_grants(rule: Rule, reading: Reading) -> Iterator[Grant]:
    items = reading.list(rule.fields.get("ports"))
    ports = tuple(read_port(each, reading.mapping(each), TCP) for each in items)
    if ports:
        yield Grant(rule.at, port_set(ports), ports, rule.fields)
    else:
        yield Grant(rule.at, EVERYTHING)


def _namespaces_or_pods(spec: Spec, at: Marked, role: Role, reading: Reading) -> Labels | None:
    fields = reading.mapping(at)
    if "namespaces" in fields:
        # The predecessor of today's form wrapped the selector once more.
        wrapped = reading.mapping(fields["namespaces"]).get("namespaceSelector")
        return Labels(_namespace_terms(spec, wrapped or fields["namespaces"], reading))
    if "pods" in fields:
        pods = reading.mapping(fields["pods"])
        terms = list(reading.terms(pods.get("podSelector")))
        if "namespaceSelector" in pods:
            terms += _namespace_terms(spec, pods["namespaceSelector"], reading)
        labels = Labels((*terms, Term(NAMESPACE, EXISTS)))
        spec.selectors.append(Selector(pods.get("podSelector", at), role, labels))
        return labels
    return None


def _cluster_peer(spec: Spec, at: Marked, reading: Reading) -> Iterable[Atom]:
    fields = reading.mapping(at)
    labels = _namespaces_or_pods(spec, at, Role.PEER, reading)
    if labels is not None:
        yield Pods(labels)
    for each in reading.list(fields.get("networks")):
        network = parse_network(reading.text(each))
        if network is not None:
            yield Range(network)
    for each in reading.list(fields.get("domainNames")):
        name = reading.text(each).lower()
        yield Name(f"**{name[1:]}" if name.startswith("*.") else name)
    if "nodes" in fields:
        yield Other("nodes", canonical(fields["nodes"]))


def _cluster_ports(fields: dict[str, Marked], reading: Reading) -> PortSet:
    items = [*reading.list(fields.get("protocols")), *reading.list(fields.get("ports"))]
    if not items:
        return EVERYTHING
    return PortSet(frozenset(span for each in items for span in _cluster_spans(reading.mapping(each), reading)))


def _cluster_spans(fields: dict[str, Marked], reading: Reading) -> Iterator[Span]:
    for protocol in ("tcp", "udp", "sctp"):
        if protocol in fields:
            port = reading.mapping(reading.mapping(fields[protocol]).get("destinationPort"))
            yield _cluster_span(protocol.upper(), port.get("number"), reading.mapping(port.get("range")))
    for name in ("destinationNamedPort", "namedPort"):
        if name in fields:
            yield from spans("ANY", 0, LAST, reading.text(fields[name]).lower())
    if "portNumber" in fields:
        port = reading.mapping(fields["portNumber"])
        yield _cluster_span(reading.text(port.get("protocol")) or TCP, port.get("port"), {})
    if "portRange" in fields:
        port = reading.mapping(fields["portRange"])
        yield _cluster_span(reading.text(port.get("protocol")) or TCP, None, port)


def _cluster_span(protocol: str, number: Marked | None, written: dict[str, Marked]) -> Span:
    if number is not None:
        port = number_of(number.raw)
        return Span(protocol, port, port)
    if "start" in written and "end" in written:
        return Span(protocol, number_of(written["start"].raw), number_of(written["end"].raw))
    return Span(protocol, 0, LAST)
