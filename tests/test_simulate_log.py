"""What the simulated servers remember, and what their readers are told they missed."""

from __future__ import annotations

import threading

import pytest

from flowwatch.hubble import flow_pb2, observer_pb2
from flowwatch.simulate.log import CAPACITY, Log, Span
from flowwatch.simulate.service import Observer, Source
from flowwatch.simulate.stage import Event
from tests.support.patience import ENDLESS, PATIENCE, ends
from tests.support.simulated import SECOND, START, decode, played


def flows(count: int, *nodes: str) -> list[Event]:
    """So many flows, a second apart, of some nodes in turn."""
    template = next(event.template for event in played().events if event.template is not None)
    return [
        Event(START + number * SECOND, nodes[number % len(nodes)], b"%d" % number, template) for number in range(count)
    ]


class Client:
    """The server's view of a client that is always there."""

    def is_active(self) -> bool:
        """It never hangs up."""
        return True

    def add_callback(self, _callback: object) -> bool:
        """It never will."""
        return True

    def send_initial_metadata(self, _metadata: object) -> None:
        """It does not look."""


def everything(_event: Event) -> bool:
    """No filter."""
    return True


def numbers(events: list[Event]) -> list[int]:
    """What `flows` numbered."""
    return [int(event.message) for event in events]


def test_a_node_forgets_all_but_its_newest() -> None:
    """4095 messages each; the newest can be read at once."""
    log = Log(["a", "b"])
    log.append(flows(CAPACITY + 10, "a"))
    log.append(flows(3, "b"))

    history, _ = log.open(Span(), everything)

    assert log.capacity == 2 * 4095
    assert log.sizes() == {"a": (4095, 4105), "b": (3, 3)}
    assert sorted(numbers([event for event in history if event.node == "a"]))[0] == 10
    assert max(numbers(history)) == CAPACITY + 9


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(), [0, 1, 2, 3, 4, 5, 6, 7]),
        (Span(last=2), [4, 5, 6, 7]),
        (Span(first=2), [0, 1, 2, 3]),
        (Span(since=START + 5 * SECOND), [5, 6, 7]),
        (Span(since=START + 3 * SECOND, first=1), [3, 4]),
        (Span(until=START + 2 * SECOND), [0, 1, 2]),
        (Span(until=START + 5 * SECOND, last=1), [4, 5]),
        (Span(since=START + 100 * SECOND), []),
    ],
)
def test_history_is_chosen_per_node(span: Span, expected: list[int]) -> None:
    """Numbers count for each node on its own; what is chosen comes in the order of time."""
    log = Log(["a", "b"])
    log.append(flows(8, "a", "b"))

    history, _ = log.open(span, everything)

    assert numbers(history) == expected


def test_filters_come_before_numbers() -> None:
    """The newest two that are wanted, not the wanted of the newest two."""
    log = Log(["a"])
    log.append(flows(10, "a"))

    history, _ = log.open(Span(last=2), lambda event: int(event.message) % 3 == 0)

    assert numbers(history) == [6, 9]


def test_lost_events_always_come_and_never_count() -> None:
    """Whatever the filter."""
    log = Log(["a"])
    one, two = flows(2, "a")
    log.append([one, Event(START, "a", b"-1", lost=4), two])

    history, _ = log.open(Span(last=1), lambda _event: False)

    assert numbers(history) == [-1]


def test_a_reader_gets_what_comes_after_its_history() -> None:
    """Nothing twice, nothing left out."""
    log = Log(["a"])
    events = flows(6, "a")
    log.append(events[:3])
    history, reader = log.open(Span(), everything)
    log.append(events[3:])

    live, lost = log.read(reader, 100, 0, lambda: True)

    assert numbers(history + live) == [0, 1, 2, 3, 4, 5]
    assert lost == {}
    assert log.at_end(reader)


def test_a_reader_that_is_too_slow_learns_what_it_missed() -> None:
    """How many, of which node; then it goes on with the oldest there is."""
    log = Log(["a", "b"])
    _, reader = log.open(Span(), everything)
    total = 50_000
    for _ in range(2):
        log.append(flows(total // 2, "a", "a", "a", "b"))

    taken, lost = 0, {"a": 0, "b": 0}
    while not log.at_end(reader):
        events, missed = log.read(reader, 512, 0, lambda: True)
        taken += len(events)
        for node, count in missed.items():
            lost[node] += count

    assert taken == 1 << 15
    assert taken + sum(lost.values()) == total
    assert lost["a"] == pytest.approx(3 * lost["b"], rel=0.01)


def test_a_slow_stream_is_told_what_it_missed() -> None:
    """As LostEvents of the ring buffers of the nodes that lost something, before what comes next."""
    log = Log([node.name for node in played().cluster.nodes])
    source = Source(lambda: None, lambda _reader: False, list, lambda: False, lambda: START / SECOND)
    stream = Observer(played().cluster, log, source).get_flows(observer_pb2.GetFlowsRequest(follow=True), Client())
    assert decode(next(stream)).HasField("node_status")
    events = flows(40_000, "talos-w-1", "talos-w-2")
    log.append(events[:1])
    assert next(stream) == events[0].message

    log.append(events[1:])
    lost = [decode(next(stream)) for _ in range(2)]

    total = 40_000 - (1 << 15) - 1
    assert {each.node_name: each.lost_events.num_events_lost for each in lost} == {
        "talos-w-1": total // 2,
        "talos-w-2": total - total // 2,
    }
    assert {each.lost_events.source for each in lost} == {flow_pb2.HUBBLE_RING_BUFFER}
    assert next(stream) == events[total + 1].message


def test_a_quiet_log_keeps_its_readers_waiting() -> None:
    """Until something comes, they are woken, or their patience ends."""
    log = Log(["a"])
    _, reader = log.open(Span(), everything)
    assert log.read(reader, 10, 0.01, lambda: True) == ([], {})

    read: list[Event] = []
    thread = threading.Thread(target=lambda: read.extend(log.read(reader, 10, ENDLESS, lambda: True)[0]), daemon=True)
    thread.start()
    log.append(flows(1, "a"))
    thread.join(PATIENCE)
    assert numbers(read) == [0]

    told: list[tuple[list[Event], dict[str, int]]] = []
    ends(lambda: told.append(log.read(reader, 10, ENDLESS, lambda: False)), "a reader without patience")
    assert told == [([], {})]


def test_the_rate_is_that_of_the_last_minute() -> None:
    """In messages a second."""
    log = Log(["a"])
    now = START / SECOND
    assert log.rate(now) == 0.0

    for event in flows(121, "a"):
        log.append([event])

    assert log.rate(now + 120) == pytest.approx(1.0, rel=0.05)
    assert log.rate(now + 1000) == 0.0
