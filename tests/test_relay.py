"""The gRPC receiver against real servers: nothing lost, nothing reordered, always back, and clear about why not."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from flowwatch.config import HubbleSettings, TLSSettings
from flowwatch.hubble.flow_pb2 import Flow
from flowwatch.hubble.observer_pb2 import GetFlowsRequest, GetFlowsResponse, ServerStatusResponse
from flowwatch.receive import Closed, Receiver
from flowwatch.receive.backoff import Backoff
from flowwatch.receive.certificates import tls_problems
from flowwatch.receive.channel import Target
from flowwatch.receive.failures import explain
from flowwatch.receive.liveness import Answer, Liveness
from flowwatch.receive.relay import RelayReceiver
from tests.support.observer import Observer, ends_after, fails, hold, sends

SOON = 30.0
"""Seconds after which waiting for something is a failure."""
NAME = "instance.hubble-relay.cilium.io"


def message(number: int, size: int = 0) -> bytes:
    """A response that can be told apart from every other."""
    flow = Flow(uuid=str(number), Summary="x" * size)
    return GetFlowsResponse(flow=flow, node_name="node").SerializeToString()


def settings(server: str, **changes: Any) -> HubbleSettings:
    """Settings that are quick to try again."""
    quick = HubbleSettings(server=server, reconnect_min=0.01, reconnect_max=0.05, dial_timeout=2.0)
    return replace(quick, **changes)


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that another thread brings about."""
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def receive(receiver: RelayReceiver, enough: Callable[[list[bytes]], object]) -> list[bytes]:
    """Iterate until what came is enough; then stop and take what is left."""
    messages: list[bytes] = []
    deadline = time.monotonic() + SOON
    for batch in receiver.batches():
        messages += batch.messages
        assert time.monotonic() < deadline, f"{len(messages)} messages, {receiver.status}"
        if enough(messages):
            receiver.stop()
    return messages


def first_error(receiver: RelayReceiver) -> str:
    """What the receiver says after its first failure."""
    receive(receiver, lambda _: receiver.status.failures)
    return receiver.status.error


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class At:
    """A `Resume` that asks a function for the time."""

    time: Callable[[], float | None]

    def since(self, source: str) -> float | None:
        assert ":" in source, "streams are known by their servers"
        return self.time()

    def position(self, source: str) -> str:
        raise AssertionError(source)


