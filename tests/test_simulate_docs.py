"""The page about the simulator says what it does."""

from __future__ import annotations

import re
from pathlib import Path

from flowwatch.simulate.command import simulate
from flowwatch.simulate.faults import LASTING, MEANINGS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "simulate.md").read_text()


def test_every_mode_is_explained_as_in_the_help() -> None:
    """In the same words and order."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE, re.MULTILINE)

    assert rows == [(str(mode), meaning) for mode, meaning in MEANINGS.items()]


def test_the_page_names_only_options_there_are() -> None:
    """And says which faults last."""
    known = {name for option in simulate.params for name in option.opts}

    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= known | {"--help"}
    sentence = PAGE[PAGE.index("Without `for=`,") : PAGE.index("last to the end")]
    assert set(re.findall(r"`([a-z-]+)`", sentence)) == {str(mode) for mode in LASTING}
