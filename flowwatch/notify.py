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
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiohttp

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


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """How Alertmanager is spoken to. The secret files are read again for every batch, so that they
    may be rotated; they count over credentials in an address. `timeout` is in seconds per batch."""

    timeout: float = 10.0
    username: str = ""
    password_file: Path | None = None
    bearer_token_file: Path | None = None
    batch_size: int = 256
    queue_capacity: int = 10_000


class Notifier:
    """Sends alerts to every Alertmanager in `urls` (base addresses, possibly with a path prefix).

    Made and used within one event loop; the session stays its maker's to close.
    """

    def __init__(
        self, urls: Sequence[str], settings: NotifySettings, meter: Meter, session: aiohttp.ClientSession
    ) -> None:
        self._lanes = [_Lane(url, settings, meter, session) for url in dict.fromkeys(urls)]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin sending."""
        self._tasks = [asyncio.create_task(lane.run(), name=f"notify {lane.name}") for lane in self._lanes]

    def enqueue(self, alerts: Sequence[Mapping[str, object]]) -> None:
        """Hand over alerts, in the form of Alertmanager's API v2, to be sent to each Alertmanager. Never waits."""
        serialised = [json.dumps(alert).encode() for alert in alerts]
        for lane in self._lanes:
            lane.enqueue(serialised)

    async def close(self, deadline: float = 5.0) -> None:
        """Send what is queued, for at most `deadline` seconds, and stop; the rest is counted as dropped."""
        for lane in self._lanes:
            lane.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=deadline)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes:
            lane.give_up()


class _Lane:
    """One Alertmanager: its queue, its loop, and whether it is known to be in trouble."""

    def __init__(self, url: str, settings: NotifySettings, meter: Meter, session: aiohttp.ClientSession) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        self._login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
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
        if authorization := self._authorization():
            headers["Authorization"] = authorization
        async with self._session.post(
            self.name + API_PATH,
            data=b"[" + b",".join(batch) + b"]",
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
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
        login = self._login
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
