"""`observer.Observer`: what the servers of agents and relay have in common, and the agent's own.

Handlers by path with messages as bytes, so that a flow is never serialised twice. A field mask is
accepted and has no effect.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import grpc

from flowwatch.hubble import observer_pb2
from flowwatch.simulate.agent import Agent
from flowwatch.simulate.faults import REFUSING_CALLS, Mode
from flowwatch.simulate.filters import UnknownFilterError, wanted
from flowwatch.simulate.gate import Call, Gate
from flowwatch.simulate.messages import VERSION
from flowwatch.simulate.ring import Cursor, Item, Query, Rings

BATCH = 512
PATIENCE = 0.25
"""Seconds after which a quiet stream looks whether its client is still there."""
_SERVING = b"\x08\x01"
_UNDECODABLE = b"\x0a\xff\xff\xff\xff\x0f"
_CODES = {
    Mode.UNAVAILABLE: (grpc.StatusCode.UNAVAILABLE, "transport is closing"),
    Mode.RESOURCE_EXHAUSTED: (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """What a service asks of the run behind it.

    `begin` starts it unless it has started. `more` makes messages on demand where nothing else
    does, and says whether there is something to read.
    """

    rings: Rings
    begin: Callable[[], None]
    more: Callable[[Sequence[Cursor]], bool]
    stopping: Callable[[], bool]
    clock: Callable[[], float]

    def now(self) -> int:
        """The time in nanoseconds."""
        return int(self.clock() * 1e9)


class Observer(ABC):
    """The methods that agents and relays both serve."""

    metadata: tuple[tuple[str, str], ...]

    def __init__(self, gate: Gate, source: Source) -> None:
        self.gate = gate
        self.source = source

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The handlers to add to a server."""
        stream = grpc.unary_stream_rpc_method_handler
        ask = observer_pb2.GetFlowsRequest.FromString
        methods = {"GetFlows": stream(self.get_flows, request_deserializer=ask)}
        for name, answer in self.answers().items():
            methods[name] = grpc.unary_unary_rpc_method_handler(self._answering(answer))
        return (
            grpc.method_handlers_generic_handler("observer.Observer", methods),
            grpc.method_handlers_generic_handler(
                "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda _ask, _ctx: _SERVING)}
            ),
        )

    @abstractmethod
    def answers(self) -> dict[str, Callable[[], bytes]]:
        """The methods that answer once."""

    @abstractmethod
    def items(self, query: Query, call: Call) -> Iterator[Item | None]:
        """What a stream carries; None now and then while there is nothing."""

    def get_flows(self, request: observer_pb2.GetFlowsRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        """The stream of a request, as far as what is wrong with the server lets it."""
        admit(self.gate, context)
        query = _query(request, context)
        call = self.gate.open(query, context.peer())
        context.add_callback(lambda: self._gone(call))
        if call.mode() is None:
            context.send_initial_metadata(self.metadata)
        for item in self.items(query, call):
            if not self._goes_on(call, context):
                break
            while call.corrupt:
                call.corrupt -= 1
                yield _UNDECODABLE
            if item is None:
                call.flush()
                continue
            call.yielded(item)
            yield item.message
        call.over("ok" if context.is_active() else "client")

    def _goes_on(self, call: Call, context: grpc.ServicerContext) -> bool:
        """Wait while it is stalled; False if it is to end well, or nobody is there. Aborts if with an error."""
        mode = call.mode()
        while mode is Mode.STALL and context.is_active() and not self.source.stopping():
            self.source.rings.wait((), PATIENCE)
            mode = call.mode()
        if self.source.stopping():
            call.over("stopped")
            context.abort(grpc.StatusCode.UNAVAILABLE, "the simulated Hubble is shutting down")
        if mode in (None, Mode.EOF) or not context.is_active():
            return mode is None and context.is_active()
        call.over("status" if mode in _CODES else "cut")
        context.abort(*_CODES.get(mode or Mode.RST, _CODES[Mode.UNAVAILABLE]))
        return False

    def _gone(self, call: Call) -> None:
        self.gate.gone(call)
        self.source.rings.wake()

    def _answering(self, answer: Callable[[], bytes]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def handle(_request: bytes, context: grpc.ServicerContext) -> bytes:
            admit(self.gate, context)
            context.send_initial_metadata(self.metadata)
            return answer()

        return handle


class AgentObserver(Observer):
    """One node's own server: no word about nodes, no buffer."""

    metadata = (("hubble-server-version", VERSION),)

    def __init__(self, agent: Agent, source: Source) -> None:
        super().__init__(agent.gate, source)
        self._agent = agent

    def answers(self) -> dict[str, Callable[[], bytes]]:
        """`GetNodes` is not among them: only relays know it."""
        return {"ServerStatus": self.server_status, "GetNamespaces": self._agent.namespaces}

    def items(self, query: Query, call: Call) -> Iterator[Item | None]:
        """What the ring holds, then what comes."""
        source, cursor = self.source, self._agent.ring.open(query)
        call.joined(cursor)
        source.begin()
        while True:
            items = cursor.read(BATCH, source.now())
            yield from items
            if cursor.done:
                return
            if not items:
                yield None
                if not source.more((cursor,)):
                    source.rings.wait((cursor,), PATIENCE)

    def server_status(self) -> bytes:
        """The numbers of this node."""
        agent, now = self._agent, self.source.clock()
        response = observer_pb2.ServerStatusResponse(
            num_flows=agent.ring.size(),
            max_flows=agent.ring.capacity,
            seen_flows=agent.ring.flows,
            uptime_ns=agent.uptime(now),
            version=f"{VERSION} (simulated)",
            flows_rate=agent.ring.rate(now),
        )
        return response.SerializeToString()


def admit(gate: Gate, context: grpc.ServicerContext) -> None:
    """Refuse a call while the server refuses calls."""
    if gate.trouble in REFUSING_CALLS:
        context.abort(*_CODES[gate.trouble])


def _query(request: observer_pb2.GetFlowsRequest, context: grpc.ServicerContext) -> Query:
    if request.first and request.follow:
        _refuse(context, "first cannot be specified with follow")
    try:
        passes = wanted(request)
    except UnknownFilterError as error:
        _refuse(context, str(error))
    return Query(
        since=request.since.ToNanoseconds() if request.HasField("since") else 0,
        until=request.until.ToNanoseconds() if request.HasField("until") else 0,
        number=request.number,
        first=request.first,
        follow=request.follow,
        passes=passes,
    )


def _refuse(context: grpc.ServicerContext, why: str) -> NoReturn:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)
    raise AssertionError("abort always raises")
