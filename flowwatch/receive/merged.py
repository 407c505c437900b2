"""Any number of sources as one: relays, the nodes of clusters, files.

Streams have threads of their own and one bounded memory (`inbox`). One more thread watches over all
of them. The one that iterates `batches` does nothing but take, so that however long its work lasts,
streams stay asked after, followed and alive.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Protocol

from flowwatch.config import SourceSettings
from flowwatch.receive import Batch, Receiver, ReceiverStatus, Resume
from flowwatch.receive.certificates import CertificateFiles
from flowwatch.receive.channel import LARGEST_MESSAGE, Target
from flowwatch.receive.inbox import PATIENCE, HandedLane, Inbox
from flowwatch.receive.peers import Nodes
from flowwatch.receive.stream import Stream
from flowwatch.receive.subscription import Flows

WATCH_EVERY = 0.05
"""Seconds between two looks at the streams."""

log = logging.getLogger("flowwatch.receive")

Tail = Callable[[SourceSettings], Receiver]
"""Makes the receiver of a source of files."""


class Source(Protocol):
    """One configured source."""

    name: str

    @property
    def statuses(self) -> Mapping[str, ReceiverStatus]:
        """How each stream is doing."""

    def start(self) -> None:
        """Begin."""

    def watch(self) -> None:
        """Look after the streams; called often, by one thread."""

    def stop(self) -> None:
        """End soon, from any thread."""

    def join(self) -> None:
        """Wait for the end."""


class Relay:
    """A source that is one stream: of a relay, or of the server of one node."""

    def __init__(
        self,
        source: SourceSettings,
        inbox: Inbox,
        resume: Resume,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        random: Random | None = None,
    ) -> None:
        settings = source.hubble
        self.name = settings.server
        self._files = CertificateFiles(settings)
        self._monotonic = monotonic
        self._flows = Flows(inbox.lane(settings.server, source.cluster), "", resume, monotonic)
        target = Target(settings.server, settings.tls.server_name, settings, settings.tls.enabled)
        self._stream = Stream(
            target, self._flows, name=settings.server, clock=clock, monotonic=monotonic, random=random
        )

    @property
    def statuses(self) -> Mapping[str, ReceiverStatus]:
        """The stream's."""
        return {self.name: self._flows.status}

    def start(self) -> None:
        """Begin."""
        self._stream.start()

    def watch(self) -> None:
        """Look after the stream."""
        self._files.look(self._monotonic())
        self._stream.watch(self._files)

    def stop(self) -> None:
        """End soon."""
        self._stream.stop()

    def join(self) -> None:
        """Wait for the end."""
        self._stream.join()


class Handed:
    """A source that is another receiver, iterated in a thread of its own; it waits while nobody takes."""

    def __init__(self, receiver: Receiver, lane: HandedLane) -> None:
        self.name = receiver.name
        self._receiver = receiver
        self._lane = lane
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="flowwatch-hand", daemon=True)

    @property
    def statuses(self) -> Mapping[str, ReceiverStatus]:
        """The receiver's own."""
        return self._receiver.statuses or {self.name: self._receiver.status}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def watch(self) -> None:
        """Raise what ended the receiver, if it was an error."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End soon."""
        self._receiver.stop()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            for batch in self._receiver.batches():
                if (batch.messages or batch.notices or batch.position) and not self._lane.hand(batch):
                    self._receiver.stop()
                    return
        except BaseException as error:  # raised again where it is waited for
            self._failure = error
        finally:
            self._lane.end()


