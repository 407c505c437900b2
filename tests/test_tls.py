"""Encrypted streams: who is trusted, how renewed certificates are taken up, and that nothing secret is ever told."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from flowwatch.config import HubbleSettings, TLSSettings
from flowwatch.hubble.flow_pb2 import Flow
from flowwatch.hubble.observer_pb2 import GetFlowsRequest, GetFlowsResponse
from flowwatch.receive import Closed, Heard, Notice, Opened
from flowwatch.receive.relay import RelayReceiver
from flowwatch.receive.stream import RENEWED
from tests.support.observer import Observer, hold, sends
from tests.support.pki import NAME, Authority

SOON = 30.0
PAYLOAD = "payload-of-a-flow-that-nobody-shall-see"


def message(number: int) -> bytes:
    return GetFlowsResponse(flow=Flow(uuid=str(number), Summary=PAYLOAD), node_name="n").SerializeToString()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority everybody here trusts, and what it signed."""
    authority = Authority(tmp_path_factory.mktemp("ours"))
    for name in ("server", "client", "client2"):
        authority.make(name)
    authority.make("expired", begin="20200101000000Z", end="20210101000000Z")
    authority.make("early", begin="20400101000000Z", end="20410101000000Z")
    authority.make("misnamed", dns="somebody.example.org")
    return authority


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    authority = Authority(tmp_path_factory.mktemp("foreign"))
    for name in ("server", "client"):
        authority.make(name)
    return authority


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: not [thread for thread in threading.enumerate() if thread not in before])


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def settings(server: str, tls: TLSSettings) -> HubbleSettings:
    return HubbleSettings(server=server, tls=tls, reconnect_min=0.01, reconnect_max=0.05, dial_timeout=2.0)


def trusting(authority: Authority, client: str = "", of: Authority | None = None) -> TLSSettings:
    """TLS settings with the authority, and a client's certificate where one is named."""
    tls = TLSSettings(enabled=True, ca=authority.directory / "ca.crt", server_name=NAME)
    directory = (of or authority).directory
    return replace(tls, cert=directory / f"{client}.crt", key=directory / f"{client}.key") if client else tls


def run(
    receiver: RelayReceiver, enough: Callable[[list[bytes], list[Notice]], object]
) -> tuple[list[bytes], list[Notice]]:
    messages: list[bytes] = []
    notices: list[Notice] = []
    deadline = time.monotonic() + SOON
    for batch in receiver.batches():
        messages += batch.messages
        notices += batch.notices
        if time.monotonic() > deadline:
            receiver.stop()
            pytest.fail(f"{messages} {notices} {receiver.status}")
        if enough(messages, notices):
            receiver.stop()
    return messages, notices


def first_error(server: str, tls: TLSSettings) -> str:
    receiver = RelayReceiver(settings(server, tls))
    _, notices = run(receiver, lambda *_: receiver.status.failures)
    assert not [notice for notice in notices if isinstance(notice, Opened)], "it was never up"
    return receiver.status.error


# Refusals: (what the server presents, whether it asks for ours, our settings, what is said)