@dataclass
class Clock:
    """A clock that stands still until told otherwise."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: not [thread for thread in threading.enumerate() if thread not in before])


# Receiving


def test_delivers_every_byte_in_order() -> None:
    """Fifty thousand messages of all sizes arrive exactly as they were sent, in batches of at most the size set."""
    sizes = random.Random(1)
    sent = [message(number, sizes.choice((0, 10, 300))) for number in range(49_990)]
    sent += [message(number, 1_000_000) for number in range(49_990, 50_000)]
    largest = 0
    with Observer(sends(*sent)) as server:
        receiver = RelayReceiver(settings(server.address))
        got: list[bytes] = []
        for batch in receiver.batches():
            largest = max(largest, len(batch.messages))
            got += batch.messages
            if len(got) >= len(sent):
                receiver.stop()
    assert got == sent
    assert largest <= 10_000
    assert (receiver.status.messages, receiver.status.bytes) == (len(sent), sum(map(len, sent)))


def test_is_a_receiver() -> None:
    """It has the interface that every source of flows has, and the name the user gave it."""
    receiver: Receiver = RelayReceiver(settings("hubble-relay:80"))
    assert receiver.name == "hubble-relay:80"
    assert receiver.status.state == "connecting"


def test_yields_empty_lists_while_it_is_quiet() -> None:
    """Whoever iterates gets to act on time although no flow comes."""
    with Observer(sends()) as server:
        receiver = RelayReceiver(settings(server.address), interval=0.01)
        for turns, batch in enumerate(receiver.batches()):
            assert batch.messages == []
            if turns > 20 and receiver.status.state == "streaming":
                receiver.stop()


def test_status_tells_how_it_goes() -> None:
    """A stream that is up says since when, from whom and how much came."""
    clock = Clock(now=1234.5)
    with Observer(sends(b"\x08\x01", b"\x08\x02\x10\x03")) as server:
        receiver = RelayReceiver(settings(server.address), clock=clock)
        receive(receiver, lambda got: len(got) == 2 and receiver.status.server_version)
    status = receiver.status
    assert (status.messages, status.bytes, status.last_message) == (2, 6, 1234.5)
    assert (status.connects, status.failures, status.error) == (1, 0, "")
    assert status.server_version == "hubble-relay v1.19.4"
    assert status.state == "ended"


def refuse(context: grpc.ServicerContext) -> bytes:
    """The status of a server that has none."""
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
    raise AssertionError


def babble(_: grpc.ServicerContext) -> bytes:
    """A status that nobody understands."""
    return b"\xff\xff"


@pytest.mark.parametrize("status_script", [refuse, babble])
def test_streams_from_servers_without_a_status(status_script: Callable[[grpc.ServicerContext], bytes]) -> None:
    """A server that cannot tell its status, or answers nonsense, still streams."""
    with Observer(sends()) as server:
        server.status_script = status_script
        receiver = RelayReceiver(settings(server.address))
        receive(receiver, lambda _: receiver.status.state == "streaming")
    assert receiver.status.server_version == ""


def test_can_be_iterated_only_once() -> None:
    """A second iteration is an error of the program and says so."""
    receiver = RelayReceiver(settings("127.0.0.1:1"))
    receiver.stop()
    assert list(receiver.batches()) == []
    with pytest.raises(RuntimeError, match="only once"):
        next(receiver.batches())


# The request


def test_asks_for_live_flows_when_nothing_is_known() -> None:
    """Without a time to resume from, the stream begins now and never ends by itself."""
    with Observer(sends(message(1))) as server:
        receive(RelayReceiver(settings(server.address), resume=At(lambda: None)), len)
    assert server.requests == [GetFlowsRequest(follow=True, number=1)]


def test_every_connection_resumes_from_the_time_asked_for_anew() -> None:
    """A stream that ends although it should not is opened again, from a later time."""
    times = iter((1_700_000_000.25, 1_700_000_100.0, 1_700_000_200.0))
    with Observer(ends_after(message(1)), ends_after(message(2)), sends(message(3))) as server:
        receiver = RelayReceiver(settings(server.address), resume=At(lambda: next(times)))
        got = receive(receiver, lambda got: len(got) == 3)
    assert got == [message(1), message(2), message(3)]
    assert [request.since.ToMicroseconds() / 1e6 for request in server.requests] == [
        1_700_000_000.25,
        1_700_000_100.0,
        1_700_000_200.0,
    ]
    assert all(request.follow and request.number == 1 for request in server.requests)
    assert (receiver.status.connects, receiver.status.failures, receiver.status.error) == (3, 2, "")


def test_survives_whoever_names_the_time(caplog: pytest.LogCaptureFixture) -> None:
    """An error in naming the time to resume from is logged and tried again, never the end."""
    answers = iter((0, 1))
    with Observer(sends(message(1))) as server:
        receiver = RelayReceiver(settings(server.address), resume=At(lambda: 1 / next(answers)))
        assert receive(receiver, len) == [message(1)]
    assert "division by zero" in caplog.text


# Connections come and go


def test_comes_back_to_a_server_that_was_killed_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    """The stream breaks off, is reported, and goes on with the new server."""
    caplog.set_level(logging.INFO, "flowwatch.receive")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Observer(sends(message(1))))
        receiver = RelayReceiver(settings(server.address))
        got: list[bytes] = []
        restarted = False
        for batch in receiver.batches():
            got += batch.messages
            if got and not restarted:
                server.stop()
                restarted = bool(stack.enter_context(Observer(sends(message(2)), port=server.port)))
            if len(got) == 2:
                receiver.stop()
    assert got == [message(1), message(2)]
    assert receiver.status.connects == 2
    assert receiver.status.failures >= 1
    assert f"receiving from {server.address}" in caplog.messages
    assert any("connecting again in" in line for line in caplog.messages)


def test_waits_for_a_server_that_is_not_there_yet(caplog: pytest.LogCaptureFixture) -> None:
    """A server that comes up after us is found, and until then the reason is told."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        receiver = RelayReceiver(settings(f"127.0.0.1:{port}"))
        got: list[bytes] = []
        started = False
        for batch in receiver.batches():
            got += batch.messages
            if receiver.status.failures >= 3 and not started:
                expected = (
                    f"connection refused at 127.0.0.1:{port}: is hubble-relay reachable, is a port-forward running?"
                )
                assert receiver.status.error == expected
                started = bool(stack.enter_context(Observer(sends(message(1)), port=port)))
            if got:
                receiver.stop()
    assert receiver.status.error == ""
    failures = [record for record in caplog.records if record.name == "flowwatch.receive"]
    assert len(failures) == receiver.status.failures, "one line per failure"


