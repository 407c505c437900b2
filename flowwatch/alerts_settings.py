"""How alerts behave, whom they belong to, and where their links lead.

Pure values. What Alertmanager would refuse is refused here, before the first alert.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import urlencode, urlsplit

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""What every Alertmanager accepts; those before 0.28 refuse anything wider."""
OWNER = "owner:"
"""Begins the pattern of a route that is for an owner of rules, not for a namespace."""
DASHBOARD = "flowwatch-overview"
"""The uid of the dashboard that alerts link to."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """How alerts behave; spans in seconds. Raises ValueError for what Alertmanager would refuse.

    `labels` are added to every alert, and so are those of the `routes` whose pattern fits (the name of a
    namespace, or `owner:` and an owner; `*` stands for anything); neither replaces a label of an alert's own.
    `group_above` is how many alerts of one kind about one end stand alone before the rest become one.
    `active_for`: for how long after its last flow a finding lasts, and so for how long somebody must have
    watched before its absence means anything.
    `own`: whether flowwatch's own troubles are alerts, once they lasted `own_for`; `min_coverage` is the share
    (0…1) of what happened below which too little was seen. `external_url` is where people reach this flowwatch,
    `runbook_url` where its runbook can be read, `grafana_url` where its dashboards are.
    """

    for_: float = 0.0
    keep_firing_for: float = 0.0
    resend_interval: float = 60.0
    resolved_retention: float = 900.0
    labels: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    group_above: int = 5
    own: bool = True
    own_for: float = 300.0
    active_for: float = 0.0
    min_coverage: float = 0.99
    external_url: str = ""
    runbook_url: str = ""
    grafana_url: str = ""

    def __post_init__(self) -> None:
        spans = (self.for_, self.keep_firing_for, self.resolved_retention, self.own_for)
        if self.resend_interval <= 0 or min(spans) < 0:
            raise ValueError("alerts: spans must not be negative, and resend_interval must be more than 0")
        if self.group_above < 1:
            raise ValueError("alerts.group_above: expected at least 1")
        for name in self.labels:
            _check_label("alerts.labels", name)
        for labels in self.routes.values():
            for name in labels:
                _check_label("alerts.routes", name)
        for key in ("external_url", "runbook_url", "grafana_url"):
            url = getattr(self, key)
            if url and not _is_link(url):
                raise ValueError(f"alerts.{key}: expected an absolute http:// or https:// address")

    def added(self, namespace: str, owner: str) -> dict[str, str]:
        """The labels that an alert about a namespace, under a rule of an owner, is given besides its own. Of
        two routes that fit, the later one counts."""
        found = dict(self.labels)
        for pattern, labels in self.routes.items():
            is_owner = pattern.startswith(OWNER)
            subject = owner if is_owner else namespace
            if subject and fnmatchcase(subject, pattern.removeprefix(OWNER) if is_owner else pattern):
                found |= labels
        return found

    def runbook(self, name: str) -> str:
        """Where it is said what to do about an alert; empty where nobody said where."""
        base = self.runbook_url or (f"{self.external_url.rstrip('/')}/runbook" if self.external_url else "")
        return f"{base}#{name.lower()}" if base else ""

    def page(self, fingerprint: str) -> str:
        """The page of one finding; empty without `external_url`."""
        return f"{self.external_url.rstrip('/')}/findings/{fingerprint}" if self.external_url else ""

    def dashboard(self, cluster: str, namespace: str) -> str:
        """The dashboard, on one cluster and namespace; empty without `grafana_url`."""
        if not self.grafana_url:
            return ""
        chosen = {"var-cluster": cluster, "var-namespace": namespace}
        query = urlencode({name: value for name, value in chosen.items() if value})
        return f"{self.grafana_url.rstrip('/')}/d/{DASHBOARD}?{query}"


def read_route(text: str) -> dict[str, str]:
    """The labels of one route, written `team=checkout pager=night`. Raises ValueError."""
    labels: dict[str, str] = {}
    for part in text.split():
        name, equals, value = part.partition("=")
        if not equals or not value or not LABEL_NAME.fullmatch(name):
            raise ValueError(f"`{part}` is not a label and its value")
        labels[name] = value
    if not labels:
        raise ValueError("names no label")
    return labels


def _check_label(key: str, name: str) -> None:
    if not LABEL_NAME.fullmatch(name):
        raise ValueError(f"{key}: `{name}` is not a label name, expected {LABEL_NAME.pattern}")


def _is_link(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
