"""Flows a server repeats are recognised, and nothing else is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from flowwatch.engine import Engine
from flowwatch.replays import Replays
from tests.support.flowtext import parse
from tests.support.scenario import START


def fresh(replays: Replays, *flows: tuple[str, str, int]) -> list[bool]:
    """Offer flows given as (uuid, node, time)."""
    nodes = sorted({node for _, node, _ in flows})
    return replays.fresh(
        pa.array([uuid for uuid, _, _ in flows], pa.string()),
        nodes,
        np.array([nodes.index(node) for _, node, _ in flows], dtype=np.int64),
        np.array([time for _, _, time in flows], dtype=np.int64),
    ).tolist()


def test_a_repeated_flow_is_recognised() -> None:
    """The same uuid again, no newer than what the node already sent, is a repeat."""
    replays = Replays()
    assert fresh(replays, ("a", "n1", 1), ("b", "n1", 2)) == [True, True]
    assert fresh(replays, ("b", "n1", 2), ("c", "n1", 3)) == [False, True]
    assert replays.repeated == 1


def test_late_flows_are_no_repeats() -> None:
    """An older flow with a uuid of its own is new, on the same node and on another."""
    replays = Replays()
    fresh(replays, ("a", "n1", 10))
    assert fresh(replays, ("b", "n1", 5), ("c", "n2", 5)) == [True, True]


def test_flows_without_uuid_are_never_repeats() -> None:
    """Nothing identifies them, so nothing is left out."""
    replays = Replays()
    assert fresh(replays, ("", "n1", 1)) == [True]
    assert fresh(replays, ("", "n1", 1)) == [True]


def test_memory_is_bounded() -> None:
    """What is older than the bound is forgotten; the newest batch is always remembered."""
    replays = Replays(remembered=2)
    fresh(replays, ("a", "n1", 1), ("b", "n1", 2))
    fresh(replays, ("c", "n1", 3), ("d", "n1", 4))
    assert fresh(replays, ("a", "n1", 1), ("d", "n1", 4)) == [True, False]


def test_the_engine_counts_a_repeat_once() -> None:
    """A batch offered twice leaves one set of rows, edges and counts."""
    messages = [
        line.message for line in parse("+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN", START)
    ]
    engine = Engine(cluster="test")
    assert engine.ingest(messages, START).flows == 1
    again = engine.ingest(messages, START)
    assert (again.flows, again.repeated) == (0, 1)
    assert engine.pending_rows == 1
