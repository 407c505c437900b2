"""Checks of entities: do they exist, and do they contain what their names suggest?"""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check, Needs
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.observed import Endpoint, means
from flowwatch.lint.peers import Atom, Entity, Everyone
from flowwatch.lint.portsets import PortSet, Span
from flowwatch.lint.views import Action, Direction, Rule, Spec
from flowwatch.yamlmarks import Marked, clip, did_you_mean

KNOWN = (
    *("all", "world", "cluster", "host", "init", "ingress", "unmanaged", "remote-node", "health"),
    *("none", "kube-apiserver"),
)
LATER = {"cluster-mesh": (1, 20)}
NOT_IN_API = ("world-ipv4", "world-ipv6")
_NEVER_PODS = ("none", "init")
_REACHES_NODES = ("remote-node", "cluster", "cluster-mesh", "all")


def entity_unknown(context: Context) -> Iterator[Problem]:
    """Names of entities that are none."""
    for _, at in _entities(context):
        if at.raw not in (*KNOWN, *LATER, *NOT_IN_API):
            hint = did_you_mean(at.raw, KNOWN) or f"there are: {', '.join(KNOWN)}"
            yield at.problem(f"there is no entity `{clip(at.raw)}`, so the policy is rejected", hint)


def entity_version(context: Context) -> Iterator[Problem]:
    """Entities that Cilium knows and the API server does not take."""
    for _, at in _entities(context):
        if at.raw in NOT_IN_API:
            yield at.problem(
                f"the API server does not take `{at.raw}`, although Cilium knows it",
                "write `world`, or `0.0.0.0/0` or `::/0` as a CIDR",
            )
        elif at.raw in LATER and not context.since(LATER[at.raw]):
            yield at.problem(f"`{at.raw}` exists since Cilium {'.'.join(map(str, LATER[at.raw]))}", "write `cluster`")


def entity_selects_nobody(context: Context) -> Iterator[Problem]:
    """Entities that no pod is ever part of."""
    for _, at in _entities(context):
        if at.raw in _NEVER_PODS:
            what = "nobody" if at.raw == "none" else "pods for the moment until they have labels"
            yield at.problem(f"`{at.raw}` means {what}", "name the peers that are meant")


def cluster_admits_nodes(context: Context) -> Iterator[Problem]:
    """Ingress from the cluster, where pods were most likely meant."""
    for rule in context.rules:
        if rule.direction is not Direction.INGRESS or not rule.is_allow or rule.spec.selects_nodes:
            continue
        named = {at.raw for at in rule.entities}
        for at in rule.entities:
            if at.raw == "cluster" and not {"host", "remote-node"} <= named:
                yield at.problem(
                    "`cluster` is not pods alone: it admits nodes, health checks, the API server, and what comes from "
                    "outside over another node",
                    "for pods write `fromEndpoints` with `io.kubernetes.pod.namespace` and `Exists`; to keep it, name "
                    "`host` and `remote-node` as well",
                )


def host_allowed_anyway(context: Context) -> Iterator[Problem]:
    """Ingress from the local node, which needs no rule."""
    if context.settings.text("allow-localhost") == "policy":
        return
    for rule in context.rules:
        if rule.direction is not Direction.INGRESS or not rule.is_allow or rule.spec.selects_nodes:
            continue
        if [at.raw for at in rule.entities] == ["host"]:
            yield rule.entities[0].problem(
                "the node a pod runs on may always connect to it: this rule says what holds without it",
                "keep it if it documents the probes; other nodes are `remote-node`",
            )


def webhook_from_apiserver(context: Context) -> Iterator[Problem]:
    """Ingress from the API server alone."""
    for spec in context.specs:
        if spec.selects_nodes or spec.subject is None:
            continue
        for rule in spec.towards(Direction.INGRESS):
            named = {at.raw for at in rule.entities}
            at = next((each for each in rule.entities if each.raw == "kube-apiserver"), None)
            if at is None or not rule.is_allow or named & {"host", *_REACHES_NODES}:
                continue
            if not any(_admits_nodes(other, rule.ports) for other in _of_the_same(context, spec)):
                yield at.problem(
                    "the API server arrives as `kube-apiserver` only where Cilium can tell it from its node: not on "
                    "managed clusters, and not through a tunnel",
                    "add `remote-node`",
                )


