"""The backtest tells what the life of alerts would have been: held against that life itself, second by second."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.alerts import Alert, AlertSettings, Reason, State, step
from flowwatch.alerts_backtest import Spell, backtest
from flowwatch.alerts_claims import claims_of
from flowwatch.model import Finding, Square
from tests.support.drift import finding

END = 200
DESTINATIONS = ("203.0.113.1", "203.0.113.2", "203.0.113.3")

spells = st.lists(
    st.tuples(st.sampled_from(DESTINATIONS), st.integers(0, END - 20), st.integers(0, 15)), min_size=0, max_size=12
)
knobs = st.builds(
    AlertSettings,
    for_=st.integers(0, 20).map(float),
    keep_firing_for=st.integers(0, 20).map(float),
    active_for=st.integers(1, 20).map(float),
    group_above=st.just(50),
)


def spell(destination: str, first: float, last: float, **values: object) -> Spell:
    told = Spell("shop/web", destination, "443/TCP", True, False, False, "forwarded", "egress", first, last)
    return replace(told, **values)  # type: ignore[arg-type]


def lived(seen: list[tuple[str, int, int]], wanted: AlertSettings) -> tuple[int, int]:
    """How often alerts fired and were withdrawn, by the state machine that alerts live by."""
    fired = withdrawn = 0
    active: dict[str, Alert] = {}
    for now in range(END + 1):
        holding = [
            finding("shop/web", destination)
            for destination in DESTINATIONS
            if any(d == destination and first <= now < first + length + wanted.active_for for d, first, length in seen)
        ]
        active, changes = step(active, claims_of(holding, wanted, active), now, wanted)
        began = [change for change in changes if change.before is not State.FIRING]
        fired += sum(change.alert.state is State.FIRING for change in began)
        withdrawn += sum(change.reason is Reason.WITHDRAWN for change in changes)
    pending = sum(alert.state is State.PENDING for alert in active.values())
    return fired, withdrawn + pending


@given(seen=spells, wanted=knobs)
@settings(max_examples=300, deadline=None)
def test_it_tells_what_would_have_been(seen: list[tuple[str, int, int]], wanted: AlertSettings) -> None:
    """For any history and settings: as often fired, and as often over before anybody was told."""
    history = [spell(destination, first, first + length) for destination, first, length in seen]
    # Seen second by second, what lasts exactly as long as `for` asks is gone at the tick that would have fired.
    tally = backtest(history, replace(wanted, for_=wanted.for_ + 0.5), 0, END).tallies["FlowwatchUnexpectedEgress"]
    active_to_the_end = any(first + length + wanted.active_for > END for _, first, length in seen)
    if not active_to_the_end:
        assert (tally.fired, tally.pending_only) == lived(seen, wanted)


def test_a_scan_is_six_alerts() -> None:
    """The grouping of alerts counts in the backtest as it does in life."""
    history = [spell(f"203.0.113.{number}", number, number + 1) for number in range(100)]
    found = backtest(history, AlertSettings(active_for=900), 0, 86_400)
    assert found.tallies["FlowwatchUnexpectedEgress"].fired == 6
    assert found.pages_per_day("FlowwatchUnexpectedEgress") == 6
    assert ("FlowwatchUnexpectedEgress", "shop/web → …", 1) in found.top()


def test_each_kind_of_evidence_has_its_alert() -> None:
    """Dropped, audited, from outside, and what the receiving side refused after all."""
    history = [
        spell("a", 0, 1),
        spell("b", 0, 1, evidence="dropped", declared=True),
        spell("c", 0, 1, evidence="dropped"),
        spell("d", 0, 1, evidence="audited", declared=True),
        spell("e", 0, 1, source="world", source_is_pod=False),
        spell("shop/f", 0, 1, destination_is_pod=True),
        spell("shop/f", 0, 1, destination_is_pod=True, evidence="dropped", side="ingress"),
    ]
    found = backtest(history, AlertSettings(active_for=900), 0, 3600)
    fired = Counter({name: tally.fired for name, tally in found.tallies.items()})
    assert fired == {
        "FlowwatchUnexpectedEgress": 1,
        "FlowwatchUnexpectedIngress": 1,
        "FlowwatchDeclaredButDropped": 1,
        "FlowwatchDeniedAttempts": 2,
        "FlowwatchEnforcementGap": 1,
    }


def test_nothing_seen_is_nothing_told() -> None:
    """An empty history, even one without length."""
    found = backtest([], AlertSettings(), 0, 0)
    assert found.days == 0
    assert found.top() == []
    assert found.pages_per_day("FlowwatchUnexpectedEgress") == 0


def test_findings_and_spells_are_named_alike() -> None:
    """The edge of a finding reads as the backtest writes it."""
    one: Finding = finding("shop/web", "203.0.113.1", Square.UNEXPECTED)
    found = backtest([spell("203.0.113.1", 0, 1)], AlertSettings(active_for=60), 0, 100)
    assert found.top() == [("FlowwatchUnexpectedEgress", str(one.edge), 1)]
