"""Flows from a Hubble server, live, over gRPC: Hubble Relay or the server of one node.

It promises the messages of one follow stream exactly as they were sent and in their order, and
to connect again for ever. What came twice or was lost meanwhile is for later stages to find: a
reconnect asks for flows since a time that the caller names. Nothing is decoded here.

Two threads are at work. The receiving thread connects, and moves messages into a bounded
buffer; when that is full it stops reading, and the server feels it. The thread that iterates
`batches` empties the buffer and watches over the stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc
import grpc.experimental
from google.protobuf.message import DecodeError

from flowwatch import __version__
from flowwatch.config import HubbleSettings
from flowwatch.config_values import format_duration
from flowwatch.hubble.observer_pb2 import GetFlowsRequest, ServerStatusRequest, ServerStatusResponse
from flowwatch.receive import ReceiverStatus
from flowwatch.receive.backoff import Backoff
from flowwatch.receive.buffer import Buffer
from flowwatch.receive.certificates import read_certificates, tls_problems
from flowwatch.receive.liveness import Answer, Liveness
from flowwatch.receive.relay_errors import LASTING, explain

GET_FLOWS = "/observer.Observer/GetFlows"
SERVER_STATUS = "/observer.Observer/ServerStatus"
LARGEST_MESSAGE = 64 * 1024 * 1024
"""Bytes of one message, and of all buffered ones."""
BATCHES_HELD = 4

# Statuses that the client's own library makes up when no server was heard.
_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)

log = logging.getLogger("flowwatch.receive")


@dataclass(slots=True, eq=False)
class _Stream:
    """One stream, made by the receiving thread and watched by the other one."""

    flows: Any
    """The call: an iterator of messages that any thread may cancel."""
    ask: Callable[[], Any]
    """Asks for the server's status; returns a future."""
    question: Any
    """The status asked for and not looked at yet, or None."""
    liveness: Liveness | None = None
    up_since: float | None = None
    """Monotonic time of the first sign of life."""
    given_up: str = ""
    """Why we ended it ourselves."""


@dataclass(frozen=True, slots=True)
class _Failure:
    text: str
    lasting: bool = False
    """Trying again soon will hardly help."""
    healthy: bool = False
    """The stream had lived long before it failed."""


