"""The loop around alerts: what it tells, what it keeps, and what a configuration makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from flowwatch.alerting import MOST_AT_ONCE, Alerting, settings_of
from flowwatch.alerts import AlertSettings
from flowwatch.config import load
from flowwatch.daemon import Daemon
from flowwatch.model import Snapshot
from flowwatch.notify import Notifier
from flowwatch.store import Store
from tests.support.drift import NOON, finding
from tests.test_alerts_claims import scan, snapshot

SETTINGS = AlertSettings(active_for=900, group_above=10_000)


@dataclass
class Told:
    """A notifier that keeps what it is handed."""

    batches: list[Sequence[dict[str, Any]]] = field(default_factory=list)
    new: bool = False

    def newcomers(self) -> bool:
        new, self.new = self.new, False
        return new

    def enqueue(self, alerts: Sequence[dict[str, Any]]) -> None:
        self.batches.append(alerts)

    @property
    def last(self) -> set[str]:
        return {alert["labels"]["fingerprint"] for alert in self.batches[-1]}


@dataclass
class Kept:
    """As much of a daemon as alerts need, over a real database."""

    snapshot: Snapshot
    store: Store
    alert_counts: dict[str, int] = field(default_factory=dict)
    commits: int = 0

    def keep(self, tables: dict[str, pa.Table]) -> None:
        self.commits += 1
        self.store.commit(tables)


@dataclass
class Desk:
    """An `Alerting` whose clock the test holds."""

    daemon: Kept
    settings: AlertSettings = SETTINGS
    now: float = NOON
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.alerting = Alerting(cast(Daemon, self.daemon), self.settings, lambda: self.now)

    def advance(self, seconds: float = 1.0) -> Desk:
        self.now += seconds
        self.alerting.advance(cast(Notifier, self.told))
        return self


def test_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    """Repetitions are told and cost the database nothing; a change is written once."""
    store = Store(tmp_path / "test.duckdb")
    daemon = Kept(snapshot(findings=(finding(),)), store)
    desk = Desk(daemon).advance()
    assert (daemon.commits, len(desk.told.last)) == (1, 1)
    for _ in range(5):
        desk.advance(61)
        assert len(desk.told.last) == 1
    assert daemon.commits == 1
    daemon.snapshot = snapshot()
    desk.advance()
    assert (daemon.commits, daemon.alert_counts) == (2, {"resolved": 1})
    store.close()


def test_a_restart_goes_on(tmp_path: Path) -> None:
    """Read back from a real database, an alert is told again under the same start, with what it said before; if its
    finding was rejudged meanwhile, it is resolved."""
    store = Store(tmp_path / "test.duckdb")
    first = Desk(Kept(snapshot(findings=(finding(),)), store)).advance()
    store.close()
    store = Store(tmp_path / "test.duckdb")
    again = Desk(Kept(snapshot(findings=(finding(),)), store), now=NOON + 100).advance()
    ((before,), (after,)) = (first.told.batches[0], again.told.batches[0])
    assert {**before, "endsAt": ""} == {**after, "endsAt": ""}
    over = Desk(Kept(snapshot(), store), now=NOON + 200).advance()
    ((resolved,),) = over.told.batches
    assert (resolved["labels"], resolved["annotations"]) == (before["labels"], before["annotations"])
    assert (resolved["startsAt"], resolved["endsAt"]) == (before["startsAt"], "2026-09-21T14:16:41.000Z")
    store.close()


def test_after_a_restart_in_the_dark_nothing_is_over(tmp_path: Path) -> None:
    """While there is no stream yet, and until it has been watched for as long as findings last."""
    store = Store(tmp_path / "test.duckdb")
    Desk(Kept(snapshot(findings=(finding(),)), store)).advance()
    daemon = Kept(snapshot(stream="connecting"), store)
    desk = Desk(daemon, now=NOON + 3600).advance()
    assert daemon.alert_counts["firing"] == 1
    daemon.snapshot = snapshot()
    assert desk.advance().daemon.alert_counts == {"firing": 1}
    assert desk.advance(899).daemon.alert_counts == {"firing": 1}
    assert desk.advance(2).daemon.alert_counts == {"resolved": 1}
    store.close()


def test_a_flood_is_told_over_several_evaluations(tmp_path: Path) -> None:
    """No evaluation writes out more than five hundred alerts; each is told once, and the first are not told twice."""
    store = Store(tmp_path / "test.duckdb")
    desk = Desk(Kept(snapshot(findings=tuple(scan(1200))), store))
    sizes = [len(desk.advance().told.last) for _ in range(4)]
    assert sizes == [MOST_AT_ONCE, MOST_AT_ONCE, 200, 0]
    assert len(set().union(*({a["labels"]["fingerprint"] for a in batch} for batch in desk.told.batches))) == 1200
    store.close()


def test_a_new_alertmanager_hears_of_everything(tmp_path: Path) -> None:
    """One that was found a moment ago need not wait for the next repetition."""
    store = Store(tmp_path / "test.duckdb")
    desk = Desk(Kept(snapshot(findings=(finding(),)), store)).advance().advance()
    assert desk.told.last == set()
    desk.told.new = True
    assert desk.advance().told.last == {finding().fingerprint}
    assert desk.advance().told.last == set()
    store.close()


def test_what_a_configuration_makes_of_it(tmp_path: Path) -> None:
    """Every key of `alerts` that decides how alerts behave arrives."""
    (tmp_path / "flowwatch.yaml").write_text(
        """\
alerts:
  for: 1m
  keep_firing_for: 2m
  resend_interval: 3m
  resolved_retention: 4m
  labels: {team: net}
  routes: {shop-*: team=checkout tier=1, "owner:dba": pager=night}
  group_above: 7
  own: false
  own_for: 8m
  runbook_url: https://wiki.example.org/flowwatch
  grafana_url: https://grafana.example.org
judge: {active_for: 9m, min_coverage: 0.5}
""",
        encoding="utf-8",
    )
    config = load(tmp_path / "flowwatch.yaml", {})
    expected = AlertSettings(
        for_=60,
        keep_firing_for=120,
        resend_interval=180,
        resolved_retention=240,
        labels={"team": "net"},
        routes={"shop-*": {"team": "checkout", "tier": "1"}, "owner:dba": {"pager": "night"}},
        group_above=7,
        own=False,
        own_for=480,
        active_for=540,
        min_coverage=0.5,
        external_url="http://127.0.0.1:9950",
        runbook_url="https://wiki.example.org/flowwatch",
        grafana_url="https://grafana.example.org",
    )
    assert settings_of(config, "http://127.0.0.1:9950") == expected
    assert replace(expected, runbook_url="").runbook("A") == "http://127.0.0.1:9950/runbook#a"
