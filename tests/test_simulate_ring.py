"""What simulated nodes remember, and what their readers are told they missed: the habits of Hubble's ring."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowwatch.hubble import flow_pb2
from flowwatch.simulate.cluster import make_cluster
from flowwatch.simulate.ring import CAPACITY, Cursor, Item, Query, Ring, Rings
from flowwatch.simulate.stage import Event
from tests.support.simulated import SECOND, START, decode, played

NODE = make_cluster(name="prod").nodes[3]
FLOW = next(event.template for event in played().events if event.template is not None)


def flow(number: int) -> Event:
    """A flow, dated so many seconds after the start."""
    return Event(START + number * SECOND, NODE.name, b"%d" % number, FLOW, f"uuid-{number}")


def ring_of(count: int, capacity: int = CAPACITY, lost_interval: float = 1.0) -> tuple[Rings, Ring]:
    """A ring that so many flows were written to."""
    rings = Rings([NODE], capacity, lost_interval)
    rings.append(flow(number) for number in range(count))
    return rings, rings.by_node[NODE.name]


def drained(cursor: Cursor, now: int = 0) -> list[Item]:
    """All there is to read at a time."""
    items = cursor.read(512, now)
    while cursor.behind:
        items += cursor.read(512, now)
    return items


def numbers(items: Sequence[Item]) -> list[int]:
    """The flows among messages, as `flow` numbered them."""
    return [int(item.message) for item in items if item.sequence >= 0]


def losses(items: Sequence[Item]) -> list[int]:
    """The counts of the LostEvents among messages."""
    return [item.lost for item in items if item.sequence < 0]


def test_the_newest_event_cannot_be_read_until_the_next_is_written() -> None:
    """Three events written: two can be read; the last message of a burst waits, also for a follower."""
    rings, ring = ring_of(3)
    follower = ring.open(Query(follow=True, number=10))

    assert numbers(drained(ring.open(Query()))) == [0, 1]
    assert numbers(drained(follower)) == [0, 1]

    rings.append([flow(3)])
    assert numbers(drained(follower)) == [2]


def test_an_agents_own_event_frees_the_last_flow_and_is_not_sent() -> None:
    """The ring holds more than flows."""
    rings, ring = ring_of(2)
    rings.append([Event(START, NODE.name, b"")])
    rings.append([Event(START, NODE.name, b"")])

    assert numbers(drained(ring.open(Query()))) == [0, 1]
    assert (ring.size(), ring.flows) == (4, 2)


def test_only_the_newest_events_are_remembered() -> None:
    """As many as its capacity, besides the one that cannot be read."""
    _, ring = ring_of(CAPACITY + 100)

    assert numbers(drained(ring.open(Query(first=True)))) == list(range(99, CAPACITY + 99))
    assert (ring.size(), ring.flows) == (4095, 4195)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(), range(9)),
        (Query(number=3), [6, 7, 8]),
        (Query(number=3, first=True), [0, 1, 2]),
        (Query(first=True), range(9)),
        (Query(since=START + 5 * SECOND), [5, 6, 7, 8]),
        (Query(since=START + 5 * SECOND, number=2), [5, 6]),
        (Query(since=START + 5 * SECOND, number=1, follow=True), [5, 6, 7, 8]),
        (Query(until=START + 4 * SECOND), [0, 1, 2, 3, 4]),
        (Query(number=3, until=START + 7 * SECOND), [6, 7]),
        (Query(since=START + 100 * SECOND), []),
        (Query(follow=True), [8]),
        (Query(follow=True, number=4), [5, 6, 7, 8]),
        (Query(number=2, passes=lambda event: int(event.message) % 3 == 0), [3, 6]),
    ],
)
def test_where_a_request_begins_and_ends(query: Query, expected: Sequence[int]) -> None:
    """Ten flows, nine of them readable. since wins over number; until only ends; a bare follow repeats one flow."""
    _, ring = ring_of(10)

    assert numbers(drained(ring.open(query))) == list(expected)


def test_an_empty_ring_gives_an_empty_stream_that_ends() -> None:
    """Unless it is followed."""
    _, ring = ring_of(0)
    once, follower = ring.open(Query()), ring.open(Query(follow=True))

    assert drained(once) == drained(follower) == []
    assert once.done
    assert not follower.done


@pytest.mark.parametrize(
    ("query", "spurious"),
    [
        (Query(), [1]),
        (Query(number=1 << 62), [1]),
        (Query(since=START), [1]),
        (Query(since=START, follow=True), [1]),
        (Query(first=True), []),
        (Query(number=5), []),
        (Query(since=START + 60 * SECOND), []),
    ],
)
def test_a_scan_of_a_whole_full_ring_finds_one_event_lost(query: Query, spurious: list[int]) -> None:
    """Told at the head of the replay by servers before 1.19; in rings that never were full, never."""
    _, full = ring_of(70, capacity=31, lost_interval=0)
    _, roomy = ring_of(20, capacity=31, lost_interval=0)

    items = drained(full.open(query))

    assert losses(items) == spurious
    assert [item.sequence for item in items[: len(spurious)]] == [-1] * len(spurious)
    assert losses(drained(roomy.open(query))) == []


def test_a_short_query_ends_before_losses_are_told() -> None:
    """Since 1.19 they are collected for a second, and forgotten with the stream."""
    _, ring = ring_of(70, capacity=31)

    assert losses(drained(ring.open(Query()))) == []


def test_a_lagging_reader_is_told_once_a_second() -> None:
    """How many, and between when; with the next event that is read, not before."""
    rings, ring = ring_of(10, capacity=31)
    cursor = ring.open(Query(follow=True))
    assert numbers(drained(cursor, START)) == [8]

    rings.append(flow(number) for number in range(10, 100))
    first = drained(cursor, START)
    rings.append(flow(number) for number in range(100, 200))
    second = drained(cursor, START + SECOND // 2)
    silence = cursor.read(512, START + 5 * SECOND)
    rings.append([flow(200)])
    third = cursor.read(512, START + 5 * SECOND)

    assert losses(first) == losses(second) == silence == []
    told = decode(third[0].message)
    got = len(numbers(first + second))
    assert told.lost_events.source == flow_pb2.HUBBLE_RING_BUFFER
    assert told.lost_events.num_events_lost == third[0].lost == 199 - 9 - got
    assert told.lost_events.first.ToNanoseconds() == START
    assert told.lost_events.last.ToNanoseconds() == START + SECOND // 2
    assert told.node_name == "prod/talos-w-1"
    assert numbers(third) == [199]


def test_older_servers_tell_of_each_lost_event() -> None:
    """At once, one message for each, without saying when."""
    rings, ring = ring_of(2, capacity=31, lost_interval=0)
    cursor = ring.open(Query(follow=True))
    drained(cursor)
    rings.append(flow(number) for number in range(2, 43))

    items = drained(cursor, START)

    assert losses(items) == [1] * 10
    assert not decode(items[0].message).lost_events.HasField("first")
    assert numbers(items) == list(range(11, 42))


def test_lost_events_of_a_node_always_come_and_never_count() -> None:
    """Whatever the filter, whatever the number."""
    rings, ring = ring_of(1)
    rings.append([Event(START, NODE.name, b"-1", lost=4), flow(1), flow(2)])

    assert numbers(drained(ring.open(Query(passes=lambda _event: False)))) == [-1]
    assert numbers(drained(ring.open(Query(number=2)))) == [0, -1, 1]


def test_a_restarted_agent_remembers_nothing() -> None:
    """Not even the event that nobody could read; its numbers go on."""
    rings, ring = ring_of(50, capacity=31)
    ring.restart()
    assert (ring.size(), ring.flows) == (0, 0)
    assert drained(ring.open(Query())) == []

    rings.append([flow(50), flow(51)])
    items = drained(ring.open(Query(since=START)))

    assert numbers(items) == [50]
    assert items[0].sequence == 50


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=8),
)
def test_a_reader_gets_or_loses_each_event_once(capacity: int, steps: list[tuple[int, int]]) -> None:
    """What was read and what was told as lost add up to all that was written, but for the newest."""
    rings, ring = ring_of(0, capacity=capacity, lost_interval=0)
    cursor = ring.open(Query(follow=True))
    read: list[Item] = []
    written = 0
    for grown, most in steps:
        rings.append(flow(number) for number in range(written, written + grown))
        written += grown
        read += cursor.read(most, START)
    read += drained(cursor, START)

    sequences = [item.sequence for item in read if item.sequence >= 0]
    assert sequences == sorted(set(sequences))
    assert len(sequences) + sum(losses(read)) == max(written - 1, 0)


def test_a_quiet_ring_keeps_its_readers_waiting() -> None:
    """Until there is something to read, or they are woken."""
    rings, ring = ring_of(1)
    cursor = ring.open(Query(follow=True))
    read: list[Item] = []

    def wait() -> None:
        while not (fresh := cursor.read(10, START)):
            rings.wait((cursor,), 30)
        read.extend(fresh)

    thread = threading.Thread(target=wait)
    thread.start()
    rings.append([flow(1)])
    thread.join(30)

    assert numbers(read) == [0]


def test_the_rate_is_that_of_the_last_minute() -> None:
    """In flows a second."""
    _, ring = ring_of(121)
    now = START / SECOND + 120

    assert ring.rate(now) == pytest.approx(1.0, rel=0.05)
    assert ring.rate(now + 1000) == 0.0
    assert ring_of(0)[1].rate(now) == 0.0