class RelayReceiver:
    """A `Receiver` for a live Hubble server; its `batches` can be iterated once.

    `since` names the time (seconds since the epoch) from which a new stream should repeat what
    the server still has, or None for live flows only. `clock` dates messages and measures
    quiet. A batch is `batch_size` messages, or what came within `interval` seconds. At most
    four batches and `buffer_bytes` are held. `status` counts what `batches` yielded.
    """

    def __init__(
        self,
        settings: HubbleSettings,
        *,
        since: Callable[[], float | None] | None = None,
        clock: Callable[[], float] = time.time,
        random: Random | None = None,
        batch_size: int = 10_000,
        interval: float = 0.05,
        buffer_bytes: int = LARGEST_MESSAGE,
    ) -> None:
        self._settings = settings
        self._since = since or (lambda: None)
        self._clock = clock
        self._backoff = Backoff(settings.reconnect_min, settings.reconnect_max, random or Random())
        self._interval = interval
        self._buffer = Buffer(batch_size=batch_size, max_messages=BATCHES_HELD * batch_size, max_bytes=buffer_bytes)
        self._status = ReceiverStatus()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._stream: _Stream | None = None
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The server as the user wrote it."""
        return self._settings.server

    @property
    def status(self) -> ReceiverStatus:
        """How the receiver is doing."""
        return self._status

    @property
    def buffered(self) -> tuple[int, int]:
        """Messages and bytes that were received and not yielded yet."""
        return len(self._buffer), self._buffer.size

    def batches(self) -> Iterator[list[bytes]]:
        """Yield lists of messages until `stop`, empty ones while nothing comes; connects by itself."""
        with self._lock:
            if self._thread is not None:
                raise RuntimeError("a receiver's batches can be iterated only once")
            self._thread = threading.Thread(target=self._run, name="flowwatch-receive", daemon=True)
        self._thread.start()
        try:
            due = time.monotonic() + self._interval
            while not self._stopping.is_set():
                batch = self._taken(due - time.monotonic())
                due = time.monotonic() + self._interval
                self._watch()
                yield batch
        finally:
            self.stop()
            self._thread.join()
        while batch := self._taken(0):
            yield batch

    def stop(self) -> None:
        """End `batches` soon, from any thread; what was received by then is still yielded."""
        self._stopping.set()
        self._buffer.close()
        with self._lock:
            if self._stream is not None:
                self._stream.flows.cancel()

    # The iterating thread.

    def _taken(self, timeout: float) -> list[bytes]:
        batch = self._buffer.take(timeout)
        if batch:
            self._status.messages += len(batch)
            self._status.bytes += sum(map(len, batch))
            self._status.last_message = self._clock()
        return batch

    def _watch(self) -> None:
        """Look after the stream: hear what the server answered, ask again when it is quiet."""
        with self._lock:
            stream = self._stream
            if stream is None:
                return
            now, received = self._clock(), self._status.messages + len(self._buffer)
            if stream.liveness is None:
                stream.liveness = Liveness(self._settings.quiet_timeout, now, received)
            answer = stream.question
            if answer is None:
                # Under the lock, because the receiving thread closes the channel behind it.
                stream.question = stream.ask() if stream.liveness.should_ask(received, now) else None
                return
            if not answer.done():
                return
            stream.question = None
        self._hear(stream, stream.liveness, answer, received, now)

    def _hear(self, stream: _Stream, liveness: Liveness, answer: Any, received: int, now: float) -> None:
        quiet = f"{self.name} sent nothing for {format_duration(self._settings.quiet_timeout)}"
        told: Answer | None = None
        if answer.code() in _NO_ANSWER:
            # The question asked at the start only wants the version; if nobody is there, the stream says so.
            if liveness.asked:
                self._give_up(stream, f"{quiet} and does not answer")
        else:
            self._up(stream)
            if answer.code() is grpc.StatusCode.OK:
                told = self._note(answer.result())
        if liveness.stalled(told, received, now):
            self._give_up(stream, f"{quiet} although it sees flows")

    def _note(self, answer: bytes) -> Answer | None:
        try:
            server = ServerStatusResponse.FromString(answer)
        except DecodeError:
            return None
        self._status.server_version = server.version
        return Answer(server.seen_flows, server.num_connected_nodes.value)

    def _give_up(self, stream: _Stream, why: str) -> None:
        stream.given_up = why
        stream.flows.cancel()

    def _up(self, stream: _Stream) -> None:
        """Note the first sign of life of a stream; either thread may see it first."""
        with self._lock:
            if self._stream is not stream or stream.up_since is not None:
                return
            stream.up_since = time.monotonic()
            self._status.connects += 1
            self._status.state = "streaming"
            self._status.error = ""
        log.info("receiving flows from %s", self.name)

    # The receiving thread.

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._status.state = "connecting"
            failure = self._attempt()
            if self._stopping.is_set():
                break
            if failure.healthy:
                self._backoff.reset()
            pause = self._backoff.longest if failure.lasting else self._backoff.next()
            self._status.failures += 1
            self._status.error = failure.text
            self._status.state = "waiting"
            log.warning("%s; connecting again in %.1f s", failure.text, pause)
            self._stopping.wait(pause)
        self._status.state = "ended"

    def _attempt(self) -> _Failure:
        """One connection from its beginning to its end."""
        try:
            if problems := tls_problems(self._settings):
                return _Failure("; ".join(str(problem) for problem in problems))
            channel = self._channel()
            try:
                stream = self._open(channel)
                return self._receive(stream)
            finally:
                with self._lock:
                    self._stream = None
                channel.close()
        except Exception as error:
            # Nothing may end this thread but `stop`: a receiver that is silently gone looks like a quiet cluster.
            log.exception("unexpected error while receiving")
            return _Failure(f"unexpected error: {error!r}", lasting=True)

    def _receive(self, stream: _Stream) -> _Failure:
        code, details = "OK", ""
        try:
            first = next(stream.flows, None)
            if first is not None:
                self._up(stream)
                self._buffer.fill((first,))
                self._buffer.fill(stream.flows)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
        lived = 0.0 if stream.up_since is None else time.monotonic() - stream.up_since
        return _Failure(
            stream.given_up or explain(code, details, self._settings),
            lasting=code in LASTING,
            healthy=lived > self._settings.reconnect_max,
        )

    def _channel(self) -> Any:
        tls = self._settings.tls
        options = [
            (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
            ("grpc.max_receive_message_length", LARGEST_MESSAGE),
            ("grpc.primary_user_agent", f"flowwatch/{__version__}"),
            # How long one attempt to connect may take, despite the name.
            ("grpc.min_reconnect_backoff_ms", max(1, int(self._settings.dial_timeout * 1000))),
            # Otherwise a new channel may take over the very connection that was given up.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if not tls.enabled:
            return grpc.insecure_channel(self.name, options)
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        files = read_certificates(tls)
        return grpc.secure_channel(self.name, grpc.ssl_channel_credentials(files.ca, files.key, files.cert), options)

    def _open(self, channel: Any) -> _Stream:
        # A relay holds back up to min(100, number × nodes) flows to sort them, for as long as they take to come:
        # a number of 1 keeps that to one per node. It also repeats one old flow per node, as no number does.
        request = GetFlowsRequest(follow=True, number=1)
        since = self._since()
        if since is not None:
            request.since.FromMicroseconds(int(since * 1_000_000))
        flows = channel.unary_stream(GET_FLOWS, request_serializer=GetFlowsRequest.SerializeToString)(request)
        server_status = channel.unary_unary(SERVER_STATUS, request_serializer=ServerStatusRequest.SerializeToString)

        def ask() -> Any:
            return server_status.future(ServerStatusRequest(), timeout=self._settings.dial_timeout)

        stream = _Stream(flows, ask, ask())
        with self._lock:
            self._stream = stream
        if self._stopping.is_set():
            flows.cancel()
        return stream
