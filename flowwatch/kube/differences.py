"""What is declared against what is live: pure functions of both, each answer with its reason.

Policies are compared by what they mean, not by how they are written. Where no policy is declared at all, live ones are
compared with nothing: whoever declares in another way has not said that there should be none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowwatch.kube.comparing import fields, same
from flowwatch.kube.live import Live
from flowwatch.kube.posture import endpoints_of, open_namespaces, selecting_nothing, unselected
from flowwatch.kube.resources import POLICIES, LivePolicy
from flowwatch.model import Deviation, Difference
from flowwatch.policy.compiled import PolicySet
from flowwatch.policy.entries import Entry, Policy
from flowwatch.policy.nodes import Plain
from flowwatch.policy.objects import Object, Objects, read_objects
from flowwatch.policy.options import Options

EXPLAINED = {
    Deviation.REJECTED: "Cilium says that it is not valid, or cannot take it: nothing of it is enforced.",
    Deviation.MISSING: "A policy is declared, and the cluster has none of that kind and name.",
    Deviation.DIFFERS: "A declared policy says something else in the cluster; the fields are named.",
    Deviation.UNDECLARED: "The cluster has a policy that no file of the allowlist declares.",
    Deviation.OPEN: "No policy isolates every pod that a namespace with pods may have, in a direction.",
    Deviation.UNSELECTED: "Pods of a workload are selected by no policy at all.",
    Deviation.IDLE: "A policy selects no pod that there is now: a label that changed, or a workload at zero.",
}
"""What each difference means, for people."""
_READ = frozenset(one.kind for one in POLICIES)
SOURCE = "the cluster"
"""What stands for a file where a live policy is named."""


@dataclass(slots=True)
class _Declared:
    policy: Policy
    document: Mapping[str, Any]
    entries: list[Entry] = field(default_factory=list)


def read_live(live: Live, options: Options) -> Objects:
    """The live policies, and the groups they refer to, as Cilium takes them. What it rejects is in `rejected`."""
    sound = [one for one in (*live.policies, *live.groups) if not one.rejected]
    return read_objects((_object(one) for one in sound), options, strict=False)


def enforced(live: Live, options: Options, cluster: str = "") -> PolicySet:
    """The live policies in the form in which connections are held against them. What they refer to and was not read
    (Services) cannot be decided. `cluster` is Cilium's own name of the cluster."""
    return PolicySet(read_live(live, options), cluster=cluster)


def differences(
    declared: Objects | None, live: Live, policies: PolicySet, *, exempt: Collection[str] = ()
) -> tuple[Difference, ...]:
    """Everything in which the cluster is otherwise than declared, the gravest first. `policies` are the live ones, as
    `enforced` reads them; `exempt` namespaces in which neither default deny nor selected workloads are expected."""
    read = policies.objects
    endpoints = endpoints_of(live, policies.cluster)
    found = [
        *_rejected(live, read),
        *(_compared(declared, live, read) if declared is not None and declared.policies else ()),
        *open_namespaces(live, policies, exempt),
        *unselected(endpoints, policies, exempt),
        *selecting_nothing(endpoints, policies),
    ]
    order = list(Deviation)
    return tuple(sorted(found, key=lambda one: (order.index(one.deviation), one.what)))


def _object(live: LivePolicy) -> Object:
    document = live.document
    return Object(Plain(document, SOURCE), document["apiVersion"], document["kind"])


def _ref(live: LivePolicy) -> str:
    metadata = live.document["metadata"]
    return Policy(live.document["kind"], metadata.get("namespace", ""), metadata["name"]).ref


def _rejected(live: Live, read: Objects) -> Iterator[Difference]:
    for one in live.policies:
        if one.rejected:
            yield Difference(Deviation.REJECTED, _named(_ref(one)), f"Cilium enforces nothing of it: {one.rejected}")
    for policy, problem in read.rejected:
        at = f"{problem.field}: " if problem.field else ""
        yield Difference(Deviation.REJECTED, str(policy), f"nothing of it can be enforced: {at}{problem.message}")


def _compared(declared: Objects, live: Live, read: Objects) -> Iterator[Difference]:
    wanted = {
        policy.ref: _Declared(policy, declared.documents.get(policy.ref, {}))
        for policy in declared.policies
        if policy.kind in _READ
    }
    for entry in declared.entries:
        if entry.policy.ref in wanted:
            wanted[entry.policy.ref].entries.append(entry)
    entries: dict[str, list[Entry]] = {}
    for entry in read.entries:
        entries.setdefault(entry.policy.ref, []).append(entry)
    there = {_ref(one): one for one in live.policies}
    read_well = {policy.ref for policy in read.policies}
    for ref, one in wanted.items():
        place = f"{one.policy.file}:{one.policy.line}"
        if ref not in there:
            yield Difference(Deviation.MISSING, str(one.policy), "it is declared, and not in the cluster", place)
        elif ref in read_well:
            document, kind = there[ref].document, one.policy.kind
            if not same(kind, (one.document, document), (one.entries, entries.get(ref, ()))):
                where = fields(kind, one.document, document)
                told = "it is in the cluster, and says something else there"
                yield Difference(Deviation.DIFFERS, str(one.policy), told, place, where)
    for ref in there.keys() - wanted.keys():
        yield Difference(Deviation.UNDECLARED, _named(ref), "it is in the cluster, and declared nowhere")


def _named(ref: str) -> str:
    kind, _, rest = ref.partition(":")
    namespace, _, name = rest.partition("/")
    return str(Policy(kind, namespace, name))


def grave(found: Iterable[Difference]) -> tuple[Difference, ...]:
    """Those by which what is enforced is not what is declared; the others are about what is left open."""
    return tuple(one for one in found if one.deviation.is_grave)


def reference() -> str:
    """The differences as a Markdown table, ending in a newline."""
    rows = ["| difference | exit 1 | means |", "|---|---|---|"]
    for deviation, text in EXPLAINED.items():
        rows.append(f"| `{deviation}` | {'yes' if deviation.is_grave else 'with `--strict`'} | {text} |")
    return "\n".join(rows) + "\n"
