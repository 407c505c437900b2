"""Logs are followed through all that happens to their files: every line once, or it is said."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowwatch.receive import segment
from tests.support.loglife import LogLife, Reader

OPERATIONS = (
    *("write", "write", "write many", "half", "half", "read", "read", "read", "restart", "crash"),
    *("rotate", "rotate", "truncate", "delete oldest", "delete log", "pack", "packed"),
)
STYLES = {
    "as lumberjack does": ("stamped",),
    "as logrotate does": ("numbered", "numbered late", "reopen"),
    "by copying": ("copytruncate", "copy"),
    "by any means of logrotate's": ("numbered", "numbered late", "reopen", "copytruncate"),
}

ACTS: dict[str, tuple[Callable[[LogLife], None], ...]] = {
    "write": (LogLife.write,),
    "write many": (lambda life: life.write(9),),
    "half": (LogLife.write_half,),
    "stamped": (LogLife.rotate_stamped,),
    "numbered": (LogLife.rotate_numbered,),
    "numbered late": (lambda life: life.rotate_numbered(notice=False),),
    "reopen": (LogLife.reopen,),
    "copytruncate": (LogLife.copy, LogLife.truncate),
    "copy": (LogLife.copy,),
    "delete oldest": (LogLife.delete_oldest,),
    "delete log": (LogLife.delete_log,),
    "pack": (LogLife.begin_packing,),
    "packed": (LogLife.end_packing,),
}


@pytest.fixture
def small_pieces() -> Iterator[None]:
    """Files are read in pieces smaller than most lines."""
    patch = pytest.MonkeyPatch()
    patch.setattr(segment, "CHUNK", 150)
    yield
    patch.undo()


def run(life: LogLife, reader: Reader, operations: list[str]) -> tuple[set[int], set[int]]:
    """Do all this; returns the lines that were destroyed before they were stored, and of them those that were
    truncated away in a file that was being read."""
    lost: set[int] = set()
    telling: set[int] = set()
    for operation in operations:
        match operation:
            case "read":
                reader.step()
            case "restart":
                reader.end()
            case "crash":
                reader.step(most=2, store=False)
                reader.end()
            case "truncate":
                held = life.held()
                life.truncate()
                if held & set(reader.stored):
                    telling |= life.destroyed() & held - set(reader.stored)
            case other:
                for act in ACTS[other]:
                    act(life)
        lost |= life.destroyed() - set(reader.stored)
    life.complete()
    lost |= life.destroyed() - set(reader.stored)
    life.end_packing()
    for _ in range(5):
        reader.step()
    return lost | life.torn, telling


@pytest.mark.usefixtures("small_pieces")
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.data(), st.sampled_from(list(STYLES)), st.booleans())
def test_every_line_is_read_once_whatever_happens_to_the_files(data: st.DataObject, style: str, append: bool) -> None:
    """What was stored at the end is what was written, in its order, but for what was destroyed before."""
    one = st.sampled_from(OPERATIONS).flatmap(lambda o: st.sampled_from(STYLES[style]) if o == "rotate" else st.just(o))
    operations = data.draw(st.lists(one, min_size=1, max_size=40))
    with tempfile.TemporaryDirectory() as folder:
        life = LogLife(Path(folder), append=append)
        reader = Reader(str(life.path))
        try:
            lost, telling = run(life, reader, operations)
            missing = set(life.written) - set(reader.stored)
            assert missing <= lost
            twice = len(reader.stored) - len(set(reader.stored))
            if not twice:
                kept = set(reader.stored)
                assert reader.stored == [number for number in life.written if number in kept]
            else:
                assert any(not seamless for seamless in reader.found_again[1:])
            if telling & missing:
                begun_again = any(life.folder.iterdir())
                assert reader.interruptions or not all(reader.found_again[1:]) or not begun_again
        finally:
            reader.end()
            life.close()
