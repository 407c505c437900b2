"""`observer.Observer` as hubble-relay serves it, over the log of a run.

Handlers by path with messages as bytes, so that a flow is never serialised twice. Like a relay it
sends the state of its nodes first, then what they remember, then what comes; and like a relay it
does not implement what only agents can answer. A field mask is accepted and has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from flowwatch.hubble import flow_pb2, observer_pb2, relay_pb2
from flowwatch.simulate.cluster import Cluster
from flowwatch.simulate.filters import UnknownFilterError, wanted
from flowwatch.simulate.log import CAPACITY, Log, Reader, Span
from flowwatch.simulate.messages import VERSION, lost_events, node_status

_METADATA = (("hubble-relay-version", VERSION),)
_BATCH = 512
_PATIENCE = 0.25
"""Seconds after which a quiet stream looks whether its client is still there."""
_SERVING = b"\x08\x01"


@dataclass(frozen=True, slots=True)
class Source:
    """What the service asks of the run behind it.

    `begin` starts it unless it has started. `more` makes messages on demand where nothing else
    does, and says whether it made some. `down` names the nodes that cannot be reached.
    """

    begin: Callable[[], None]
    more: Callable[[Reader], bool]
    down: Callable[[], list[str]]
    stopping: Callable[[], bool]
    clock: Callable[[], float]


class Observer:
    """The methods of the service."""

    def __init__(self, cluster: Cluster, log: Log, source: Source) -> None:
        self._cluster = cluster
        self._log = log
        self._source = source
        self._since = source.clock()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The handlers to add to a server."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        ask = observer_pb2.GetFlowsRequest.FromString
        return (
            grpc.method_handlers_generic_handler(
                "observer.Observer",
                {
                    "GetFlows": stream(self.get_flows, request_deserializer=ask),
                    "ServerStatus": unary(self.server_status),
                    "GetNodes": unary(self.get_nodes),
                    "GetNamespaces": unary(self.get_namespaces),
                },
            ),
            grpc.method_handlers_generic_handler(
                "grpc.health.v1.Health", {"Check": unary(lambda _ask, _ctx: _SERVING)}
            ),
        )

    # ── GetFlows ─────────────────────────────────────────────────────────────────────────────────

    def get_flows(self, request: observer_pb2.GetFlowsRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Node states, then flows; for ever if they are to be followed."""
        if request.first and request.follow:
            _refuse(context, "first cannot be specified with follow")
        try:
            passes = wanted(request)
        except UnknownFilterError as error:
            _refuse(context, str(error))
        context.add_callback(self._log.wake)
        context.send_initial_metadata(_METADATA)
        # Before the run begins, so that the first client misses nothing of it.
        history, reader = self._log.open(_span(request), passes)
        self._source.begin()
        yield from self._node_states()
        for event in history:
            yield event.message
        if request.follow:
            until = request.until.ToNanoseconds() if request.HasField("until") else 0
            yield from self._live(reader, passes, until, context)

    def _live(
        self, reader: Reader, passes: Callable[[Any], bool], until: int, context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        source, log = self._source, self._log
        while context.is_active():
            if source.stopping():
                context.abort(grpc.StatusCode.UNAVAILABLE, "the simulated Hubble is shutting down")
            if log.at_end(reader) and source.more(reader):
                continue
            events, lost = log.read(reader, _BATCH, _PATIENCE, lambda: not source.stopping() and context.is_active())
            now = int(source.clock() * 1e9)
            for node, count in lost.items():
                yield lost_events(flow_pb2.HUBBLE_RING_BUFFER, node, count, now, now)
            for event in events:
                if until and event.time > until:
                    return
                if passes(event):
                    yield event.message

    def _node_states(self) -> Iterator[bytes]:
        now, down = int(self._source.clock() * 1e9), self._source.down()
        up = [node.name for node in self._cluster.nodes if node.name not in down]
        yield node_status(relay_pb2.NODE_CONNECTED, up, now)
        if down:
            yield node_status(relay_pb2.NODE_UNAVAILABLE, down, now)

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────

    def server_status(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        """Totals over all nodes."""
        context.send_initial_metadata(_METADATA)
        sizes, down, now = self._log.sizes(), self._source.down(), self._source.clock()
        response = observer_pb2.ServerStatusResponse(
            num_flows=sum(size for size, _ in sizes.values()),
            max_flows=self._log.capacity,
            seen_flows=sum(seen for _, seen in sizes.values()),
            uptime_ns=self._uptime(),
            version=f"{VERSION} (simulated)",
            flows_rate=self._log.rate(now),
            unavailable_nodes=down,
        )
        response.num_connected_nodes.value = len(self._cluster.nodes) - len(down)
        response.num_unavailable_nodes.value = len(down)
        return response.SerializeToString()

    def get_nodes(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        """Each node with its own numbers."""
        context.send_initial_metadata(_METADATA)
        sizes: Mapping[str, tuple[int, int]] = self._log.sizes()
        down, response = self._source.down(), observer_pb2.GetNodesResponse()
        for node in self._cluster.nodes:
            response.nodes.add(
                name=node.name,
                version=VERSION,
                address=f"{node.ip}:4244",
                state=relay_pb2.NODE_UNAVAILABLE if node.name in down else relay_pb2.NODE_CONNECTED,
                uptime_ns=self._uptime(),
                num_flows=sizes[node.name][0],
                max_flows=CAPACITY,
                seen_flows=sizes[node.name][1],
            )
        return response.SerializeToString()

    def get_namespaces(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        """The namespaces of the cluster's pods."""
        context.send_initial_metadata(_METADATA)
        names = sorted({component.namespace for component in self._cluster.homelab.components.values()})
        namespaces = [observer_pb2.Namespace(cluster="default", namespace=name) for name in names]
        return observer_pb2.GetNamespacesResponse(namespaces=namespaces).SerializeToString()

    def _uptime(self) -> int:
        return max(int((self._source.clock() - self._since) * 1e9), 0)


def _span(request: observer_pb2.GetFlowsRequest) -> Span:
    """Which remembered messages a request asks for. A bare follow replays the newest of each node, as servers do."""
    since = request.since.ToNanoseconds() if request.HasField("since") else 0
    until = request.until.ToNanoseconds() if request.HasField("until") else 0
    number = min(request.number, CAPACITY)
    if request.follow:
        return Span(since, until, last=0 if since else number or 1)
    oldest = request.first or since
    return Span(since, until, first=number if oldest else 0, last=0 if oldest else number)


def _refuse(context: grpc.ServicerContext, why: str) -> NoReturn:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)
    raise AssertionError("abort always raises")
