"""The alerts of a running daemon: advanced on its newest snapshot, told, and kept with its store's commits.

The loop around `flowwatch.alerts`, which decides everything: here are the clock, what was restored, and how
long the network has been watched without interruption.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from flowwatch import alerts
from flowwatch.alerts_claims import claims
from flowwatch.alerts_settings import read_route
from flowwatch.config import Config
from flowwatch.daemon import Daemon
from flowwatch.notify import Notifier
from flowwatch.rows_alerts import alert_tables, restored_alerts

MOST_AT_ONCE = 500
"""Alerts told in one evaluation; the rest is told in the next ones."""

log = logging.getLogger("flowwatch.alerting")


class Alerting:
    """The alerts of one daemon. One thread uses it."""

    def __init__(
        self,
        daemon: Daemon,
        settings: alerts.AlertSettings,
        clock: Callable[[], float],
        leads: Callable[[], bool] | None = None,
    ) -> None:
        """`leads` says whether it is for this replica to push (None: it always is); those that do not lead keep the
        same account of the alerts meanwhile."""
        self._daemon = daemon
        self._settings = settings
        self._clock = clock
        self._leads = leads
        self.led = leads is None
        """Whether the last evaluation was told to anybody."""
        self._active = restored_alerts(daemon.store.alerts())
        self._watched_since: float | None = None
        if self._active:
            states = Counter(str(alert.state) for alert in self._active.values())
            log.info("alerts taken up: %s", ", ".join(f"{state}={count}" for state, count in sorted(states.items())))

    def advance(self, notifier: Notifier) -> None:
        """Evaluate once: take the newest snapshot, hand what is due to the notifier, and what changed to the store."""
        now, snapshot, settings = self._clock(), self._daemon.snapshot, self._settings
        if snapshot.stream != "streaming":
            self._watched_since = None
        elif self._watched_since is None:
            self._watched_since = now
        resolved = alerts.State.RESOLVED
        firing = {key: alert.claim for key, alert in self._active.items() if alert.state is not resolved}
        claimed = claims(snapshot, settings, firing)
        since = self._watched_since
        self._active, transitions = alerts.step(self._active, claimed, now, settings, watched_since=since)
        for transition in transitions:
            alert = transition.alert
            log.info("alert: name=%s fingerprint=%s reason=%s", alert.name, alert.fingerprint, transition.reason)
        leads, led = self._leads is None or self._leads(), self.led
        self.led = leads
        # Newcomers have heard of nothing yet, and what another replica told before is not known here.
        if notifier.newcomers() or (leads and not led):
            self._active = alerts.sent(self._active, self._active.values(), 0.0)
        # Evidence is written out for those that are told, so a flood is told over a few evaluations.
        due = alerts.due(self._active, now, settings)[:MOST_AT_ONCE] if leads else []
        messages = alerts.payload(due, now, settings)
        notifier.enqueue(messages)
        said = {alert.fingerprint: dict(alert.told) for alert in due}
        is_news = bool(transitions) or not all(said.values())
        for alert, message in zip(due, messages, strict=True):
            said[alert.fingerprint] = message["annotations"]  # type: ignore[assignment]  # of the payload
        self._active = alerts.sent(self._active, due, now, said)
        self._daemon.alert_counts = dict(Counter(str(alert.state) for alert in self._active.values()))
        if is_news:
            self._daemon.keep(alert_tables(self._active.values()))


def settings_of(config: Config, address: str) -> alerts.AlertSettings:
    """How alerts behave, by a configuration; `address` is where flowwatch serves."""
    wanted = config.alerts
    return alerts.AlertSettings(
        for_=wanted.for_,
        keep_firing_for=wanted.keep_firing_for,
        resend_interval=wanted.resend_interval,
        resolved_retention=wanted.resolved_retention,
        active_for=config.judge.active_for,
        labels=wanted.labels,
        routes={pattern: read_route(labels) for pattern, labels in wanted.routes.items()},
        group_above=wanted.group_above,
        own=wanted.own,
        own_for=wanted.own_for,
        min_coverage=config.judge.min_coverage,
        external_url=wanted.external_url or address,
        runbook_url=wanted.runbook_url,
        grafana_url=wanted.grafana_url,
    )
