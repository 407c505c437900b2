"""What live policies leave open: namespaces without default deny, workloads without a policy, policies about nothing.

A pod stands for itself by the labels that Cilium makes an identity of where its `labels` setting is as installed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from flowwatch.kube.live import Live
from flowwatch.kube.resources import Pod
from flowwatch.model import Deviation, Difference, Identity, Kind
from flowwatch.policy.compiled import PolicySet
from flowwatch.policy.entries import Subject
from flowwatch.policy.judging import Direction
from flowwatch.policy.labels import NAMESPACE_LABELS
from flowwatch.policy.options import Enforcement
from flowwatch.policy.parties import Party, make_party
from flowwatch.selectors import CLUSTER_LABEL, NAMESPACE_LABEL, NOT_IN_IDENTITY, LabelTest, label_facts

_ACCOUNT_LABEL = "io.cilium.k8s.policy.serviceaccount"
_RESERVED = ("health", "ingress", "init")
"""Endpoints that policies may select and that are no pods."""


Endpoints = tuple[Party, Sequence[Pod]]
"""What pods of one identity are to policies, and the pods."""


def identity_of_pod(pod: Pod, namespaces: Mapping[str, Mapping[str, str]], cluster: str = "") -> Identity:
    """The identity that Cilium gives a pod, from the labels of the pod and of its namespace."""
    own = {key: value for key, value in pod.labels if not NOT_IN_IDENTITY.match(key)}
    own[_ACCOUNT_LABEL] = pod.account
    return Identity(Kind.POD, cluster, pod.namespace, _sources(own, pod.namespace, namespaces, cluster))


def endpoints_of(live: Live, cluster: str) -> list[Endpoints]:
    """The pods that have an endpoint, by the identity they share."""
    namespaces = _labels_of(live)
    found: dict[Identity, list[Pod]] = {}
    for pod in _endpoints(live):
        found.setdefault(identity_of_pod(pod, namespaces, cluster), []).append(pod)
    return [(make_party(pods[0].name, identity, cluster), pods) for identity, pods in found.items()]


def open_namespaces(live: Live, policies: PolicySet, exempt: Collection[str]) -> Iterator[Difference]:
    """Namespaces with pods in which no policy isolates every pod there may be, in a direction."""
    if policies.options.enforcement is not Enforcement.DEFAULT:
        return
    labels = _labels_of(live)
    peopled = {pod.namespace for pod in _endpoints(live)} - set(exempt)
    for direction, name in ((policies.ingress, "ingress"), (policies.egress, "egress")):
        everywhere = [*_of_whole_namespaces(direction)]
        for namespace in sorted(peopled):
            facts = label_facts(_of_namespace(namespace, labels, policies.cluster))
            if not any(LabelTest(subject.requirements).holds(facts) for subject in everywhere):
                told = f"no policy denies {name} by default for all its pods"
                yield Difference(Deviation.OPEN, f"{namespace} ({name})", told)


def unselected(endpoints: Sequence[Endpoints], policies: PolicySet, exempt: Collection[str]) -> Iterator[Difference]:
    """Workloads of whose pods at least one is selected by no policy at all."""
    if policies.options.enforcement is not Enforcement.DEFAULT:
        return
    bare: dict[tuple[str, str], int] = {}
    for party, pods in endpoints:
        if party.namespace not in exempt and not _about(policies, party):
            for pod in pods:
                key = (pod.namespace, pod.workload)
                bare[key] = bare.get(key, 0) + 1
    for (namespace, workload), count in sorted(bare.items()):
        pods_of = "1 pod" if count == 1 else f"{count} pods"
        yield Difference(Deviation.UNSELECTED, f"{namespace}/{workload}", f"no policy selects {pods_of} of it")


def selecting_nothing(endpoints: Sequence[Endpoints], policies: PolicySet) -> Iterator[Difference]:
    """Policies that select no pod there is now. Policies about nodes are not asked, for nodes are not read."""
    selected: set[str] = set()
    for direction in (policies.ingress, policies.egress):
        about = 0
        for party in [*(party for party, _ in endpoints), *_reserved()]:
            about |= direction.subject(party).certain
        selected |= {entry.policy.ref for entry in direction.those(about)}
        selected |= {entry.policy.ref for entry in direction.entries if entry.subject.node}
    spoken = {entry.policy.ref for direction in (policies.ingress, policies.egress) for entry in direction.entries}
    for policy in policies.objects.policies:
        if policy.ref in spoken - selected:
            yield Difference(Deviation.IDLE, str(policy), "it selects no pod that there is now")


def _of_whole_namespaces(direction: Direction) -> Iterable[Subject]:
    """Subjects that are isolated and asked for nothing but their namespace."""
    subjects = {entry.subject for entry in direction.entries if entry.default_deny and not entry.subject.node}
    for subject in subjects:
        keys = [one.key for one in subject.requirements]
        if all(key in (NAMESPACE_LABEL, CLUSTER_LABEL) or key.startswith(NAMESPACE_LABELS) for key in keys):
            yield subject


def _about(policies: PolicySet, party: Party) -> bool:
    return bool(policies.ingress.subject(party).certain or policies.egress.subject(party).certain)


def _endpoints(live: Live) -> Iterator[Pod]:
    """The pods that have an endpoint: neither those of the node's own network nor those that ran to their end."""
    return (pod for pod in live.pods if not pod.host_network and not pod.ended)


def _reserved() -> Iterator[Party]:
    for name in _RESERVED:
        yield make_party(name, Identity(Kind(name), "", "", (f"reserved:{name}",)), "")


def _labels_of(live: Live) -> dict[str, dict[str, str]]:
    return {one.name: dict(one.labels) for one in live.namespaces}


def _of_namespace(namespace: str, labels: Mapping[str, Mapping[str, str]], cluster: str) -> Identity:
    return Identity(Kind.POD, cluster, namespace, _sources({}, namespace, labels, cluster))


def _sources(
    own: Mapping[str, str], namespace: str, namespaces: Mapping[str, Mapping[str, str]], cluster: str
) -> tuple[str, ...]:
    labels = {**own, NAMESPACE_LABEL: namespace}
    labels |= {NAMESPACE_LABELS + key: value for key, value in namespaces.get(namespace, {}).items()}
    if cluster:
        labels[CLUSTER_LABEL] = cluster
    return tuple(sorted(f"k8s:{key}={value}" for key, value in labels.items()))
