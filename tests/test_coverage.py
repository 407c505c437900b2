"""The coverage ledger, event by event: what is vouched for, what is lost, what can never be known.

`tests/test_streams_model.py` drives the same through random schedules; here each rule stands alone.
"""

from __future__ import annotations

import pytest

from flowwatch.coverage import Coverage
from flowwatch.coverage_node import Gap
from flowwatch.coverage_seen import Answer, SeenFlows, Verdict
from flowwatch.receive import Closed, Heard, Left, Listed, NodeReport, Opened, Shed

T0 = 1_790_000_040.0
"""Some time at the start of a minute."""


class Ledger(Coverage):
    """A ledger of one cluster, with streams named after their nodes, spoken to in seconds since `T0`."""

    def open(
        self, at: float, *nodes: str, source: str = "s", since: float | None = None, seamless: bool = False
    ) -> None:
        """A stream comes up."""
        self.note(source, "c", Opened(T0 + at, since, nodes, seamless))

    def close(self, at: float, reason: str = "cut", source: str = "s") -> None:
        """A stream ends."""
        self.note(source, "c", Closed(T0 + at, T0 + at, reason))

    def flows(self, at: float, *times: float, node: str = "a", source: str = "s") -> None:
        """Flows with these times come at a moment; without any, one of that moment."""
        moments = [T0 + time for time in times or (at,)]
        self.first(source, "c", node, moments[0], T0 + at)
        seconds: dict[int, int] = {}
        for moment in moments:
            seconds[int(moment)] = seconds.get(int(moment), 0) + 1
        self.received("c", node, max(moments), seconds, T0 + at)

    def heard(self, at: float, seen: int, node: str = "a", source: str = "s", uptime: float = 9000.0) -> None:
        """A node answers how many flows it has seen."""
        self.note(source, "c", Heard(T0 + at, (NodeReport(node, True, seen, int((uptime + at) * 1e9)),)))

    def lost_now(self, who: int, events: int, at: float, node: str = "a") -> str:
        """A server reports a loss."""
        return self.lose("s", "c", node, who, events, T0 + at, T0 + at)

    def minutes(self, at: float) -> dict[tuple[int, str], tuple[int, int]]:
        """What is added since the last call: (connected, recovered) milliseconds by minute and node."""
        found, gaps, _ = self.drain(T0 + at, True)
        self.found_gaps = [*getattr(self, "found_gaps", []), *gaps]
        return {
            (minute - int(T0 // 60), node): (each.connected_ms, each.recovered_ms) for minute, (_, node), each in found
        }


def test_nothing_is_vouched_for_before_any_node_was_heard_of() -> None:
    """No news is not good news."""
    ledger = Ledger()
    assert ledger.share(T0, T0 + 60) == 0.0
    assert ledger.interrupted()


def test_time_is_vouched_for_up_to_the_newest_flow() -> None:
    """A minute and a half of flows covers a minute and a half, in the minutes it lies in."""
    ledger = Ledger()
    ledger.open(0, "a")
    for at in range(1, 91):
        ledger.flows(at)
    assert ledger.minutes(90) == {(0, "a"): (60_000, 0), (1, "a"): (30_000, 0)}
    assert ledger.share(T0, T0 + 90) == pytest.approx(1.0)
    assert not ledger.interrupted()


def test_time_before_the_ledger_is_not_vouched_for() -> None:
    """Half of the window was before anybody watched."""
    ledger = Ledger()
    ledger.open(0, "a")
    for at in range(1, 61):
        ledger.flows(at)
    assert ledger.share(T0 - 60, T0 + 60) == pytest.approx(0.5)


def test_losses_count_against_their_node() -> None:
    """A node that lost one of four events is vouched for by three quarters, its neighbour fully."""
    ledger = Ledger()
    ledger.open(0, "a", "b")
    for at in (20, 40, 59.9):
        ledger.flows(at)
    ledger.flows(59.9, node="b")
    assert ledger.lost_now(3, 1, 59) == "hubble_ring_buffer"
    assert ledger.share(T0, T0 + 60) == pytest.approx((0.75 + 1.0) / 2)
    assert ledger.lost["hubble_ring_buffer"] == 1
    assert ledger.lost_now(9, 2, 59) == "other"


def test_a_witness_recovers_an_outage() -> None:
    """The first flow after reopening is one we had: the server still had everything in between."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.flows(10)
    ledger.close(12)
    assert ledger.interrupted()
    ledger.open(40, "a", since=T0 + 5)
    ledger.flows(41, 10, 15, 35)
    ledger.flows(50)
    assert ledger.minutes(50) == {(0, "a"): (10_000 + 10_000, 30_000)}
    assert ledger.found_gaps == []
    assert ledger.share(T0, T0 + 50) == pytest.approx(1.0)


def test_without_a_witness_the_time_between_is_a_gap() -> None:
    """The first flow after reopening is newer than our last: what was between is gone."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.flows(10)
    ledger.close(12, "the relay is gone")
    ledger.open(40, "a", since=T0 + 5)
    ledger.flows(41, 25, 35)
    ledger.flows(50)
    assert ledger.minutes(50) == {(0, "a"): (20_000, 15_000)}
    assert ledger.found_gaps == [Gap("c", "a", T0 + 10, T0 + 25, "the relay is gone")]
    assert ledger.share(T0, T0 + 50) == pytest.approx(35 / 50)


def test_a_stream_that_dies_while_it_repeats_has_recovered_only_so_much() -> None:
    """What was repeated counts; the rest is open until the next stream."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.flows(10)
    ledger.close(12)
    ledger.open(40, "a", since=T0 + 5)
    ledger.flows(41, 10, 20)
    ledger.close(42)
    assert ledger.minutes(42) == {(0, "a"): (10_000, 10_000)}
    ledger.open(50, "a", since=T0 + 15)
    ledger.flows(51, 30, 45)
    assert ledger.minutes(51)[0, "a"] == (0, 15_000)
    assert ledger.found_gaps == [Gap("c", "a", T0 + 20, T0 + 30, "cut")]


def test_a_file_that_is_read_on_misses_nothing() -> None:
    """A seamless reopening needs no witness."""
    ledger = Ledger()
    ledger.open(0)
    ledger.flows(1)
    ledger.flows(10)
    ledger.close(10, "flowwatch stopped")
    ledger.open(30, seamless=True)
    ledger.flows(31, 20, 30)
    assert ledger.minutes(31) == {(0, "a"): (9_000, 20_000)}
    assert ledger.found_gaps == []


def test_a_reopened_stream_that_stays_silent_proves_nothing() -> None:
    """After a while nobody waits for the witness any more."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.flows(10)
    ledger.close(12)
    ledger.open(40, "a", since=T0 + 5)
    ledger.minutes(100)
    assert ledger.found_gaps == []
    ledger.minutes(200)
    assert ledger.found_gaps == [Gap("c", "a", T0 + 10, T0 + 40, "cut")]


def test_a_quiet_node_is_vouched_for_by_its_own_count() -> None:
    """It says twice that it has seen nothing new: up to the first time nothing was missed."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.flows(10)
    for at in (30, 45, 60, 75, 90):
        ledger.heard(at, seen=100)
    assert ledger.minutes(90) == {(0, "a"): (60_000, 0), (1, "a"): (15_000, 0)}
    ledger.heard(105, seen=103)
    ledger.heard(150, seen=103)
    assert sum(connected for connected, _ in ledger.minutes(150).values()) == 30_000
    assert ledger.share(T0, T0 + 180) < 1.0


def test_a_second_stream_of_a_node_covers_for_the_first() -> None:
    """A relay and a file bring the same node: one of them is enough."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.open(0, source="file")
    ledger.flows(10)
    ledger.flows(10, source="file")
    ledger.close(12)
    ledger.flows(30, source="file")
    assert not ledger.interrupted()
    assert ledger.minutes(30) == {(0, "a"): (30_000, 0)}


def test_a_node_that_leaves_is_no_longer_expected() -> None:
    """By the Peer service's word, or because it is on no list any more; it may come back."""
    ledger = Ledger()
    ledger.open(0, "a", source="a")
    ledger.open(0, "b", source="b")
    for at in range(1, 31):
        ledger.flows(at, source="a")
        ledger.flows(at, node="b", source="b")
    ledger.note("a", "c", Left(T0 + 30, "a"))
    ledger.close(30, source="b")
    ledger.note("peer", "c", Listed(T0 + 31, ()))
    assert ledger.nodes() == ()
    assert ledger.share(T0, T0 + 300) == pytest.approx(1.0, abs=0.04)
    ledger.note("peer", "c", Listed(T0 + 301, ("b",)))
    assert [(node.node, node.streaming) for node in ledger.nodes()] == [("b", False)]
    assert ledger.interrupted()


def test_a_relay_says_whom_it_does_not_reach() -> None:
    """An unavailable node is not streaming until its flows come again, announced or not."""
    ledger = Ledger()
    ledger.open(0)
    ledger.node_is("s", "c", "a", True, T0, T0)
    ledger.flows(10)
    ledger.node_is("s", "c", "a", False, T0 + 11, T0 + 11)
    assert [(node.streaming, node.reason) for node in ledger.nodes()] == [(False, "the relay did not reach the node")]
    ledger.flows(20, 5, 10, 20)
    assert ledger.nodes()[0].streaming
    assert ledger.minutes(20) == {(0, "a"): (10_000, 10_000)}


def test_what_we_give_up_ourselves_is_on_our_account() -> None:
    """Our own full queue is one of those who lose events."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.flows(10)
    assert ledger.note("s", "c", Shed(T0 + 11, {"a": 7})) == {"flowwatch": 7}
    assert ledger.lost["flowwatch"] == 7
    assert ledger.share(T0, T0 + 11) < 0.2


def test_the_one_event_too_many_of_a_full_ring_is_no_loss() -> None:
    """The first report of one lost event after reopening is false, though it may come late; the next is real."""
    ledger = Ledger()
    ledger.open(0, "a")
    assert ledger.lost_now(3, 1, 1) == "hubble_ring_buffer"
    ledger.flows(10)
    ledger.close(12)
    ledger.open(40, "a", since=T0 + 5)
    ledger.flows(41, 10, 40)
    assert ledger.lost_now(3, 1, 41) == ""
    assert ledger.lost_now(3, 1, 42) == "hubble_ring_buffer"
    assert (ledger.lost["hubble_ring_buffer"], ledger.lost_false) == (2, 1)


def test_a_late_word_of_an_error_is_held_against_what_came_since() -> None:
    """The node came back before the relay said that it was gone: with its flows repeated or without."""
    ledger = Ledger()
    ledger.open(0)
    for at in (10, 11, 12, 19, 20, 21):
        ledger.flows(at)
    ledger.node_is("s", "c", "a", False, T0 + 13, T0 + 22)
    assert ledger.nodes()[0].streaming
    assert ledger.minutes(22) == {(0, "a"): (11_000 - 8_000, 0)}
    assert ledger.found_gaps == [Gap("c", "a", T0 + 12, T0 + 20, "the relay did not reach the node")]
    ledger.repeats("c", "a", T0 + 25)
    ledger.node_is("s", "c", "a", False, T0 + 20, T0 + 26)
    ledger.minutes(26)
    assert len(ledger.found_gaps) == 1


def test_reported_losses_that_a_node_disproves_are_taken_back() -> None:
    """Between two answers a node saw ten flows and ten came: the ring lost nothing, whoever says so."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.flows(1)
    ledger.heard(2, seen=100)
    ledger.lost_now(3, 500, 8)
    ledger.flows(12, *range(5, 13))
    ledger.heard(20, seen=108)
    ledger.flows(30)
    assert ledger.lost["hubble_ring_buffer"] <= 1
    assert ledger.lost_false >= 499


def test_flows_a_node_saw_and_nobody_brought_are_lost_without_a_word() -> None:
    """The difference of its answers is more than came, and nobody reported a loss."""
    ledger = Ledger()
    ledger.open(0, "a")
    ledger.flows(1)
    ledger.heard(2, seen=100)
    ledger.flows(12, *range(5, 13))
    ledger.heard(20, seen=208)
    assert ledger.lost["unreported"] == 0
    ledger.flows(30)
    assert 95 <= ledger.lost["unreported"] <= 100


def test_a_skewed_clock_is_learnt() -> None:
    """A node whose clock is a minute ahead is vouched for in our time, and its gaps are in its own."""
    ledger = Ledger()
    ledger.open(0, "a")
    for at in range(1, 31):
        ledger.flows(at, at + 60.0)
    assert sum(connected for connected, _ in ledger.minutes(30).values()) == pytest.approx(30_000, abs=1)
    ledger.close(30)
    ledger.open(40, "a", since=T0 + 80)
    ledger.flows(41, 95.0)
    ledger.minutes(41)
    assert ledger.found_gaps == [Gap("c", "a", T0 + 90, T0 + 95, "cut")]


def test_after_a_restart_nobody_was_watching() -> None:
    """What was stored is proved; from there on it is an outage until a witness comes."""
    before = Ledger()
    before.open(0, "a")
    for at in range(1, 31):
        before.flows(at)
    _, _, nodes = before.drain(T0 + 30, True)
    ledger = Ledger()
    ledger.restore(nodes, [{"cluster": "c", "node": "a", "start": T0, "covered": 30, "flows": 30, "lost": 0}], T0)
    assert [(node.streaming, node.reason) for node in ledger.nodes()] == [(False, "flowwatch was not running")]
    assert ledger.share(T0, T0 + 60) == pytest.approx(0.5)
    ledger.open(60, "a", since=T0 + 25)
    ledger.flows(61, 30, 45, 60)
    assert ledger.share(T0, T0 + 61) == pytest.approx(1.0, abs=0.02)


# ── a node's own count ───────────────────────────────────────────────────────────────────────────


def test_an_agent_that_restarts_counts_anew() -> None:
    """Fewer flows seen than before, or a later start: a new base, no loss."""
    seen = SeenFlows()
    seen.heard(Answer(0, 1000, -500))
    seen.heard(Answer(20, 5, 18))
    assert seen.settle(40) == Verdict()
    seen.received(25, 10)
    seen.heard(Answer(30, 15, 18))
    assert seen.settle(40) == Verdict()


def test_in_doubt_nothing_is_claimed() -> None:
    """Flows near an answer may count on either side of it."""
    seen = SeenFlows()
    seen.heard(Answer(0.0, 0, -100))
    for second in range(1, 30):
        seen.received(second, 100)
    seen.heard(Answer(20.0, 2100, -100))
    assert seen.settle(25) == Verdict()
    seen.heard(Answer(40.0, 2900 + 2000, -100))
    assert seen.settle(50).unseen == pytest.approx(2000, abs=100)


def test_a_clock_that_is_set_right_makes_no_work_for_years() -> None:
    """A machine that began in 1970: what is vouched for is bounded, whatever the clock says next."""
    ledger = Ledger()
    ledger.note("s", "c", Opened(10.0, None, ("a",)))
    ledger.first("s", "c", "a", 11.0, 11.0)
    ledger.received("c", "a", 11.0, {11: 1}, 11.0)
    ledger.flows(0)
    assert len(ledger.drain(T0, True)[0]) < 20_000
