"""What servers answer besides flows, damaged: status, nodes, notifications. Nothing ends, and the books stay sound.

Whatever comes is put through all it goes through in the daemon: the subscription, the inbox, the ledger, and
the rows for the store.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.arrivals import Arrivals
from flowwatch.counts import Counts
from flowwatch.decode import best_decoder
from flowwatch.hubble.observer_pb2 import GetNodesResponse, ServerStatusResponse
from flowwatch.hubble.peer_pb2 import ChangeNotification
from flowwatch.receive import NoResume, Opened
from flowwatch.receive.channel import GET_NODES, SERVER_STATUS, Reply
from flowwatch.receive.inbox import Inbox
from flowwatch.receive.peers import Notifications
from flowwatch.receive.subscription import Flows
from flowwatch.stream_rows import stream_rows

NOW = 1_790_000_000.0
COUNTS = st.integers(0, 2**64 - 1)
NAMES = st.text(max_size=8)


@st.composite
def good_nodes(draw: st.DrawFn) -> bytes:
    """An answer of a relay that is well formed, however absurd."""
    response = GetNodesResponse()
    for _ in range(draw(st.integers(0, 3))):
        response.nodes.add(
            name=draw(NAMES), state=draw(st.integers(0, 9)), uptime_ns=draw(COUNTS), seen_flows=draw(COUNTS),
            max_flows=draw(COUNTS), num_flows=draw(COUNTS),
        )  # fmt: skip
    return response.SerializeToString()


@st.composite
def good_status(draw: st.DrawFn) -> bytes:
    """An answer of a node that is well formed, however absurd."""
    response = ServerStatusResponse(
        seen_flows=draw(COUNTS), uptime_ns=draw(COUNTS), max_flows=draw(COUNTS), version=draw(NAMES),
        unavailable_nodes=draw(st.lists(NAMES, max_size=3)),
    )  # fmt: skip
    return response.SerializeToString()


@st.composite
def damaged(draw: st.DrawFn, good: st.SearchStrategy[bytes]) -> bytes:
    """Something good with some of its bytes cut, changed or doubled; or bytes out of nowhere."""
    data = bytearray(draw(st.one_of(good, st.binary(max_size=60))))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            at = draw(st.integers(0, len(data) - 1))
            match draw(st.sampled_from(("cut", "change", "double"))):
                case "cut":
                    del data[at:]
                case "change":
                    data[at] = draw(st.integers(0, 255))
                case "double":
                    data[at:at] = data[at : at + 5]
    return bytes(data)


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(GET_NODES), damaged(good_nodes())),
            st.tuples(st.just(SERVER_STATUS), damaged(good_status())),
        ),
        max_size=6,
    ),
    st.sampled_from(["", "node-1"]),
)
def test_answers_about_the_server(answers: list[tuple[str, bytes]], node: str) -> None:
    """Every answer is a sign of life; what cannot be read says nothing more."""
    inbox = Inbox(budget=1_000_000, batch_size=100, interval=0.0, clock=lambda: NOW)
    flows = Flows(inbox.lane("source", "c"), node, NoResume(), lambda: 0.0)
    flows.opened(NOW, None)
    for number, (method, content) in enumerate(answers):
        flows.heard(NOW + number, method, Reply(True, content))
    numbers: dict[tuple[str, str], int] = {}
    arrivals = Arrivals(best_decoder(), lambda cluster, name: numbers.setdefault((cluster, name), len(numbers)))
    notices = 0
    while (batch := inbox.take(0.0)) is not None and batch.notices:
        notices += sum(not isinstance(notice, Opened) for notice in batch.notices)
        assert list(arrivals.take(batch, Counts(), NOW + 10)) == []
    assert notices >= len(answers)
    assert 0.0 <= arrivals.coverage.share(NOW - 60, NOW + 10) <= 1.0
    assert all(len(table) for table in stream_rows(arrivals, NOW + 10, everything=True).values())


@settings(max_examples=300)
@given(
    st.lists(
        damaged(
            st.builds(
                lambda name, address, kind: ChangeNotification(
                    name=name, address=address, type=kind
                ).SerializeToString(),
                NAMES,
                NAMES,
                st.integers(0, 5),
            )
        ),
        max_size=6,
    )
)
def test_notifications(messages: list[bytes]) -> None:
    """What is no notification is left out; the rest is taken in order."""
    told = Notifications(lambda: 0.0)
    told.take(messages)
    assert len(told.events) <= len(messages)
    assert told.received == len(messages)
