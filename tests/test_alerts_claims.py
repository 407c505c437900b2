"""What becomes an alert: findings, many as one, gaps in enforcement, and flowwatch's own troubles."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pytest

from flowwatch.alerts import Alert, AlertSettings, Reason, State, sent, step
from flowwatch.alerts_claims import claims, claims_of
from flowwatch.alerts_own import OWN_SEVERITIES, OWN_SUMMARIES
from flowwatch.alerts_settings import read_route
from flowwatch.alerts_table import NAMES
from flowwatch.alerts_text import SEVERITIES, SUMMARIES
from flowwatch.model import Declared, Enforcement, Finding, Judgement, NodeCoverage, Snapshot, Square
from flowwatch.rows_alerts import alert_tables, restored_alerts
from tests.support.drift import NOON, finding

SETTINGS = AlertSettings(external_url="https://fw.example.org", active_for=900, own_for=300)


def snapshot(**values: object) -> Snapshot:
    """A snapshot of a flowwatch that is well and finds nothing, but for the values."""
    well = Snapshot(
        now=NOON,
        started=NOON - 3600,
        version="0",
        cluster="homelab",
        source="relay:80",
        stream="streaming",
        stream_error="",
        flows=1,
        flows_per_second=1.0,
        nodes=(NodeCoverage("homelab", "node-1", True, 1, 0, NOON - 60),),
        store_path="flows.duckdb",
    )
    return replace(well, **values)  # type: ignore[arg-type]


def names(*findings: Finding, settings: AlertSettings = SETTINGS) -> list[str]:
    return [claim.name for claim in claims_of(findings, settings)]


def scan(count: int, first: int = 0) -> list[Finding]:
    """One workload that is denied at ever more others."""
    return [
        finding("shop/scanner", f"shop/pod-{number}", Square.DENIED, port=22) for number in range(first, first + count)
    ]


def test_five_alerts_about_one_source_and_then_one_for_the_rest() -> None:
    """A scan is five alerts and one that has the rest, however many; the group says what it holds."""
    said = claims_of(scan(200), SETTINGS)
    assert [claim.shared for claim in said] == ["", "", "", "", "", "source"]
    (group,) = [claim for claim in said if claim.shared]
    assert len(group.findings) == 195
    labels, annotations = group.labels(SETTINGS), group.annotations(SETTINGS)
    assert labels["source"] == "shop/scanner"
    assert labels["shared"] == "source"
    assert not {"destination", "port", "square"} & labels.keys()
    assert annotations["description"].startswith("195 further edges with the source shop/scanner: ")
    assert annotations["edges"].splitlines()[-1] == "and 175 others"


def test_a_server_that_everybody_misses_is_a_group() -> None:
    """When a resolver is cut off, its clients share the destination."""
    cut = [finding(f"shop/app-{number}", "kube-system/dns", Square.BLOCKED, port=53) for number in range(50)]
    said = claims_of(cut, SETTINGS)
    assert [claim.shared for claim in said] == ["", "", "", "", "", "destination"]
    labels = said[-1].labels(SETTINGS)
    assert (labels["destination"], labels["port"]) == ("kube-system/dns", "53")
    assert "source" not in labels


def test_what_stands_alone_stays_alone_and_what_was_joined_stays_joined() -> None:
    """Whoever comes and goes, no finding moves from an alert of its own into a group or back while both last."""
    findings = scan(12)
    active: dict[str, Alert] = {}
    homes: list[dict[str, str]] = []
    for seen in (findings[:4], findings, findings[3:], findings[6:], findings[2:]):
        said = claims_of(seen, SETTINGS, active)
        active, _ = step(active, said, NOON, replace(SETTINGS, active_for=0))
        active = {key: alert for key, alert in active.items() if alert.state is not State.RESOLVED}
        homes.append({one.fingerprint: claim.fingerprint for claim in said for one in claim.findings})
    for before, after in pairwise(homes):
        assert all(after[one] == home for one, home in before.items() if one in after)


def test_fifty_pods_of_a_new_version_are_one_finding_and_one_alert() -> None:
    """An edge is between workloads: what fifty pods do is one claim; other kinds of alert do not add up with it."""
    assert names(*[finding("shop/web", "203.0.113.7", flows=n) for n in range(50)]) == ["FlowwatchUnexpectedEgress"]
    mixed = [*scan(5), finding("shop/scanner", "203.0.113.7")]
    assert all(not claim.shared for claim in claims_of(mixed, SETTINGS))


def test_the_end_of_a_group_is_one_end() -> None:
    """A group lasts while anything of it does, under the same labels."""
    active, _ = step({}, claims_of(scan(8), SETTINGS), NOON, SETTINGS)
    (group,) = [alert for alert in active.values() if "shared" in alert.labels]
    active, _ = step(active, claims_of(scan(20), SETTINGS, active), NOON + 1, SETTINGS)
    assert active[group.fingerprint].labels == group.labels
    alone = [one for one in scan(8) if one.fingerprint in active]
    active, changes = step(active, claims_of(alone, SETTINGS, active), NOON + 2, SETTINGS)
    assert [(change.alert.fingerprint, change.reason) for change in changes] == [(group.fingerprint, Reason.RESOLVED)]


def test_audit_mode_is_a_gap() -> None:
    """What passes only because of audit mode alerts as a gap, declared or not, and only as that."""
    gap = replace(finding(), enforcement=Enforcement.AUDITED)
    declared = replace(
        finding("shop/web", "shop/db", Square.EXPECTED),
        enforcement=Enforcement.AUDITED,
        judgement=Judgement(Declared.YES, rule="shop/web → shop/db"),
    )
    assert names(gap, finding()) == ["FlowwatchEnforcementGap"]
    (claim,) = claims_of([declared], SETTINGS)
    annotations = claim.annotations(SETTINGS)
    assert "passes only because of audit mode" in annotations["description"]
    assert "allowlist_line" not in annotations
    assert "network_policy" in annotations


def test_what_declared_policies_deny_and_the_cluster_forwards_is_a_gap() -> None:
    """Undeclared is one thing; forwarded against policies that are declared is another."""
    plain = finding()
    for judgement in (
        replace(plain.judgement, isolated_by=("CiliumNetworkPolicy:monitoring/deny",)),
        replace(plain.judgement, denied_by=("CiliumNetworkPolicy:monitoring/no",)),
    ):
        (claim,) = claims_of([replace(plain, judgement=judgement)], SETTINGS)
        assert claim.name == "FlowwatchEnforcementGap"
        assert claim.annotations(SETTINGS)["denied_by"].startswith("CiliumNetworkPolicy:monitoring/")


def test_what_is_as_declared_alerts_nobody() -> None:
    """Findings of other squares are no claim."""
    assert names(finding(square=Square.EXPECTED), finding(square=Square.UNKNOWN)) == []


TROUBLES = [
    ("FlowwatchStreamDown", {"stream": "waiting", "stream_error": "connection refused"}, "connection refused"),
    ("FlowwatchCoverageLost", {"coverage": 0.5, "lost": {"hubble_ring_buffer": 7}}, "50.0 %"),
    ("FlowwatchStoreDegraded", {"store_error": "disk full", "pending_rows": 9}, "disk full"),
    ("FlowwatchStoreDegraded", {"pending_rows": 400_000}, "400,000 rows"),
    ("FlowwatchAllowlistInvalid", {"allowlist_error": "a.yaml:3: no such port"}, "a.yaml:3"),
    ("FlowwatchAllowlistUnused", {"unused_rules": ("a → b:1/TCP",), "unused_known": True, "rules": 4}, "1 of 4 rules"),
    (
        "FlowwatchConditionFailed",
        {
            "conditions": (
                {
                    "type": "BackupPossible",
                    "status": "False",
                    "reason": "PathBlocked",
                    "message": "declared but dropped by policy: a → b",
                    "lastTransitionTime": "2026-09-21T13:00:00Z",
                },
            )
        },
        "declared but dropped by policy: a → b",
    ),
]


@pytest.mark.parametrize(("name", "values", "told"), TROUBLES)
def test_own_troubles(name: str, values: dict[str, object], told: str) -> None:
    """Each trouble is one claim with stable labels, that waits for `own_for` and says what is wrong."""
    (claim,) = claims(snapshot(**values), SETTINGS, {})
    assert (claim.name, claim.watched) == (name, False)
    labels, annotations = claim.labels(SETTINGS), claim.annotations(SETTINGS)
    assert told in annotations["description"]
    assert annotations["runbook_url"] == f"https://fw.example.org/runbook#{name.lower()}"
    assert labels["severity"] == OWN_SEVERITIES[name]
    assert all([*labels.values(), *annotations.values()])
    (later,) = claims(replace(snapshot(**values), now=NOON + 99, pending_rows=999_999), SETTINGS, {})[:1]
    assert later.labels(SETTINGS) == labels or name != later.name


def test_a_flowwatch_that_is_well_says_nothing_of_itself() -> None:
    """Nor does one that was told to leave that to Prometheus."""
    assert claims(snapshot(), SETTINGS, {}) == []
    assert claims(snapshot(stream="waiting", store_error="x"), replace(SETTINGS, own=False), {}) == []
    true = {"type": "T", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": "t"}
    assert claims(snapshot(conditions=(true, {**true, "status": "Unknown"})), SETTINGS, {}) == []


def test_a_stream_that_is_down_is_not_told_as_lost_coverage_too() -> None:
    """One trouble, one alert."""
    (claim,) = claims(snapshot(stream="connecting", coverage=0.0), SETTINGS, {})
    assert claim.name == "FlowwatchStreamDown"


def test_own_troubles_end_while_nobody_watches() -> None:
    """Whether the store works has nothing to do with the stream: its alert resolves although we are blind."""
    settings = replace(SETTINGS, own_for=0)
    active, _ = step({}, claims(snapshot(store_error="x"), settings, {}), NOON, settings)
    _, changes = step(active, [], NOON + 1, settings, watched_since=None)
    assert [change.reason for change in changes] == [Reason.RESOLVED]


def test_what_is_unused_stays_so_until_it_is_known_again() -> None:
    """Soon after a start nobody can say which rules are unused; the alert that said so is not withdrawn for that."""
    settings = replace(SETTINGS, own_for=0)
    said = claims(snapshot(unused_rules=("a → b",), unused_known=True), settings, {})
    active, _ = step({}, said, NOON, settings)
    restored = restored_alerts(alert_tables(active.values())["append_alerts"])
    firing = {key: alert.claim for key, alert in restored.items()}
    _, changes = step(restored, claims(snapshot(), settings, firing), NOON + 1, settings)
    assert changes == []
    _, changes = step(restored, claims(snapshot(unused_known=True), settings, firing), NOON + 2, settings)
    assert [change.reason for change in changes] == [Reason.RESOLVED]


def test_own_troubles_wait() -> None:
    """A relay that restarts is silence: nobody is told before `own_for`."""
    down = claims(snapshot(stream="connecting"), SETTINGS, {})
    active, _ = step({}, down, NOON, SETTINGS)
    active, _ = step(active, down, NOON + 299, SETTINGS)
    assert [alert.state for alert in active.values()] == [State.PENDING]
    active, changes = step(active, [], NOON + 299.5, SETTINGS)
    assert [change.reason for change in changes] == [Reason.WITHDRAWN]


def test_after_an_outage_the_absence_of_what_aged_proves_nothing() -> None:
    """What ran out of time while nobody watched is held until somebody has watched for as long; what was judged anew
    ends at once."""
    aged = replace(finding(), last_seen=NOON - 5)
    fresh = replace(finding(port=8443), last_seen=NOON + 1190)
    active, _ = step({}, claims_of([aged, fresh], SETTINGS), NOON, SETTINGS)
    back = NOON + 1200
    active, changes = step(active, [], back, SETTINGS, watched_since=back)
    assert {(change.alert.labels["port"], change.reason) for change in changes} == {
        ("443", Reason.HELD),
        ("8443", Reason.RESOLVED),
    }
    _, changes = step(active, [], back + 899, SETTINGS, watched_since=back)
    assert not changes
    _, changes = step(active, [], back + 900, SETTINGS, watched_since=back)
    assert Reason.RESOLVED in {change.reason for change in changes}


def test_a_restart_neither_forgets_nor_fires_again() -> None:
    """Stored and read back, alerts go on: the same labels, the same times, nothing new to tell."""
    settings = replace(SETTINGS, for_=60)
    findings = [*scan(8), replace(finding("shop/web", "shop/db", Square.BLOCKED), lines=("a", "b"))]
    claimed = claims(snapshot(findings=tuple(findings), store_error="x"), settings, {})
    active, _ = step({}, claimed, NOON, settings)
    active, _ = step(active, claimed[:-1], NOON + 61, settings)
    resolved, _ = step(active, claimed[1:-1], NOON + 62, settings)
    firing = [alert for alert in resolved.values() if alert.state is State.FIRING]
    said = {alert.fingerprint: alert.annotations(settings) for alert in firing}
    resolved = sent(resolved, firing, NOON + 62, said)
    tables = alert_tables(resolved.values())
    assert list(tables) == ["clear_alerts", "append_alerts"]
    written = tables["append_alerts"]
    restored = restored_alerts(pa.Table.from_pylist(written.to_pylist(), written.schema))
    assert restored.keys() == resolved.keys()
    for key, alert in resolved.items():
        again = restored[key]
        assert replace(again, claim=alert.claim, kept=alert.kept) == alert
        if alert.state is State.FIRING:
            assert again.annotations(settings) == alert.annotations(settings)
        assert (again.claim.watched, again.claim.seen_at) == (alert.claim.watched, alert.claim.seen_at)
    going, changes = step(restored, claimed[1:-1], NOON + 63, settings)
    assert changes == []
    assert going.keys() == restored.keys()


def test_routes() -> None:
    """A route adds labels by the namespace of whoever can act, or by the rule's owner; none replaces an own one."""
    settings = AlertSettings(
        labels={"team": "platform"},
        routes={
            "shop": read_route("team=shop tier=2"),
            "pay*": read_route("team=payments"),
            "owner:dba": read_route("pager=night severity=none"),
        },
    )

    def of(found: Finding) -> dict[str, str]:
        (claim,) = claims_of([found], settings)
        return claim.labels(settings)

    assert of(finding("monitoring/loki"))["team"] == "platform"
    assert (of(finding("shop/web"))["team"], of(finding("shop/web"))["tier"]) == ("shop", "2")
    assert of(finding("203.0.113.7", "payments/api"))["team"] == "payments"
    owned = replace(finding("shop/web"), judgement=Judgement(Declared.NO, nearest="x", owner="dba"))
    labels = of(owned)
    assert (labels["team"], labels["pager"], labels["severity"]) == ("shop", "night", "warning")


@pytest.mark.parametrize("text", ["", "team", "team=", "=x", "te am=x", "a-b=c"])
def test_routes_that_say_nothing_are_refused(text: str) -> None:
    """Each part is a label and its value."""
    with pytest.raises(ValueError, match="label"):
        read_route(text)


def test_every_name_has_a_severity() -> None:
    """The tables agree about which alerts there are."""
    assert (*SUMMARIES, *OWN_SUMMARIES) == NAMES == (*SEVERITIES, *OWN_SEVERITIES)
    assert {*SEVERITIES.values(), *OWN_SEVERITIES.values()} == {"critical", "warning", "info"}
