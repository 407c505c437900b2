"""How much work something is, counted instead of timed: the same on an idle machine as on a busy one.

What Python does is counted: each line that runs, so that a loop counts with every turn, and each
call of a function written in C. What such a function does within one call is not seen; see
`patience.hang_guard` for that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

TWICE = 2.2
"""How much the effort may grow when the input becomes twice as large: linear growth, and some room."""


def effort(work: Callable[[], object]) -> int:
    """The lines and the calls into C that this thread runs until the work is done."""
    count = 0

    def lines(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return lines

    def calls(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "c_call"

    tracer, profiler = sys.gettrace(), sys.getprofile()
    sys.settrace(lines)
    sys.setprofile(calls)
    try:
        work()
    finally:
        sys.setprofile(profiler)
        sys.settrace(tracer)
    return count
