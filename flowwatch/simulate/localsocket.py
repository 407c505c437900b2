"""An agent's unix socket: the same services without TLS, for whoever is on the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from flowwatch.errors import FlowwatchError

_CLIENTS = 8
_GRACE = 0.3


class LocalSocket:
    """A server at a unix socket; without a path it does nothing."""

    def __init__(self, path: Path | None, handlers: Callable[[], Sequence[grpc.GenericRpcHandler]]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """Serve. Raises FlowwatchError."""
        if self._path is None:
            return
        server = grpc.server(ThreadPoolExecutor(_CLIENTS, "simulated-hubble-socket"))
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        try:
            bound = server.add_insecure_port(f"unix:{self._path.absolute()}")
        except RuntimeError as error:
            raise FlowwatchError(f"cannot listen on {self._path}: {error}") from error
        if not bound:
            raise FlowwatchError(f"cannot listen on {self._path}")
        server.start()
        self._server = server

    def stop(self) -> None:
        """End all calls, and remove the socket."""
        if self._server is not None and self._path is not None:
            self._server.stop(_GRACE).wait()
            self._server = None
            self._path.unlink(missing_ok=True)
