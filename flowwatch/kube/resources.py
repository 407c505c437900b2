"""The objects that are read from the API server: where they are, what of each is kept, and the rights that takes.

What is kept is all that anything here uses, so that memory follows from what a cluster declares and not from
how much its status fields say. Values are compared: what changes nothing here changes nothing for anybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Document = Mapping[str, Any]
Value = object

READ_VERBS = ("list", "watch")
"""What is asked of every resource that is read; nothing is ever read by its name."""

_POLICY = ("spec", "specs")
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_TEMPLATE_HASH = re.compile(rf"-[{_SAFE}]{{1,10}}$")


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """A policy as it is in the cluster. `document` holds what its author wrote and nothing else; `rejected` is what
    Cilium says is wrong with it, in which case it enforces none of it."""

    document: Document
    rejected: str = ""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace and its labels, sorted."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, as far as policies can tell it from others. `started` in seconds since the epoch, 0: not yet."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    account: str = ""
    node: str = ""
    ip: str = ""
    started: float = 0.0
    workload: str = ""
    host_network: bool = False
    ended: bool = False
    """It ran to its end: it has no endpoint any more."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object. `optional`: a cluster without it (its definition is not installed) has none of it."""

    kind: str
    group: str
    version: str
    plural: str
    keep: Callable[[Document], Value]
    optional: bool = False

    @property
    def path(self) -> str:
        """Where the API server lists all of them."""
        root = f"/apis/{self.group}" if self.group else "/api"
        return f"{root}/{self.version}/{self.plural}"

    def path_in(self, namespace: str) -> str:
        """Where the API server has those of one namespace."""
        root, _, plural = self.path.rpartition("/")
        return f"{root}/namespaces/{namespace}/{plural}"

    @property
    def api_version(self) -> str:
        """What its objects name as their `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version


def _written(kind: str, api_version: str) -> Callable[[Document], LivePolicy]:
    """Keeps what the author of a policy wrote: items of a list do not even say what kind they are."""

    def keep(found: Document) -> LivePolicy:
        metadata = found.get("metadata") or {}
        kept = {name: metadata[name] for name in ("name", "namespace") if metadata.get(name)}
        document = {"apiVersion": api_version, "kind": kind, "metadata": kept}
        document |= {name: found[name] for name in _POLICY if found.get(name) is not None}
        return LivePolicy(document, _rejection(found))

    return keep


def _group(found: Document) -> LivePolicy:
    kept = _written("CiliumCIDRGroup", "cilium.io/v2")(found)
    labels = dict(_labels((found.get("metadata") or {}).get("labels")))
    return LivePolicy({**kept.document, "metadata": {**kept.document["metadata"], "labels": labels}})


def _rejection(found: Document) -> str:
    for condition in (found.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Valid" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "it is not valid")
    return ""


def _namespace(found: Document) -> Namespace:
    metadata = found["metadata"]
    return Namespace(metadata["name"], _labels(metadata.get("labels")))


def _pod(found: Document) -> Pod:
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    return Pod(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        labels=_labels(metadata.get("labels")),
        account=spec.get("serviceAccountName") or "default",
        node=spec.get("nodeName") or "",
        ip=status.get("podIP") or "",
        started=_moment(status.get("startTime")),
        workload=_workload(metadata),
        host_network=bool(spec.get("hostNetwork")),
        ended=status.get("phase") in ("Succeeded", "Failed"),
    )


def _workload(metadata: Document) -> str:
    """What people call the pod's owner: of a ReplicaSet its Deployment, whose name it extends."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            name = str(owner.get("name") or "")
            return _TEMPLATE_HASH.sub("", name) if owner.get("kind") == "ReplicaSet" else name
    return str(metadata["name"])


def _labels(found: Document | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(key), str(value)) for key, value in (found or {}).items()))


def _moment(text: str | None) -> float:
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def _policies(kind: str, group: str, version: str, plural: str, *, optional: bool = True) -> Resource:
    return Resource(kind, group, version, plural, _written(kind, f"{group}/{version}"), optional)


NETWORK_POLICIES = _policies("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", optional=False)
CILIUM_POLICIES = _policies("CiliumNetworkPolicy", "cilium.io", "v2", "ciliumnetworkpolicies")
CLUSTERWIDE_POLICIES = _policies(
    "CiliumClusterwideNetworkPolicy", "cilium.io", "v2", "ciliumclusterwidenetworkpolicies"
)
TIERED_POLICIES = _policies("ClusterNetworkPolicy", "policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies")
CIDR_GROUPS = Resource("CiliumCIDRGroup", "cilium.io", "v2", "ciliumcidrgroups", _group, optional=True)
NAMESPACES = Resource("Namespace", "", "v1", "namespaces", _namespace)
PODS = Resource("Pod", "", "v1", "pods", _pod)
LEASES = Resource("Lease", "coordination.k8s.io", "v1", "leases", dict)
"""Not watched: `kubernetes.lease` names the one that is read and written."""

POLICIES = (NETWORK_POLICIES, CILIUM_POLICIES, CLUSTERWIDE_POLICIES, TIERED_POLICIES)
WATCHED = (*POLICIES, CIDR_GROUPS, NAMESPACES, PODS)
"""Everything that `kubernetes.watch` reads."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A right that is needed: some verbs on one resource of an API group, where `names` are given on those alone."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()


def grants() -> tuple[Grant, ...]:
    """Every right that `kubernetes.watch` and `flowwatch cluster check` need, and no other, in every namespace."""
    return tuple(Grant(each.group, each.plural, READ_VERBS) for each in WATCHED)


def lease_grants(name: str) -> tuple[Grant, ...]:
    """Every right that `kubernetes.lease` needs, in the namespace of the Lease: the rules of a Role. What is created
    cannot be told by its name."""
    return (
        Grant(LEASES.group, LEASES.plural, ("create",)),
        Grant(LEASES.group, LEASES.plural, ("get", "update"), (name,)),
    )


def reference() -> str:
    """The rights as a Markdown table, ending in a newline."""
    rows = ["| API group | resource | verbs | needed |", "|---|---|---|---|"]
    for one, grant in zip(WATCHED, grants(), strict=True):
        needed = "where it is installed" if one.optional else "always"
        verbs = ", ".join(f"`{verb}`" for verb in grant.verbs)
        rows.append(f"| `{grant.group}` | `{grant.resource}` | {verbs} | {needed} |")
    for grant in lease_grants("flowwatch"):
        verbs = ", ".join(f"`{verb}`" for verb in grant.verbs)
        named = " by its name" if grant.names else ""
        rows.append(
            f"| `{grant.group}` | `{grant.resource}`{named} | {verbs} | with `kubernetes.lease`, in its namespace |"
        )
    return "\n".join(rows).replace("| `` |", '| `""` |') + "\n"
