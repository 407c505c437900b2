"""The life of an alert: pending, firing, resolved, forgotten.

`step` takes the alerts that were active and the claims of one evaluation and returns the alerts
that are active now, with the reason of every change; `due` names those Alertmanager must hear of,
`payload` is what it hears. The manners are those of Prometheus' own rules: `for`, `keep_firing_for`,
repetition while firing, and repetition of what is resolved. Pure: no clock, no network, no state
beyond what is passed in and returned. What there is to be claimed, and in which words, is decided in
`flowwatch.alerts_claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from flowwatch.alerts_claims import Claim
from flowwatch.alerts_settings import LABEL_NAME, AlertSettings
from flowwatch.words import rfc3339

__all__ = [
    "LABEL_NAME",
    "Alert",
    "AlertSettings",
    "Claim",
    "Reason",
    "State",
    "Transition",
    "due",
    "payload",
    "sent",
    "step",
]

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
    """It was resolved and its claim came back."""
    KEPT_FIRING = "kept-firing"
    """Its claim is gone, but not for as long as `keep_firing_for` asks."""
    HELD = "held"
    """Its claim is gone, but nobody has watched for long enough: that proves nothing."""
    WITHDRAWN = "withdrawn"
    """Its claim was gone before anybody was told."""
    RESOLVED = "resolved"
    FORGOTTEN = "forgotten"
    """It has been resolved for as long as `resolved_retention` asks."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing Alertmanager knows, or will know, by its `labels`; times are 0 for never.

    `labels` stay as they were when the alert became active, whatever its claim says later: to
    Alertmanager other labels are another alert. `claim` is the newest. `last_seen` is the last
    evaluation that had it, `last_sent` the last time the alert was handed to be sent. `kept` says
    why the alert is still active although its claim is gone.
    """

    fingerprint: str
    name: str
    labels: Mapping[str, str]
    claim: Claim
    state: State
    active_since: float
    fired_at: float = 0.0
    resolved_at: float = 0.0
    last_seen: float = 0.0
    last_sent: float = 0.0
    kept: Reason | None = None
    told: Mapping[str, str] = field(default_factory=dict)
    """The annotations it was last told with; empty before."""

    def annotations(self, settings: AlertSettings) -> dict[str, str]:
        """What Alertmanager is told besides the labels; made when it is told, for most evaluations tell nothing."""
        return self.claim.annotations(settings)


@dataclass(frozen=True, slots=True)
class Transition:
    """What one step changed about one alert. `before` is None for an alert that was not there;
    for one that was withdrawn or forgotten, `alert` is its last form."""

    alert: Alert
    reason: Reason
    before: State | None


def step(
    active: Mapping[str, Alert],
    claims: Sequence[Claim],
    now: float,
    settings: AlertSettings,
    *,
    watched_since: float | None = 0.0,
) -> tuple[dict[str, Alert], list[Transition]]:
    """Advance all alerts by one evaluation: (alerts by fingerprint, what changed and why).

    A claim in the list holds, whatever its age; one that left it is over, unless nobody could have seen
    otherwise. `watched_since` is since when the network has been watched without interruption; None: it is
    not watched now.
    """
    after: dict[str, Alert] = {}
    transitions: list[Transition] = []
    present = {claim.fingerprint: claim for claim in claims}
    for fingerprint, claim in present.items():
        before = active.get(fingerprint)
        alert, reason = _present(before, claim, now, settings)
        after[fingerprint] = alert
        if reason:
            transitions.append(Transition(alert, reason, before.state if before else None))
    for fingerprint, before in active.items():
        if fingerprint in present:
            continue
        alert, reason = _absent(before, now, settings, _is_unproven(before.claim, now, settings, watched_since))
        if reason not in (Reason.WITHDRAWN, Reason.FORGOTTEN):
            after[fingerprint] = alert
        if reason:
            transitions.append(Transition(alert, reason, before.state))
    return after, transitions


def due(active: Mapping[str, Alert], now: float, settings: AlertSettings) -> list[Alert]:
    """The alerts to tell Alertmanager about now. A message may be lost, and Alertmanager may forget
    when it restarts, so firing and resolved alerts are repeated at every `resend_interval`."""
    return [alert for alert in active.values() if alert.state is not State.PENDING and _owed(alert, now, settings)]


def sent(
    active: Mapping[str, Alert],
    told: Iterable[Alert],
    now: float,
    annotations: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Alert]:
    """The same alerts, those in `told` marked as handed over, with the `annotations` (by fingerprint) they had."""
    said = annotations or {}
    after = dict(active)
    for alert in told:
        told_with = said.get(alert.fingerprint, alert.told)
        after[alert.fingerprint] = replace(active[alert.fingerprint], last_sent=now, told=told_with)
    return after


def payload(alerts: Iterable[Alert], now: float, settings: AlertSettings) -> list[dict[str, object]]:
    """Alerts as Alertmanager's API v2 takes them. Pending ones are left out: nobody is told of those."""
    return [_message(alert, now, settings) for alert in alerts if alert.state is not State.PENDING]


def _present(before: Alert | None, claim: Claim, now: float, settings: AlertSettings) -> tuple[Alert, Reason | None]:
    reason: Reason | None = None
    if before is None or before.state is State.RESOLVED:
        reason = Reason.NEW if before is None else Reason.SEEN_AGAIN
        labels, name = claim.labels(settings), claim.name
        alert = Alert(claim.fingerprint, name, labels, claim, State.PENDING, active_since=now, last_seen=now)
    else:
        alert = replace(before, claim=claim, last_seen=now, kept=None)
    if alert.state is State.PENDING and now - alert.active_since >= claim.patience(settings):
        alert = replace(alert, state=State.FIRING, fired_at=now)
        reason = reason or Reason.PENDING_ELAPSED
    return alert, reason


def _is_unproven(claim: Claim, now: float, settings: AlertSettings, watched_since: float | None) -> bool:
    """Whether the absence of a claim proves nothing: it may hold, and nobody could have seen it."""
    if not claim.watched or watched_since is None:
        return claim.watched
    # What ended otherwise than by its age was judged anew; that needs no watching.
    is_aged = now - claim.seen_at >= settings.active_for
    return is_aged and now - watched_since < settings.active_for


def _absent(alert: Alert, now: float, settings: AlertSettings, unproven: bool) -> tuple[Alert, Reason | None]:
    if alert.state is State.RESOLVED:
        return alert, Reason.FORGOTTEN if now - alert.resolved_at >= settings.resolved_retention else None
    kept = None
    if unproven:
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
        message["generatorURL"] = settings.page(alert.fingerprint) if alert.claim.watched else settings.external_url
    return message
