"""Connections to Hubble servers: who is called, with which certificates, and by which methods.

It opens channels and follow streams on them, and knows nothing of what the messages mean. TLS is
what the settings say it is, 1.2 or newer, and never falls back to plain text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.experimental

from flowwatch import __version__
from flowwatch.config import HubbleSettings
from flowwatch.receive.certificates import Certificates

GET_FLOWS = "/observer.Observer/GetFlows"
GET_NODES = "/observer.Observer/GetNodes"
SERVER_STATUS = "/observer.Observer/ServerStatus"
NOTIFY = "/peer.Peer/Notify"
LARGEST_MESSAGE = 64 * 1024 * 1024
"""Bytes of one message."""

# Statuses that the client's own library makes up when no server was heard.
_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


@dataclass(frozen=True, slots=True)
class Target:
    """One server: where it is, and the name its certificate must carry (empty: the host's own)."""

    address: str
    server_name: str
    settings: HubbleSettings
    encrypted: bool
    """Speak TLS; only a Peer service behind a socket of this machine differs from the settings."""
    small: bool = False
    """One of many: keep its buffers small."""


@dataclass(slots=True)
class Reply:
    """What came back of a question: bytes, a refusal (an answer as well), or nothing from anybody."""

    answered: bool
    content: bytes | None = None
    unknown: bool = False
    """The server does not have the method asked for."""


@dataclass(slots=True, eq=False)
class Link:
    """A connection to one server, and at most one follow stream on it; closed once."""

    channel: Any
    certificates: Certificates
    timeout: float
    made: float
    """Monotonic time of its making."""
    flows: Any = None
    """The follow stream: an iterator of messages that any thread may cancel."""
    since: float | None = None
    question: Any = None
    """The question that is not answered yet, or None."""
    given_up: str = ""
    """Why we ended it ourselves."""
    asked: str = ""
    """The method of the question."""
    calls: dict[str, Any] = field(default_factory=dict)

    def follow(self, method: str, request: bytes, since: float | None) -> None:
        """Open the follow stream."""
        self.since = since
        self.flows = self.channel.unary_stream(method)(request)

    def ask(self, method: str) -> None:
        """Ask a question that needs no words."""
        if method not in self.calls:
            self.calls[method] = self.channel.unary_unary(method)
        self.asked = method
        self.question = self.calls[method].future(b"", timeout=self.timeout)

    def reply(self) -> Reply | None:
        """The reply to the question, once; None while there is none."""
        question = self.question
        if question is None or not question.done():
            return None
        self.question = None
        code = question.code()
        if code is grpc.StatusCode.OK:
            return Reply(True, question.result())
        return Reply(code not in _NO_ANSWER, unknown=code is grpc.StatusCode.UNIMPLEMENTED)

    def give_up(self, why: str) -> None:
        """End the stream; whoever reads it learns why."""
        self.given_up = self.given_up or why
        if self.flows is not None:
            self.flows.cancel()

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()


def connect(target: Target, certificates: Certificates, now: float) -> Link:
    """A connection that comes up when it is first used; `now` is monotonic."""
    settings = target.settings
    options = [
        (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
        ("grpc.primary_user_agent", f"flowwatch/{__version__}"),
        # How long one attempt to connect may take, despite the name.
        ("grpc.min_reconnect_backoff_ms", max(1, int(settings.dial_timeout * 1000))),
        # Otherwise a new channel may take over the very connection that was given up.
        ("grpc.use_local_subchannel_pool", 1),
        # What a server may ask of its clients by DNS is not ours to follow.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
    ]
    if target.small:
        options.append(("grpc.http2.bdp_probe", 0))
    if not target.encrypted:
        channel = grpc.insecure_channel(target.address, options)
    else:
        if target.server_name:
            options.append(("grpc.ssl_target_name_override", target.server_name))
        credentials = grpc.ssl_channel_credentials(certificates.ca, certificates.key, certificates.cert)
        channel = grpc.secure_channel(target.address, credentials, options)
    return Link(channel, certificates, settings.dial_timeout, now)


def failure_of(error: BaseException) -> tuple[str, str] | None:
    """The status code's name and the details of a stream that failed; None if it is no such failure."""
    return (error.code().name, error.details() or "") if isinstance(error, grpc.RpcError) else None
