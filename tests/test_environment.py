"""deploy/environment.sh: which Python it takes, what it refuses, and that it leaves what is current alone.

Installing from the index is what `sh tests/run.sh` does before any test runs; here nothing is fetched. The interpreters
are small scripts that answer as a Python of some version would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of what the script needs, a PATH of its own, and a home that must stay empty."""

    root: Path
    path: Path
    home: Path

    def python(self, name: str, *, suits: bool = True, venv: bool = True, version: str = "3.13.1") -> None:
        """Puts an interpreter on PATH that suits or does not, and has venv or has not."""
        script = f"""#!/bin/sh
case "$*" in
--version) echo "Python {version}" ;;
*version_info*) exit {int(not suits)} ;;
*"import ensurepip, venv"*) exit {int(not venv)} ;;
"-m venv "*) mkdir -p "$3/bin" "$3/lib/site-packages" && cp "$0" "$3/bin/python" ;;
"-m pip install "*) echo "$*" >>"$FETCHED" ;;
*get_path*) echo "{self.root}/.venv/lib/site-packages" ;;
*relpath*) echo ../../.. ;;
*) echo "unexpected: $*" >&2 && exit 9 ;;
esac
"""
        (self.path / name).write_text(script)
        (self.path / name).chmod(0o755)

    def run(self, kind: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the script with nothing inherited."""
        variables = {
            "PATH": str(self.path),
            "HOME": str(self.home),
            "FETCHED": str(self.root / "fetched"),
        } | environment
        return subprocess.run(
            ["sh", "deploy/environment.sh", kind],
            cwd=self.root,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def fetched(self) -> list[str]:
        """The locks that pip was asked to install so far."""
        log = self.root / "fetched"
        lines = log.read_text().splitlines() if log.exists() else []
        return [Path(line.split("--requirement ")[1]).stem for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout whose PATH has the ordinary commands and no Python."""
    made = Checkout(tmp_path / "a checkout", tmp_path / "bin", tmp_path / "home")
    shutil.copytree(ROOT / "deploy/lock", made.root / "deploy/lock")
    shutil.copy(ROOT / "deploy/environment.sh", made.root / "deploy")
    made.path.mkdir()
    made.home.mkdir()
    for command in ("sh", "dirname", "cat", "cmp", "cp", "mv", "rm", "mkdir", "chmod", "readlink", "flock"):
        found = shutil.which(command)
        if found:
            (made.path / command).symlink_to(found)
    return made


def test_the_newest_python_that_suits_is_taken(checkout: Checkout) -> None:
    """One that is too old or has no packages in the lock is passed over, and so is one without venv."""
    checkout.python("python3.14", venv=False, version="3.14.0")
    checkout.python("python3.13", version="3.13.1")
    checkout.python("python3.11", version="3.11.2")
    checkout.python("python3", suits=False, version="3.9.2")

    done = checkout.run("runtime")

    assert done.returncode == 0, done.stderr
    assert "making .venv with Python 3.13.1" in done.stderr


def test_a_python_that_is_too_old_is_named(checkout: Checkout) -> None:
    """The message says what is needed and what was found."""
    checkout.python("python3", suits=False, version="3.9.2")

    done = checkout.run("runtime")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "environment.sh: flowwatch needs CPython 3.11, 3.12, 3.13 or 3.14; on PATH there is Python 3.9.2"
    ]


def test_no_python_at_all_is_said(checkout: Checkout) -> None:
    """Without any python3 the message says so."""
    done = checkout.run("runtime")

    assert done.returncode == 1
    assert "no python3 at all" in done.stderr


def test_a_python_without_venv_names_the_package_that_brings_it(checkout: Checkout) -> None:
    """Debian ships venv in a package of its own."""
    checkout.python("python3", venv=False)

    done = checkout.run("runtime")

    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