class MergedReceiver:
    """A `Receiver` for `sources`, at least one; its `batches` can be iterated once.

    `resume` names what a new stream should repeat. `clock` dates messages and notices, `monotonic`
    measures quiet. A batch is `batch_size` messages of one stream, or what came within `interval`
    seconds; about `buffer_bytes` are held of all streams together, and nothing waits longer than
    `patience` for room. `tail` makes the receivers of files.
    """

    def __init__(
        self,
        sources: Sequence[SourceSettings],
        resume: Resume,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        random: Random | None = None,
        batch_size: int = 10_000,
        interval: float = WATCH_EVERY,
        buffer_bytes: int = LARGEST_MESSAGE,
        patience: float = PATIENCE,
        tail: Tail | None = None,
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._inbox = Inbox(
            budget=buffer_bytes, batch_size=batch_size, interval=interval, patience=patience, clock=clock
        )
        self._sources: list[Source] = []
        for source in sources:
            kind = source.hubble.source
            if kind == "file":
                if tail is None:
                    raise ValueError("a source of files, and nothing to read them")
                self._sources.append(Handed(tail(source), self._inbox.handed_lane()))
            else:
                make = Nodes if kind == "nodes" else Relay
                made = make(source, self._inbox, resume, clock=clock, monotonic=monotonic, random=random)
                self._sources.append(made)
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._begun = self._ended = False
        self._watcher = threading.Thread(target=self._watch, name="flowwatch-watch", daemon=True)
        self._taken = ReceiverStatus()

    @property
    def name(self) -> str:
        """The sources as the user wrote them."""
        return ", ".join(source.name for source in self._sources)

    @property
    def statuses(self) -> Mapping[str, ReceiverStatus]:
        """How each stream is doing; a node's is there once it was discovered."""
        return {key: status for source in self._sources for key, status in source.statuses.items()}

    @property
    def status(self) -> ReceiverStatus:
        """The whole: streaming when every stream is; messages as yielded."""
        return merged_status(self.statuses, self._taken, ended=self._ended)

    @property
    def buffered(self) -> tuple[int, int]:
        """Messages and bytes that were received and not yielded yet."""
        return self._inbox.held

    def batches(self) -> Iterator[Batch]:
        """Yield batches until `stop`, ticks while nothing comes; connects by itself."""
        with self._lock:
            if self._begun:
                raise RuntimeError("a receiver's batches can be iterated only once")
            self._begun = True
        try:
            if not self._stopping.is_set():
                for source in self._sources:
                    source.start()
                self._watcher.start()
            while not self._stopping.is_set():
                yield self._take(self._interval)
                if self._failure is not None:
                    raise self._failure
        finally:
            self.stop()
            if self._watcher.ident is not None:
                self._watcher.join()
                for source in self._sources:
                    source.join()
            self._ended = True
        while (batch := self._inbox.take(0)) is not None:
            yield self._note(batch)

    def stop(self) -> None:
        """End `batches` soon, from any thread; what was received by then is still yielded."""
        self._stopping.set()
        self._inbox.close()
        for source in self._sources:
            source.stop()

    def _take(self, timeout: float) -> Batch:
        batch = self._inbox.take(timeout)
        return Batch("", "") if batch is None else self._note(batch)

    def _note(self, batch: Batch) -> Batch:
        if batch.messages:
            self._taken.messages += len(batch.messages)
            self._taken.bytes += sum(map(len, batch.messages))
            self._taken.last_message = self._clock()
        return batch

    def _watch(self) -> None:
        while not self._stopping.wait(min(self._interval, WATCH_EVERY)):
            try:
                for source in self._sources:
                    source.watch()
            except BaseException as error:  # raised again where batches are taken
                self._failure = error
                return


def merged_status(statuses: Mapping[str, ReceiverStatus], taken: ReceiverStatus, *, ended: bool) -> ReceiverStatus:
    """One status of many: it streams when all do; the first error names how many are concerned."""
    every = list(statuses.values())
    down = [status for status in every if status.state != "streaming"]
    states = {status.state for status in every}
    state = next((state for state in ("waiting", "connecting", "streaming") if state in states), "ended")
    error = next((status.error for status in down if status.error), "")
    if error and len(every) > 1:
        error = f"{error} ({len(down)} of {len(every)} streams are down)"
    return ReceiverStatus(
        state="ended" if ended else state,
        error=error,
        connects=sum(status.connects for status in every),
        failures=sum(status.failures for status in every),
        messages=taken.messages,
        bytes=taken.bytes,
        broken=sum(status.broken for status in every),
        last_message=taken.last_message,
        server_version=next((status.server_version for status in every if status.server_version), ""),
    )
