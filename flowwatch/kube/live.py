"""The state of the cluster at one moment: its policies, namespaces and pods, and how far it can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowwatch.kube.reflector import Item, Key
from flowwatch.kube.resources import (
    CIDR_GROUPS,
    NAMESPACES,
    PODS,
    POLICIES,
    LivePolicy,
    Namespace,
    Pod,
    Resource,
)


@dataclass(frozen=True, slots=True)
class Live:
    """What the cluster has. Immutable, sorted by namespace and name; `taken` in seconds since the epoch."""

    policies: tuple[LivePolicy, ...] = ()
    groups: tuple[LivePolicy, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    pods: tuple[Pod, ...] = ()
    taken: float = 0.0

    def says_the_same(self, other: Live | None) -> bool:
        """Whether policies, and what they refer to, are the same."""
        return other is not None and (self.policies, self.groups) == (other.policies, other.groups)


@dataclass(frozen=True, slots=True)
class Standing:
    """How the watch of one resource stands: `proof` is when the server last proved it current (0: never)."""

    resource: str
    synced: bool
    proof: float
    error: str = ""
    absent: bool = False
    objects: int = 0


def live_of(found: Mapping[Resource, Mapping[Key, Item]], now: float) -> Live:
    """The state that some caches hold together."""

    def values(resource: Resource) -> list[object]:
        return [item.value for _, item in sorted(found.get(resource, {}).items(), key=lambda each: each[0])]

    return Live(
        policies=tuple(each for one in POLICIES for each in values(one) if isinstance(each, LivePolicy)),
        groups=tuple(each for each in values(CIDR_GROUPS) if isinstance(each, LivePolicy)),
        namespaces=tuple(each for each in values(NAMESPACES) if isinstance(each, Namespace)),
        pods=tuple(each for each in values(PODS) if isinstance(each, Pod)),
        taken=now,
    )


def stale_since(standings: Sequence[Standing]) -> float:
    """The moment up to which all of the state was proven current; 0: it never was."""
    return min((one.proof for one in standings), default=0.0)


def trouble(standings: Sequence[Standing], now: float, patience: float) -> str:
    """Why answers that depend on the state cannot be given; empty where they can. `patience`: seconds without a proof
    of life after which a watch is stale."""
    for one in standings:
        if not one.synced:
            return f"{one.resource} were not read yet" + (f": {one.error}" if one.error else "")
    stale = [one for one in standings if now - one.proof > patience]
    if not stale:
        return ""
    oldest = min(stale, key=lambda one: one.proof)
    because = f": {oldest.error}" if oldest.error else ""
    return f"nothing was heard of {oldest.resource} for {now - oldest.proof:.0f} s{because}"