REFUSALS: dict[
    str, tuple[Callable[[Authority, Authority], Any], Callable[[Authority, Authority], TLSSettings], str]
] = {
    "wrong authority": (
        lambda _, foreign: foreign.credentials(),
        lambda ours, _: trusting(ours),
        "the certificate of {server} is not one that hubble.tls.ca ({ca}) signed",
    ),
    "expired server": (
        lambda ours, _: ours.credentials("expired"),
        lambda ours, _: trusting(ours),
        "the certificate of {server}, or of who signed it, has expired: renew it, or is this machine's clock wrong?",
    ),
    "server not valid yet": (
        lambda ours, _: ours.credentials("early"),
        lambda ours, _: trusting(ours),
        "the certificate of {server}, or of who signed it, is not valid yet: is this machine's clock wrong?",
    ),
    "wrong name": (
        lambda ours, _: ours.credentials("misnamed"),
        lambda ours, _: trusting(ours),
        "the certificate of {server} is not valid for the name instance.hubble-relay.cilium.io: set "
        "hubble.tls.server_name to a name that it carries, such as instance.hubble-relay.cilium.io",
    ),
    "no client certificate": (
        lambda ours, _: ours.credentials(clients=ours),
        lambda ours, _: trusting(ours),
        "{server} hung up during the TLS handshake: does it ask for hubble.tls.cert and hubble.tls.key?",
    ),
    "expired client": (
        lambda ours, _: ours.credentials(clients=ours),
        lambda ours, _: trusting(ours, "expired"),
        "{server} hung up during the TLS handshake: does it trust hubble.tls.cert, and is that valid now?",
    ),
    "client not valid yet": (
        lambda ours, _: ours.credentials(clients=ours),
        lambda ours, _: trusting(ours, "early"),
        "{server} hung up during the TLS handshake: does it trust hubble.tls.cert, and is that valid now?",
    ),
    "foreign client": (
        lambda ours, _: ours.credentials(clients=ours),
        lambda ours, foreign: trusting(ours, "client", foreign),
        "{server} hung up during the TLS handshake: does it trust hubble.tls.cert, and is that valid now?",
    ),
    "plain server": (
        lambda *_: None,
        lambda ours, _: trusting(ours),
        "{server} does not speak TLS, but hubble.tls.enabled is true",
    ),
    "plain client": (
        lambda ours, _: ours.credentials(),
        lambda ours, _: replace(trusting(ours), enabled=False),
        "{server} hung up at once: it may speak TLS, and hubble.tls.enabled is false",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_names_what_to_mend(ours: Authority, foreign: Authority, case: str) -> None:
    """No flow passes, nothing is tried in plain text, and the message names the setting or the certificate."""
    presented, asked, says = REFUSALS[case]
    tls = asked(ours, foreign)
    with Observer(sends(message(1)), credentials=presented(ours, foreign)) as server:
        error = first_error(server.address, tls)
        assert server.requests == [], "the server was never asked"
    assert error == says.format(server=server.address, ca=tls.ca)


def test_nothing_secret_is_logged(
    ours: Authority, foreign: Authority, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through all refusals, renewals and broken messages at the most talkative level: no line of a key or a
    certificate, and nothing of a flow."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    for presented, asked, _ in REFUSALS.values():
        with Observer(sends(message(1)), credentials=presented(ours, foreign)) as server:
            told.append(first_error(server.address, asked(ours, foreign)))

    def breaks(_: GetFlowsRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield message(1)
        yield b"\xff" + PAYLOAD.encode()
        context.abort(grpc.StatusCode.INTERNAL, "broken")

    with Observer(breaks, credentials=ours.credentials(clients=ours)) as server:
        receiver = RelayReceiver(settings(server.address, trusting(ours, "client")))
        messages, _ = run(receiver, lambda *_: receiver.status.failures)
        told += [receiver.status.error, repr(receiver.status), repr(receiver.statuses)]
    assert messages[:2] == [message(1), b"\xff" + PAYLOAD.encode()], "what cannot be decoded is passed on"
    out = capfd.readouterr()
    everything = "\n".join([caplog.text, *told, out.out, out.err])
    assert "hung up" in everything
    assert PAYLOAD not in everything
    for authority in (ours, foreign):
        for path in [*authority.directory.glob("*.key"), *authority.directory.glob("*.crt")]:
            lines = [line for line in path.read_text().splitlines() if line and not line.startswith("-----")]
            assert lines
            assert not [line for line in lines if line in everything], path


# Versions


class OldServer:
    """A TLS server that speaks the versions given and closes; notes what came of each handshake."""

    def __init__(self, authority: Authority, least: ssl.TLSVersion, most: ssl.TLSVersion) -> None:
        self.results: list[str] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._context.minimum_version = least
            self._context.maximum_version = most
        self._context.set_ciphers("ALL:@SECLEVEL=0")
        self._context.set_alpn_protocols(["h2"])
        self._context.load_cert_chain(authority.directory / "server.crt", authority.directory / "server.key")
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
            connection.settimeout(SOON)
            try:
                with self._context.wrap_socket(connection, server_side=True) as secured:
                    self.results.append(str(secured.version()))
            except OSError as error:
                self.results.append(str(getattr(error, "reason", None) or error))

    def __enter__(self) -> OldServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(SOON)


def test_speaks_nothing_older_than_tls_1_2(ours: Authority) -> None:
    """A server that speaks 1.0 and 1.1 is refused, one that speaks 1.2 is spoken to."""
    with OldServer(ours, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1) as old:
        error = first_error(old.address, trusting(ours))
        assert old.results
        assert not [result for result in old.results if result.startswith("TLSv")], "a handshake succeeded"
        assert error == (
            f"{old.address} does not speak TLS 1.2 or newer, and nothing older is spoken here: update the server"
        )
    with OldServer(ours, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2) as newer:
        first_error(newer.address, trusting(ours))
        assert newer.results[0] == "TLSv1.2"


# Rotation


class Mount:
    """Certificates as Kubernetes mounts a secret: links through `..data`, which is swapped as a whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._version = 0

    def put(self, ca: bytes, cert: bytes, key: bytes) -> None:
        """The next version of the secret."""
        self._version += 1
        version = self.directory / f"..v{self._version}"
        version.mkdir(parents=True)
        for name, content in (("ca.crt", ca), ("tls.crt", cert), ("tls.key", key)):
            (version / name).write_bytes(content)
            link = self.directory / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        fresh = self.directory / "..fresh"
        fresh.symlink_to(version.name)
        fresh.replace(self.directory / "..data")

    @property
    def settings(self) -> TLSSettings:
        return TLSSettings(
            enabled=True,
            ca=self.directory / "ca.crt",
            cert=self.directory / "tls.crt",
            key=self.directory / "tls.key",
            server_name=NAME,
        )


def pair(authority: Authority, name: str) -> tuple[bytes, bytes]:
    return authority.read(f"{name}.crt"), authority.read(f"{name}.key")


def test_a_stream_moves_to_renewed_certificates(
    ours: Authority, foreign: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files that do not fit together, and ones that the server refuses, change nothing; good ones are taken up by
    a second stream that is open before the first one is closed, and asks for what came meanwhile."""
    caplog.set_level(logging.INFO)
    mount = Mount(tmp_path / "secret")
    ca = ours.read("ca.crt")
    mount.put(ca, *pair(ours, "client"))
    contexts: list[grpc.ServicerContext] = []
    alive: list[bool] = []
    names: list[bytes] = []

    def script(_: GetFlowsRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        alive.append(all(each.is_active() for each in contexts))
        contexts.append(context)
        names.append(context.auth_context()["x509_common_name"][0])
        yield message(len(contexts))
        hold(context)

    class At:
        def since(self, source: str) -> float:
            del source
            return 1_700_000_000.0 + len(contexts)

        def position(self, source: str) -> str:
            raise AssertionError(source)

    steps = iter(
        [
            (lambda: contexts, lambda: mount.put(ca, ours.read("client2.crt"), ours.read("client.key"))),
            (lambda: "does not belong to the key" in caplog.text, lambda: mount.put(ca, *pair(foreign, "client"))),
            (lambda: "does not accept the renewed" in caplog.text, lambda: mount.put(ca, *pair(ours, "client2"))),
        ]
    )
    ready, then = next(steps)

    def enough(messages: list[bytes], notices: list[Notice]) -> bool:
        nonlocal ready, then
        # Whoever hears a server's answer has looked at the files.
        if any(isinstance(notice, Heard) for notice in notices) and ready():
            assert len(contexts) == 1, "the stream stays as it is"
            then()
            ready, then = next(steps, (lambda: False, lambda: None))
        return len(messages) == 2

    questions: list[bytes] = []

    def status(context: grpc.ServicerContext) -> bytes:
        # The request for the second stream was sent before this question: its handler has begun, or will.
        questions.append(context.auth_context()["x509_common_name"][0])
        if questions.count(b"client2") == 2:
            until(lambda: len(contexts) == 2)
        return server.status.SerializeToString()

    with Observer(script, credentials=ours.credentials(clients=ours)) as server:
        server.status_script = status
        receiver = RelayReceiver(settings(server.address, mount.settings), resume=At())
        messages, notices = run(receiver, enough)
        requests = server.requests
    assert messages == [message(1), message(2)]
    assert names == [b"client", b"client2"]
    assert alive == [True, True], "the second stream was open before the first one was closed"
    assert [request.since.seconds for request in requests] == [1_700_000_000, 1_700_000_001]
    kinds = [notice for notice in notices if isinstance(notice, Opened | Closed)]
    assert [type(notice) for notice in kinds[:3]] == [Opened, Closed, Opened]
    assert isinstance(kinds[1], Closed)
    assert kinds[1].reason == RENEWED
    assert (receiver.status.connects, receiver.status.failures) == (2, 0)
