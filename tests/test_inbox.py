"""What waits to be worked on: in order, fair, bounded, and nothing given up without being counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.decode.fallback import FallbackDecoder
from flowwatch.hubble.flow_pb2 import Flow, LostEvent
from flowwatch.hubble.observer_pb2 import GetFlowsResponse
from flowwatch.hubble.projection_pb2 import Response
from flowwatch.hubble.relay_pb2 import NODE_CONNECTED, NodeStatusEvent
from flowwatch.receive import Batch, Closed, Heard, Notice, Opened, Shed
from flowwatch.receive.inbox import Inbox, Lane
from flowwatch.receive.rawnames import is_flow, node_of

PATIENCE = 30.0


def inbox(budget: int = 1 << 20, batch_size: int = 3, patience: float = 0.0, interval: float = 0.0) -> Inbox:
    """A box whose lanes may be taken from at any time."""
    return Inbox(budget=budget, batch_size=batch_size, interval=interval, patience=patience, clock=lambda: 7.0)


def flow(node: str, number: int = 0, size: int = 0) -> bytes:
    """A flow as servers send it."""
    inner = Flow(uuid=str(number), node_name=node, Summary="x" * size)
    return GetFlowsResponse(flow=inner, node_name=node).SerializeToString()


def fill(lane: Lane, *messages: bytes) -> None:
    lane.fill(messages, time.monotonic)


def taken(box: Inbox) -> list[Batch]:
    """Everything that waits."""
    box.close()
    batches = []
    while (batch := box.take(0)) is not None:
        batches.append(batch)
    return batches


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


# Order


def test_messages_and_notices_keep_their_order() -> None:
    """Notices come before the messages after them, and end the batch before."""
    box = inbox()
    lane = box.lane("relay:80", "prod")
    opened, heard, closed = Opened(1.0, None), Heard(2.0), Closed(3.0, 3.0, "over")
    lane.note(opened)
    fill(lane, b"a", b"b")
    lane.note(heard)
    lane.note(closed)
    fill(lane, b"c", b"d", b"e", b"f")
    assert taken(box) == [
        Batch("relay:80", "prod", [b"a", b"b"], (opened,)),
        Batch("relay:80", "prod", [b"c", b"d", b"e"], (heard, closed)),
        Batch("relay:80", "prod", [b"f"], ()),
    ]


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.just("note"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("take"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(moves=MOVES, budget=st.sampled_from([600, 5_000, 1 << 20]))
@settings(deadline=None)
def test_every_message_is_taken_or_counted_as_given_up(moves: list[tuple[str, int, int]], budget: int) -> None:
    """Whatever is put and taken in whatever order: per stream, what comes out is what went in, in order, without
    the messages that `Shed` counts where they are missing; and never is more held than the budget and a step."""
    box = inbox(budget=budget)
    lanes = [box.lane(f"node-{index}", "c") for index in range(3)]
    put: list[list[bytes | Notice]] = [[], [], []]
    got: list[list[bytes | Notice]] = [[], [], []]
    number = 0

    def note(batch: Batch) -> None:
        got[int(batch.source[-1])] += [*batch.notices, *batch.messages]

    for what, index, count in moves:
        if what == "put":
            messages = [flow(f"node-{index}", number + each) for each in range(count)]
            number += count
            fill(lanes[index], *messages)
            put[index] += messages
            assert sum(lane.weight for lane in lanes) <= budget + 4 * box.step + 200
        elif what == "note":
            notice = Heard(float(number))
            lanes[index].note(notice)
            put[index].append(notice)
        elif (batch := box.take(0)) is not None:
            note(batch)
    for batch in taken(box):
        note(batch)
    for index in range(3):
        rest = iter(put[index])
        for item in got[index]:
            if not isinstance(item, Shed):
                assert any(each == item for each in rest), "out of order, or from nowhere"
        lost = Counter[str]()
        for item in got[index]:
            if isinstance(item, Shed):
                lost.update(item.nodes)
        missing = len(put[index]) - sum(not isinstance(item, Shed) for item in got[index])
        assert lost.total() == missing
        assert set(lost) <= {f"node-{index}"}
    assert box.held == (0, 0)


def test_a_shed_stands_where_messages_are_missing() -> None:
    """The oldest go, whole batches of them; what happened to the stream, nodes' states and losses stay."""
    box = inbox(budget=10_000, batch_size=4)
    lane = box.lane("relay:80", "prod")
    state = GetFlowsResponse(
        node_status=NodeStatusEvent(state_change=NODE_CONNECTED, node_names=["a"]), node_name="relay"
    ).SerializeToString()
    lost = GetFlowsResponse(lost_events=LostEvent(num_events_lost=3), node_name="a").SerializeToString()
    opened = Opened(1.0, None)
    lane.note(opened)
    old = [flow("a", 1), flow("b", 2)]
    fill(lane, state, old[0], lost, old[1])
    new = [flow("c", number, 2000) for number in range(6)]
    for message in new:
        fill(lane, message)
    batches = taken(box)
    shed = [notice for batch in batches for notice in batch.notices if isinstance(notice, Shed)]
    messages = [message for batch in batches for message in batch.messages]
    assert batches[0].notices[0] == opened
    assert shed[0] == Shed(7.0, {"a": 1})
    assert sum((Counter(each.nodes) for each in shed), Counter())["b"] == 1
    assert messages[:2] == [state, lost]
    kept = messages[2:]
    assert kept == new[-len(kept) :]
    assert sum(sum(each.nodes.values()) for each in shed) == 2 + len(new) - len(kept)