def test_an_unsuitable_python_that_was_asked_for_is_refused(checkout: Checkout) -> None:
    """PYTHON is taken or refused, never replaced by another."""
    checkout.python("python3")
    checkout.python("mine", suits=False)

    done = checkout.run("runtime", PYTHON="mine")

    assert done.returncode == 1
    assert "PYTHON=mine is not" in done.stderr


def test_what_is_current_is_left_alone(checkout: Checkout) -> None:
    """A second run says and fetches nothing; asking for more adds what is missing."""
    checkout.python("python3")

    assert checkout.run("runtime").returncode == 0
    assert checkout.run("runtime").stderr == ""
    assert checkout.fetched() == ["runtime"]
    assert checkout.run("ci").returncode == 0
    assert checkout.run("runtime").stderr == ""
    assert checkout.fetched() == ["runtime", "dev", "ci"]


def test_a_changed_lock_makes_a_new_environment(checkout: Checkout) -> None:
    """What the lock no longer asks for does not stay behind."""
    checkout.python("python3")
    checkout.run("runtime")
    left = checkout.root / ".venv/lib/site-packages/left.py"
    left.touch()
    (checkout.root / "deploy/lock/runtime.txt").write_text("click==8.5.0\n")

    done = checkout.run("runtime")

    assert done.returncode == 0, done.stderr
    assert not left.exists()
    assert checkout.fetched() == ["runtime", "runtime"]


def test_another_python_makes_a_new_environment(checkout: Checkout) -> None:
    """PYTHON of another version is not ignored because there is an environment already."""
    checkout.python("python3", version="3.13.1")
    checkout.python("other", version="3.12.4")
    checkout.run("runtime")

    assert "making .venv with Python 3.12.4" in checkout.run("runtime", PYTHON="other").stderr
    assert checkout.run("runtime", PYTHON="other").stderr == ""


def test_an_environment_left_half_made_is_made_again(checkout: Checkout) -> None:
    """An interrupted run does not count as one that finished."""
    checkout.python("python3")
    checkout.run("runtime")
    (checkout.root / ".venv/made-from/version").unlink()

    assert "making .venv with" in checkout.run("runtime").stderr


def test_an_environment_of_the_users_own_is_not_touched(checkout: Checkout) -> None:
    """A .venv that something else made is not deleted."""
    checkout.python("python3")
    own = checkout.root / ".venv/precious"
    own.mkdir(parents=True)

    done = checkout.run("runtime")

    assert done.returncode == 1
    assert "was not made by this script" in done.stderr
    assert own.exists()


def test_nothing_is_written_outside_the_environment(checkout: Checkout) -> None:
    """Home stays empty, and the checkout gains .venv alone."""
    checkout.python("python3")

    assert checkout.run("dev").returncode == 0
    assert not list(checkout.home.iterdir())
    assert {path.name for path in checkout.root.iterdir()} == {"deploy", ".venv", "fetched"}
    assert not (checkout.root / ".venv/tmp").exists()


def test_the_launcher_runs_the_checkout_even_after_it_moved(checkout: Checkout, tmp_path: Path) -> None:
    """The command finds its environment and the package by relative paths, also through a symbolic link."""
    checkout.python("python3")
    checkout.run("runtime")
    elsewhere = tmp_path / "elsewhere"
    checkout.root.rename(elsewhere)
    package = elsewhere / "flowwatch"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text("import sys\ndef main() -> None: print(sys.argv)\n")
    (tmp_path / "link").symlink_to(elsewhere / ".venv/bin/flowwatch")
    python = elsewhere / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')

    done = subprocess.run(
        [tmp_path / "link", "demo", "--seed", "a b"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(elsewhere)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "['flowwatch', 'demo', '--seed', 'a b']\n", done.stderr
    assert (elsewhere / ".venv/lib/site-packages/flowwatch.pth").read_text() == "../../..\n"


def test_an_unknown_kind_is_refused(checkout: Checkout) -> None:
    """Anything but runtime, dev and ci is answered with the usage."""
    done = checkout.run("production")

    assert done.returncode == 2
    assert done.stderr == "usage: sh deploy/environment.sh runtime|dev|ci\n"
