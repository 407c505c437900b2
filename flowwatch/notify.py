"""Alerts on their way to Alertmanager; the only module that talks to it.

Each Alertmanager has a bounded queue and a task of its own, so that one that is slow or gone delays
no other. A full queue gives up its oldest alerts; a batch that fails is not tried again, because
whatever still matters is handed in anew by the next repetition. Both are counted. What an alert
means, and when it is due, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import aiohttp

from flowwatch.notify_targets import Contexts, Resolve, Target, TLSFiles, resolve, target
from flowwatch.words import plural, printable

logger = logging.getLogger(__name__)

API_PATH = "/api/v2/alerts"
ANSWER_LIMIT = 500
"""How many bytes of a refusal are worth a log line."""


class Meter(Protocol):
    """Whoever keeps the numbers. `alertmanager` is an address without credentials."""

    def alertmanager_expected(self, alertmanager: str) -> None: ...

    def alertmanager_sent(self, alertmanager: str, alerts: int) -> None: ...

    def alertmanager_failed(self, alertmanager: str, alerts: int) -> None: ...

    def alertmanager_dropped(self, alertmanager: str, alerts: int) -> None: ...

    def alertmanager_queued(self, alertmanager: str, alerts: int) -> None: ...

    def alertmanager_answered(self, alertmanager: str, seconds: float) -> None: ...

    def alertmanager_gone(self, alertmanager: str) -> None: ...


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """How Alertmanager is spoken to. The secret files are read again for every batch, so that they
    may be rotated, and those of `tls` when they change; they count over credentials in an address. `timeout` is in
    seconds per batch, `resolve_interval` between two looks at what a name stands for."""

    timeout: float = 10.0
    username: str = ""
    password_file: Path | None = None
    bearer_token_file: Path | None = None
    batch_size: int = 256
    queue_capacity: int = 10_000
    tls: TLSFiles = field(default_factory=TLSFiles)
    resolve_interval: float = 30.0


class Notifier:
    """Sends alerts to every Alertmanager that `urls` stand for: base addresses, possibly with a path prefix; those
    that begin with `dns+` are looked up again and again, and stand for every address found.

    Made and used within one event loop; the session stays its maker's to close.
    """

    def __init__(
        self,
        urls: Sequence[str],
        settings: NotifySettings,
        meter: Meter,
        session: aiohttp.ClientSession,
        lookup: Resolve = resolve,
    ) -> None:
        self._settings, self._meter, self._session, self._lookup = settings, meter, session, lookup
        self._contexts = Contexts(settings.tls)
        self._discovered = [one for one in map(target, dict.fromkeys(urls)) if one.discovered]
        self._lanes: dict[tuple[Target, str], _Lane] = {}
        self._tasks: dict[_Lane, asyncio.Task[None]] = {}
        self._discovery: list[asyncio.Task[None]] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._newcomers = False
        for one in map(target, dict.fromkeys(urls)):
            if not one.discovered:
                self._lanes.setdefault((one, one.base), self._lane(one, one.base))

    def start(self) -> None:
        """Begin sending, and looking for Alertmanagers."""
        for lane in self._lanes.values():
            self._run(lane)
        self._discovery = [asyncio.create_task(self._discover(one)) for one in self._discovered]

    @property
    def alertmanagers(self) -> tuple[str, ...]:
        """Who is told at the moment."""
        return tuple(lane.name for lane in self._lanes.values())

    def newcomers(self) -> bool:
        """Whether Alertmanagers were found since this was last asked, which have heard of nothing yet."""
        found, self._newcomers = self._newcomers, False
        return found

    def enqueue(self, alerts: Sequence[Mapping[str, object]]) -> None:
        """Hand over alerts, in the form of Alertmanager's API v2, to be sent to each Alertmanager. Never waits."""
        serialised = [json.dumps(alert).encode() for alert in alerts]
        for lane in self._lanes.values():
            lane.enqueue(serialised)

    async def close(self, deadline: float = 5.0) -> None:
        """Send what is queued, for at most `deadline` seconds, and stop; the rest is counted as dropped."""
        for task in self._discovery:
            task.cancel()
        for lane in self._lanes.values():
            lane.close()
        tasks = {*self._tasks.values(), *self._leaving}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=deadline)
            for task in late:
                task.cancel()
        await asyncio.gather(*tasks, *self._discovery, return_exceptions=True)
        for lane in self._lanes.values():
            lane.give_up()

    def _lane(self, to: Target, url: str) -> _Lane:
        return _Lane(to, url, self._settings, self._meter, self._session, self._contexts)

    def _run(self, lane: _Lane) -> None:
        self._tasks[lane] = asyncio.create_task(lane.run(), name=f"notify {lane.name}")

    async def _discover(self, to: Target) -> None:
        """Follow the addresses of a name. Where it cannot be resolved, those it had last are kept."""
        trouble = ""
        while True:
            try:
                found = {to.at(address) for address in await self._lookup(to.host, to.port)}
            except OSError as error:
                level = logging.DEBUG if trouble == str(error) else logging.WARNING
                logger.log(level, "alertmanager %s cannot be looked up: %s", to.base, error)
                trouble = str(error)
            else:
                trouble = ""
                self._follow(to, found)
            await asyncio.sleep(self._settings.resolve_interval)

    def _follow(self, to: Target, found: set[str]) -> None:
        known = {url for one, url in self._lanes if one == to}
        for url in sorted(found - known):
            lane = self._lanes[to, url] = self._lane(to, url)
            self._run(lane)
            self._newcomers = True
            logger.info("alertmanager %s found at %s", to.base, lane.name)
        for url in sorted(known - found):
            lane = self._lanes.pop((to, url))
            lane.give_up()
            lane.close()
            task = self._tasks.pop(lane)
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
            task.add_done_callback(partial(self._gone, lane.name))
            logger.info("alertmanager %s is no longer at %s", to.base, lane.name)

    def _gone(self, name: str, task: asyncio.Task[None]) -> None:  # noqa: ARG002
        self._meter.alertmanager_gone(name)


