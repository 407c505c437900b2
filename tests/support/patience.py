"""How long tests wait. How fast the machine is decides no test: these limits only end what hangs.

Each is many times what anything takes on a machine that does ten things at once, and small beside
the waits that must be cut short.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

PATIENCE = 60.0
"""Seconds to wait for what must happen."""
ENDLESS = 3600.0
"""Seconds of a wait that must be cut short: whatever ends within `PATIENCE` has not waited for it."""
HANG = 120.0
"""Seconds of processor time after which work counts as hanging."""


def until(
    condition: Callable[[], object], what: object = "the condition", seconds: float = PATIENCE, every: float = 0.02
) -> None:
    """Wait until something holds that another thread or process brings about; fails, naming it, when it hangs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {seconds:g} s: {what}"
        time.sleep(every)


def ends(work: Callable[[], object], what: str) -> None:
    """Do what must not wait for ever, nor for any `ENDLESS` wait; fails, naming it, when it does."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # handed on to the test
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), f"hangs: {what}"
    if errors:
        raise errors[0]


@contextlib.contextmanager
def hang_guard(seconds: float = HANG) -> Iterator[None]:
    """Break off work that takes the processor for ever, as a regular expression may that tries everything.

    It measures nothing: what is meant to be guarded against takes hours, and what is not, a moment.
    Only processor time counts, so that a machine with other things to do makes no difference.
    """

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"hangs: not done after {seconds:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
