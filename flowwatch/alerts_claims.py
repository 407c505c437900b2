"""What there is to be alerted about: single findings, many alike as one, and flowwatch's own troubles.

Pure functions of a snapshot. A claim is what one alert says; how an alert lives is decided in
`flowwatch.alerts`, its wording in `flowwatch.alerts_text` and `flowwatch.alerts_own`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flowwatch import alerts_text
from flowwatch.alerts_own import own_claims
from flowwatch.alerts_settings import AlertSettings
from flowwatch.model import Edge, Enforcement, Finding, Side, Snapshot


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
    cannot know yet (which rules are unused, soon after a start; what is live, of a stale watch) stays claimed."""
    about: list[Claim] = [*claims_of([*snapshot.findings, *snapshot.gaps], settings, firing)]
    if settings.own:
        about += own_claims(snapshot, settings)
        if not snapshot.unused_known:
            about += [claim for claim in firing.values() if claim.name == "FlowwatchAllowlistUnused"]
    if snapshot.enforced is not None and snapshot.enforced.trouble:
        known = {claim.fingerprint for claim in about}
        about += [claim for claim in firing.values() if claim.fingerprint not in known and _hangs_on_cluster(claim)]
    return about


def _hangs_on_cluster(claim: Claim) -> bool:
    """Whether only somebody who sees the live policies can say that it is over."""
    if isinstance(claim, FindingClaim):
        return any(finding.enforcement is Enforcement.BYPASSED for finding in claim.findings)
    return claim.name in ("FlowwatchPolicyDrift", "FlowwatchEnforcementGap")


def claims_of(findings: Sequence[Finding], settings: AlertSettings, firing: Collection[str] = ()) -> list[FindingClaim]:
    """The claims that findings make: one each, and one for all beyond `group_above` that share an end."""
    sharing: Counter[_Shared] = Counter()
    alone: list[FindingClaim] = []
    waiting: list[FindingClaim] = []
    for claim in _alarming(findings):
        if claim.fingerprint in firing:
            alone.append(claim)
            sharing.update(_ends(claim))
        else:
            waiting.append(claim)
    joined: dict[_Shared, list[Finding]] = {}
    fingerprints: dict[_Shared, str] = {}
    for claim in waiting:
        for end in _ends(claim):
            if end not in fingerprints:
                fingerprints[end] = end.fingerprint
            if fingerprints[end] in firing or sharing[end] >= settings.group_above:
                joined.setdefault(end, []).append(claim.findings[0])
                break
        else:
            alone.append(claim)
            sharing.update(_ends(claim))
    several = [FindingClaim(end.name, end.fingerprint, tuple(members), end.side) for end, members in joined.items()]
    return alone + several


class _Shared(NamedTuple):
    """An end that claims of one name may share."""

    name: str
    cluster: str
    side: str
    """`source` or `destination`."""
    what: str

    @property
    def fingerprint(self) -> str:
        """Stable over restarts."""
        return hashlib.sha256("\0".join(("several", *self)).encode()).hexdigest()[:16]


def _alarming(findings: Sequence[Finding]) -> list[FindingClaim]:
    """The claims that findings make each for itself: each edge once, the oldest first."""
    # Both ends of an edge may report it, and then share a fingerprint. One of the two has to speak
    # for the alert, and always the same one: the direction is among the labels.
    chosen: dict[str, FindingClaim] = {}
    for finding in findings:
        name = alerts_text.alert_name(finding)
        if not name:
            continue
        fingerprint = finding.fingerprint
        rival = chosen.get(fingerprint)
        if rival is None or _rank(finding) > _rank(rival.findings[0]):
            chosen[fingerprint] = FindingClaim(name, fingerprint, (finding,))
    # What is seen as undeclared as well is told once, by the graver name.
    audited = {_read(claim.findings[0].edge) for claim in chosen.values() if claim.findings[0].enforcement}
    told = [claim for claim in chosen.values() if not _is_told(claim.findings[0], audited)]
    return sorted(told, key=lambda claim: (claim.findings[0].first_seen, claim.fingerprint))


def _is_told(finding: Finding, audited: Collection[tuple[str, str, str]]) -> bool:
    if not audited or finding.enforcement or finding.square not in alerts_text.FORWARDED:
        return False
    return _read(finding.edge) in audited


def _read(edge: Edge) -> tuple[str, str, str]:
    return str(edge.source), str(edge.destination), edge.service


def _rank(finding: Finding) -> tuple[bool, int, float]:
    return (finding.side is Side.EGRESS, finding.connections, finding.last_seen)


def _ends(claim: FindingClaim) -> tuple[_Shared, _Shared]:
    """What a claim could be joined with others by, in the order to try."""
    finding = claim.findings[0]
    edge, name, cluster = finding.edge, claim.name, finding.cluster
    to = _Shared(name, cluster, "destination", f"{edge.destination} {edge.service}")
    return to, _Shared(name, cluster, "source", str(edge.source))