class _Lane:
    """One Alertmanager: its queue, its loop, and whether it is known to be in trouble."""

    def __init__(
        self,
        to: Target,
        url: str,
        settings: NotifySettings,
        meter: Meter,
        session: aiohttp.ClientSession,
        contexts: Contexts,
    ) -> None:
        self.name = url
        self._to = to
        self._contexts = contexts
        self._settings = settings
        self._meter = meter
        self._session = session
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._trouble = ""
        self._failures = 0
        meter.alertmanager_expected(self.name)

    def enqueue(self, alerts: Sequence[bytes]) -> None:
        if self._closing:
            self._meter.alertmanager_dropped(self.name, len(alerts))
            return
        self._queue.extend(alerts)
        self._shed(self._settings.queue_capacity)
        self._wake.set()

    def close(self) -> None:
        """Take nothing more, and let `run` end once the queue is empty."""
        self._closing = True
        self._wake.set()

    def give_up(self) -> None:
        """Drop what is left."""
        if self._queue:
            logger.warning("alertmanager %s was not told of %s", self.name, plural(len(self._queue), "alert"))
        self._shed(0)

    def _shed(self, keep: int) -> None:
        excess = max(len(self._queue) - keep, 0)
        for _ in range(excess):
            self._queue.popleft()
        self._meter.alertmanager_dropped(self.name, excess)
        self._meter.alertmanager_queued(self.name, len(self._queue))

    async def run(self) -> None:
        """Send batches until closed and empty."""
        while batch := await self._next():
            try:
                await self._send(batch)
            except asyncio.CancelledError:
                self._queue.extendleft(reversed(batch))
                raise

    async def _next(self) -> list[bytes]:
        while not self._queue and not self._closing:
            self._wake.clear()
            await self._wake.wait()
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._settings.batch_size))]
        self._meter.alertmanager_queued(self.name, len(self._queue))
        return batch

    async def _send(self, batch: list[bytes]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            refusal = await self._post(batch)
        except TimeoutError:
            self._failed(batch, "cannot be reached", f"no answer within {self._settings.timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            self._failed(batch, "cannot be reached", str(error) or type(error).__name__)
        else:
            if refusal:
                self._failed(batch, refusal, refusal)
            else:
                self._accepted(batch)
        self._meter.alertmanager_answered(self.name, clock() - began)

    async def _post(self, batch: list[bytes]) -> str:
        """Post one batch; empty if it was accepted, else what Alertmanager answered."""
        headers = {"Content-Type": "application/json"}
        encrypted = self._to.parts.scheme == "https"
        if self._to.discovered:  # a member is asked for by the name of all
            headers["Host"] = self._to.parts.netloc
        if authorization := self._authorization():
            headers["Authorization"] = authorization
        async with self._session.post(
            self.name + API_PATH,
            data=b"[" + b",".join(batch) + b"]",
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
            ssl=self._contexts.current() if encrypted else True,
            server_hostname=(self._settings.tls.server_name or self._to.host) if encrypted else None,
            # A redirected POST becomes a GET, whose success would look like delivery.
            allow_redirects=False,
        ) as response:
            answer = await response.content.read(ANSWER_LIMIT)
            if response.status // 100 == 2:
                return ""
            text = " ".join(answer.decode(errors="replace").split())
            return printable(f"answered {response.status} {text}".rstrip())

    def _authorization(self) -> str:
        """The value of the Authorization header, or nothing. Raises OSError or ValueError if it cannot be made."""
        if file := self._settings.bearer_token_file:
            return f"Bearer {_secret(file)}"
        login = self._to.login
        if file := self._settings.password_file:
            login = (self._settings.username, _secret(file))
        if not login:
            return ""
        return "Basic " + base64.b64encode(":".join(login).encode()).decode()

    def _accepted(self, batch: list[bytes]) -> None:
        self._meter.alertmanager_sent(self.name, len(batch))
        if self._trouble:
            failures = plural(self._failures, "failed batch", "failed batches")
            logger.info("alertmanager %s accepts alerts again after %s", self.name, failures)
        self._trouble, self._failures = "", 0

    def _failed(self, batch: list[bytes], trouble: str, details: str) -> None:
        # Of a refused batch Alertmanager has stored the alerts it could; it does not say how many.
        self._meter.alertmanager_failed(self.name, len(batch))
        self._failures += 1
        level = logging.DEBUG if trouble == self._trouble else logging.WARNING
        logger.log(level, "alertmanager %s did not take %s: %s", self.name, plural(len(batch), "alert"), details)
        self._trouble = trouble


def _secret(file: Path) -> str:
    text = file.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"{file}: is empty")
    if not text.isprintable():
        raise ValueError(f"{file}: holds characters that cannot be sent in a header")
    return text
