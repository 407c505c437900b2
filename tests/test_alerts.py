"""The life of an alert, told as timelines: what is seen at a moment, what changes, what is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch import allowlist
from flowwatch.alerts import LABEL_NAME, Alert, AlertSettings, Reason, State, due, payload, sent, step
from flowwatch.alerts_claims import claims_of
from flowwatch.alerts_patch import allowlist_line
from flowwatch.alerts_text import SUMMARIES
from flowwatch.model import Declared, Finding, Peer, Protocol, Side, Square
from tests.support.drift import NOON, finding

LOKI = finding()
WEB = finding("shop/web", "shop/db", Square.BLOCKED, port=5432)
SETTINGS = AlertSettings()


@dataclass
class At:
    """One evaluation, so many seconds into the story."""

    seconds: float
    seen: tuple[Finding, ...] = ()
    reasons: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    unsighted: bool = False

    def sees(self, *findings: Finding) -> At:
        return replace(self, seen=findings)

    def is_blind(self) -> At:
        return replace(self, unsighted=True)

    def says(self, *reasons: str) -> At:
        """The reasons of the transitions, in any order."""
        return replace(self, reasons=reasons)

    def tells(self, *states: str) -> At:
        """The states of the alerts handed to Alertmanager, in any order."""
        return replace(self, states=states)


@dataclass
class Story:
    """Plays moments one after the other and compares what each says and tells."""

    settings: AlertSettings = field(default_factory=AlertSettings)
    active: dict[str, Alert] = field(default_factory=dict)
    told: list[Alert] = field(default_factory=list)

    def plays(self, *moments: At) -> Story:
        expected = [(at.seconds, sorted(at.reasons), sorted(at.states)) for at in moments]
        assert expected == [(at.seconds, *self._evaluate(at)) for at in moments]
        return self

    def _evaluate(self, at: At) -> tuple[list[str], list[str]]:
        now = NOON + at.seconds
        said = claims_of(at.seen, self.settings)
        since = None if at.unsighted else 0.0
        self.active, transitions = step(self.active, said, now, self.settings, watched_since=since)
        self.told = due(self.active, now, self.settings)
        self.active = sent(self.active, self.told, now)
        return sorted(t.reason for t in transitions), sorted(a.state for a in self.told)


def story(**settings: float) -> Story:
    return Story(AlertSettings(**settings))


def fired(*findings: Finding, settings: AlertSettings = SETTINGS) -> list[Alert]:
    active, _ = step({}, claims_of(findings, settings), NOON, settings)
    return list(active.values())


def test_without_for_a_finding_is_told_at_once() -> None:
    """The first evaluation that sees a finding fires its alert."""
    story().plays(At(0).sees(LOKI).says("new").tells("firing"))


def test_for_holds_an_alert_back() -> None:
    """With `for`, an alert is pending, and nobody is told, until it has been seen for that long."""
    story(for_=30).plays(
        At(0).sees(LOKI).says("new"),
        At(15).sees(LOKI),
        At(30).sees(LOKI).says("pending-elapsed").tells("firing"),
    )


def test_what_passes_while_pending_is_never_told() -> None:
    """An alert whose finding goes before `for` has elapsed is withdrawn in silence and starts over later."""
    story(for_=30).plays(
        At(0).sees(LOKI).says("new"),
        At(15).says("withdrawn"),
        At(30).sees(LOKI).says("new"),
        At(45).sees(LOKI),
    )


def test_a_firing_alert_is_repeated() -> None:
    """Messages get lost: a firing alert is told again at every resend interval, and not in between."""
    story(resend_interval=60).plays(
        At(0).sees(LOKI).says("new").tells("firing"),
        At(15).sees(LOKI),
        At(59).sees(LOKI),
        At(60).sees(LOKI).tells("firing"),
        At(75).sees(LOKI),
        At(120).sees(LOKI).tells("firing"),
    )


def test_a_resolved_alert_is_repeated_and_then_forgotten() -> None:
    """What is over is told at once, again at every resend interval, and forgotten after its retention."""
    story(resend_interval=60, resolved_retention=150).plays(
        At(0).sees(LOKI).says("new").tells("firing"),
        At(15).says("resolved").tells("resolved"),
        At(30),
        At(75).tells("resolved"),
        At(135).tells("resolved"),
        At(165).says("forgotten"),
        At(180),
    )


def test_keep_firing_for_rides_out_gaps() -> None:
    """With `keep_firing_for`, an alert outlives its finding for that long, counted from its last sighting."""
    story(keep_firing_for=30, resend_interval=60).plays(
        At(0).sees(LOKI).says("new").tells("firing"),
        At(15).says("kept-firing"),
        At(20),
        At(29).sees(LOKI),
        At(58).says("kept-firing"),
        At(60).says("resolved").tells("resolved"),
    )


def test_what_comes_back_is_a_new_alert() -> None:
    """A finding that returns after its alert was resolved fires anew, with a start of its own."""
    told = story().plays(
        At(0).sees(LOKI).says("new").tells("firing"),
        At(15).says("resolved").tells("resolved"),
        At(30).sees(LOKI).says("seen-again").tells("firing"),
    )
    assert [alert.fired_at for alert in told.told] == [NOON + 30]


def test_what_comes_back_must_wait_again() -> None:
    """A finding that returns is pending for as long as the first time; meanwhile nothing is told of it."""
    story(for_=15, resend_interval=15).plays(
        At(0).sees(LOKI).says("new"),
        At(15).sees(LOKI).says("pending-elapsed").tells("firing"),
        At(30).says("resolved").tells("resolved"),
        At(45).sees(LOKI).says("seen-again"),
        At(60).sees(LOKI).says("pending-elapsed").tells("firing"),
    )


def test_blindness_resolves_nothing() -> None:
    """While no flows arrive, the absence of a finding proves nothing: alerts stay as they are, and are repeated."""
    story(for_=10, resend_interval=60, resolved_retention=30).plays(
        At(0).sees(LOKI).says("new"),
        At(10).sees(LOKI, WEB).says("new", "pending-elapsed").tells("firing"),
        At(15).sees(WEB).says("resolved").tells("resolved"),
        At(20).sees(WEB).says("pending-elapsed").tells("firing"),
        At(30).is_blind().says("held"),
        At(45).is_blind().says("forgotten"),
        At(80).is_blind().tells("firing"),
        At(95).says("resolved").tells("resolved"),
    )


def test_blindness_does_not_advance_what_is_pending() -> None:
    """A pending alert does not begin to fire on time that nobody watched."""
    story(for_=10).plays(
        At(0).sees(LOKI).says("new"),
        At(20).is_blind().says("held"),
        At(25).says("withdrawn"),
    )


def test_a_clock_set_back_silences_nothing() -> None:
    """If the clock jumps back, firing alerts are still repeated before Alertmanager lets them expire."""
    story().plays(
        At(3600).sees(LOKI).says("new").tells("firing"),
        At(0).sees(LOKI).tells("firing"),
        At(30).sees(LOKI),
        At(60).sees(LOKI).tells("firing"),
    )


def test_alerts_live_their_own_lives() -> None:
    """Several findings advance independently of each other."""
    story().plays(
        At(0).sees(LOKI).says("new").tells("firing"),
        At(15).sees(WEB, LOKI).says("new").tells("firing"),
        At(30).sees(WEB).says("resolved").tells("resolved"),
    )


@pytest.mark.parametrize("square", [Square.EXPECTED, Square.UNUSED, Square.UNKNOWN])
def test_only_three_squares_alert(square: Square) -> None:
    """What is expected, unused or unknown is shown elsewhere; it wakes nobody."""
    story().plays(At(0).sees(finding(square=square)))


def test_both_ends_of_an_edge_are_one_alert() -> None:
    """Egress and ingress reports of one edge share a fingerprint; the egress side speaks, in whichever order."""
    egress, ingress = finding(destination="shop/web"), finding(destination="shop/web", side=Side.INGRESS, flows=99)
    assert [fired(egress)[0].labels] == [alert.labels for alert in fired(ingress, egress)]
    assert fired(egress, ingress) == fired(ingress, egress)


def test_labels_outlast_a_change_of_side() -> None:
    """To Alertmanager other labels are another alert, so an active alert keeps those it began with."""
    active, _ = step({}, claims_of([LOKI], SETTINGS), NOON, SETTINGS)
    before = active[LOKI.fingerprint]
    active, _ = step(active, claims_of([replace(LOKI, side=Side.INGRESS, flows=13)], SETTINGS), NOON + 15, SETTINGS)
    after = active[LOKI.fingerprint]
    assert (before.name, before.labels) == (after.name, after.labels)
    assert "13 flows" in after.annotations(SETTINGS)["description"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.sampled_from([0, 1, 2])), st.booleans(), st.integers(1, 90)), max_size=40),
    st.sampled_from([0.0, 20.0]),
    st.sampled_from([0.0, 20.0]),
)
def test_whatever_happens_the_story_stays_consistent(
    moments: list[tuple[set[int], bool, int]], for_: float, keep: float
) -> None:
    """Any history: transitions start where the last one ended, nobody hears of pending alerts, labels
    stay put while an alert is active, and every alert told as firing is told as resolved once all is quiet."""
    known = [LOKI, WEB, finding("shop/web", "host", Square.DENIED, side=Side.INGRESS)]
    knobs = AlertSettings(for_=for_, keep_firing_for=keep, resend_interval=30, resolved_retention=100)
    quiet = [(set[int](), False, 50)] * 4
    active: dict[str, Alert] = {}
    last: dict[str, State] = {}
    now = NOON
    for seen, blind, pause in moments + quiet:
        now += pause
        before = active
        said = claims_of([known[index] for index in seen], knobs)
        active, transitions = step(before, said, now, knobs, watched_since=None if blind else 0.0)
        for transition in transitions:
            held = before.get(transition.alert.fingerprint)
            assert transition.before == (held.state if held else None)
        for fingerprint, alert in active.items():
            held = before.get(fingerprint)
            if held and held.state is not State.RESOLVED:
                assert held.labels == alert.labels
            assert alert.active_since <= alert.last_seen <= now
        told = due(active, now, knobs)
        assert State.PENDING not in {alert.state for alert in told}
        last |= {alert.fingerprint: alert.state for alert in told}
        active = sent(active, told, now)
    assert active == {}
    assert set(last.values()) <= {State.RESOLVED}


@pytest.mark.parametrize(
    ("square", "side", "name", "severity"),
    [
        (Square.UNEXPECTED, Side.EGRESS, "FlowwatchUnexpectedEgress", "warning"),
        (Square.UNEXPECTED, Side.INGRESS, "FlowwatchUnexpectedIngress", "warning"),
        (Square.UNEXPECTED, Side.UNKNOWN, "FlowwatchUnexpectedEgress", "warning"),
        (Square.BLOCKED, Side.EGRESS, "FlowwatchDeclaredButDropped", "critical"),
        (Square.DENIED, Side.INGRESS, "FlowwatchDeniedAttempts", "info"),
    ],
)
def test_names_and_severities(square: Square, side: Side, name: str, severity: str) -> None:
    """The square and the side decide the name, the square alone how urgent it is."""
    (alert,) = fired(finding(square=square, side=side))
    assert (name, name, severity) == (alert.name, alert.labels["alertname"], alert.labels["severity"])
    assert alert.annotations(SETTINGS)["summary"] == SUMMARIES[name]


def test_labels_of_an_egress_to_a_name() -> None:
    """The labels say who, whom and how, and nothing that changes."""
    (alert,) = fired(finding(destination="api.example.com=203.0.113.7"))
    assert alert.labels == {
        "alertname": "FlowwatchUnexpectedEgress",
        "severity": "warning",
        "cluster": "homelab",
        "square": "unexpected",
        "direction": "egress",
        "source": "monitoring/loki",
        "source_namespace": "monitoring",
        "source_workload": "loki",
        "destination": "api.example.com",
        "port": "443",
        "protocol": "TCP",
        "fingerprint": alert.fingerprint,
    }


@pytest.mark.parametrize(
    ("port", "protocol", "label"), [(0, Protocol.ICMP, "0"), (0, Protocol.VRRP, None), (53, Protocol.UDP, "53")]
)
def test_port_label(port: int, protocol: Protocol, label: str | None) -> None:
    """An ICMP type is a port even when it is 0; a protocol without ports has no such label."""
    (alert,) = fired(finding(port=port, protocol=protocol))
    assert alert.labels.get("port") == label


def test_labels_hold_nothing_that_counts() -> None:
    """More flows, other samples or a later hour leave the labels, and so Alertmanager's identity, unchanged."""
    later = replace(LOKI, flows=999, connections=99, last_seen=NOON + 5, samples=("zzz",), coverage=0.5)
    assert fired(LOKI)[0].labels == fired(later)[0].labels


