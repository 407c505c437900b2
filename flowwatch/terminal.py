"""The edge to the terminal: a live screen, plain lines where there is none, progress of a replay.

What is shown is `screen`'s, what it means `status`'s; this module only knows when and where to
write. A finding gets a line when it is new and one when it is gone; time is the snapshots' own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from flowwatch.model import Finding, Snapshot, Square
from flowwatch.screen import counted, render
from flowwatch.status import conclude, errors
from flowwatch.words import number, per_second, percent, plural, printable, rfc3339

__all__ = ["LiveView", "ReplayProgress", "line", "render", "replay_progress"]

PLAIN_EVERY = 5.0
"""Seconds between two lines about the whole where nobody watches a screen."""
RATES_KEPT = 24


def line(snapshot: Snapshot) -> str:
    """The whole in one line, for logs and pipes: `key=value` pairs, the sentence last."""
    conclusion = conclude(snapshot)
    squares = " ".join(f"{square}={snapshot.squares.get(square, 0)}" for square in Square)
    streaming = sum(node.streaming for node in snapshot.nodes)
    blind = f"; we were blind: {'; '.join(conclusion.blind)}" if conclusion.blind else ""
    return printable(
        f"{rfc3339(snapshot.now)} {str(conclusion.state).replace(' ', '-')} stream={snapshot.stream} "
        f"flows={snapshot.flows} rate={per_second(snapshot.flows_per_second)} {squares} "
        f"nodes={streaming}/{len(snapshot.nodes)} lost={sum(snapshot.lost.values())} "
        f'coverage={percent(snapshot.coverage).replace(" ", "")} "{conclusion.sentence}{blind}"'
    )


class LiveView:
    """Shows snapshots as they come: a screen on a terminal, plain lines anywhere else.

    Plain lines are one about the whole every few seconds, one for each finding when it is new or
    gone, and one for each error when it appears; time is the snapshots' own.
    """

    def __init__(self, console: Console, addresses: Mapping[str, str]) -> None:
        self._console = console
        self._addresses = addresses
        self._screen = console.is_terminal and not console.is_dumb_terminal
        self._live: Live | None = None
        self._rates: deque[float] = deque(maxlen=RATES_KEPT)
        self._last: Snapshot | None = None
        self._next_line = 0.0
        self._known: dict[str, Finding] = {}
        self._errors: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._screen:
            self._live = Live(console=self._console, screen=True, auto_refresh=False)
            self._live.start()
        else:
            for name, address in self._addresses.items():
                self._print(f"{name} {address}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
            if self._last is not None:
                # The screen is gone with all it said; leave its last state behind.
                self._console.print(self._frame(self._last))
        elif self._last is not None and self._next_line != self._last.now + PLAIN_EVERY:
            self._print(line(self._last))

    def show(self, snapshot: Snapshot) -> None:
        """Show this snapshot now."""
        self._last = snapshot
        if self._live is None:
            self._show_plain(snapshot)
            return
        self._rates.append(snapshot.flows_per_second)
        self._live.update(self._frame(snapshot), refresh=True)

    def _frame(self, snapshot: Snapshot) -> Group:
        width, height = self._console.size
        return render(snapshot, self._addresses, width, height, tuple(self._rates))

    def _show_plain(self, snapshot: Snapshot) -> None:
        stamp = rfc3339(snapshot.now)
        found = {finding.fingerprint: finding for finding in snapshot.findings}
        # Oldest first: a log is read downwards.
        for key in reversed([key for key in found if key not in self._known]):
            finding = found[key]
            self._print(f"{stamp} new {finding.square} {key} {finding.sentence} ({counted(finding, snapshot.now)})")
        for key, finding in self._known.items():
            if key not in found:
                self._print(f"{stamp} gone {finding.square} {key} {finding.sentence}")
        for place, text in errors(snapshot):
            if self._errors.get(place) != text:
                self._print(f"{stamp} {place} error: {text}")
        self._known, self._errors = found, dict(errors(snapshot))
        if snapshot.now >= self._next_line:
            self._next_line = snapshot.now + PLAIN_EVERY
            self._print(line(snapshot))

    def _print(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True, highlight=False)


def output_width() -> int | None:
    """The width of the terminal that standard output is; None: as wide as it gets."""
    console = Console()
    return console.width if console.is_terminal else None


class ReplayProgress(Protocol):
    """Told how far a replay is."""

    def update(self, file: str, read: int, total: int, flows: int, broken: int) -> None:
        """`read` of `total` bytes of `file` (0: nobody knows), `flows` and `broken` lines so far."""


class _Silent:
    def update(self, file: str, read: int, total: int, flows: int, broken: int) -> None:
        """Nobody is watching."""


class _Bar:
    def __init__(self, progress: Progress, clock: Callable[[], float]) -> None:
        self._progress = progress
        self._clock = clock
        self._started = clock()
        self._task = progress.add_task("", total=None, told="")

    def update(self, file: str, read: int, total: int, flows: int, broken: int) -> None:
        elapsed = self._clock() - self._started
        rate = per_second(flows / elapsed) if elapsed > 0 else ""
        trouble = f", {plural(broken, 'broken line')}" if broken else ""
        told = f"{number(flows)} flows {rate}{trouble}"
        self._progress.update(
            self._task, description=printable(file), completed=read, total=total or None, told=told, refresh=False
        )


@contextmanager
def replay_progress(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[ReplayProgress]:
    """Progress of a replay on a terminal, one line that is gone when it ends; silent anywhere else.
    `update` is cheap and may be called as often as one likes."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Silent()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(show_speed=False),
        TextColumn("{task.fields[told]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=5) as progress:
        yield _Bar(progress, clock)