def test_follows_a_server_that_asks_its_clients_to_go() -> None:
    """A graceful shutdown (GOAWAY) leads to a new connection."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Observer(sends(message(1))))
        receiver = RelayReceiver(settings(server.address))
        got: list[bytes] = []
        for batch in receiver.batches():
            got += batch.messages
            if got == [message(1)] and receiver.status.connects == 1 and receiver.status.state == "streaming":
                server.stop(grace=0.1)
                stack.enter_context(Observer(sends(message(2)), port=server.port))
            if len(got) == 2:
                receiver.stop()
    assert got == [message(1), message(2)]
    assert receiver.status.connects == 2


def test_passes_on_what_it_cannot_read_and_goes_on() -> None:
    """A message that is none is for the decoder to count; the stream stays."""
    with Observer(sends(message(1), b"\xff\xff\xff", message(2))) as server:
        receiver = RelayReceiver(settings(server.address))
        assert receive(receiver, lambda got: len(got) == 3) == [message(1), b"\xff\xff\xff", message(2)]
    assert (receiver.status.connects, receiver.status.failures) == (1, 0)


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_comes_back_after_any_failure_of_the_server(code: grpc.StatusCode) -> None:
    """What came before it is kept, and what ended the stream is told by a notice with its reason."""
    with Observer(fails(code, "too much", message(1)), sends(message(2))) as server:
        receiver = RelayReceiver(settings(server.address), cluster="prod")
        batches = []
        for batch in receiver.batches():
            batches.append(batch)
            if batch.messages == [message(2)]:
                receiver.stop()
    assert [each for batch in batches for each in batch.messages] == [message(1), message(2)]
    closed = next(notice for batch in batches for notice in batch.notices if isinstance(notice, Closed))
    assert "too much" in closed.reason
    assert closed.alive <= closed.at
    assert {batch.cluster for batch in batches if batch.messages} == {"prod"}


class Garbage:
    """A server that greets as HTTP/2 does, takes the request and then sends what is none."""

    SETTINGS = b"\0\0\0\4\0\0\0\0\0"

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection, contextlib.suppress(OSError):
                connection.settimeout(SOON)
                connection.sendall(self.SETTINGS)
                seen = b""
                while b"GetFlows" not in seen and len(seen) < 400:
                    seen += connection.recv(4096)
                connection.sendall(b"\xff" * 64)
                connection.recv(4096)

    def __enter__(self) -> Garbage:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(SOON)


def test_a_frame_that_is_none_ends_the_stream_with_a_reason() -> None:
    """Bytes that are no HTTP/2 are a failure like any other: told, and tried again."""
    with Garbage() as server:
        receiver = RelayReceiver(settings(server.address))
        receive(receiver, lambda _: receiver.status.failures >= 2)
        assert server.connections >= 2
    assert server.address in receiver.status.error


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "does not let us in (UNAUTHENTICATED): because"),
        (grpc.StatusCode.PERMISSION_DENIED, "does not let us in (PERMISSION_DENIED): because"),
        (grpc.StatusCode.INVALID_ARGUMENT, "does not accept our request: because"),
        (
            grpc.StatusCode.UNIMPLEMENTED,
            "does not offer Hubble's observer service: is this the address of hubble-relay?",
        ),
    ],
)
def test_tries_again_rarely_where_it_is_refused(
    code: grpc.StatusCode, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusal is tried again for ever, but with the longest pause."""
    with Observer(fails(code, "because"), sends(message(1))) as server:
        receiver = RelayReceiver(settings(server.address, reconnect_max=0.3))
        assert receive(receiver, len) == [message(1)]
    assert f"{server.address} {says}; connecting again in 0.3 s" in caplog.messages


