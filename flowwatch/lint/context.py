"""Everything a check may look at: the policies and what stands beside them, read once.

A context is made of sources and never changes. What takes time to work out is worked out when the
first check asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from flowwatch.lint.cilium import read_policy
from flowwatch.lint.declared import Native, read_native
from flowwatch.lint.index import LabelIndex
from flowwatch.lint.kubernetes import read_cluster_policy, read_network_policy
from flowwatch.lint.labels import ACCOUNT, CLUSTER, NAMESPACE, NAMESPACE_LABELS, Labels, matches
from flowwatch.lint.objects import (
    Gateway,
    Object,
    Route,
    Service,
    Workload,
    objects_of,
    services_of,
    texts,
    workloads_of,
)
from flowwatch.lint.objects import at as value_at
from flowwatch.lint.observed import Endpoint, Observed, Seen
from flowwatch.lint.peers import Network
from flowwatch.lint.reading import Reading
from flowwatch.lint.routes import gateways_of, routes_of
from flowwatch.lint.settings import Settings, settings_of
from flowwatch.lint.sources import Source
from flowwatch.lint.traffic import Traffic, traffic_of
from flowwatch.lint.views import CLUSTER_POLICIES, Direction, Kind, Policy, Rule, Selector, Spec

NEWEST = (1, 20)
"""The version of Cilium that is meant where none is given."""

_GROUPS = {
    "cilium.io": (Kind.CNP, Kind.CCNP),
    "networking.k8s.io": (Kind.KNP,),
    "policy.networking.k8s.io": CLUSTER_POLICIES,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says about the cluster. `now` is in seconds since the epoch."""

    now: float
    pod_cidrs: tuple[Network, ...] = ()
    version: tuple[int, int] = NEWEST


@dataclass(frozen=True, slots=True)
class Earlier:
    """A finding that says that the cluster rejects the object at `thing`."""

    thing: Object
    line: int


