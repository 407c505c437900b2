"""Every member of a cluster of Alertmanagers behind one name is told; over TLS with the certificates of now."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from flowwatch.metrics import Metrics
from flowwatch.notify import Notifier, NotifySettings
from flowwatch.notify_targets import Target, TLSFiles, resolve, target
from tests.support.certificates import Authority

QUICK = NotifySettings(timeout=5.0, resolve_interval=0.02)


@dataclass
class Member:
    """An Alertmanager on an address of its own, all of them on one port."""

    received: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.hosts.append(request.headers["Host"])
        self.received += [alert["labels"]["alertname"] for alert in await request.json()]
        return web.Response()


@asynccontextmanager
async def serving(address: str, port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Member, int]]:
    member, app = Member(), web.Application()
    app.router.add_post("/am/api/v2/alerts", member.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, ssl_context=context).start()
        yield member, int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@dataclass
class Names:
    """A resolver whose answer is set by the test."""

    addresses: list[str]
    error: str = ""
    asked: int = 0

    async def lookup(self, host: str, port: int) -> list[str]:
        assert (host, port > 0) == ("alertmanager-operated", True)
        self.asked += 1
        if self.error:
            raise OSError(self.error)
        return self.addresses


async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"not within {seconds} s: {what}")


def alert(name: str) -> dict[str, Any]:
    return {"labels": {"alertname": name}}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://am:9093/", Target("http://am:9093", False)),
        ("dns+http://am.monitoring:9093/x/", Target("http://am.monitoring:9093/x", True)),
        ("https://u%40x:p%3A@am", Target("https://am", False, ("u@x", "p:"))),
        ("dns+https://[::1]:1", Target("https://[::1]:1", True)),
    ],
)
def test_targets(url: str, expected: Target) -> None:
    """What an address means, credentials apart."""
    assert target(url) == expected


def test_members_have_the_port_and_path_of_their_name() -> None:
    """Of either address family."""
    name = target("dns+https://am/prefix")
    assert [name.at(one) for one in ("10.0.0.1", "fd00::1")] == [
        "https://10.0.0.1:443/prefix",
        "https://[fd00::1]:443/prefix",
    ]


async def test_a_name_is_all_of_its_addresses() -> None:
    """The system's own resolver, asked for a name that has an address."""
    assert set(await resolve("localhost", 9093)) & {"127.0.0.1", "::1"}


async def test_members_come_and_go() -> None:
    """Every member is told, under the name of all; one that appears is announced and told from then on, one that is
    gone is told no more and its series end; while the name cannot be looked up, those known last are kept."""
    metrics, names = Metrics(), Names(["127.0.0.1", "127.0.0.2"])
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        one, port = await stack.enter_async_context(serving("127.0.0.1", 0))
        two, _ = await stack.enter_async_context(serving("127.0.0.2", port))
        three, _ = await stack.enter_async_context(serving("127.0.0.3", port))
        url = f"dns+http://alertmanager-operated:{port}/am"
        notifier = Notifier([url], QUICK, metrics, session, names.lookup)
        stack.push_async_callback(notifier.close, 0)
        notifier.start()
        await until(lambda: len(notifier.alertmanagers) == 2, "two members")
        assert notifier.newcomers()
        assert not notifier.newcomers()
        notifier.enqueue([alert("A")])
        await until(lambda: one.received == two.received == ["A"], "both are told")
        assert one.hosts == [f"alertmanager-operated:{port}"]
        names.addresses = ["127.0.0.2", "127.0.0.3"]
        await until(lambda: f"http://127.0.0.3:{port}/am" in notifier.alertmanagers, "the new member")
        assert notifier.newcomers()
        notifier.enqueue([alert("B")])
        await until(lambda: two.received == ["A", "B"] and three.received == ["B"], "the two of now are told")
        assert one.received == ["A"]
        await until(lambda: b"127.0.0.1:" not in metrics.exposition("")[0], "the series of the one that is gone end")
        names.error, asked = "no such host", names.asked
        await until(lambda: names.asked > asked + 1, "lookups that fail")
        notifier.enqueue([alert("C")])
        await until(lambda: three.received == ["B", "C"] and two.received[-1] == "C", "they are kept")
        await notifier.close(5)


async def test_the_certificate_is_that_of_the_name(tmp_path: Path) -> None:
    """A member reached by its address must have a certificate of the name; mutual TLS works; a renewed authority is
    taken up without a restart."""
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    cert, key = ours.issue("alertmanager-operated")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours.certificate))
    server.load_cert_chain(cert, key)
    server.verify_mode = ssl.CERT_REQUIRED
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(others.certificate.read_bytes())
    client_cert, client_key = ours.issue("flowwatch")
    settings = NotifySettings(timeout=5.0, tls=TLSFiles(trusted, client_cert, client_key), resolve_interval=0.02)
    metrics, names = Metrics(), Names(["127.0.0.1"])
    async with serving("127.0.0.1", 0, server) as (member, port), aiohttp.ClientSession() as session:
        notifier = Notifier([f"dns+https://alertmanager-operated:{port}/am"], settings, metrics, session, names.lookup)
        notifier.start()
        await until(lambda: notifier.alertmanagers, "the member")
        name = notifier.alertmanagers[0]

        def count(what: str) -> float | None:
            return metrics.registry.get_sample_value(f"flowwatch_alertmanager_{what}_total", {"alertmanager": name})

        notifier.enqueue([alert("A")])
        await until(lambda: count("errors") == 1, "an authority that is not trusted is refused")
        trusted.write_bytes(ours.certificate.read_bytes())
        os.utime(trusted, (1, 1))
        notifier.enqueue([alert("B")])
        await until(lambda: member.received == ["B"], "the renewed authority counts")
        await notifier.close(5)
        assert (count("sent"), count("errors")) == (1, 1)


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    """Unless that name is what was configured."""
    ours = Authority(tmp_path)
    cert, key = ours.issue("alertmanager.example.org")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    async with serving("127.0.0.1", 0, server) as (member, port), aiohttp.ClientSession() as session:
        for name, received in (("", []), ("alertmanager.example.org", ["A"])):
            settings = NotifySettings(timeout=5.0, tls=TLSFiles(ours.certificate, server_name=name))
            notifier = Notifier([f"https://127.0.0.1:{port}/am"], settings, Metrics(), session)
            notifier.start()
            notifier.enqueue([alert("A")])
            await notifier.close(30)
            assert member.received == received
