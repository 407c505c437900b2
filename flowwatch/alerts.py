"""The life of an alert: pending, firing, resolved, forgotten.

`step` takes the alerts that were active and the findings of one evaluation and returns the alerts
that are active now, with the reason of every change; `due` names those Alertmanager must hear of,
`payload` is what it hears. The manners are those of Prometheus' own rules: `for`, `keep_firing_for`,
repetition while firing, and repetition of what is resolved. Pure: no clock, no network, no state
beyond what is passed in and returned. The wording is that of `flowwatch.alerts_text`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import urlsplit

from flowwatch import alerts_text
from flowwatch.model import Finding, Side
from flowwatch.words import rfc3339

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""What every Alertmanager accepts; those before 0.28 refuse anything wider."""
EXPIRY_INTERVALS = 4
"""A firing alert ends by itself after this many intervals without a repetition: flowwatch may die."""


class State(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"
    """Seen, but not for long enough to tell anybody."""
    FIRING = "firing"
    RESOLVED = "resolved"
    """Over; kept so that Alertmanager can be told more than once."""


class Reason(StrEnum):
    """Why a step changed an alert, or why it did not where one would expect it to."""

    NEW = "new"
    PENDING_ELAPSED = "pending-elapsed"
    """It has been pending for as long as `for` asks."""
    SEEN_AGAIN = "seen-again"
    """It was resolved and its finding came back."""
    KEPT_FIRING = "kept-firing"
    """Its finding is gone, but not for as long as `keep_firing_for` asks."""
    HELD = "held"
    """Its finding is gone, but we are blind: that proves nothing."""
    WITHDRAWN = "withdrawn"
    """Its finding was gone before anybody was told."""
    RESOLVED = "resolved"
    FORGOTTEN = "forgotten"
    """It has been resolved for as long as `resolved_retention` asks."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """How alerts behave; spans in seconds. Raises ValueError for what Alertmanager would refuse.

    `labels` are added to every alert and never replace one of its own. `external_url` is where
    this flowwatch can be reached by people. `runbook_url` is where `dashboards/README.md` can be read.
    """

    for_: float = 0.0
    keep_firing_for: float = 0.0
    resend_interval: float = 60.0
    resolved_retention: float = 900.0
    labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""
    runbook_url: str = "dashboards/README.md"

    def __post_init__(self) -> None:
        if self.resend_interval <= 0 or min(self.for_, self.keep_firing_for, self.resolved_retention) < 0:
            raise ValueError("alerts: spans must not be negative, and resend_interval must be more than 0")
        for name in self.labels:
            if not LABEL_NAME.fullmatch(name):
                raise ValueError(f"alerts.labels: `{name}` is not a label name, expected {LABEL_NAME.pattern}")
        if self.external_url and not _is_link(self.external_url):
            raise ValueError("alerts.external_url: expected an absolute http:// or https:// address")


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing Alertmanager knows, or will know, by its `labels`; times are 0 for never.

    `labels` stay as they were when the alert became active, whatever its finding says later: to
    Alertmanager other labels are another alert. `finding` is the newest. `last_seen` is the last
    evaluation that had it, `last_sent` the last time the alert was handed to be sent. `kept` says
    why the alert is still active although its finding is gone.
    """

    fingerprint: str
    name: str
    labels: Mapping[str, str]
    finding: Finding
    state: State
    active_since: float
    fired_at: float = 0.0
    resolved_at: float = 0.0
    last_seen: float = 0.0
    last_sent: float = 0.0
    kept: Reason | None = None

    def annotations(self, settings: AlertSettings) -> dict[str, str]:
        """What Alertmanager is told besides the labels; made when it is told, for most evaluations tell nothing."""
        return alerts_text.annotations_of(self.finding, settings.runbook_url)


@dataclass(frozen=True, slots=True)
class Transition:
    """What one step changed about one alert. `before` is None for an alert that was not there;
    for one that was withdrawn or forgotten, `alert` is its last form."""

    alert: Alert
    reason: Reason
    before: State | None


def step(
    active: Mapping[str, Alert],
    findings: Sequence[Finding],
    now: float,
    settings: AlertSettings,
    *,
    blind: bool = False,
) -> tuple[dict[str, Alert], list[Transition]]:
    """Advance all alerts by one evaluation: (alerts by fingerprint, what changed and why).

    A finding in the list is active, whatever its age; one that left it is over, except while
    `blind` (no stream, so that its absence proves nothing).
    """
    after: dict[str, Alert] = {}
    transitions: list[Transition] = []
    present = _alarming(findings)
    for fingerprint, finding in present.items():
        before = active.get(fingerprint)
        alert, reason = _present(before, finding, now, settings)
        after[fingerprint] = alert
        if reason:
            transitions.append(Transition(alert, reason, before.state if before else None))
    for fingerprint, before in active.items():
        if fingerprint in present:
            continue
        alert, reason = _absent(before, now, settings, blind)
        if reason not in (Reason.WITHDRAWN, Reason.FORGOTTEN):
            after[fingerprint] = alert
        if reason:
            transitions.append(Transition(alert, reason, before.state))
    return after, transitions


def due(active: Mapping[str, Alert], now: float, settings: AlertSettings) -> list[Alert]:
    """The alerts to tell Alertmanager about now. A message may be lost, and Alertmanager may forget
    when it restarts, so firing and resolved alerts are repeated at every `resend_interval`."""
    return [alert for alert in active.values() if alert.state is not State.PENDING and _owed(alert, now, settings)]


def sent(active: Mapping[str, Alert], told: Iterable[Alert], now: float) -> dict[str, Alert]:
    """The same alerts, those in `told` marked as handed over."""
    fingerprints = {alert.fingerprint for alert in told}
    return {key: replace(alert, last_sent=now) if key in fingerprints else alert for key, alert in active.items()}


def payload(alerts: Iterable[Alert], now: float, settings: AlertSettings) -> list[dict[str, object]]:
    """Alerts as Alertmanager's API v2 takes them. Pending ones are left out: nobody is told of those."""
    return [_message(alert, now, settings) for alert in alerts if alert.state is not State.PENDING]


def _alarming(findings: Sequence[Finding]) -> dict[str, Finding]:
    # Both ends of an edge may report it, and then share a fingerprint. One of the two has to speak
    # for the alert, and always the same one: the direction is among the labels.
    chosen: dict[str, Finding] = {}
    for finding in findings:
        if finding.square not in alerts_text.SEVERITIES:
            continue
        rival = chosen.get(finding.fingerprint)
        if rival is None or _rank(finding) > _rank(rival):
            chosen[finding.fingerprint] = finding
    return chosen


def _rank(finding: Finding) -> tuple[bool, int, float]:
    return (finding.side is Side.EGRESS, finding.connections, finding.last_seen)


def _present(
    before: Alert | None, finding: Finding, now: float, settings: AlertSettings
) -> tuple[Alert, Reason | None]:
    reason: Reason | None = None
    if before is None or before.state is State.RESOLVED:
        reason = Reason.NEW if before is None else Reason.SEEN_AGAIN
        labels = alerts_text.labels_of(finding, settings.labels)
        name, fingerprint = labels["alertname"], labels["fingerprint"]
        alert = Alert(fingerprint, name, labels, finding, State.PENDING, active_since=now, last_seen=now)
    else:
        alert = replace(before, finding=finding, last_seen=now, kept=None)
    if alert.state is State.PENDING and now - alert.active_since >= settings.for_:
        alert = replace(alert, state=State.FIRING, fired_at=now)
        reason = reason or Reason.PENDING_ELAPSED
    return alert, reason


def _absent(alert: Alert, now: float, settings: AlertSettings, blind: bool) -> tuple[Alert, Reason | None]:
    if alert.state is State.RESOLVED:
        return alert, Reason.FORGOTTEN if now - alert.resolved_at >= settings.resolved_retention else None
    kept = None
    if blind:
        kept = Reason.HELD
    elif alert.state is State.PENDING:
        return alert, Reason.WITHDRAWN
    elif now - alert.last_seen < settings.keep_firing_for:
        kept = Reason.KEPT_FIRING
    if kept:
        return replace(alert, kept=kept), kept if kept is not alert.kept else None
    return replace(alert, state=State.RESOLVED, resolved_at=now, kept=None), Reason.RESOLVED


def _owed(alert: Alert, now: float, settings: AlertSettings) -> bool:
    if alert.resolved_at > alert.last_sent:
        return True
    # A clock that was set back must not silence an alert until it has caught up.
    return not alert.last_sent <= now < alert.last_sent + settings.resend_interval


def _message(alert: Alert, now: float, settings: AlertSettings) -> dict[str, object]:
    ends = alert.resolved_at or now + EXPIRY_INTERVALS * settings.resend_interval
    message: dict[str, object] = {
        "labels": dict(alert.labels),
        "annotations": alert.annotations(settings),
        "startsAt": rfc3339(alert.fired_at),
        "endsAt": rfc3339(max(ends, alert.fired_at)),
    }
    if settings.external_url:
        message["generatorURL"] = f"{settings.external_url.rstrip('/')}/#finding/{alert.fingerprint}"
    return message


def _is_link(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
