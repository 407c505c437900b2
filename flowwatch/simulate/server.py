"""The simulated Hubble: a gRPC server on loopback, and the thread that lets the traffic happen.

At a rate, messages appear when their time has come, whether anybody listens or not. At rate 0
nothing paces them: they are made when the fastest client asks for more, and dated then. By default
the run begins with the first client, so that whoever looks sees everything from the start.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

from flowwatch.errors import FlowwatchError
from flowwatch.simulate.cluster import Cluster, make_cluster
from flowwatch.simulate.log import Log, Reader
from flowwatch.simulate.service import Observer, Source
from flowwatch.simulate.stage import Event
from flowwatch.simulate.traffic import Script, Tick, plan, traffic
from flowwatch.simulate.truth import Truth

_CLIENTS = 32
_CHUNK = 256
_SHORTEST_WAIT = 0.002
_GRACE = 0.3
_WRITE_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for TLS, all PEM. With `client_ca`, clients must show a certificate it signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class SimulatedHubble:
    """One run, served. `start` it, `stop` it; or use it as a context manager, which gives its address.

    `rate` in flows a second, 0 for as many as the client takes. `flows` ends the traffic after so
    many; streams then stay open, silent. `truth_file` is rewritten every second.
    """

    def __init__(
        self,
        *,
        rate: float = 200.0,
        seed: int = 1,
        listen: str = "127.0.0.1:0",
        script: Script | None = None,
        flows: int | None = None,
        at_once: bool = False,
        tls: Tls | None = None,
        truth_file: Path | None = None,
        clock: Callable[[], float] = time.time,
        cluster: Cluster | None = None,
    ) -> None:
        self._rate, self._seed, self._listen, self._flows = rate, seed, listen, flows
        self._script = script or Script()
        self._at_once = at_once
        self._tls = tls
        self._truth_file = truth_file
        self._clock = clock
        self._cluster = cluster or make_cluster()
        self._scenes = plan(self._cluster)
        self._truth = Truth(self._scenes)
        self._log = Log([node.name for node in self._cluster.nodes])
        self._begun, self._stopping = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._events: Iterator[Event] = iter(())
        self._down: list[str] = []
        self._threads: list[threading.Thread] = []
        self._server: grpc.Server | None = None
        self._script.check(self._cluster)

    # ── life ─────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> str:
        """Serve; return `address:port`. Raises FlowwatchError if that cannot be."""
        if self._truth_file is not None:
            self._write_truth(self._truth_file)
        service = Observer(
            self._cluster, self._log,
            Source(self.begin, self._more, lambda: list(self._down), self._stopping.is_set, self._clock),
        )  # fmt: skip
        # Without this a second server would silently share the port.
        options = [("grpc.so_reuseport", 0)]
        server = grpc.server(ThreadPoolExecutor(_CLIENTS, "simulated-hubble"), options=options)
        server.add_generic_rpc_handlers(service.handlers())
        port = self._bind(server)
        server.start()
        self._server = server
        if self._truth_file is not None:
            self._run_thread(self._keep_writing, "truth")
        if self._rate > 0:
            self._run_thread(self._pace, "pace")
        if self._at_once:
            self.begin()
        return f"{self._listen.rpartition(':')[0]}:{port}"

    def _bind(self, server: grpc.Server) -> int:
        try:
            if self._tls is None:
                port = server.add_insecure_port(self._listen)
            else:
                port = server.add_secure_port(self._listen, _credentials(self._tls))
        except (RuntimeError, ValueError) as error:
            raise FlowwatchError(f"cannot listen on {self._listen}: {_reason(error)}") from error
        if not port:
            raise FlowwatchError(f"cannot listen on {self._listen}")
        return int(port)

    def stop(self) -> None:
        """End all streams and threads, within a second; write the truth once more."""
        self._stopping.set()
        self._begun.set()
        self._log.wake()
        if self._server is not None:
            self._server.stop(_GRACE).wait()
            self._server = None
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._truth_file is not None:
            self._write_truth(self._truth_file)

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def truth(self) -> Truth:
        """What was sent, and what is planned."""
        return self._truth

    # ── the run ──────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Let the traffic begin, if it has not."""
        with self._lock:
            if self._begun.is_set():
                return
            now = self._clock()
            start = int(now * 1e9)
            ticks = None if self._rate > 0 else self._hurry(start)
            events = traffic(
                self._cluster, self._seed, start, self._rate, self._script, scenes=self._scenes, ticks=ticks
            )
            self._events = events if self._flows is None else limited(events, self._flows)
            self._truth.begin(now)
            self._begun.set()

    def _hurry(self, start: int) -> Iterator[Tick]:
        """Ticks of real time, each with as many flows as make a chunk."""
        for number in itertools.count(1):
            yield Tick(max(int(self._clock() * 1e9), start), float(number * _CHUNK))

    def _pace(self) -> None:
        """Let messages appear when their time has come."""
        self._begun.wait()
        chunk: list[Event] = []
        for event in self._events:
            wait = event.time / 1e9 - self._clock()
            if wait > 0 or len(chunk) >= _CHUNK:
                self._publish(chunk)
                chunk = []
                # At a rate beyond what this machine can make, there is never a moment to wait.
                if self._stopping.wait(max(wait, _SHORTEST_WAIT) if wait > 0 else 0):
                    return
            chunk.append(event)
        self._publish(chunk)

    def _more(self, reader: Reader) -> bool:
        """At rate 0: make the next messages, unless another client has had them made meanwhile."""
        if self._rate > 0:
            return False
        with self._lock:
            if not self._log.at_end(reader):
                return True
            chunk = list(itertools.islice(self._events, _CHUNK))
            self._publish(chunk)
            return bool(chunk)

    def _publish(self, events: list[Event]) -> None:
        if events:
            self._truth.count(events)
            for event in events:
                if event.template is None and not event.lost:
                    self._down = [self._script.failing_node]
            self._log.append(events)

    def _keep_writing(self) -> None:
        assert self._truth_file is not None
        while not self._stopping.wait(_WRITE_EVERY):
            # What stays wrong is reported by the last attempt, when the server stops.
            with contextlib.suppress(FlowwatchError):
                self._write_truth(self._truth_file)

    def _write_truth(self, path: Path) -> None:
        try:
            self._truth.write(path)
        except OSError as error:
            raise FlowwatchError(f"cannot write {path}: {error.strerror or error}") from error

    def _run_thread(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=f"simulated-hubble-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()


def limited(events: Iterator[Event], flows: int) -> Iterator[Event]:
    """The events up to a number of flows."""
    left = flows
    while left > 0:
        event = next(events, None)
        if event is None:
            return
        yield event
        left -= event.template is not None


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    pair = (_read(tls.key), _read(tls.cert))
    client_ca = _read(tls.client_ca) if tls.client_ca else None
    return grpc.ssl_server_credentials([pair], root_certificates=client_ca, require_client_auth=client_ca is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FlowwatchError(f"cannot read {path}: {error.strerror or error}") from error


def _reason(error: Exception) -> str:
    text = str(error)
    return "it is not an address of this machine, or in use" if "bind" in text else text or "refused"