def test_pauses_grow_and_begin_anew_after_a_stream_that_lasted() -> None:
    """Pauses lie within the bounds, grow with failures, differ, and start small again after good times."""
    backoff = Backoff(0.5, 30.0, random.Random(7))
    pauses = [backoff.next() for _ in range(200)]
    assert all(0.5 <= pause <= 30.0 for pause in pauses)
    assert pauses[0] <= 1.5
    assert max(pauses[:20]) > 10
    assert len(set(pauses)) > 50
    backoff.reset()
    assert backoff.next() <= 1.5
    assert Backoff(2.0, 1.0, random.Random(7)).next() == 2.0


def test_begins_with_short_pauses_again_after_a_stream_that_lasted() -> None:
    """Streams that end at once make the pauses grow; one that outlived the longest pause resets them."""
    longest = 0.1

    class Longest(random.Random):
        def __init__(self) -> None:
            super().__init__()
            self.limits: list[float] = []

        def uniform(self, a: float, b: float) -> float:
            self.limits.append(round(b, 6))
            return max(a, b)

    def lasts(_: GetFlowsRequest, __: grpc.ServicerContext) -> Iterator[bytes]:
        yield message(1)
        begin = time.monotonic()
        until(lambda: time.monotonic() - begin > 2 * longest)

    chance = Longest()
    with Observer(ends_after(message(1)), ends_after(), lasts, sends(message(2))) as server:
        quick = settings(server.address, reconnect_min=0.001, reconnect_max=longest)
        receiver = RelayReceiver(quick, random=chance)
        receive(receiver, lambda got: message(2) in got)
    assert chance.limits == [0.003, 0.009, 0.003]


def test_gives_up_on_a_server_that_accepts_and_says_nothing() -> None:
    """An attempt to connect takes no longer than the dial timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        error = first_error(RelayReceiver(settings(address, dial_timeout=0.2)))
    assert error == f"no answer from {address} within 200ms: does a network policy drop it, is the port right?"


# Quiet or dead


def quiet_receiver(server: Observer, clock: Clock, **changes: Any) -> RelayReceiver:
    """A receiver that asks after two minutes of the clock."""
    return RelayReceiver(
        settings(server.address, quiet_timeout=120.0, **changes), clock=clock, monotonic=clock, interval=0.005
    )


def test_leaves_a_quiet_stream_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A server that answers and has seen nothing either is asked again and again, and never left."""
    caplog.set_level(logging.WARNING, "flowwatch.receive")
    clock = Clock()
    with Observer(sends(message(1)), status=ServerStatusResponse(seen_flows=5)) as server:
        receiver = quiet_receiver(server, clock)

        def asked_thrice(_: list[bytes]) -> bool:
            clock.now += 20.0
            return server.status_calls >= 4

        receive(receiver, asked_thrice)
    assert receiver.status.connects == 1
    assert caplog.messages == []


def test_leaves_a_stream_on_which_nothing_arrives_although_the_server_sees_flows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Flows that the server counts and we do not get mean that the stream is dead."""
    clock = Clock()
    with Observer(sends(message(1)), sends(message(2))) as server:
        receiver = quiet_receiver(server, clock)

        def on(got: list[bytes]) -> bool:
            clock.now += 20.0
            server.status.seen_flows += server.status_calls
            return len(got) == 2

        assert receive(receiver, on) == [message(1), message(2)]
    assert receiver.status.connects == 2
    assert f"{server.address} sent nothing for 2m although it sees flows; connecting again in" in caplog.text


def test_leaves_a_server_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Silence on the stream and no answer within the dial timeout mean that the connection is dead."""
    clock = Clock()
    with Observer(sends(message(1)), sends(message(2))) as server:
        answer = server.status_script

        def hang(context: grpc.ServicerContext) -> bytes:
            if len(server.requests) == 1 and server.status_calls > 1:
                hold(context)
            return answer(context)

        server.status_script = hang
        receiver = quiet_receiver(server, clock, dial_timeout=0.2)

        def on(got: list[bytes]) -> bool:
            clock.now += 20.0 if receiver.status.server_version else 0.0
            return len(got) == 2

        assert receive(receiver, on) == [message(1), message(2)]
    assert f"{server.address} sent nothing for 2m and does not answer; connecting again in" in caplog.text


def test_a_stream_is_stalled_when_flows_were_counted_and_do_not_come() -> None:
    """One answer proves nothing; after two, and the quiet timeout, and the time to deliver, it is certain."""
    liveness = Liveness(120.0, now=0.0, received=0)
    liveness.hear(Answer(10, 3), received=0, now=15.0)
    liveness.hear(Answer(14, 3), received=0, now=30.0)
    assert liveness.look(received=0, now=119.0) == ""
    liveness.hear(Answer(20, 3), received=0, now=119.0)
    assert liveness.look(received=0, now=120.0) == "stalled"