def test_labels_and_annotations_are_never_empty() -> None:
    """Alertmanager removes empty values and old ones refuse wide names, so neither is ever sent."""
    for square in (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED):
        (alert,) = fired(finding("host", "host", square, port=0, protocol=Protocol.NONE, samples=()))
        assert all(alert.labels.values())
        assert all(alert.annotations(SETTINGS).values())
        assert all(LABEL_NAME.fullmatch(name) for name in [*alert.labels, *alert.annotations(SETTINGS)])


def test_configured_labels_add_but_never_replace() -> None:
    """Labels of the configuration route alerts; they cannot make one lie about itself."""
    settings = AlertSettings(labels={"team": "platform", "square": "expected", "empty": ""})
    (alert,) = fired(LOKI, settings=settings)
    assert (alert.labels["team"], alert.labels["square"]) == ("platform", "unexpected")
    assert "empty" not in alert.labels


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"labels": {"a-b": "c"}}, "`a-b` is not a label name"),
        ({"labels": {"": "c"}}, "`` is not a label name"),
        ({"resend_interval": 0}, "more than 0"),
        ({"for_": -1}, "negative"),
        ({"external_url": "flowwatch.example.com"}, "absolute http"),
        ({"external_url": "https://a b"}, "absolute http"),
        ({"external_url": "javascript:alert(1)"}, "absolute http"),
    ],
)
def test_settings_alertmanager_would_refuse(settings: dict[str, object], complaint: str) -> None:
    """What would make Alertmanager refuse every alert is refused before the first one."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        AlertSettings(**settings)


def test_annotations_of_an_unexpected_edge() -> None:
    """The annotations carry the evidence, the near miss and the rule that would declare the edge."""
    links = AlertSettings(external_url="https://fw.example.org/x/", grafana_url="https://grafana.example.org")
    found = replace(finding(coverage=0.98765), lines=("one flow", "another"), addresses=("203.0.113.7",))
    (alert,) = fired(found)
    assert alert.annotations(links) == {
        "summary": "A workload reaches something the allowlist does not declare.",
        "description": (
            "monitoring/loki → 203.0.113.7:443/TCP is forwarded but not declared; nearest rule "
            "`monitoring/loki → seaweedfs/filer:8333/TCP` differs in destination and port. 12 flows in "
            "3 connection attempts since 2026-09-21 14:03:20 UTC, last at 2026-09-21 14:13:15 UTC; flowwatch "
            "vouches for 98.7 % of what happened in that time."
        ),
        "addresses": "203.0.113.7",
        "since": "2026-09-21 14:03:20 UTC",
        "coverage": "98.7 %",
        "flows": "one flow\nanother",
        "page_url": f"https://fw.example.org/x/findings/{found.fingerprint}",
        "dashboard_url": (
            "https://grafana.example.org/d/flowwatch-overview?var-cluster=homelab&var-namespace=monitoring"
        ),
        "runbook_url": "https://fw.example.org/x/runbook#flowwatchunexpectedegress",
        "network_policy": (
            f"apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n"
            f"  name: flowwatch-{found.fingerprint}-egress\n  namespace: monitoring\nspec:\n"
            '  description: "monitoring/loki → 203.0.113.7:443/TCP, seen since 2026-09-21 14:03:20 UTC"\n'
            "  endpointSelector: {matchLabels: {app: loki}}\n  enableDefaultDeny: {egress: false}\n  egress:\n"
            '    - toCIDR: ["203.0.113.7/32"]\n'
            '      toPorts: [{ports: [{port: "443", protocol: TCP}]}]'
        ),
        "reason": "no rule names it",
        "nearest_rule": "monitoring/loki → seaweedfs/filer:8333/TCP",
        "allowlist_line": (
            '- {from: {namespace: monitoring, labels: {app: loki}}, to: {cidr: ["203.0.113.7/32"]}, ports: 443/TCP, '
            'reason: "seen since 2026-09-21 14:03:20 UTC"}'
        ),
        "samples": "0b0e1f6e-0001 0b0e1f6e-0002",
    }


def test_a_blocked_edge_is_not_to_be_declared_again() -> None:
    """For declared traffic that is dropped, the alert names the rule and the policy instead of offering a rule."""
    (alert,) = fired(WEB)
    assert "allowlist_line" not in alert.annotations(SETTINGS)
    assert alert.annotations(SETTINGS)["policies"] == "shop/allow-web"
    assert alert.annotations(SETTINGS)["rule"] == "monitoring/loki → seaweedfs/filer:8333/TCP"


EDGES = [
    pytest.param(
        finding("shop/web", "shop/db", port=5432),
        "{from: {namespace: shop, labels: {app: web}}, to: {namespace: shop, labels: {app: db}}, ports: 5432/TCP}",
        id="pod to pod",
    ),
    pytest.param(
        finding(destination="api.example.com=203.0.113.7"),
        "{from: LOKI, to: {fqdn: [api.example.com]}, ports: 443/TCP}",
        id="pod to name",
    ),
    pytest.param(
        finding(destination="2001:db8::7", port=53, protocol=Protocol.UDP),
        '{from: LOKI, to: {cidr: ["2001:db8::7/128"]}, ports: 53/UDP}',
        id="pod to address",
    ),
    pytest.param(
        finding("a.example.com=203.0.113.7", "monitoring/loki", port=0, protocol=Protocol.ICMP, side=Side.INGRESS),
        '{from: {cidr: ["203.0.113.7/32"]}, to: LOKI, ports: ICMP/0}',
        id="address to pod",
    ),
    pytest.param(
        finding(destination="host", port=10250), "{from: LOKI, to: host, ports: 10250/TCP}", id="pod to entity"
    ),
    pytest.param(
        finding("kube-apiserver", "monitoring/loki", port=128, protocol=Protocol.ICMPV6),
        "{from: kube-apiserver, to: LOKI, ports: ICMPV6/128}",
        id="entity to pod",
    ),
    pytest.param(
        finding(destination="*.example.com=203.0.113.7"),
        '{from: LOKI, to: {cidr: ["203.0.113.7/32"]}, ports: 443/TCP}',
        id="a name that is a pattern",
    ),
    pytest.param(
        finding(destination='a"]}, x: [\n#=203.0.113.7'),
        '{from: LOKI, to: {cidr: ["203.0.113.7/32"]}, ports: 443/TCP}',
        id="a name that is none",
    ),
]


@pytest.mark.parametrize(("found", "rule"), EDGES)
def test_allowlist_line(found: Finding, rule: str) -> None:
    """The line is one rule on one line, and an allowlist that holds it declares this edge."""
    line = allowlist_line(found)
    (written,) = yaml.safe_load(line)
    wanted = yaml.safe_load(rule.replace("LOKI", "{namespace: monitoring, labels: {app: loki}}"))
    assert written == {**wanted, "reason": "seen since 2026-09-21 14:03:20 UTC"}
    assert "\n" not in line
    text = f"apiVersion: flowwatch/v1\nkind: Allowlist\nrules:\n{line}\n"
    assert allowlist.parse(text, "allowlist.yaml", NOON).judge(found.edge, NOON).declared is Declared.YES


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (
            ("k8s:app=a", "k8s:app.kubernetes.io/name=b", "k8s:x=y"),
            "{namespace: shop, labels: {app.kubernetes.io/name: b}}",
        ),
        (
            ("k8s:app.kubernetes.io/component=server", "k8s:app.kubernetes.io/name=argo"),
            "{namespace: shop, labels: {app.kubernetes.io/name: argo, app.kubernetes.io/component: server}}",
        ),
        (("k8s:app=a", "k8s:k8s-app=true"), '{namespace: shop, labels: {k8s-app: "true"}}'),
        (("k8s:x=y", "k8s:io.kubernetes.pod.namespace=shop", "reserved:odd"), "shop/web"),
    ],
)
def test_pods_are_named_by_the_labels_people_select_them_by(labels: tuple[str, ...], wanted: str) -> None:
    """Of a pod's many labels the line takes the telling ones; without any it names the workload."""
    found = finding("shop/web")
    source = replace(found.edge.source, identity=replace(found.edge.source.identity, labels=labels))
    line = allowlist_line(replace(found, edge=replace(found.edge, source=source)))
    assert line.startswith(f"- {{from: {wanted}, to: ")


