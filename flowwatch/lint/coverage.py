"""Checks of what is not there: default deny, DNS, and the other side of a path."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.index import LabelIndex
from flowwatch.lint.labels import NAMESPACE, Labels, disjoint, equal
from flowwatch.lint.peers import Atom, Entity, Everyone, Name, Other, Pods
from flowwatch.lint.portsets import UDP
from flowwatch.lint.views import CLUSTER_POLICIES, Direction, Peer, Rule, Spec
from flowwatch.yamlmarks import Marked

_PODS_TOO = (Entity("all"), Entity("cluster"), Entity("cluster-mesh"))
_DNS_PORT = 53
_SYSTEM = Labels((equal(NAMESPACE, "kube-system"),))
_OTHER = {Direction.INGRESS: Direction.EGRESS, Direction.EGRESS: Direction.INGRESS}


def namespace_without_default_deny(context: Context) -> Iterator[Problem]:
    """Namespaces in which a pod nobody thought of is open."""
    for namespace, at in _namespaces(context).items():
        every = Labels((equal(NAMESPACE, namespace),))
        missing = [str(each) for each in Direction if not any(context.isolating[each].covering(every))]
        if missing:
            yield at.problem(
                f"nothing isolates every pod of namespace `{namespace}` on {' and '.join(missing)}: a pod that no "
                "policy selects is open",
                "add a policy that selects every pod of the namespace and allows nothing",
            )


def _namespaces(context: Context) -> dict[str, Marked]:
    """The namespaces that appear in the files, with where they first do."""
    found: dict[str, Marked] = {}
    for policy in context.policies:
        if policy.namespaced and policy.thing.namespace:
            found.setdefault(policy.thing.namespace, policy.top)
    for workload in context.workloads:
        if workload.thing.namespace:
            found.setdefault(workload.thing.namespace, workload.thing.root)
    for thing in context.objects:
        if thing.kind == "Namespace" and not thing.group and thing.name:
            found.setdefault(thing.name, thing.root)
    return found


def egress_without_dns(context: Context) -> Iterator[Problem]:
    """Pods that may connect and cannot look up whereto."""
    index = LabelIndex(
        (spec.scope, spec) for spec in context.specs if spec.subject is not None and any(map(_is_dns, _egress(spec)))
    )
    for spec in context.specs:
        if spec.subject is None or Direction.EGRESS not in spec.isolates:
            continue
        rules = [rule for rule in spec.towards(Direction.EGRESS) if rule.is_allow and rule.peers]
        if not rules and spec.scope.own:
            continue
        if not index.meeting(spec.scope, disjoint):
            section = spec.fields.get("egress") or spec.fields.get("egressDeny") or spec.at
            yield section.problem(
                "egress is isolated, and no policy lets these pods ask a DNS server",
                "allow port 53 (UDP and TCP) to the DNS pods in `kube-system`",
            )


def _egress(spec: Spec) -> Iterator[Rule]:
    return (rule for rule in spec.towards(Direction.EGRESS) if rule.is_allow)


def _is_dns(rule: Rule) -> bool:
    """Whether it may let pods ask a DNS server. Nobody can be asked by name before that."""
    peers = [peer.atom for peer in rule.peers if not isinstance(peer.atom, Name)]
    for grant in rule.grants if peers else ():
        if not grant.ports.everything and grant.ports.may_have(UDP, _DNS_PORT):
            return True
        if grant.ports.everything and any(_may_answer(atom) for atom in peers):
            return True
    return False


def _may_answer(atom: Atom) -> bool:
    return not isinstance(atom, Pods) or not disjoint(atom.labels, _SYSTEM)


def one_side_declared(context: Context) -> Iterator[Problem]:
    """Paths that one end allows and the other isolates from."""
    for rule in context.rules:
        if not rule.is_allow or rule.spec.subject is None or rule.spec.policy.kind in CLUSTER_POLICIES:
            continue
        for peer in rule.peers:
            if isinstance(peer.atom, Pods) and peer.atom.labels.own and NAMESPACE in peer.atom.labels.present:
                yield from _missing_side(context, rule, peer, peer.atom.labels)


def _missing_side(context: Context, rule: Rule, peer: Peer, there: Labels) -> Iterator[Problem]:
    other = _OTHER[rule.direction]
    isolating = next(context.isolating[other].covering(there), None)
    if isolating is None:
        return
    for spec in context.speaking.meeting(there, disjoint):
        for each in spec.towards(other):
            if each.is_allow and each.ports.meets(rule.ports) and _may_mean(each, rule.spec.scope):
                return
    way = "from" if rule.direction is Direction.EGRESS else "to"
    yield peer.at.problem(
        f"these pods are isolated on {other} by {isolating.policy.thing.title}, and nothing there allows traffic {way} "
        f"the pods of this policy on {rule.ports}",
        f"allow it in an {other} rule for {there}",
    )


def _may_mean(rule: Rule, pods: Labels) -> bool:
    return any(_may_be(peer.atom, pods) for peer in rule.peers)


def _may_be(atom: Atom, pods: Labels) -> bool:
    if isinstance(atom, Pods):
        return not disjoint(atom.labels, pods)
    return isinstance(atom, Everyone | Other) or atom in _PODS_TOO


CHECKS = (
    Check(
        "namespace-without-default-deny",
        Severity.WARNING,
        "Without a policy that selects every pod of a namespace, pods that no policy selects are open.",
        namespace_without_default_deny,
    ),
    Check(
        "egress-without-dns",
        Severity.WARNING,
        "Pods that are isolated on egress and may not ask for names reach next to nothing.",
        egress_without_dns,
    ),
    Check(
        "one-side-declared",
        Severity.WARNING,
        "A connection needs egress at one end and ingress at the other; told where one end isolates and has no rule.",
        one_side_declared,
    ),
)
