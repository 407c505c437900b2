"""Alerts on their way to Alertmanagers that are well, slow, wrong or gone; every server here is real."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from flowwatch.metrics import Metrics
from flowwatch.notify import Notifier, NotifySettings
from tests.support.patience import ENDLESS, PATIENCE

SETTINGS = NotifySettings(timeout=ENDLESS)


@dataclass
class Alertmanager:
    """A server that takes alerts as Alertmanager does, or misbehaves as told."""

    status: int = 200
    answer: str = ""
    prefix: str = ""
    url: str = ""
    batches: list[list[dict[str, object]]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: int = 0
    runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_post(f"{self.prefix}/api/v2/alerts", self.take)
        app.router.add_route("*", "/elsewhere", self.elsewhere)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}{self.prefix}"

    async def stop(self) -> None:
        if self.runner:
            await self.runner.cleanup()

    async def take(self, request: web.Request) -> web.Response:
        self.arrivals += 1
        assert request.content_type == "application/json"
        await self.open.wait()
        self.authorizations.append(request.headers.get("Authorization", ""))
        self.batches.append(await request.json())
        return web.Response(status=self.status, text=self.answer, headers={"Location": "/elsewhere"})

    async def elsewhere(self, request: web.Request) -> web.Response:
        raise AssertionError(f"{request.method} {request.path}: the redirect was followed")

    @property
    def received(self) -> list[object]:
        return [alert["labels"] for batch in self.batches for alert in batch]


@dataclass
class World:
    """Starts Alertmanagers and notifiers, and ends whatever a test started."""

    stack: AsyncExitStack
    session: aiohttp.ClientSession
    metrics: Metrics = field(default_factory=Metrics)

    async def alertmanager(
        self, *, prefix: str = "", status: int = 200, answer: str = "", closed: bool = False
    ) -> Alertmanager:
        server = Alertmanager(status, answer, prefix)
        if not closed:
            server.open.set()
        await server.start()
        self.stack.push_async_callback(server.stop)
        return server

    def notifier(self, *urls: str, settings: NotifySettings = SETTINGS, start: bool = True) -> Notifier:
        notifier = Notifier(urls, settings, self.metrics, self.session)
        self.stack.push_async_callback(notifier.close, 0)
        if start:
            notifier.start()
        return notifier

    def count(self, what: str, alertmanager: Alertmanager) -> float | None:
        labels = {"alertmanager": alertmanager.url}
        return self.metrics.registry.get_sample_value(f"flowwatch_alertmanager_{what}", labels)

    def counts(self, alertmanager: Alertmanager) -> tuple[float | None, ...]:
        """(sent, errors, dropped) of one Alertmanager."""
        return tuple(self.count(f"{what}_total", alertmanager) for what in ("sent", "errors", "dropped"))


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(stack, session)


def alerts(first: int, count: int = 1) -> list[dict[str, object]]:
    return [{"labels": {"alertname": f"A{number}"}} for number in range(first, first + count)]


def labels(first: int, count: int = 1) -> list[object]:
    return [alert["labels"] for alert in alerts(first, count)]


async def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Waits for a condition, and fails naming it if it does not come true."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"not within {seconds} s: {what}")


async def test_alerts_reach_every_alertmanager(world: World) -> None:
    """Each Alertmanager gets every alert, once, in order, as JSON of its API v2."""
    one, two = await world.alertmanager(), await world.alertmanager(prefix="/prefix/am")
    notifier = world.notifier(one.url, two.url + "/")
    notifier.enqueue(alerts(0, 2))
    notifier.enqueue(alerts(2))
    await notifier.close(PATIENCE)
    assert one.received == two.received == labels(0, 3)
    assert world.counts(one) == world.counts(two) == (3, 0, 0)
    assert world.count("latency_seconds_count", one) == len(one.batches)


async def test_the_same_address_twice_is_one_alertmanager(world: World) -> None:
    """An address that is listed twice is told once."""
    one = await world.alertmanager()
    notifier = world.notifier(one.url, one.url)
    notifier.enqueue(alerts(0))
    await notifier.close(PATIENCE)
    assert one.received == labels(0)


async def test_series_exist_before_the_first_alert(world: World) -> None:
    """The numbers of an Alertmanager are there, at zero, as soon as it is known."""
    one = await world.alertmanager()
    world.notifier(one.url)
    assert world.counts(one) == (0, 0, 0)
    assert (world.count("queue_length", one), world.count("latency_seconds_count", one)) == (0, 0)


async def test_batches_are_bounded(world: World) -> None:
    """No request carries more than 256 alerts."""
    one = await world.alertmanager()
    notifier = world.notifier(one.url)
    notifier.enqueue(alerts(0, 600))
    await notifier.close(PATIENCE)
    assert [len(batch) for batch in one.batches] == [256, 256, 88]
    assert one.received == labels(0, 600)


async def test_a_full_queue_gives_up_its_oldest(world: World) -> None:
    """When more waits than the queue holds, the oldest alerts are given up, and counted."""
    one = await world.alertmanager()
    notifier = world.notifier(one.url, settings=NotifySettings(queue_capacity=10), start=False)
    notifier.enqueue(alerts(0, 8))
    notifier.enqueue(alerts(8, 5))
    assert world.count("queue_length", one) == 10
    notifier.start()
    await notifier.close(PATIENCE)
    assert one.received == labels(3, 10)
    assert world.counts(one) == (10, 0, 3)
    assert world.count("queue_length", one) == 0


async def test_a_slow_alertmanager_blocks_nobody(world: World) -> None:
    """While one Alertmanager does not answer, the other is told everything, and handing over never waits."""
    slow, quick = await world.alertmanager(closed=True), await world.alertmanager()
    notifier = world.notifier(slow.url, quick.url)
    for number in range(5):
        notifier.enqueue(alerts(number))
        await until(lambda told=number + 1: len(quick.received) == told, "the quick one hears of it")
    assert slow.batches == []
    assert world.count("queue_length", slow) == 4
    slow.open.set()
    await notifier.close(PATIENCE)
    assert slow.received == quick.received == labels(0, 5)


async def test_no_answer_in_time_is_an_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """An Alertmanager that does not answer within the timeout costs its batch, not the next one."""
    one = await world.alertmanager(closed=True)
    impatient = NotifySettings(timeout=0.05)
    notifier = world.notifier(one.url, settings=impatient)
    notifier.enqueue(alerts(0))
    await until(lambda: world.counts(one) == (0, 1, 0), "the first batch fails")
    assert "no answer within 0.05 s" in caplog.text
    object.__setattr__(impatient, "timeout", ENDLESS)
    one.open.set()
    notifier.enqueue(alerts(1))
    await notifier.close(PATIENCE)
    assert world.counts(one) == (1, 1, 0)


@pytest.mark.parametrize("status", [302, 400, 401, 422, 500, 503])
async def test_a_refused_batch_is_counted_and_passed(
    world: World, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A refusal is counted, logged with Alertmanager's own words, not tried again; the next batch goes out."""
    one = await world.alertmanager(status=status, answer="bad alert:\n\x1b[31mat least one label pair required")
    notifier = world.notifier(one.url)
    notifier.enqueue(alerts(0, 2))
    await until(lambda: world.counts(one) == (0, 2, 0), "the refusal is counted")
    one.status = 200
    notifier.enqueue(alerts(2))
    await notifier.close(PATIENCE)
    assert one.received == labels(0, 3)
    assert world.counts(one) == (1, 2, 0)
    told = f"did not take 2 alerts: answered {status} bad alert: \\x1b[31mat least one label pair required"
    assert [told in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [True]


async def test_an_outage_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """However long an Alertmanager is gone, its going and its coming back are one line each."""
    caplog.set_level(logging.INFO)
    one = await world.alertmanager()
    await one.stop()
    notifier = world.notifier(one.url)
    for number in range(1, 4):
        notifier.enqueue(alerts(number))
        await until(lambda failed=number: world.counts(one) == (0, failed, 0), "the batch fails")
    await one.start(int(one.url.rpartition(":")[2]))
    notifier.enqueue(alerts(4))
    await until(lambda: world.counts(one) == (1, 3, 0), "the batch arrives")
    messages = [record.getMessage() for record in caplog.records if record.name == "flowwatch.notify"]
    assert len(messages) == 2
    assert f"{one.url} did not take 1 alert:" in messages[0]
    assert f"{one.url} accepts alerts again after 3 failed batches" in messages[1]


async def test_close_drains(world: World) -> None:
    """What is queued when closing begins still goes out; what comes later is refused and counted."""
    one = await world.alertmanager(closed=True)
    notifier = world.notifier(one.url)
    notifier.enqueue(alerts(0, 300))
    closing = asyncio.create_task(notifier.close(PATIENCE))
    await until(lambda: one.arrivals, "the first batch is under way")
    notifier.enqueue(alerts(300))
    one.open.set()
    await closing
    assert one.received == labels(0, 300)
    assert world.counts(one) == (300, 0, 1)


async def test_close_ends_at_its_deadline(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """An Alertmanager that hangs cannot hold up the end; what it was not told is counted, also what was under way."""
    hung, well = await world.alertmanager(closed=True), await world.alertmanager()
    notifier = world.notifier(hung.url, well.url)
    notifier.enqueue(alerts(0, 300))
    await until(lambda: hung.arrivals and len(well.received) == 300, "one hangs, and the other was told everything")
    async with asyncio.timeout(PATIENCE):
        await notifier.close(0.05)
        await notifier.close(0.05)
    assert well.received == labels(0, 300)
    assert world.counts(hung) == (0, 0, 300)
    assert world.count("queue_length", hung) == 0
    assert f"alertmanager {hung.url} was not told of 300 alerts" in caplog.text


async def test_close_without_start(world: World) -> None:
    """A notifier that never began can be closed, and counts what it held as dropped."""
    one = await world.alertmanager()
    notifier = world.notifier(one.url, start=False)
    notifier.enqueue(alerts(0, 3))
    await notifier.close(PATIENCE)
    assert world.counts(one) == (0, 0, 3)


async def test_no_alertmanager_at_all(world: World) -> None:
    """Without an Alertmanager, alerts go nowhere and nothing minds."""
    notifier = world.notifier()
    notifier.enqueue(alerts(0))
    await notifier.close(PATIENCE)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"username": "flow:watch", "password_file": ...},
            ["Basic Zmxvdzp3YXRjaDpvbmU=", "Basic Zmxvdzp3YXRjaDp0d28="],
        ),
        ({"bearer_token_file": ...}, ["Bearer one", "Bearer two"]),
    ],
    ids=["basic", "bearer"],
)
async def test_secrets_are_read_for_every_batch(
    world: World, tmp_path: Path, keys: dict[str, Any], expected: list[str]
) -> None:
    """A password or token that is rotated on disk is used from the next batch on."""
    secret = tmp_path / "secret"
    settings = NotifySettings(**{key: secret if value is ... else value for key, value in keys.items()})
    one = await world.alertmanager()
    notifier = world.notifier(one.url, settings=settings)
    for number, text in enumerate(("one\n", "two\n")):
        secret.write_text(text, encoding="utf-8")
        notifier.enqueue(alerts(number))
        await until(lambda sent=number + 1: len(one.batches) == sent, "the batch arrives")
    assert one.authorizations == expected


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "No such file"), ("\n", "is empty"), ("s3c\nr3t", "cannot be sent in a header")],
)
async def test_an_unusable_secret_is_an_error(
    world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path, content: str | None, complaint: str
) -> None:
    """A secret file that is missing or broken is named in the log, its content is not, and nothing is sent."""
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content, encoding="utf-8")
    one = await world.alertmanager()
    notifier = world.notifier(one.url, settings=NotifySettings(bearer_token_file=secret))
    notifier.enqueue(alerts(0))
    await until(lambda: world.counts(one) == (0, 1, 0), "the batch fails")
    assert one.arrivals == 0
    assert complaint in caplog.text
    assert str(secret) in caplog.text
    assert "r3t" not in caplog.text


