"""Flows a server repeats are recognised, and nothing else is."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch import keys, replays
from flowwatch.decode import best_decoder
from flowwatch.engine import Engine
from flowwatch.hubble import observer_pb2
from flowwatch.keys import keys_of
from flowwatch.receive import Batch
from flowwatch.replays import Replays
from tests.support.flowtext import parse
from tests.support.scenario import START

Flow = tuple[str, int, int]
"""(key, node, time)."""


def fresh(known: Replays, *flows: Flow) -> list[bool]:
    """Offer flows."""
    return known.fresh(
        np.array([key.encode().ljust(16) for key, _, _ in flows]).view(keys.KEY).ravel(),
        np.array([node for _, node, _ in flows], dtype=np.int64),
        np.array([time for _, _, time in flows], dtype=np.int64),
    ).tolist()


def test_a_repeated_flow_is_recognised() -> None:
    """The same key again, no newer than what the node already sent, is a repeat."""
    known = Replays()
    assert fresh(known, ("a", 1, 1), ("b", 1, 2)) == [True, True]
    assert fresh(known, ("b", 1, 2), ("c", 1, 3)) == [False, True]
    assert known.repeated == 1


def test_a_repeat_within_one_batch_is_recognised() -> None:
    """A relay may repeat a node's flows in the middle of a batch."""
    known = Replays()
    assert fresh(known, ("a", 1, 1), ("b", 1, 2), ("a", 1, 1), ("b", 1, 2), ("c", 1, 3)) == [
        True, True, False, False, True,
    ]  # fmt: skip


def test_late_flows_are_no_repeats() -> None:
    """An older flow with a key of its own is new, on the same node and on another."""
    known = Replays()
    fresh(known, ("a", 1, 10))
    assert fresh(known, ("b", 1, 5), ("c", 2, 5)) == [True, True]


def test_what_a_ring_holds_is_remembered_and_little_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by what the node's server can still have."""
    monkeypatch.setattr(replays, "CHUNK", 1)
    known = Replays()
    known.expect(1, ring=2)
    for at, key in enumerate("abcd"):
        fresh(known, (key, 1, at))
    assert fresh(known, ("a", 1, 0), ("c", 1, 2), ("d", 1, 3)) == [True, False, False]


def test_all_nodes_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more nodes than room, they share it."""
    monkeypatch.setattr(replays, "CHUNK", 1)
    monkeypatch.setattr(replays, "MOST", 100)
    known = Replays()
    for time in range(100):
        fresh(known, *((f"{node}/{time}", node, time) for node in range(10)))
    assert len(known) == 100
    assert fresh(known, *((f"{node}/99", node, 99) for node in range(10))) == [False] * 10


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=12), max_size=12))
def test_every_flow_is_fresh_once(batches: list[list[tuple[int, int]]]) -> None:
    """Whatever order flows and their repeats come in, as long as they are remembered: the first time is new."""
    known, seen = Replays(), set()
    for batch in batches:
        flows = [(f"{node}-{time}", node, time) for node, time in batch]
        expected = []
        for key, _, _ in flows:
            expected.append(key not in seen)
            seen.add(key)
        assert fresh(known, *flows) == expected


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def message(**fields: object) -> bytes:
    """A flow at one second with these fields."""
    response = observer_pb2.GetFlowsResponse()
    response.flow.time.seconds = 1
    for name, value in fields.items():
        setattr(response.flow, name, value)
    return response.SerializeToString()


def made(*messages: bytes) -> list[bytes]:
    """The keys of messages."""
    return [each.tobytes() for each in keys_of(best_decoder().decode(list(messages)).flows)]


@given(st.lists(st.uuids(), min_size=1, max_size=5))
def test_a_uuid_is_its_own_key(uuids: list[uuid.UUID]) -> None:
    """Its sixteen bytes, whatever stands beside it."""
    assert made(*(message(uuid=str(each)) for each in uuids)) == [each.bytes for each in uuids]
    assert made(message(uuid="odd"), *(message(uuid=str(each)) for each in uuids))[1:] == [e.bytes for e in uuids]


def test_a_flow_without_uuid_is_known_by_what_it_says() -> None:
    """The same content is the same flow; any difference makes another."""
    one, same, other = made(message(node_name="a"), message(node_name="a"), message(node_name="b"))
    assert one == same != other
    assert made(message(node_name="a", verdict=2))[0] != one
    assert made(message(node_name="a"), message(uuid=str(uuid.UUID(int=1))))[0] == one


def test_the_engine_counts_a_repeat_once() -> None:
    """A batch offered twice leaves one set of rows, edges and counts."""
    messages = [
        line.message for line in parse("+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN", START)
    ]
    engine = Engine(cluster="test")
    assert engine.ingest(Batch("relay", "test", messages), START).flows == 1
    again = engine.ingest(Batch("relay", "test", messages), START)
    assert (again.flows, again.repeated) == (0, 1)
    assert engine.pending_rows == 1


def test_a_flow_whose_fields_stand_in_another_order_is_taken_beside_a_status() -> None:
    """Servers write the flow first; whoever does not loses nothing when a node's state comes in the same batch."""
    (line,) = parse("+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN", START)
    response = observer_pb2.GetFlowsResponse.FromString(line.message)
    flow = observer_pb2.GetFlowsResponse(flow=response.flow).SerializeToString()
    response.ClearField("flow")
    response.node_name = "node-1"
    status = observer_pb2.GetFlowsResponse()
    status.node_status.node_names.append("node-1")
    messages = [status.SerializeToString(), response.SerializeToString() + flow, b"\x12\xff"]
    counts = Engine(cluster="test").ingest(Batch("relay", "test", messages), START)
    assert (counts.flows, counts.undecodable) == (1, 1)
