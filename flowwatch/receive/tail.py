"""Flows from the logs that Hubble's exporter writes, as they grow: `hubble.source: file`.

It promises every line of every log once, through rotation and restarts, and says where it cannot. Looking at the
files' states now and then is all it does to notice changes, which works on every file system. What is done with one
log is `followed`'s work; this module finds the logs and takes turns between them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flowwatch.receive import Batch, ReceiverStatus, Resume
from flowwatch.receive.followed import FollowedLog, OnBroken
from flowwatch.receive.rotation import logs

TICK = 0.1
"""Seconds after which whoever iterates hears of quiet logs."""
LOOK_FOR_LOGS = 2.0
"""Seconds between two looks for new files that globs match."""


class TailReceiver:
    """A `Receiver` that follows the logs which `files` (paths and globs) name; `batches` can be iterated once.

    `resume` tells where each was read up to; without it, or where that place is in none of the files, a log is
    read from the oldest file there is. Logs are looked at every `interval` seconds. One that has been away for
    `patience` seconds counts as closed. `on_broken` is called with file, line and reason for every line that cannot
    be read. `clock` dates notices and messages.
    """

    def __init__(
        self,
        files: Sequence[str],
        *,
        cluster: str,
        resume: Resume | None = None,
        on_broken: OnBroken | None = None,
        interval: float = 0.2,
        patience: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = [str(file) for file in files]
        self._cluster = cluster
        self._resume = resume
        self._on_broken = on_broken
        self._interval = interval
        self._patience = patience
        self._clock = clock
        self._logs: dict[Path, FollowedLog] = {}
        self._stopped = threading.Event()
        self._ended = False
        self._before = ReceiverStatus()

    @property
    def name(self) -> str:
        """The files as the user wrote them, separated by spaces."""
        return " ".join(self._files)

    @property
    def statuses(self) -> dict[str, ReceiverStatus]:
        """How each log is doing, by its path."""
        return {str(path): log.status for path, log in list(self._logs.items())}

    @property
    def status(self) -> ReceiverStatus:
        """How all of them are doing together: streaming if one is, with the first error there is."""
        each = list(self.statuses.values())
        states = [status.state for status in each]
        missing = "" if each else f"no file matches {self.name}"
        return ReceiverStatus(
            state="ended" if self._ended else next((s for s in ("streaming", "waiting") if s in states), "waiting"),
            error=next((status.error for status in each if status.error), missing),
            connects=sum(status.connects for status in (self._before, *each)),
            failures=sum(status.failures for status in (self._before, *each)),
            messages=sum(status.messages for status in (self._before, *each)),
            bytes=sum(status.bytes for status in (self._before, *each)),
            broken=sum(status.broken for status in (self._before, *each)),
            last_message=max(status.last_message for status in (self._before, *each)),
        )

    def stop(self) -> None:
        """End `batches` soon, from any thread."""
        self._stopped.set()

    def batches(self) -> Iterator[Batch]:
        """Yield what is new until `stop`; batches without anything in them while there is nothing."""
        searched = float("-inf")
        try:
            while not self._stopped.is_set():
                looked = time.monotonic()
                if looked - searched >= LOOK_FOR_LOGS:
                    searched = looked
                    self._search()
                yield from self.poll()
                while not self._stopped.is_set():
                    yield Batch("", self._cluster)
                    if self._stopped.wait(min(TICK, max(0.0, looked + self._interval - time.monotonic()))):
                        break
                    if time.monotonic() - looked >= self._interval:
                        break
        finally:
            self._ended = True
            for log in self._logs.values():
                log.close()

    def poll(self) -> Iterator[Batch]:
        """One look at every log, a batch of each in turn."""
        now = self._clock()
        turns = [log.poll(now) for log in self._logs.values()]
        while turns:
            for turn in list(turns):
                batch = next(turn, None)
                if batch is None:
                    turns.remove(turn)
                    continue
                yield batch
                if self._stopped.is_set():
                    return

    def _search(self) -> None:
        """Follow the logs that are there now, and no longer those that only a glob matched and that are gone."""
        named = logs(self._files, self._logs)
        for path in named:
            if path not in self._logs:
                self._logs[path] = self._followed(path)
        for path in [path for path, log in self._logs.items() if log.gone and path not in named]:
            log = self._logs.pop(path)
            log.close()
            self._keep(log.status)

    def _keep(self, status: ReceiverStatus) -> None:
        """Count on with what a log that is followed no longer had counted."""
        before = self._before
        before.connects += status.connects
        before.failures += status.failures
        before.messages += status.messages
        before.bytes += status.bytes
        before.broken += status.broken
        before.last_message = max(before.last_message, status.last_message)

    def _followed(self, path: Path) -> FollowedLog:
        resume = self._resume
        return FollowedLog(
            path,
            cluster=self._cluster,
            position=lambda: resume.position(str(path)) if resume is not None else "",
            on_broken=self._on_broken,
            patience=self._patience,
        )
