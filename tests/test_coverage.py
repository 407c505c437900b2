"""What can be vouched for: of each node what reached us, and nothing of a node that is not streaming."""

from __future__ import annotations

import numpy as np
import pytest

from flowwatch.coverage import Coverage


def received(coverage: Coverage, now: float, **flows: int) -> None:
    """So many flows of each node, all at `now`."""
    names = list(flows)
    node = np.repeat(np.arange(len(names), dtype=np.int64), list(flows.values()))
    coverage.received(names, node, np.full(len(node), int(now * 1e9)), np.ones(len(node), np.int64), now)


def test_nothing_is_vouched_for_before_any_node_was_heard_of() -> None:
    """No news is not good news."""
    assert Coverage("c").ratio() == 0.0


def test_losses_count_against_their_node() -> None:
    """A node that lost one of four events is vouched for by three quarters, its neighbour fully."""
    coverage = Coverage("c")
    received(coverage, 60.0, a=3, b=8)
    assert coverage.lose("a", 3, 1, 61.0) == "hubble_ring_buffer"
    assert coverage.ratio() == pytest.approx((0.75 + 1.0) / 2)
    assert coverage.lost["hubble_ring_buffer"] == 1


def test_a_silent_node_is_not_vouched_for() -> None:
    """An unavailable node counts as nothing until it sends flows again."""
    coverage = Coverage("c")
    received(coverage, 60.0, a=1, b=1)
    coverage.node_is("b", False, 61.0)
    assert coverage.ratio() == 0.5
    assert {node.node: node.streaming for node in coverage.nodes()} == {"a": True, "b": False}
    received(coverage, 62.0, b=1)
    assert coverage.ratio() == 1.0


def test_without_a_stream_there_is_no_coverage() -> None:
    """While the stream is down, no node is streaming."""
    coverage = Coverage("c")
    received(coverage, 60.0, a=1)
    coverage.interrupted = True
    assert coverage.ratio() == 0.0
    assert not coverage.nodes()[0].streaming


def test_minutes_are_handed_over_once() -> None:
    """Each minute and node with what was received and lost in it; quiet nodes are there with zeros."""
    coverage = Coverage("c")
    received(coverage, 59.0, a=2)
    received(coverage, 61.0, a=1)
    coverage.lose("b", 1, 5, 61.0)
    assert coverage.drain(62.0) == [
        (0.0, "a", 2, 0, 0, 0, 0, True),
        (60.0, "a", 1, 0, 0, 0, 0, True),
        (60.0, "b", 0, 5, 0, 0, 0, True),
    ]
    assert coverage.drain(121.0) == [(120.0, "a", 0, 0, 0, 0, 0, True), (120.0, "b", 0, 0, 0, 0, 0, True)]


def test_a_newer_source_of_loss_is_counted_too() -> None:
    """Whoever loses events under a number we do not know is `other`."""
    coverage = Coverage("c")
    assert coverage.lose("a", 9, 2, 1.0) == "other"
    assert coverage.lost["other"] == 2