def test_flows_that_were_counted_have_time_to_arrive() -> None:
    """A stream that was quiet for long is not given up at the first flow."""
    liveness = Liveness(120.0, now=0.0, received=0)
    liveness.hear(Answer(10), received=0, now=295.0)
    liveness.hear(Answer(20), received=0, now=300.0)
    assert liveness.look(received=0, now=304.0) == ""
    assert liveness.look(received=0, now=305.0) == "stalled"


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        (Answer(10, 3), 0),
        (Answer(13, 3), 0),
        (Answer(11, 3), 1),
        (Answer(4, 3), 0),
        (Answer(15, 4), 0),
        (None, 0),
    ],
    ids=[
        "nothing happened",
        "each node holds one back",
        "messages came",
        "a node began to count anew",
        "a node came",
        "no count",
    ],
)
def test_a_stream_is_not_stalled_for_other_reasons(answer: Answer | None, received: int) -> None:
    """Nothing but flows that the same nodes counted and we did not get makes a stream suspicious."""
    liveness = Liveness(120.0, now=0.0, received=0)
    liveness.hear(Answer(10, 3), received=0, now=100.0)
    for now in (200.0, 300.0, 400.0, 500.0):
        liveness.hear(answer, received, now)
        assert liveness.look(received, now + 99.0) == ""


def test_a_suspicion_ends_with_the_next_message() -> None:
    """What was on its way arrives, and all begins anew."""
    liveness = Liveness(120.0, now=0.0, received=0)
    liveness.hear(Answer(10), received=0, now=100.0)
    liveness.hear(Answer(20), received=0, now=200.0)
    assert liveness.look(received=1, now=204.0) == ""
    liveness.hear(Answer(20), received=1, now=300.0)
    assert liveness.look(received=1, now=400.0) == ""


def test_a_stream_is_silent_without_messages_and_answers() -> None:
    """Either of them is a proof of life."""
    liveness = Liveness(120.0, now=0.0, received=0)
    assert liveness.look(received=0, now=119.9) == ""
    assert liveness.look(received=1, now=119.9) == ""
    liveness.hear(None, received=1, now=200.0)
    assert liveness.look(received=1, now=319.9) == ""
    assert liveness.look(received=1, now=320.0) == "silent"