def host_without_remote_node(context: Context) -> Iterator[Problem]:
    """Ingress from the local node, where other nodes connect as well."""
    for spec in context.specs:
        if spec.subject is None:
            continue
        rules = [rule for rule in spec.towards(Direction.INGRESS) if _names(rule, "host")]
        if not rules:
            continue
        admitted = list(_of_the_same(context, spec))
        for endpoint in context.endpoints_of(spec.scope):
            for seen in context.received_by(endpoint):
                port = PortSet(frozenset((Span(seen.protocol, seen.port, seen.port),)))
                if "remote-node" not in seen.source.reserved or any(
                    _admits(each, seen.source, port) for each in admitted
                ):
                    continue
                rule = next((each for each in rules if each.ports.holds(port)), None)
                if rule is not None:
                    yield next(at for at in rule.entities if at.raw == "host").problem(
                        f"other nodes connect on {seen.service}, too, and are `remote-node`, which no rule allows",
                        "add `remote-node`",
                    )


def _admits(rule: Rule, source: Endpoint, port: PortSet) -> bool:
    return rule.ports.holds(port) and any(means(peer.atom, source) for peer in rule.peers)


def _admits_nodes(rule: Rule, ports: PortSet) -> bool:
    reaches = (isinstance(peer.atom, Everyone) or _is_node(peer.atom) for peer in rule.peers)
    return any(reaches) and rule.ports.meets(ports)


def _is_node(atom: Atom) -> bool:
    return isinstance(atom, Entity) and atom.name in _REACHES_NODES


def _names(rule: Rule, entity: str) -> bool:
    return rule.is_allow and any(at.raw == entity for at in rule.entities)


def _of_the_same(context: Context, spec: Spec) -> Iterator[Rule]:
    """The rules that allow ingress to pods of a spec, whoever wrote them."""
    for other in context.selecting.meeting(spec.scope):
        yield from (rule for rule in other.towards(Direction.INGRESS) if rule.action is Action.ALLOW)


def _entities(context: Context) -> Iterator[tuple[Rule, Marked]]:
    for rule in context.rules:
        yield from ((rule, at) for at in rule.entities if at.is_scalar)


CHECKS = (
    Check(
        "entity-unknown",
        Severity.ERROR,
        "A policy with an entity that does not exist is rejected.",
        entity_unknown,
        rejects=True,
    ),
    Check(
        "entity-version",
        Severity.WARNING,
        "`world-ipv4` and `world-ipv6` are not in the API, and `cluster-mesh` only since Cilium 1.20.",
        entity_version,
    ),
    Check(
        "entity-selects-nobody",
        Severity.WARNING,
        "`none` and `init` never mean a pod with labels.",
        entity_selects_nobody,
    ),
    Check(
        "cluster-admits-nodes",
        Severity.WARNING,
        "`fromEntities: [cluster]` also admits nodes, health checks, the API server and what they forward.",
        cluster_admits_nodes,
    ),
    Check(
        "host-allowed-anyway",
        Severity.INFO,
        "The local node may always connect to its pods, unless a policy denies it or `allow-localhost` is `policy`.",
        host_allowed_anyway,
    ),
    Check(
        "webhook-from-apiserver",
        Severity.WARNING,
        "Ingress from `kube-apiserver` alone is unreliable on managed clusters and in tunnel mode.",
        webhook_from_apiserver,
    ),
    Check(
        "host-without-remote-node",
        Severity.WARNING,
        "`host` is the local node only; other nodes and what runs on their network are `remote-node`.",
        host_without_remote_node,
        Needs.OBSERVED,
    ),
)
