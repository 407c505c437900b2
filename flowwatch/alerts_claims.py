"""What there is to be alerted about: single findings, many alike as one, and flowwatch's own troubles.

Pure functions of a snapshot. A claim is what one alert says; how an alert lives is decided in
`flowwatch.alerts`, its wording in `flowwatch.alerts_text` and `flowwatch.alerts_own`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flowwatch import alerts_text
from flowwatch.alerts_own import own_claims
from flowwatch.alerts_settings import AlertSettings
from flowwatch.model import Edge, Finding, Side, Snapshot


class Claim(Protocol):
    """What one alert says. `labels` never change while it is true; `annotations` may."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def watched(self) -> bool:
        """Whether only somebody who watches the network can say that it is over."""

    @property
    def seen_at(self) -> float:
        """Time of the newest flow behind it; 0 where there is none."""

    def patience(self, settings: AlertSettings) -> float:
        """Seconds for which it must have been true before anybody is told."""

    def labels(self, settings: AlertSettings) -> dict[str, str]: ...

    def annotations(self, settings: AlertSettings) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class FindingClaim:
    """One finding, or several that share one end of their edges."""

    name: str
    fingerprint: str
    findings: tuple[Finding, ...]
    shared: str = ""
    """The end they share: `source`, `destination`; empty for one finding that stands alone."""
    watched: bool = True

    @property
    def seen_at(self) -> float:
        """Time of the newest flow behind any of them."""
        return max(finding.last_seen for finding in self.findings)

    def patience(self, settings: AlertSettings) -> float:
        """As long as `for` asks."""
        return settings.for_

    def labels(self, settings: AlertSettings) -> dict[str, str]:
        """The labels of its alert, none of them empty."""
        if self.shared:
            return alerts_text.labels_of_group(self.name, self.fingerprint, self.findings[0], self.shared, settings)
        return alerts_text.labels_of(self.name, self.findings[0], settings)

    def annotations(self, settings: AlertSettings) -> dict[str, str]:
        """The evidence, none of it empty."""
        if self.shared:
            return alerts_text.annotations_of_group(self.name, self.findings, self.shared, settings)
        return alerts_text.annotations_of(self.name, self.findings[0], settings)


@dataclass(frozen=True, slots=True)
class RememberedClaim:
    """What an alert said before a restart, until somebody says it again."""

    name: str
    fingerprint: str
    told_labels: Mapping[str, str]
    told_annotations: Mapping[str, str]
    watched: bool = True
    seen_at: float = 0.0

    def patience(self, settings: AlertSettings) -> float:
        """As long as `for` asks."""
        return settings.for_

    def labels(self, settings: AlertSettings) -> dict[str, str]:  # noqa: ARG002
        """As they were told."""
        return dict(self.told_labels)

    def annotations(self, settings: AlertSettings) -> dict[str, str]:  # noqa: ARG002
        """As they were told."""
        return dict(self.told_annotations)


def claims(snapshot: Snapshot, settings: AlertSettings, firing: Mapping[str, Claim]) -> list[Claim]:
    """Everything to be alerted about now. `firing` are the claims of the alerts that are pending or firing
    already, by fingerprint: what stands alone stays alone, what was joined stays joined, and what a snapshot
    cannot know yet (which rules are unused, soon after a start) stays claimed."""
    about: list[Claim] = [*claims_of([*snapshot.findings, *snapshot.gaps], settings, firing)]
    if settings.own:
        about += own_claims(snapshot, settings)
        if not snapshot.unused_known:
            about += [claim for claim in firing.values() if claim.name == "FlowwatchAllowlistUnused"]
    return about


def claims_of(findings: Sequence[Finding], settings: AlertSettings, firing: Collection[str] = ()) -> list[FindingClaim]:
    """The claims that findings make: one each, and one for all beyond `group_above` that share an end."""
    alarming = _alarming(findings)
    sharing: Counter[str] = Counter()
    alone: list[Finding] = []
    waiting: list[Finding] = []
    for finding in alarming:
        (alone if finding.fingerprint in firing else waiting).append(finding)
    for finding in alone:
        sharing.update(group for _, group in _groups(finding))
    joined: dict[str, tuple[str, list[Finding]]] = {}
    for finding in waiting:
        group = next(
            ((end, one) for end, one in _groups(finding) if one in firing or sharing[one] >= settings.group_above),
            None,
        )
        if group is None:
            alone.append(finding)
            sharing.update(one for _, one in _groups(finding))
        else:
            joined.setdefault(group[1], (group[0], []))[1].append(finding)
    single = [FindingClaim(alerts_text.alert_name(one), one.fingerprint, (one,)) for one in alone]
    several = [
        FindingClaim(alerts_text.alert_name(members[0]), group, tuple(members), end)
        for group, (end, members) in joined.items()
    ]
    return single + several


def _alarming(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that alert, each edge once, the oldest first."""
    # Both ends of an edge may report it, and then share a fingerprint. One of the two has to speak
    # for the alert, and always the same one: the direction is among the labels.
    chosen: dict[str, Finding] = {}
    for finding in findings:
        if not alerts_text.alert_name(finding):
            continue
        rival = chosen.get(finding.fingerprint)
        if rival is None or _rank(finding) > _rank(rival):
            chosen[finding.fingerprint] = finding
    # What is seen as undeclared as well is told once, by the graver name.
    audited = {_read(one.edge) for one in chosen.values() if one.enforcement}
    told = [one for one in chosen.values() if one.enforcement or not _is_told(one, audited)]
    return sorted(told, key=lambda finding: (finding.first_seen, finding.fingerprint))


def _is_told(finding: Finding, audited: Collection[tuple[str, str, str]]) -> bool:
    return finding.square in alerts_text.FORWARDED and _read(finding.edge) in audited


def _read(edge: Edge) -> tuple[str, str, str]:
    return str(edge.source), str(edge.destination), edge.service


def _rank(finding: Finding) -> tuple[bool, int, float]:
    return (finding.side is Side.EGRESS, finding.connections, finding.last_seen)


def _groups(finding: Finding) -> tuple[tuple[str, str], tuple[str, str]]:
    """The groups that a finding could join, as (the end that is shared, the fingerprint of the group)."""
    edge, name = finding.edge, alerts_text.alert_name(finding)
    to = _fingerprint(name, finding.cluster, "destination", f"{edge.destination} {edge.service}")
    return ("destination", to), ("source", _fingerprint(name, finding.cluster, "source", str(edge.source)))


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(("several", *parts)).encode()).hexdigest()[:16]