def test_the_fullest_lane_loses() -> None:
    """A quiet node keeps its flows when a noisy one fills the memory."""
    box = inbox(budget=20_000, batch_size=5)
    quiet, noisy = box.lane("quiet", "c"), box.lane("noisy", "c")
    fill(quiet, flow("quiet", 1))
    for number in range(200):
        fill(noisy, flow("noisy", number, 500))
    batches = taken(box)
    assert [message for batch in batches if batch.source == "quiet" for message in batch.messages] == [flow("quiet", 1)]
    assert not [
        notice for batch in batches if batch.source == "quiet" for notice in batch.notices if isinstance(notice, Shed)
    ]
    assert any(isinstance(notice, Shed) for batch in batches for notice in batch.notices)


def test_a_burst_waits_and_nothing_is_given_up() -> None:
    """A stream that comes faster than it is taken is held back for a while first: a replay loses nothing."""
    box = inbox(budget=20_000, batch_size=10, patience=PATIENCE)
    lane = box.lane("node", "c")
    sent = [flow("node", number, 300) for number in range(500)]
    filling = threading.Thread(target=fill, args=(lane, *sent))
    filling.start()
    until(lambda: lane.weight > 10_000)
    got: list[bytes] = []
    most = 0
    deadline = time.monotonic() + PATIENCE
    while len(got) < len(sent):
        assert time.monotonic() < deadline
        most = max(most, lane.weight)
        if (batch := box.take(0.05)) is not None:
            assert batch.notices == ()
            got += batch.messages
    filling.join(PATIENCE)
    assert got == sent
    assert most <= 20_000 + box.step + 500


def test_a_lane_below_its_share_does_not_wait_for_the_others() -> None:
    """While the noisy one is held back, the quiet one goes on."""
    box = inbox(budget=20_000, batch_size=10, patience=PATIENCE)
    noisy, quiet = box.lane("noisy", "c"), box.lane("quiet", "c")
    sent = [flow("noisy", number, 300) for number in range(200)]
    filling = threading.Thread(target=fill, args=(noisy, *sent))
    filling.start()
    until(lambda: noisy.weight > 10_000)
    fill(quiet, *(flow("quiet", number, 400) for number in range(8)))
    assert filling.is_alive()
    assert quiet.messages == 8
    box.close()
    filling.join(PATIENCE)
    assert not filling.is_alive()


def test_lanes_are_taken_from_in_turn() -> None:
    """A lane with much does not keep the others waiting."""
    box = inbox(batch_size=2)
    lanes = [box.lane(name, "c") for name in "abc"]
    for lane in lanes:
        fill(lane, *(b"x" for _ in range(6)))
    order = [batch.source for _ in range(9) if (batch := box.take(0)) is not None]
    assert order == list("abcabcabc")


def test_whole_batches_wait_for_room() -> None:
    """Files wait; their batches come out as they went in, position and all."""
    box = inbox()
    lane = box.handed_lane()
    batches = [Batch("file", "c", [str(number).encode()], position=str(number)) for number in range(10)]
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.extend(lane.hand(batch) for batch in batches))
    thread.start()
    got = []
    deadline = time.monotonic() + PATIENCE
    while len(got) < 10:
        assert time.monotonic() < deadline
        assert len(lane.items) <= 2
        if (batch := box.take(0.05)) is not None:
            got.append(batch)
    thread.join(PATIENCE)
    assert (got, done) == (batches, [True] * 10)
    box.close()
    assert not lane.hand(batches[0])


# Whose message


NAMES = st.text(max_size=12)


@settings(deadline=None)
@given(
    outer=NAMES,
    inner=NAMES,
    size=st.integers(0, 300),
    port=st.integers(0, 65535),
    kind=st.sampled_from(["flow", "lost", "status"]),
)
def test_the_node_found_is_the_one_decoded(outer: str, inner: str, size: int, port: int, kind: str) -> None:
    """On every message in which servers name a node, in one place or in both, cheap and full reading agree."""
    if kind == "flow":
        both = inner if outer else ""
        body = Flow(node_name=both or inner, Summary="s" * size, uuid="u")
        body.l4.TCP.destination_port = port
        message = GetFlowsResponse(flow=body, node_name=both if outer else "").SerializeToString()
        assert node_of(message) == FallbackDecoder().decode([message]).flows.node.to_pylist()[0]
        assert is_flow(message)
    elif kind == "lost":
        message = GetFlowsResponse(lost_events=LostEvent(num_events_lost=port), node_name=outer).SerializeToString()
        assert node_of(message) == outer
        assert not is_flow(message)
    else:
        message = GetFlowsResponse(node_status=NodeStatusEvent(message=inner), node_name=outer).SerializeToString()
        assert node_of(message) == outer
        assert not is_flow(message)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_without_an_error(noise: bytes) -> None:
    """Nothing raises, and what the response itself names counts whatever else it holds."""
    assert isinstance(node_of(noise), str)
    named = noise + GetFlowsResponse(node_name="n").SerializeToString()
    try:
        response = Response.FromString(named)
    except DecodeError:
        return
    assert node_of(named) == (response.node_name or response.flow.node_name)


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_message_cut_short_belongs_to_nobody(cut: int) -> None:
    """Half a name is no name."""
    whole = flow("cluster/node-1", 5)
    assert node_of(whole) == "cluster/node-1"
    assert node_of(whole[:-cut]) in ("", "cluster/node-1")
