"""Every check finds what it is there for, on the very line, and leaves alone what only looks like it."""

from __future__ import annotations

import pytest

from flowwatch.lint import CHECKS, Severity
from tests.support.lintfixtures import fixture, names

CHECK_NAMES = [check.name for check in CHECKS]


def test_every_check_has_files() -> None:
    """No check without a file that must be found and one that must not, and no files without a check."""
    assert names() == sorted(CHECK_NAMES)
    assert len(set(CHECK_NAMES)) == len(CHECK_NAMES)


@pytest.mark.parametrize("check", CHECK_NAMES)
def test_a_check_finds_what_is_bad(check: str) -> None:
    """The lines that are marked, all of them, and no other; where none is, what has no line."""
    bad = fixture(check, "bad")
    assert bad.lines(check) == (bad.marked or [0])


@pytest.mark.parametrize("check", CHECK_NAMES)
def test_a_check_leaves_the_good_alone(check: str) -> None:
    """Nothing is found in the near miss, and nothing in it would be rejected."""
    good = fixture(check, "good")
    checked = good.checked()
    assert [each for each in checked.findings if each.check == check] == []
    assert [(each.check, each.problem) for each in checked.findings if each.severity is Severity.ERROR] == []
