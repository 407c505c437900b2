"""A receiver that tests fill by hand, and a configuration to run a daemon on it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from flowwatch.config import AlertSettings, Config, JudgeSettings, StoreSettings, WebSettings
from flowwatch.receive import Batch, Notice, ReceiverStatus


class Feed:
    """A `Receiver` whose messages come from `give`; an exception given is raised in the daemon's thread."""

    name = "feed"

    def __init__(self) -> None:
        self.status = ReceiverStatus(state="streaming", connects=1)
        self.statuses = {self.name: self.status}
        self._queue: queue.Queue[list[bytes] | Notice | BaseException | None] = queue.Queue()

    def note(self, notice: Notice) -> None:
        """Something happens to the stream."""
        self._queue.put(notice)

    def give(self, messages: list[bytes] | BaseException) -> None:
        self._queue.put(messages)

    def batches(self) -> Iterator[Batch]:
        while True:
            try:
                item = self._queue.get(timeout=0.02)
            except queue.Empty:
                yield Batch("", "")
                continue
            if item is None:
                self.status.state = "ended"
                return
            if isinstance(item, BaseException):
                raise item
            if not isinstance(item, list):
                yield Batch(self.name, "test", [], (item,))
                continue
            self.status.messages += len(item)
            yield Batch(self.name, "test", item)

    def stop(self) -> None:
        self._queue.put(None)


def settings(folder: Path, allowlist: str = "", alertmanagers: tuple[str, ...] = ()) -> Config:
    """A configuration for tests: everything in one folder, a free port, short times."""
    paths: tuple[Path, ...] = ()
    if allowlist:
        (folder / "allowlist.yaml").write_text(allowlist, encoding="utf-8")
        paths = (folder / "allowlist.yaml",)
    return replace(
        Config(),
        cluster="test",
        allowlist=paths,
        store=replace(StoreSettings(), path=folder / "test.duckdb", commit_interval=0.05),
        judge=replace(JudgeSettings(), settle=0.5, active_for=1e9),
        alerts=replace(AlertSettings(), alertmanagers=alertmanagers, resend_interval=1.0),
        web=WebSettings(listen="127.0.0.1:0"),
    )