@pytest.mark.parametrize(
    "found",
    [
        finding(destination="unknown"),
        finding(port=0),
        finding(port=0, protocol=Protocol.VRRP),
        finding(port=0, protocol=Protocol.NONE),
        replace(LOKI, edge=replace(LOKI.edge, destination=Peer(LOKI.edge.source.identity, "odd name"))),
        replace(LOKI, edge=replace(LOKI.edge, destination=replace(LOKI.edge.destination, ip="no address"))),
    ],
    ids=["unknown end", "no port", "VRRP", "no protocol", "odd workload", "odd address"],
)
def test_no_line_for_what_no_rule_can_say(found: Finding) -> None:
    """Where an end or a protocol is nothing that a rule could name, no line is offered."""
    bare = replace(found.edge.destination, identity=replace(found.edge.destination.identity, labels=()))
    assert allowlist_line(replace(found, edge=replace(found.edge, destination=bare))) == ""


def test_payload_of_a_firing_alert() -> None:
    """A firing alert ends by itself after four intervals unless it is repeated, and links to its finding."""
    settings = AlertSettings(resend_interval=30, external_url="https://flowwatch.example.com/ui/")
    (alert,) = fired(LOKI, settings=settings)
    assert payload([alert], NOON + 10, settings) == [
        {
            "labels": alert.labels,
            "annotations": alert.annotations(settings),
            "startsAt": "2026-09-21T14:13:20.000Z",
            "endsAt": "2026-09-21T14:15:30.000Z",
            "generatorURL": f"https://flowwatch.example.com/ui/findings/{alert.fingerprint}",
        }
    ]


