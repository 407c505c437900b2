"""Why an edge is declared or not: the rule, the policies of either side, and what comes nearest.

Pure. `ends` are read from what people write; `explain` asks the allowlist; `told` and `as_json` say it. What an
observed edge is like, and which identities were observed, is found by whoever calls.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from flowwatch.allowlist import Allowlist
from flowwatch.allowlist.rules import Pods, Rule
from flowwatch.errors import QueryError
from flowwatch.model import Declared, Edge, Identity, Judgement, Kind, Peer, Protocol
from flowwatch.policy.entries import Entry, Policy
from flowwatch.policy.judging import Implicit, Judged
from flowwatch.selectors import Operator

_PORT = re.compile(r"(\d{1,5})(?:/(TCP|UDP|SCTP))?|(ICMP|ICMPV6)/(\d{1,3})", re.IGNORECASE)
_LABELLED = re.compile(r"(?P<namespace>[a-z0-9-]+):(?P<labels>[^,=]+=[^,]*(?:,[^,=]+=[^,]*)*)")
_NAME = re.compile(r"(?=.*\.)[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_ENTITIES: Mapping[str, tuple[Kind, tuple[str, ...]]] = {
    "world": (Kind.WORLD, ("reserved:world",)),
    "host": (Kind.HOST, ("reserved:host",)),
    "remote-node": (Kind.REMOTE_NODE, ("reserved:remote-node",)),
    "kube-apiserver": (Kind.KUBE_APISERVER, ("reserved:kube-apiserver", "reserved:remote-node")),
    "ingress": (Kind.INGRESS, ("reserved:ingress",)),
    "health": (Kind.HEALTH, ("reserved:health",)),
    "init": (Kind.INIT, ("reserved:init",)),
    "unmanaged": (Kind.UNMANAGED, ("reserved:unmanaged",)),
}
EXPECTED_END = (
    "write namespace/workload, namespace:label=value,label=value, an address, a DNS name, or one of "
    + ", ".join(_ENTITIES)
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """An edge, the allowlist's answer, every rule that declares it, and what policies say of each side."""

    edge: Edge
    judgement: Judgement
    rules: tuple[Rule, ...]
    egress: Judged | None
    """None where no policies are declared."""
    ingress: Judged | None


def explain(allowlist: Allowlist, edge: Edge, now: float) -> Explanation:
    """Ask the allowlist about one edge."""
    sides = allowlist.sides(edge)
    return Explanation(
        edge,
        allowlist.judge(edge, now),
        allowlist.declaring(edge, now),
        sides.egress if sides else None,
        sides.ingress if sides else None,
    )


# ── what people write ────────────────────────────────────────────────────────────────────────────


def port_of(text: str) -> tuple[Protocol, int]:
    """`5432/TCP`, `5432` (TCP), `ICMP/8`."""
    match = _PORT.fullmatch(text.strip())
    if not match or int(match[1] or 0) > 65_535:
        raise QueryError(f"--port: {text!r} is not a port; write 5432/TCP, 53/UDP or ICMP/8")
    if match[3]:
        return Protocol[match[3].upper()], int(match[4])
    return Protocol[(match[2] or "TCP").upper()], int(match[1])


def end_of(text: str, option: str, allowlist: Allowlist, observed: Callable[[str, str], Iterable[Identity]]) -> Peer:
    """One end of an edge as people write it (see `EXPECTED_END`). A workload is looked up among those the
    allowlist names, then among the `observed` ones (by namespace and workload)."""
    written = text.strip()
    if written in _ENTITIES:
        kind, labels = _ENTITIES[written]
        return Peer(Identity(kind, "", "", labels))
    labelled = _LABELLED.fullmatch(written)
    if labelled:
        pairs = [f"k8s:{pair.strip()}" for pair in labelled["labels"].split(",")]
        return _pod(labelled["namespace"], pairs, written)
    if "/" in written and not _is_address(written):
        return _workload(written, option, allowlist, observed)
    if _is_address(written):
        return Peer(Identity(Kind.WORLD, "", "", ("reserved:world",)), ip=written)
    if _NAME.fullmatch(written):
        return Peer(Identity(Kind.WORLD, "", "", ("reserved:world",)), names=(written.lower(),))
    raise QueryError(f"{option}: {text!r} names no end of a connection; {EXPECTED_END}")


