"""One server of a simulated cluster: gRPC on a port of its own, and the proxy before it that faults go through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

from flowwatch.errors import FlowwatchError
from flowwatch.simulate.faults import REFUSING, Fault, Mode
from flowwatch.simulate.proxy import DELAY, Front, Proxy

_CLIENTS = 32
_GRACE = 0.3
_CUTTING = frozenset({Mode.RST, Mode.FIN, Mode.GARBAGE})


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for TLS, all PEM. With `client_ca`, clients must show a certificate it signed.

    They are read again for every connection, so that certificates can be replaced.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None


class Endpoint:
    """A server at an address. `handlers` are made anew whenever the server is."""

    def __init__(
        self,
        proxy: Proxy,
        listen: str,
        handlers: Callable[[], Sequence[grpc.GenericRpcHandler]],
        tls: Tls | None = None,
    ) -> None:
        self._proxy = proxy
        self._listen = listen
        self._handlers = handlers
        self._tls = tls
        self._server: grpc.Server | None = None
        self._front: Front | None = None
        self._refusing = 0
        self._silent = 0

    @property
    def address(self) -> str:
        """Where it listens, `host:port`. Only once it has started."""
        return f"{self._listen.rpartition(':')[0]}:{self._at().port}"

    def start(self) -> str:
        """Serve; return the address. Raises FlowwatchError if that cannot be."""
        self._front = self._proxy.front(self._listen)
        self._serve()
        self._front.open()
        return self.address

    def stop(self) -> None:
        """End all calls and the server."""
        if self._server is not None:
            self._server.stop(_GRACE).wait()
            self._server = None

    def move(self) -> str:
        """Serve at another port; return the new address."""
        self._at().close()
        target = self._at().target
        self._front = self._proxy.front(f"{self._listen.rpartition(':')[0]}:0")
        self._front.target, self._front.silent = target, self._silent > 0
        if not self._refusing:
            self._front.open()
        return self.address

    # ── faults ───────────────────────────────────────────────────────────────────────────────────

    def begin(self, fault: Fault, clients: Sequence[str]) -> None:
        """What a fault does to connections: to all, or to those of some clients as gRPC names them."""
        front = self._at()
        if fault.mode in REFUSING and not fault.stream:
            self._refusing += 1
            front.refuse()
        for client in clients if fault.stream else [""]:
            if fault.mode in _CUTTING:
                front.cut(fault.mode, client)
            elif fault.mode in (Mode.FREEZE, Mode.HALF_OPEN):
                front.freeze(True, client)
            elif fault.mode is Mode.DELAY:
                front.slow(DELAY, client)
        if fault.mode is Mode.GOAWAY:
            self.stop()
        elif fault.mode in (Mode.RESTART, Mode.LEAVE):
            front.cut(Mode.RST)
        if fault.mode in (Mode.FREEZE, Mode.HALF_OPEN) and not fault.stream:
            self._silent += 1
            front.silent = True

    def end(self, fault: Fault, clients: Sequence[str]) -> None:
        """A fault is over."""
        front = self._at()
        if fault.mode in (Mode.FREEZE, Mode.HALF_OPEN) and not fault.stream:
            self._silent -= 1
            front.silent = self._silent > 0
        for client in clients if fault.stream else [""]:
            if fault.mode is Mode.FREEZE and not self._silent:
                front.freeze(False, client)
            elif fault.mode is Mode.HALF_OPEN:
                front.cut(Mode.RST)
            elif fault.mode is Mode.DELAY:
                front.slow(0.0, client)
        if fault.mode is Mode.GOAWAY:
            self._serve()
        if fault.mode in REFUSING and not fault.stream:
            self._refusing -= 1
            if not self._refusing:
                front.open()

    def _at(self) -> Front:
        assert self._front is not None, "it has not started"
        return self._front

    def _serve(self) -> None:
        if self._server is not None:
            return
        # Without this a second server would silently share the port.
        options = [("grpc.so_reuseport", 0)]
        server = grpc.server(ThreadPoolExecutor(_CLIENTS, "simulated-hubble"), options=options)
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        try:
            if self._tls is None:
                port = server.add_insecure_port("127.0.0.1:0")
            else:
                port = server.add_secure_port("127.0.0.1:0", credentials(self._tls))
        except (RuntimeError, ValueError) as error:
            raise FlowwatchError(f"cannot listen on {self._listen}: {error or 'refused'}") from error
        if not port:
            raise FlowwatchError(f"cannot listen on {self._listen}: the certificates cannot be used")
        server.start()
        self._server, self._at().target = server, port


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """What a server proves who it is with. Raises FlowwatchError."""
    pair = (_read(tls.key), _read(tls.cert))
    client_ca = _read(tls.client_ca) if tls.client_ca else None
    # The first ones are tried at once, so that unusable files are told of when the server starts.
    grpc.ssl_server_credentials([pair], root_certificates=client_ca, require_client_auth=client_ca is not None)
    last = [(pair, client_ca)]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        try:
            now = (_read(tls.key), _read(tls.cert)), _read(tls.client_ca) if tls.client_ca else None
        except FlowwatchError:
            return None
        if now == last[0]:
            return None
        last[0] = now
        return grpc.ssl_server_certificate_configuration([now[0]], root_certificates=now[1])

    first = grpc.ssl_server_certificate_configuration([pair], root_certificates=client_ca)
    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=client_ca is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FlowwatchError(f"cannot read {path}: {error.strerror or error}") from error
