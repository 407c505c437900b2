"""The watch that a daemon keeps: every resource followed in a thread of its own, and what all of them say together.

Whoever wants to know the state of the cluster takes `live`, an immutable value; it is made anew only when
something changed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Self

import aiohttp

from flowwatch.errors import ClusterError
from flowwatch.kube.access import Access, Place
from flowwatch.kube.client import SILENCE, Client
from flowwatch.kube.live import Live, Standing, live_of
from flowwatch.kube.reflector import Reflector
from flowwatch.kube.resources import WATCHED, Resource
from flowwatch.receive.backoff import Backoff

log = logging.getLogger("flowwatch.kube")

CLOSING = 0.05
"""Seconds for connections to close in, at the end."""
ATTEMPTS = 4
"""Failures of one list after which a single reading gives up."""
ABSENT_PAUSE = 60.0
"""Seconds after which a kind of object that the cluster does not know is asked for again."""


class Watching:
    """Follows the cluster while the context lasts; `live` from any thread."""

    def __init__(
        self,
        place: Place,
        clock: Callable[[], float] = time.time,
        *,
        resources: Sequence[Resource] = WATCHED,
        pauses: tuple[float, float] = (1.0, 30.0),
        silence: float = SILENCE,
        streaming: bool = True,
        random: Random | None = None,
    ) -> None:
        """`pauses` are the shortest and the longest after something went wrong, `silence` when a connection counts
        as dead; all in seconds."""
        self.reflectors = tuple(Reflector(resource, streaming=streaming) for resource in resources)
        self._access = Access(place, clock)
        self._clock = clock
        self._pauses = pauses
        self._silence = silence
        self._random = random or Random()
        self._live: Live | None = None
        self._made_of: tuple[int, ...] = ()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kube", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10.0)

    def live(self) -> Live | None:
        """The cluster as it was known last; None before every list was complete."""
        return self._live

    def standings(self) -> tuple[Standing, ...]:
        """How the watch of each resource stands."""
        return tuple(
            Standing(one.resource.plural, one.synced, one.proof, one.error, one.absent, len(one.items))
            for one in self.reflectors
        )

    # ── the thread ───────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._follow_all())
        except asyncio.CancelledError:
            pass
        except BaseException:
            log.exception("the watch of the cluster died")  # it shows: no proof of life any more
        finally:
            self._begun.set()
            self._loop.run_until_complete(asyncio.sleep(CLOSING))
            self._loop.close()

    async def _follow_all(self) -> None:
        self._task = asyncio.current_task()
        self._begun.set()
        connector = aiohttp.TCPConnector(limit=2 * len(self.reflectors))
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
            client = Client(self._access, session, self._clock, self._random, self._silence)
            for reflector in self.reflectors:
                tasks.create_task(self._follow(client, reflector))
            tasks.create_task(self._gather())

    async def _follow(self, client: Client, reflector: Reflector) -> None:
        backoff = Backoff(*self._pauses, self._random)
        said = ""
        while True:
            proof = reflector.proof
            wanted = await client.answer(reflector)
            if reflector.proof != proof:
                backoff.reset()
            if reflector.error != said:
                said = reflector.error
                if said:
                    log.warning("watching %s: %s", reflector.resource.plural, said)
            if reflector.absent:
                pause = min(ABSENT_PAUSE, 10 * self._pauses[1])
            elif reflector.waits:
                pause = max(backoff.next(), wanted)
            else:
                # Even a server that is well must not be asked as fast as it can answer.
                pause = self._random.uniform(0, self._pauses[0] / 10)
            await asyncio.sleep(pause)

    async def _gather(self) -> None:
        while True:
            generations = tuple(one.generation for one in self.reflectors)
            if all(one.synced for one in self.reflectors) and (self._live is None or generations != self._made_of):
                self._made_of = generations
                self._live = live_of({one.resource: one.items for one in self.reflectors}, self._clock())
            await asyncio.sleep(min(1.0, self._pauses[0]))


def read_once(
    place: Place, clock: Callable[[], float] = time.time, *, pauses: tuple[float, float] = (0.5, 5.0)
) -> Live:
    """The state of the cluster now, listed once. Raises ClusterError."""
    return asyncio.run(_read_once(place, clock, pauses))


async def _read_once(place: Place, clock: Callable[[], float], pauses: tuple[float, float]) -> Live:
    async with aiohttp.ClientSession() as session:
        client = Client(Access(place, clock), session, clock, Random())
        reflectors = [Reflector(resource, streaming=False) for resource in WATCHED]
        for reflector in reflectors:
            backoff, failures = Backoff(*pauses, Random()), 0
            while not reflector.synced:
                wanted = await client.answer(reflector)
                if reflector.waits and not reflector.synced:
                    failures += 1
                    if failures == ATTEMPTS or reflector.error[:4] in ("401 ", "403 ", "404 "):
                        because = reflector.error or "its lists expire before they are read"
                        raise ClusterError(f"{place.url}{reflector.resource.path}: {because}")
                    await asyncio.sleep(max(backoff.next(), wanted))
        return live_of({one.resource: one.items for one in reflectors}, clock())