def _workload(text: str, option: str, allowlist: Allowlist, observed: Callable[[str, str], Iterable[Identity]]) -> Peer:
    namespace, _, workload = text.partition("/")
    for selector in _selectors(allowlist):
        if selector.name == text and selector.requirements:
            labels = [
                f"{requirement.source or 'k8s'}:{requirement.key}={requirement.values[0]}"
                for requirement in selector.requirements
                if requirement.operator is Operator.IN
            ]
            return _pod(selector.namespace or namespace, labels, workload)
    for identity in observed(namespace, workload):
        return Peer(identity, workload)
    raise QueryError(
        f"{option}: no workload {text!r} is named by the allowlist or was observed; name a database with --store, "
        f"or its labels: {namespace}:app={workload}"
    )


def _selectors(allowlist: Allowlist) -> Iterable[Pods]:
    for rule in allowlist.rules:
        for selector in (*rule.sources, *rule.destinations):
            if isinstance(selector, Pods):
                yield selector


def _pod(namespace: str, labels: Iterable[str], workload: str) -> Peer:
    own = [
        f"k8s:io.kubernetes.pod.namespace={namespace}",
        f"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name={namespace}",
    ]
    identity = Identity(Kind.POD, "", namespace, tuple(sorted({*labels, *own})))
    return Peer(identity, workload)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# ── what is said ─────────────────────────────────────────────────────────────────────────────────


def told(explanation: Explanation) -> str:
    """The explanation for people, a few lines."""
    judgement, edge = explanation.judgement, explanation.edge
    headline = {
        Declared.YES: "is declared",
        Declared.NO: "is not declared",
        Declared.UNKNOWN: "cannot be decided",
        Declared.UNGOVERNED: "is nothing this allowlist speaks about",
    }[judgement.declared]
    lines = [f"{edge} {headline}", f"  why      {judgement.reason}"]
    lines += [f"  rule     {rule.title} ({rule.place}): {rule.reason}" for rule in explanation.rules]
    for name, side in (("egress", explanation.egress), ("ingress", explanation.ingress)):
        if side is not None:
            lines.append(f"  {name:<8} {_side(side)}")
    if judgement.nearest:
        differs = " and ".join(judgement.differs)
        lines.append(f"  nearest  {judgement.nearest} differs in {differs}")
    return "\n".join(lines)


def as_json(explanation: Explanation) -> dict[str, object]:
    """The explanation for machines."""
    judgement, edge = explanation.judgement, explanation.edge
    return {
        "edge": str(edge),
        "source": str(edge.source),
        "destination": str(edge.destination),
        "service": edge.service,
        "declared": judgement.declared.value,
        "reason": judgement.reason,
        "rules": [
            {"title": rule.title, "file": rule.file, "line": rule.line, "reason": rule.reason}
            for rule in explanation.rules
        ],
        "egress": _side_json(explanation.egress),
        "ingress": _side_json(explanation.ingress),
        "nearest_rule": judgement.nearest,
        "differs": list(judgement.differs),
    }


def _side(side: Judged) -> str:
    if side.entries:
        return f"{side.verdict} by {', '.join(dict.fromkeys(_entry(entry) for entry in side.entries))}{_note(side)}"
    if side.implicit is Implicit.ISOLATED:
        isolating = ", ".join(map(_policy, side.isolating)) or "the enforcement mode"
        return f"{side.verdict} by default: isolated by {isolating}"
    return f"{side.verdict}: {_IMPLICIT[side.implicit]}{_note(side)}"


_IMPLICIT = {
    Implicit.NONE: "not decided by a policy",
    Implicit.UNPOLICED: "no policy is enforced at this end",
    Implicit.UNISOLATED: "no policy isolates this end",
    Implicit.LOCALHOST: "it comes from the pod's own node",
    Implicit.ISOLATED: "isolated",
}


def _note(side: Judged) -> str:
    return f" ({side.reason})" if side.reason else ""


def _side_json(side: Judged | None) -> dict[str, object] | None:
    if side is None:
        return None
    return {
        "verdict": str(side.verdict),
        "governed": side.governed,
        "by": [{"policy": str(entry.policy), "file": entry.policy.file, "line": entry.line} for entry in side.entries],
        "isolated_by": [str(policy) for policy in side.isolating],
        "implicit": str(side.implicit),
        "reason": side.reason,
    }


def _entry(entry: Entry) -> str:
    return f"{entry.policy} ({entry.policy.file}:{entry.line})"


def _policy(policy: Policy) -> str:
    return f"{policy} ({policy.file}:{policy.line})"
