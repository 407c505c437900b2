"""Alerts about flowwatch itself, and about what people made depend on it: derived from the snapshot alone.

A stream that is down, coverage that was lost, a store that refuses, an allowlist that cannot be read or
is not used, a status condition that failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flowwatch.alerts_settings import AlertSettings
from flowwatch.model import Enforced, Snapshot
from flowwatch.words import age, number, percent, plural, printable

OWN_SUMMARIES: Mapping[str, str] = {
    "FlowwatchStreamDown": "flowwatch receives no flows because it has no stream.",
    "FlowwatchCoverageLost": "flowwatch misses part of what happens.",
    "FlowwatchStoreDegraded": "The database of flowwatch does not keep up or refuses rows.",
    "FlowwatchAllowlistInvalid": "flowwatch cannot use the allowlist as it is now written.",
    "FlowwatchAllowlistUnused": "The allowlist declares paths that nothing uses.",
    "FlowwatchPolicyDrift": "Network policies in the cluster are not those that are declared.",
    "FlowwatchClusterWatchStale": "flowwatch does not know what the cluster enforces.",
    "FlowwatchConditionFailed": "A path that a status condition depends on is blocked.",
}
"""Every alert name that is not about an edge, with the sentence that is its summary."""

OWN_SEVERITIES: Mapping[str, str] = {
    "FlowwatchStreamDown": "critical",
    "FlowwatchCoverageLost": "warning",
    "FlowwatchStoreDegraded": "critical",
    "FlowwatchAllowlistInvalid": "warning",
    "FlowwatchAllowlistUnused": "info",
    "FlowwatchPolicyDrift": "warning",
    "FlowwatchClusterWatchStale": "warning",
    "FlowwatchConditionFailed": "warning",
}
TOO_MANY_PENDING = 250_000
"""Rows that wait to be stored; a store that works holds a few seconds' worth."""
NAMED = 20
"""Nodes or rules that one annotation names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class OwnClaim:
    """One trouble; `about` tells it apart from others of its name, as labels."""

    name: str
    cluster: str
    description: str
    about: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    """Further annotations."""
    watched: bool = False
    seen_at: float = 0.0

    @property
    def fingerprint(self) -> str:
        """Stable over restarts: the name, the cluster and what it is about."""
        parts = (self.name, self.cluster, *(f"{key}={value}" for key, value in sorted(self.about.items())))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def patience(self, settings: AlertSettings) -> float:
        """As long as `own_for` asks; a condition has waited for its evidence already."""
        return settings.for_ if self.name == "FlowwatchConditionFailed" else settings.own_for

    def labels(self, settings: AlertSettings) -> dict[str, str]:
        """The labels of its alert, none of them empty."""
        own = {
            "alertname": self.name,
            "severity": OWN_SEVERITIES[self.name],
            "cluster": self.cluster,
            "fingerprint": self.fingerprint,
            **self.about,
        }
        texts = {**settings.added("", ""), **{name: text for name, text in own.items() if text}}
        return {name: printable(text) for name, text in texts.items() if text}

    def annotations(self, settings: AlertSettings) -> dict[str, str]:
        """The evidence, none of it empty."""
        texts = {
            "summary": OWN_SUMMARIES[self.name],
            "description": self.description,
            **self.more,
            "runbook_url": settings.runbook(self.name),
            "page_url": settings.external_url,
            "dashboard_url": settings.dashboard(self.cluster, ""),
        }
        return {name: printable(text) for name, text in texts.items() if text}


def own_claims(snapshot: Snapshot, settings: AlertSettings) -> Iterator[OwnClaim]:
    """Everything that is wrong with flowwatch, or with what it was told, as far as a snapshot says."""
    cluster = snapshot.cluster
    if snapshot.stream != "streaming":
        trouble = f": {snapshot.stream_error}" if snapshot.stream_error else ""
        told = f"No flows arrive from {snapshot.source}, the stream is {snapshot.stream}{trouble}"
        last = max((node.last_flow for node in snapshot.nodes), default=0.0)
        seen = f"; the newest flow is {age(snapshot.now - last)} old" if last else "; none was ever received"
        yield OwnClaim("FlowwatchStreamDown", cluster, f"{told}{seen}. Nothing is judged meanwhile.")
    elif snapshot.nodes and snapshot.coverage < settings.min_coverage:
        yield _coverage_lost(snapshot, settings)
    if snapshot.store_error or snapshot.pending_rows > TOO_MANY_PENDING:
        waiting = f"{plural(snapshot.pending_rows, 'row')} wait to be stored in {snapshot.store_path}"
        why = f": {snapshot.store_error}" if snapshot.store_error else ", more than a store that keeps up ever holds"
        told = f"{waiting}{why}. Judging and alerting go on; history will have a hole."
        yield OwnClaim("FlowwatchStoreDegraded", cluster, told)
    if snapshot.allowlist_error:
        told = f"The allowlist that was read before stays in force. {snapshot.allowlist_error}"
        yield OwnClaim("FlowwatchAllowlistInvalid", cluster, told)
    if snapshot.unused_known and snapshot.unused_rules:
        yield _unused(snapshot)
    if snapshot.enforced is not None:
        yield from _of_cluster(snapshot.enforced, cluster)
    for condition in snapshot.conditions:
        if condition["status"] == "False":
            told = f"{condition['type']} is {condition['status']} ({condition['reason']}): {condition['message']}."
            more = {"since": condition["lastTransitionTime"], "reason": condition["reason"]}
            yield OwnClaim("FlowwatchConditionFailed", cluster, told, {"condition": condition["type"]}, more)


def _of_cluster(enforced: Enforced, cluster: str) -> Iterator[OwnClaim]:
    if enforced.trouble:
        told = f"{enforced.trouble[:1].upper()}{enforced.trouble[1:]}. Meanwhile nothing is said of what is enforced."
        yield OwnClaim("FlowwatchClusterWatchStale", cluster, told)
        return
    found = [one for one in enforced.differences if one.deviation.is_grave]
    if found:
        told = f"{plural(len(found), 'network policy is', 'network policies are')} not as declared"
        named = {
            str(deviation): _listed([one.what for one in found if one.deviation is deviation])
            for deviation in dict.fromkeys(one.deviation for one in found)
        }
        fields = _listed([f"{one.what}: {field}" for one in found for field in one.fields])
        yield OwnClaim("FlowwatchPolicyDrift", cluster, f"{told}.", more={**named, "fields": fields})


def _coverage_lost(snapshot: Snapshot, settings: AlertSettings) -> OwnClaim:
    silent = [node.node for node in snapshot.nodes if not node.streaming]
    losers = [f"{loser} {number(lost)}" for loser, lost in snapshot.lost.items() if lost]
    told = (
        f"flowwatch vouches for {percent(snapshot.coverage)} of what happens, which is less than "
        f"{percent(settings.min_coverage)}: findings are true, but their absence says little."
    )
    more = {"silent_nodes": _listed(silent), "lost_events": ", ".join(losers)}
    return OwnClaim("FlowwatchCoverageLost", snapshot.cluster, told, more=more)


def _unused(snapshot: Snapshot) -> OwnClaim:
    unused, all_rules = snapshot.unused_rules, snapshot.rules
    told = (
        f"{number(len(unused))} of {plural(all_rules, 'rule')} were not used by anything since this was last "
        f"certain to have seen all of it: a declaration that nothing needs is a door that stays open."
    )
    return OwnClaim("FlowwatchAllowlistUnused", snapshot.cluster, told, more={"rules": _listed(unused)})


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