async def test_credentials_in_an_address(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Credentials in an address are used, and appear neither in a log nor in a metric."""
    one = await world.alertmanager(status=500)
    notifier = world.notifier(one.url.replace("http://", "http://flow%40watch:s3cr%3At@") + "?token=s3cr:t")
    notifier.enqueue(alerts(0))
    await until(lambda: world.counts(one) == (0, 1, 0), "the batch fails")
    await notifier.close(PATIENCE)
    assert one.authorizations == ["Basic Zmxvd0B3YXRjaDpzM2NyOnQ="]
    assert f"alertmanager {one.url} did not take" in caplog.text
    assert "s3cr" not in caplog.text + world.metrics.exposition("")[0].decode()


async def test_an_address_nobody_can_use(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """An address that is no address fails like any unreachable Alertmanager, and takes no other with it."""
    one = await world.alertmanager()
    notifier = world.notifier("ftp://alertmanager.example.com", "http://", one.url)
    notifier.enqueue(alerts(0))
    await notifier.close(PATIENCE)
    assert one.received == labels(0)
    assert caplog.text.count("did not take 1 alert") == 2


async def test_what_is_not_json_is_refused_at_the_door(world: World) -> None:
    """An alert that cannot be written as JSON fails where it is handed over, not in a task nobody watches."""
    one = await world.alertmanager()
    notifier = world.notifier(one.url)
    with pytest.raises(TypeError):
        notifier.enqueue([{"labels": object()}])
    notifier.enqueue(alerts(0))
    await notifier.close(PATIENCE)
    assert one.received == labels(0)
