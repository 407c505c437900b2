"""ClusterNetworkPolicy (v1alpha2), AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1), read into entries.

They never isolate; they are evaluated before (Admin) or after (Baseline) all other policies, by priority and then in
the order of their rules. What they cannot mean fails closed: it is never accepted, and it is denied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from flowwatch.policy.addresses import read_cidr
from flowwatch.policy.entries import (
    EVERY_PORT,
    Addresses,
    Effect,
    Entry,
    Labels,
    Name,
    NamedPort,
    Nodes,
    Peers,
    Policy,
    Ports,
    Span,
    Subject,
    Tier,
    Undecidable,
)
from flowwatch.policy.fqdn import shallow
from flowwatch.policy.l7 import L7
from flowwatch.policy.labels import IN_SOME_NAMESPACE, NAMESPACE_LABELS, local, read_pods, read_selector
from flowwatch.policy.nodes import Node
from flowwatch.policy.ports import LAST, WITH_PORTS
from flowwatch.policy.reading import Reader
from flowwatch.selectors import Operator, Requirement

ADMIN, BASELINE = "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"
_WITH_PORTS = tuple(WITH_PORTS.values())
_ACTIONS = {"Accept": Effect.ALLOW, "Deny": Effect.DENY, "Pass": Effect.PASS}
_OLD_ACTIONS = {"Allow": Effect.ALLOW, "Deny": Effect.DENY, "Pass": Effect.PASS}
_MOST_PRIORITY = 1000
_NAME_SERVERS = Labels((Requirement("k8s-app", Operator.IN, ("kube-dns",)),))
_NAME_SERVICE = Ports(named=(NamedPort("dns", _WITH_PORTS), NamedPort("dns-tcp", _WITH_PORTS)))
"""Whoever may connect by name may ask for the name: Cilium adds this to every rule with `domainNames`."""
_MOST_RULES = 1000


@dataclass(frozen=True, slots=True)
class _Context:
    policy: Policy
    read: Reader
    subject: Subject
    tier: Tier
    priority: int
    old: bool

    @property
    def actions(self) -> dict[str, Effect]:
        return _OLD_ACTIONS if self.old else _ACTIONS


def read_tiered_policy(node: Node, policy: Policy, read: Reader) -> list[Entry]:
    """The entries of an object; of no use where `read` found problems."""
    spec = node.get("spec")
    if spec is None or spec.is_null:
        read.wrong(node, "`spec` is missing")
        return []
    old = policy.kind in (ADMIN, BASELINE)
    known = ["subject", "ingress", "egress"]
    required = ["subject"]
    if policy.kind != BASELINE:
        known.append("priority")
        required.append("priority")
    if not old:
        known.append("tier")
        required.append("tier")
    fields = read.fields(spec, known, required)
    if policy.kind == BASELINE and policy.name != "default":
        read.wrong(node, f"a {BASELINE} is named `default`, not `{policy.name}`")
    word = "Baseline" if policy.kind == BASELINE else "Admin"
    if "tier" in fields:
        word = read.choice(fields["tier"], ("Admin", "Baseline")) or "Admin"
    priority = read.whole(fields.get("priority"), 0, _MOST_PRIORITY) or 0
    subject = Subject(_read_subject(fields["subject"], read)) if "subject" in fields else Subject()
    context = _Context(policy, read, subject, Tier.BASELINE if word == "Baseline" else Tier.ADMIN, priority, old)
    entries: list[Entry] = []
    for key in ("ingress", "egress"):
        for number, rule in enumerate(read.elements(fields.get(key))[:_MOST_RULES]):
            entries += _read_rule(rule, number, context, ingress=key == "ingress")
    return entries


def _read_subject(node: Node, read: Reader) -> tuple[Requirement, ...]:
    fields = read.fields(node, ("namespaces", "pods"))
    if len(fields) != 1:
        if node.is_mapping:
            read.wrong(node, "expected one of `namespaces` and `pods`")
        return ()
    return _read_pods(fields, read)


def _read_pods(fields: dict[str, Node], read: Reader) -> tuple[Requirement, ...]:
    if "pods" in fields:
        inner = read.fields(fields["pods"], ("namespaceSelector", "podSelector"), ("namespaceSelector", "podSelector"))
        if len(inner) < 2:
            return ()
        return read_pods(inner["namespaceSelector"], inner["podSelector"], "", read)
    asked = read_selector(fields["namespaces"], read, prefix=NAMESPACE_LABELS, source="k8s").requirements
    return (*asked, IN_SOME_NAMESPACE)


def _read_rule(node: Node, number: int, context: _Context, *, ingress: bool) -> Iterator[Entry]:
    read = context.read
    key = "from" if ingress else "to"
    at_ports = "ports" if context.old else "protocols"
    fields = read.fields(node, ("name", "action", key, at_ports), ("action",))
    word = read.choice(fields.get("action"), context.actions) if "action" in fields else ""
    if not word:
        return
    effect = context.actions[word]
    if effect is Effect.PASS and context.tier is Tier.BASELINE and context.old:
        read.wrong(fields["action"], "there is nothing to pass to below the baseline")
    ports = EVERY_PORT
    if at_ports in fields and read.elements(fields[at_ports]):
        ports = _read_ports(fields[at_ports], context)
    place = Entry(
        context.policy,
        node.line,
        node.path,
        ingress,
        context.subject,
        None,
        ports,
        effect,
        context.tier,
        (context.priority, number),
        default_deny=False,
    )
    elements = read.elements(fields.get(key))
    if not elements:
        yield place
        return
    peers: list[Peers] = []
    for one in elements:
        found = list(_read_peer(one, effect, context, ingress=ingress))
        if not found and effect is not Effect.ALLOW:
            # What it means cannot be told, so nothing gets through.
            yield replace(place, effect=Effect.DENY)
        peers += found
    yield replace(place, peers=tuple(peers))
    names = [peer.pattern for peer in peers if isinstance(peer, Name)]
    if names:
        yield replace(place, peers=(_NAME_SERVERS,), ports=_NAME_SERVICE, l7=L7(dns=tuple(names)))


def _read_peer(node: Node, effect: Effect, context: _Context, *, ingress: bool) -> Iterator[Peers]:
    """The peers of one element; none where it is of no kind that is known."""
    read = context.read
    known = ("namespaces", "pods") if ingress else ("namespaces", "pods", "networks", "nodes", "domainNames")
    fields = read.fields(node, known)
    if len(fields) == 1:
        key, value = next(iter(fields.items()))
        if key in ("namespaces", "pods"):
            if context.old and any(value.get(each) is not None for each in ("sameLabels", "notSameLabels")):
                yield Undecidable("`sameLabels` is not evaluated", by_address=False)
            else:
                yield local(_read_pods(fields, read))
        elif key == "nodes":
            if not read.options.node_selector_labels:
                read.wrong(value, "selecting nodes needs Cilium's `enable-node-selector-labels`")
            yield Nodes(read_selector(value, read).requirements)
        else:
            yield from _read_outside(key, value, effect, read)
    elif fields or (node.is_mapping and read.strict):
        read.wrong(node, f"expected one of {', '.join(f'`{key}`' for key in known)}")


def _read_outside(key: str, value: Node, effect: Effect, read: Reader) -> Iterator[Peers]:
    if key == "networks":
        for one in read.elements(value):
            if cidr := read_cidr(one, read):
                yield Addresses(cidr)
        return
    if effect is not Effect.ALLOW:
        read.wrong(value, "names may only be accepted, for what they stand for changes")
    for one in read.elements(value):
        if name := _read_domain(one, read):
            yield Name(name)


def _read_domain(node: Node, read: Reader) -> str:
    text = read.text(node)
    bare = text.removeprefix("*.")
    if not bare or "*" in bare or not all(one.isascii() and (one.isalnum() or one in "-_.") for one in bare):
        read.wrong(node, f"expected a domain such as `example.com` or `*.example.com`, not {node.described}")
        return ""
    # Here a wildcard is for any number of labels.
    return f"**.{shallow(bare, read.options)}" if text.startswith("*.") else shallow(text, read.options)


def _read_ports(node: Node, context: _Context) -> Ports:
    spans: list[Span] = []
    named: list[NamedPort] = []
    for one in context.read.elements(node):
        found = _read_old_port(one, context.read) if context.old else _read_protocol(one, context.read)
        if isinstance(found, Span):
            spans.append(found)
        elif found is not None:
            named.append(found)
    return Ports(False, tuple(spans), tuple(named))


def _read_protocol(node: Node, read: Reader) -> Span | NamedPort | None:
    fields = read.fields(node, ("tcp", "udp", "sctp", "destinationNamedPort"))
    if len(fields) != 1:
        if node.is_mapping:
            read.wrong(node, "expected one of `tcp`, `udp`, `sctp` and `destinationNamedPort`")
        return None
    key, value = next(iter(fields.items()))
    if key == "destinationNamedPort":
        return NamedPort(read.text(value).lower(), ())
    protocol = WITH_PORTS[key.upper()]
    at = read.fields(value, ("destinationPort",)).get("destinationPort")
    if at is None:
        return Span(protocol, 0, LAST)
    inner = read.fields(at, ("number", "range"))
    if len(inner) != 1:
        if at.is_mapping:
            read.wrong(at, "expected one of `number` and `range`")
        return None
    if "number" in inner:
        number = read.whole(inner["number"], 1, LAST)
        return None if number is None else Span(protocol, number, number)
    return _read_range(inner["range"], protocol, read, ("start", "end"))


def _read_range(node: Node, protocol: int, read: Reader, known: tuple[str, ...]) -> Span | None:
    fields = read.fields(node, known, ("start", "end"))
    first, last = read.whole(fields.get("start"), 1, LAST), read.whole(fields.get("end"), 1, LAST)
    if first is None or last is None:
        return None
    if last < first:
        read.wrong(node, f"the range ends ({last}) before it begins ({first})")
        return None
    return Span(protocol, first, last)


def _read_old_port(node: Node, read: Reader) -> Span | NamedPort | None:
    fields = read.fields(node, ("portNumber", "portRange", "namedPort"))
    if len(fields) != 1:
        if node.is_mapping:
            read.wrong(node, "expected one of `portNumber`, `portRange` and `namedPort`")
        return None
    key, value = next(iter(fields.items()))
    if key == "namedPort":
        return NamedPort(read.text(value).lower(), ())
    known = ("protocol", "port") if key == "portNumber" else ("protocol", "start", "end")
    at = read.fields(value, known).get("protocol")
    protocol = WITH_PORTS.get(read.choice(at, WITH_PORTS) if at is not None else "TCP", 6)
    if key == "portRange":
        return _read_range(value, protocol, read, known)
    number = read.whole(read.fields(value, known, ("port",)).get("port"), 1, LAST)
    return None if number is None else Span(protocol, number, number)