def test_payload_of_a_resolved_alert() -> None:
    """A resolved alert keeps its labels and its start, and ends when it was resolved, however late it is told."""
    active, _ = step({}, claims_of([LOKI], SETTINGS), NOON, SETTINGS)
    active, _ = step(active, [], NOON + 0.25, SETTINGS)
    (message,) = payload(active.values(), NOON + 300, SETTINGS)
    assert (message["startsAt"], message["endsAt"]) == ("2026-09-21T14:13:20.000Z", "2026-09-21T14:13:20.250Z")
    assert fired(LOKI)[0].labels == message["labels"]
    assert "generatorURL" not in message


def test_payload_leaves_out_what_is_pending() -> None:
    """Nobody is told of a pending alert, even when asked to be."""
    settings = AlertSettings(for_=60)
    assert payload(fired(LOKI, settings=settings), NOON, settings) == []


def test_foreign_text_is_made_harmless() -> None:
    """Control and direction-changing characters in names leave as visible escapes."""
    (alert,) = fired(finding(destination="evil\x1b[2J\u202e.example.com=203.0.113.7"))
    assert alert.labels["destination"] == "evil\\x1b[2J\\u202e.example.com"
    assert "\x1b" not in "".join(alert.annotations(SETTINGS).values())


def test_reasons_and_states_are_words() -> None:
    """Reasons and states go to logs as they are: lower case, hyphenated, told apart."""
    words: Sequence[str] = [*Reason, *State]
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", word) for word in words)
