"""What the terminal shows: the square, honesty about what was not seen, findings as sentences, errors."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flowwatch.model import Snapshot
from flowwatch.screen import render
from flowwatch.status import State, conclude
from flowwatch.terminal import LiveView, line, replay_progress
from tests.support.samples import NOW, hostile_finding, loki_finding, nodes, quiet_snapshot, snapshot

ADDRESSES = {"page": "http://127.0.0.1:9950/", "metrics": "http://127.0.0.1:9950/metrics"}


def screen(shown: Snapshot, width: int = 120, height: int = 48) -> str:
    console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True)
    console.print(render(shown, ADDRESSES, width, height))
    return console.export_text()


def test_everything_a_person_looks_for_is_there() -> None:
    """Source, rate, the square, coverage, sentences, what is stored, and the addresses."""
    text = screen(snapshot())
    for part in ("hubble-relay.kube-system.svc:443", "2,914", "312 expected", "2 unexpected", "5/6 nodes", "1,204"):
        assert part in text, part
    assert "monitoring/loki → 203.0.113.7:443/TCP is forwarded but not declared" in " ".join(text.split())
    assert all(address in text for address in ADDRESSES.values())
    assert "flowwatch.duckdb" in text


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (200, 60)])
def test_it_fits(width: int, height: int) -> None:
    """No line is wider than the terminal, and no screen higher; what does not fit is counted."""
    many = snapshot(findings=tuple(loki_finding(first_seen=NOW - age) for age in range(40)))
    lines = screen(many, width, height).rstrip("\n").splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert any("more" in text for text in lines)


def test_no_drift_is_only_said_of_what_was_seen() -> None:
    """With a silent node, a stream that is down, or lost events, the answer is unknown."""
    assert conclude(quiet_snapshot()).state is State.NO_DRIFT
    for blind in (
        {"nodes": nodes(silent=("talos-w-3",))},
        {"stream": "waiting"},
        {"stream": "connecting"},
        {"coverage": 0.999999},
        {"flows": 0},
        {"rules": 0},
    ):
        assert conclude(quiet_snapshot(**blind)).state is State.UNKNOWN, blind
        assert "no drift" not in screen(quiet_snapshot(**blind)).lower()
    assert conclude(snapshot()).state is State.DRIFT
    assert "no drift" in screen(quiet_snapshot()).lower()


def test_errors_are_shown() -> None:
    """A broken stream, store or allowlist is told on the screen and in the plain lines."""
    troubles = {"stream_error": "connection refused", "store_error": "disk full", "allowlist_error": "a.yaml:3: rules"}
    text = screen(snapshot(stream="waiting", **troubles))
    assert all(trouble in text for trouble in troubles.values())


def test_hostile_text_cannot_act_on_the_terminal() -> None:
    """Escape sequences and direction marks from flows are shown, not obeyed."""
    text = screen(snapshot(findings=(hostile_finding(),)))
    assert "\x1b[2J" not in text
    assert "\u202e" not in text


def test_plain_lines_where_there_is_no_terminal() -> None:
    """One line for each new finding and each one gone, and one about the whole every few seconds, by the
    snapshots' own time."""
    out = io.StringIO()
    first = quiet_snapshot(findings=(loki_finding(),))
    with LiveView(Console(file=out, width=80), ADDRESSES) as view:
        view.show(first)
        view.show(quiet_snapshot(findings=(loki_finding(),), now=NOW + 0.5))
        view.show(quiet_snapshot(now=NOW + 1))
        view.show(quiet_snapshot(now=NOW + 60))
    lines = out.getvalue().splitlines()
    assert lines[:2] == [f"{name} {address}" for name, address in ADDRESSES.items()]
    assert sum(" new unexpected " in text for text in lines) == 1
    assert sum(" gone unexpected " in text for text in lines) == 1
    assert sum("flows=" in text for text in lines) == 2


def test_the_whole_in_one_line() -> None:
    """Key and value, the sentence last."""
    text = line(snapshot())
    assert "\n" not in text
    for part in ("stream=streaming", "unexpected=2", "nodes=5/6", "lost=1204"):
        assert part in text


def test_progress_is_silent_off_a_terminal() -> None:
    """Nothing is written where nobody watches."""
    out = io.StringIO()
    with replay_progress(Console(file=out)) as progress:
        progress.update("flows.jsonl", 1, 2, 3, 0)
    assert out.getvalue() == ""