# TLS


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority, a server's and a client's certificate signed by it, and a stranger."""
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("the openssl command is not installed")
    directory = tmp_path_factory.mktemp("certificates")

    def make(name: str, *more: str) -> None:
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}", "-days", "2"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        subprocess.run([command, "req", "-x509", *key, *files, *more], cwd=directory, check=True, capture_output=True)

    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE")
    make("ca")
    make("stranger")
    make("server", *signed, "-addext", "subjectAltName=DNS:*.hubble-relay.cilium.io")
    make("client", *signed)
    lock = [command, "ec", "-in", "client.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key"]
    subprocess.run(lock, cwd=directory, check=True, capture_output=True)
    return directory


def server_credentials(directory: Path, *, mutual: bool = False) -> grpc.ServerCredentials:
    """What a relay with TLS, or with mutual TLS, presents."""
    pair = ((directory / "server.key").read_bytes(), (directory / "server.crt").read_bytes())
    return grpc.ssl_server_credentials([pair], (directory / "ca.crt").read_bytes() if mutual else None, mutual)


def trusting(directory: Path, **changes: Any) -> TLSSettings:
    """TLS settings that fit the server; changes that are texts are files of the directory."""
    files: dict[str, Any] = {
        name: directory / str(value) for name, value in changes.items() if name in ("ca", "cert", "key")
    }
    rest = {name: value for name, value in changes.items() if name not in files}
    return replace(TLSSettings(enabled=True, ca=directory / "ca.crt", server_name=NAME), **files, **rest)


@pytest.mark.parametrize("mutual", [False, True])
def test_speaks_tls(certificates: Path, mutual: bool) -> None:
    """A server whose certificate carries the configured name is trusted; one that asks gets our certificate."""
    tls = trusting(certificates, cert="client.crt", key="client.key") if mutual else trusting(certificates)
    with Observer(sends(message(1)), credentials=server_credentials(certificates, mutual=mutual)) as server:
        assert receive(RelayReceiver(settings(server.address, tls=tls)), len) == [message(1)]


@pytest.mark.parametrize(
    ("changes", "mutual", "says"),
    [
        (
            {"server_name": ""},
            False,
            "the certificate of {server} is not valid for the name 127.0.0.1: set hubble.tls.server_name to a name "
            "that it carries, such as instance.hubble-relay.cilium.io",
        ),
        (
            {"server_name": "relay.example.org"},
            False,
            "the certificate of {server} is not valid for the name relay.example.org: set hubble.tls.server_name to "
            "a name that it carries, such as instance.hubble-relay.cilium.io",
        ),
        ({"ca": "stranger.crt"}, False, "the certificate of {server} is not one that hubble.tls.ca ({ca}) signed"),
        (
            {},
            True,
            "{server} hung up during the TLS handshake: does it ask for hubble.tls.cert and hubble.tls.key?",
        ),
        (
            {"cert": "stranger.crt", "key": "stranger.key"},
            True,
            "{server} hung up during the TLS handshake: does it trust hubble.tls.cert, and is that valid now?",
        ),
        (
            {"enabled": False},
            False,
            "{server} hung up at once: it may speak TLS, and hubble.tls.enabled is false",
        ),
    ],
)
def test_says_what_is_wrong_with_tls(certificates: Path, changes: dict[str, Any], mutual: bool, says: str) -> None:
    """Every way in which the two sides can disagree names the setting to look at."""
    tls = trusting(certificates, **changes)
    with Observer(credentials=server_credentials(certificates, mutual=mutual)) as server:
        error = first_error(RelayReceiver(settings(server.address, tls=tls)))
    assert error == says.format(server=server.address, ca=tls.ca)


def test_says_when_only_we_speak_tls(certificates: Path) -> None:
    """TLS towards a plain server names the setting that is wrong."""
    with Observer() as server:
        error = first_error(RelayReceiver(settings(server.address, tls=trusting(certificates))))
    assert error == f"{server.address} does not speak TLS, but hubble.tls.enabled is true"


def test_reads_certificates_again_at_every_connection(certificates: Path, tmp_path: Path) -> None:
    """A file that was missing, and one that was renewed, are taken up without a restart."""
    ca = tmp_path / "ca.crt"
    tls = replace(trusting(certificates), ca=ca)
    with Observer(sends(message(1)), credentials=server_credentials(certificates)) as server:
        receiver = RelayReceiver(settings(server.address, tls=tls))
        errors: list[str] = []

        def on(got: list[bytes]) -> int:
            error = receiver.status.error
            if error not in ("", *errors):
                errors.append(error)
                source = ("stranger.crt", "ca.crt")[min(len(errors), 2) - 1]
                ca.write_bytes((certificates / source).read_bytes())
            return len(got)

        assert receive(receiver, on) == [message(1)]
    assert errors == [
        f"{ca}: hubble.tls.ca: does not exist",
        f"the certificate of {server.address} is not one that hubble.tls.ca ({ca}) signed",
    ]


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, []),
        ({"cert": "client.crt", "key": "client.key"}, []),
        ({"enabled": False, "ca": "missing"}, []),
        ({"ca": "missing", "cert": "client.crt", "key": "."}, ["missing: hubble.tls.ca: does not exist",
                                       ": hubble.tls.key: is not a file that could hold certificates"]),
        ({"ca": "client.key"}, ["client.key: hubble.tls.ca: holds no certificate in PEM form"]),
        ({"cert": "client.crt", "key": "server.key"},
         ["client.crt: hubble.tls.cert: does not belong to the key {}/server.key"]),
        ({"cert": "client.crt", "key": "ca.crt"},
         ["client.crt: hubble.tls.cert: and {}/ca.crt are not a certificate and its key in PEM form"]),
        ({"cert": "client.crt", "key": "locked.key"},
         ["client.crt: hubble.tls.cert: its key {}/locked.key has a passphrase; only keys without one can be used"]),
    ],
)  # fmt: skip
def test_finds_problems_with_certificate_files_early(
    certificates: Path, changes: dict[str, Any], problems: list[str]
) -> None:
    """Before any connection, the files are checked and what is wrong with each is named."""
    found = tls_problems(HubbleSettings(tls=trusting(certificates, **changes)))
    texts = [str(problem).removeprefix(f"{certificates}").removeprefix("/") for problem in found]
    assert texts == [problem.format(certificates) for problem in problems]


@pytest.mark.parametrize(
    ("code", "details", "says"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:80: connection attempt "
         "timed out before receiving SETTINGS frame",
         "no answer from relay:80 within 5s: does a network policy drop it, is the port right?"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded",
         "no answer from relay:80 within 5s: does a network policy drop it, is the port right?"),
        ("UNAVAILABLE", "errors resolving relay:80: [field:hostname lookup error:Domain name not found]",
         "the name in relay:80 cannot be resolved: errors resolving relay:80: [field:hostname lookup error:Domain name "
         "not found]"),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: INTERNAL: ipv4:127.0.0.1:1: Failed parsing "
         "HTTP/2 (Expected SETTINGS frame as the first frame, got frame type 80) (Trying to connect an http1.x server)",
         "relay:80 does not speak gRPC: is this the address of hubble-relay?"),
        ("UNIMPLEMENTED", "Received http2 header with status: 404",
         "relay:80 speaks HTTP but not gRPC: is this the address of hubble-relay?"),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: unix:/x: No such file or directory",
         "there is no socket at relay:80: is the agent's socket mounted here?"),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (99 vs. 67108864)",
         "relay:80 sent a message beyond any reasonable size: Received message larger than max (99 vs. 67108864)"),
        ("UNAVAILABLE", "Socket closed", "the stream from relay:80 broke off: Socket closed"),
        ("INTERNAL", "{0} {server}", "the stream from relay:80 broke off: {0} {server}"),
        ("UNKNOWN", "invalid\nfieldmask " + "x" * 400,
         "relay:80 answered UNKNOWN: invalid fieldmask " + "x" * 281 + "…"),
    ],
)  # fmt: skip
def test_explains_failures_to_people(code: str, details: str, says: str) -> None:
    """What gRPC reports is turned into what happened and what to check."""
    assert explain(code, details, Target("relay:80", "", HubbleSettings(server="relay:80"), False)) == says


# Stopping


def ends_soon(receiver: RelayReceiver, ready: Callable[[], object]) -> list[bytes]:
    """Stop from another thread once ready; everything must be over within a moment."""
    got: list[bytes] = []
    consumer = threading.Thread(
        target=lambda: got.extend(each for batch in receiver.batches() for each in batch.messages)
    )
    consumer.start()
    until(ready)
    receiver.stop()
    consumer.join(SOON)
    assert not consumer.is_alive()
    assert receiver.status.state == "ended"
    return got


def test_stops_during_a_stream() -> None:
    """What was received is yielded before the end."""
    with Observer(sends(message(1), message(2))) as server:
        receiver = RelayReceiver(settings(server.address), interval=5.0)
        assert ends_soon(receiver, lambda: receiver.status.messages + receiver.buffered[0] == 2) == [
            message(1),
            message(2),
        ]


def test_stops_while_it_waits_to_connect_again() -> None:
    """A long pause is cut short."""
    receiver = RelayReceiver(settings(f"127.0.0.1:{free_port()}", reconnect_min=60.0, reconnect_max=60.0))
    assert ends_soon(receiver, lambda: receiver.status.state == "waiting") == []


def test_stops_while_it_connects() -> None:
    """A server that accepts and says nothing does not hold it up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        receiver = RelayReceiver(settings(f"127.0.0.1:{silent.getsockname()[1]}", dial_timeout=60.0))

        def connected() -> bool:
            connection, _ = silent.accept()
            connection.close()
            return True

        assert ends_soon(receiver, connected) == []


def test_stops_before_it_starts() -> None:
    """Stopped before the first batch, it never connects."""
    with Observer(sends(message(1))) as server:
        receiver = RelayReceiver(settings(server.address))
        receiver.stop()
        assert list(receiver.batches()) == []
        assert server.requests == []
    assert receiver.status.state == "ended"


def test_an_iteration_that_is_abandoned_cleans_up() -> None:
    """Leaving the loop ends the stream and the thread as well."""
    with Observer(sends(message(1))) as server:
        receiver = RelayReceiver(settings(server.address))
        assert next(batch.messages for batch in receiver.batches() if batch.messages) == [message(1)]
    assert receiver.status.state == "ended"