class Context:
    """What the files hold, and what was observed where that is known."""

    def __init__(self, sources: Iterable[Source], options: Options, observed: Observed | None = None) -> None:
        self.sources = tuple(sources)
        self.options = options
        self.observed = observed
        self.rejections: list[Earlier] = []
        """What earlier checks found to be rejected; filled by whoever runs them."""
        self.check_names: frozenset[str] = frozenset()
        """The names of all checks there are; filled by whoever runs them."""
        reading = Reading()
        self.objects = tuple(objects_of(document for source in self.sources for document in source.documents))
        self.policies = tuple(_policies(self.objects, reading))
        self.misread = tuple(reading.problems)

    @cached_property
    def native(self) -> Native:
        """The allowlists in flowwatch's own format."""
        return read_native(document for source in self.sources for document in source.documents)

    @cached_property
    def specs(self) -> tuple[Spec, ...]:
        """Every spec of every policy."""
        return tuple(spec for policy in self.policies for spec in policy.specs)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule of every policy."""
        return tuple(rule for spec in self.specs for rule in spec.rules)

    @cached_property
    def selectors(self) -> tuple[tuple[Spec, Selector], ...]:
        """Every selector that is written in a policy."""
        return tuple((spec, selector) for spec in self.specs for selector in spec.selectors)

    @cached_property
    def settings(self) -> Settings:
        """The agent's configuration, as far as it is among the files."""
        return settings_of(self.objects)

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """The pods the files make."""
        return tuple(workloads_of(self.objects))

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """The Services in the files."""
        return tuple(services_of(self.objects))

    @cached_property
    def gateways(self) -> tuple[Gateway, ...]:
        """The Gateways in the files."""
        return tuple(gateways_of(self.objects))

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """The routes and Ingresses in the files."""
        return tuple(routes_of(self.objects, self.gateways))

    @cached_property
    def isolating(self) -> dict[Direction, LabelIndex[Spec]]:
        """The specs that put pods into default deny, by direction."""
        return {
            direction: LabelIndex(
                (spec.scope, spec) for spec in self.specs if spec.subject is not None and direction in spec.isolates
            )
            for direction in Direction
        }

    @cached_property
    def selecting(self) -> LabelIndex[Spec]:
        """The specs by the pods they select; those of cluster administrators left out."""
        return LabelIndex(
            (spec.scope, spec)
            for spec in self.specs
            if spec.subject is not None and spec.policy.kind not in CLUSTER_POLICIES
        )

    @cached_property
    def telling(self) -> LabelIndex[Spec]:
        """The specs that select pods by labels of their own, not merely a whole namespace."""
        return LabelIndex((spec.scope, spec) for specs in self._by_scope.values() for spec in specs if spec.scope.own)

    @cached_property
    def by_label(self) -> dict[tuple[str, str], list[Spec]]:
        """The specs by each label their subject must have."""
        found: dict[tuple[str, str], list[Spec]] = {}
        for specs in self._by_scope.values():
            for spec in specs:
                for pair in spec.scope.pairs:
                    found.setdefault(pair, []).append(spec)
        return found

    @cached_property
    def speaking(self) -> LabelIndex[Spec]:
        """Every spec by the pods it is about, whoever wrote it."""
        return LabelIndex((spec.scope, spec) for spec in self.specs if spec.subject is not None)

    @cached_property
    def traffic(self) -> tuple[Traffic, ...]:
        """What was seen of the pods of every rule that allows; empty where nothing was observed."""
        return tuple(traffic_of(self.specs, self.observed, self.endpoints_of)) if self.observed is not None else ()

    @property
    def window(self) -> str:
        """When it was observed, in words."""
        return self.observed.window if self.observed is not None else ""

    def specs_about(self, namespace: str) -> list[Spec]:
        """The specs that may be about pods of a namespace; those of cluster administrators left out."""
        return [*self._by_scope.get(namespace, ()), *self._by_scope.get(None, ())]

    def workloads_of(self, labels: Labels) -> Iterator[Workload]:
        """The workloads of the files that a selector certainly means."""
        return (workload for workload in self._candidates(labels) if self._is_meant(labels, workload))

    def may_be_workload(self, labels: Labels) -> bool:
        """Whether a selector may mean a workload of the files."""
        return any(self._is_meant(labels, workload) is not False for workload in self._candidates(labels))

    def endpoints_of(self, labels: Labels) -> Iterator[Endpoint]:
        """The pods that were observed and that a selector means; of the own cluster, unless it names one."""
        if self.observed is None:
            return
        named = any(each.key == CLUSTER for each in labels.terms)
        namespaces = self.observed.everywhere if named else self.observed.by_namespace
        asked = labels.allowed.get(NAMESPACE)
        for namespace in namespaces if asked is None else asked & namespaces.keys():
            yield from (each for each in namespaces[namespace] if matches(labels, each.labels))

    def sent_by(self, endpoint: Endpoint) -> list[Seen]:
        """What an endpoint was seen to connect to."""
        return [] if self.observed is None else self.observed.by_source.get(id(endpoint), [])

    def received_by(self, endpoint: Endpoint) -> list[Seen]:
        """What was seen to connect to an endpoint."""
        return [] if self.observed is None else self.observed.by_destination.get(id(endpoint), [])

    def since(self, version: tuple[int, int]) -> bool:
        """Whether the cluster runs this version of Cilium or a newer one."""
        return self.options.version >= version

    @cached_property
    def _by_scope(self) -> dict[str | None, list[Spec]]:
        found: dict[str | None, list[Spec]] = {}
        for spec in self.specs:
            if spec.subject is not None and spec.policy.kind not in CLUSTER_POLICIES:
                found.setdefault(spec.scope.namespace, []).append(spec)
        return found

    @cached_property
    def _by_namespace(self) -> dict[str, list[Workload]]:
        found: dict[str, list[Workload]] = {}
        for workload in self.workloads:
            found.setdefault(workload.thing.namespace, []).append(workload)
        return found

    @cached_property
    def _namespace_labels(self) -> dict[str, dict[str, str]]:
        """The labels of the namespaces that are among the files, as pods carry them."""
        return {
            thing.name: {
                NAMESPACE_LABELS + key: value
                for key, value in texts(value_at(thing.root, "metadata", "labels")).items()
            }
            for thing in self.objects
            if thing.kind == "Namespace" and not thing.group
        }

    def _candidates(self, labels: Labels) -> Iterator[Workload]:
        asked = labels.allowed.get(NAMESPACE)
        for namespace in self._by_namespace if asked is None else asked & self._by_namespace.keys():
            yield from self._by_namespace[namespace]

    def carried(self, workload: Workload) -> dict[str, str]:
        """The labels of a workload's pods, with those of its namespace as far as they are known."""
        namespace = workload.thing.namespace
        known = self._namespace_labels.get(namespace, {})
        return {**workload.labels, **known, NAMESPACE: namespace, ACCOUNT: workload.account}

    def _is_meant(self, labels: Labels, workload: Workload) -> bool | None:
        unknown = (CLUSTER,) if workload.thing.namespace in self._namespace_labels else (CLUSTER, NAMESPACE_LABELS)
        return matches(labels, self.carried(workload), unknown)


def _policies(objects: Iterable[Object], reading: Reading) -> Iterator[Policy]:
    for thing in objects:
        if thing.kind not in _GROUPS.get(thing.group, ()):
            continue
        kind = Kind(thing.kind)
        if kind is Kind.KNP:
            yield read_network_policy(thing, reading)
        elif kind in CLUSTER_POLICIES:
            yield read_cluster_policy(thing, kind, reading)
        else:
            yield read_policy(thing, kind, reading)
