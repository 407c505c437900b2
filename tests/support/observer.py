"""A Hubble observer in this process: a real gRPC server on loopback that follows a script.

Each call of GetFlows is answered by the next `Script` given to the server, the last one for
ever. A script sees the request and yields messages as they go on the wire.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from flowwatch.hubble.observer_pb2 import GetFlowsRequest, GetNodesResponse, ServerStatusResponse
from flowwatch.hubble.peer_pb2 import PEER_ADDED, TLS, ChangeNotification
from tests.support.patience import ENDLESS

Script = Callable[[GetFlowsRequest, grpc.ServicerContext], Iterable[bytes]]


def hold(context: grpc.ServicerContext) -> None:
    """Wait until the call is over."""
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait(ENDLESS)


def sends(*messages: bytes) -> Script:
    """A stream of these messages that then stays open and silent."""

    def script(_: GetFlowsRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from messages
        hold(context)

    return script


def ends_after(*messages: bytes) -> Script:
    """A stream of these messages that then ends with status OK."""
    return lambda _request, _context: iter(messages)


def fails(code: grpc.StatusCode, details: str, *messages: bytes) -> Script:
    """A stream of these messages that then fails."""

    def script(_: GetFlowsRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from messages
        context.abort(code, details)

    return script


class Observer:
    """A server that is up from its making until `stop`. Use it as a context manager."""

    def __init__(
        self, *scripts: Script, port: int = 0, credentials: Any = None, status: ServerStatusResponse | None = None
    ) -> None:
        self.requests: list[GetFlowsRequest] = []
        """What each call of GetFlows asked for."""
        self.status = status or ServerStatusResponse(version="hubble-relay v1.19.4", seen_flows=0)
        self.status_script: Callable[[grpc.ServicerContext], bytes] = lambda _: self.status.SerializeToString()
        self.status_calls = 0
        self.nodes: GetNodesResponse | None = None
        """What it says of its nodes; None: it is no relay and has no such method."""
        self._scripts = scripts or (sends(),)
        self._pool = ThreadPoolExecutor(max_workers=8)
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers((self._handlers(),))
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def stop(self, grace: float = 0) -> None:
        """End all calls after `grace` seconds, having told the clients to go (GOAWAY), and wait until all is over."""
        self._server.stop(grace).wait()
        self._pool.shutdown()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _handlers(self) -> grpc.GenericRpcHandler:
        methods = {
            "GetNodes": grpc.unary_unary_rpc_method_handler(self._get_nodes),
            "GetFlows": grpc.unary_stream_rpc_method_handler(self._get_flows),
            "ServerStatus": grpc.unary_unary_rpc_method_handler(self._server_status),
        }
        return grpc.method_handlers_generic_handler("observer.Observer", methods)

    def _get_flows(self, request: bytes, context: grpc.ServicerContext) -> Iterable[bytes]:
        self.requests.append(GetFlowsRequest.FromString(request))
        script = self._scripts[min(len(self.requests), len(self._scripts)) - 1]
        return script(self.requests[-1], context)

    def _server_status(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self.status_calls += 1
        return self.status_script(context)

    def _get_nodes(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        if self.nodes is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method GetNodes")
            raise AssertionError
        return self.nodes.SerializeToString()


def peer(name: str, address: str, kind: int = PEER_ADDED, server_name: str | None = None) -> ChangeNotification:
    """A notification; with a server name where the node speaks TLS."""
    tls = None if server_name is None else TLS(server_name=server_name)
    return ChangeNotification(name=name, address=address, type=kind, tls=tls)


class PeerService:
    """A Peer service of its own: every stream begins with `known`, and `tell` adds to all that are open."""

    def __init__(self, *known: ChangeNotification, port: int = 0, credentials: Any = None, unix: str = "") -> None:
        self.known = list(known)
        self.streams = 0
        self._told: list[queue.Queue[ChangeNotification | None]] = []
        self._pool = ThreadPoolExecutor(max_workers=8)
        self._server = grpc.server(self._pool)
        methods = {"Notify": grpc.unary_stream_rpc_method_handler(self._notify)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer.Peer", methods),))
        address = f"unix:{unix}" if unix else f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self.address = address if unix else f"127.0.0.1:{self.port}"
        self._server.start()

    def tell(self, said: ChangeNotification) -> None:
        """Notify every open stream."""
        for each in self._told:
            each.put(said)

    def cut(self) -> None:
        """End every open stream."""
        told, self._told = self._told, []
        for each in told:
            each.put(None)

    def stop(self) -> None:
        """End all calls and wait until all is over."""
        self.cut()
        self._server.stop(0).wait()
        self._pool.shutdown()

    def __enter__(self) -> PeerService:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _notify(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        told: queue.Queue[ChangeNotification | None] = queue.Queue()
        context.add_callback(lambda: told.put(None))
        known = list(self.known)
        self._told.append(told)
        self.streams += 1
        for each in known:
            yield each.SerializeToString()
        while (said := told.get()) is not None:
            yield said.SerializeToString()
