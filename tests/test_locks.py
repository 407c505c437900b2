"""The locks in deploy/lock: complete, in line with pyproject.toml, and silent about where packages come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("runtime", "dev", "build", "ci")
TARGETS = [
    {"python_full_version": f"{python}.1", "python_version": python, "platform_machine": machine}
    | {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    | {"platform_python_implementation": "CPython", "implementation_name": "cpython"}
    for python in ("3.11", "3.12", "3.13", "3.14")
    for machine in ("x86_64", "aarch64")
]


def text(lock: str) -> str:
    """A lock as it is written."""
    return (ROOT / f"deploy/lock/{lock}.txt").read_text()


def pins(lock: str, target: dict[str, str] | None = None) -> dict[str, str]:
    """What a lock installs, name to version, on one target or on the first of them."""
    found = {}
    for line in text(lock).replace("\\\n", "").splitlines():
        requirement, _, marker = line.partition(" --hash")[0].partition(";")
        if not marker.strip() or Marker(marker).evaluate(target or TARGETS[0]):
            name, version = requirement.strip().split("==")
            assert name not in found, f"{lock}: {name} twice"
            found[name] = version
    return found


def declared(name: str) -> list[Requirement]:
    """The requirements of [project.dependencies] ("runtime") or of a dependency group and those it includes."""
    entries = PROJECT["project"]["dependencies"] if name == "runtime" else PROJECT["dependency-groups"][name]
    found = []
    for entry in entries:
        found += declared(entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)]
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_names_versions_and_hashes(lock: str) -> None:
    """No index, no address, no path, no comment: each line is a pinned name or a hash that belongs to one."""
    pin = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [a-z_]+ [!<>=]+ '[0-9A-Za-z.]+')? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

    strange = [line for line in text(lock).splitlines() if not pin.fullmatch(line) and not digest.fullmatch(line)]

    assert not strange
    assert not re.search(r"://|--index|--find-links|/|\bfile:", text(lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_declared_is_locked_within_its_range(lock: str) -> None:
    """On every Python and machine that flowwatch runs on, the lock holds a version that pyproject.toml allows."""
    for target in TARGETS:
        locked = pins(lock, target)
        for requirement in declared(lock):
            name = canonicalize_name(requirement.name)
            assert name in locked, f"{name} is in pyproject.toml and not in {lock}.txt: run deploy/lock/update.sh"
            assert requirement.specifier.contains(locked[name]), f"{requirement} and {lock}.txt: {locked[name]}"


@pytest.mark.parametrize(
    "target", TARGETS, ids=lambda target: f"{target['python_version']}-{target['platform_machine']}"
)
def test_the_tests_run_with_what_the_daemon_runs_with(target: dict[str, str]) -> None:
    """dev.txt holds all of runtime.txt and build.txt, at the same versions."""
    assert pins("runtime", target).items() <= pins("dev", target).items()
    assert pins("build", target).items() <= pins("dev", target).items()


def test_the_wheel_is_built_with_what_the_lock_holds() -> None:
    """[build-system] asks for nothing that build.txt does not install."""
    locked = pins("build")

    for entry in PROJECT["build-system"]["requires"]:
        requirement = Requirement(entry)
        assert requirement.specifier.contains(locked[requirement.name])


def test_every_dependency_says_why_it_is_there() -> None:
    """Each requirement in pyproject.toml stands on a line of its own that ends in a comment."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    entries = [*PROJECT["project"]["dependencies"]]
    entries += [entry for group in PROJECT["dependency-groups"].values() for entry in group if isinstance(entry, str)]

    for entry in entries:
        reasons = [re.search(r"# \S.*", line) for line in lines if line.strip().startswith(f'"{entry}",')]
        assert reasons, f"{entry} does not stand on a line of its own"
        assert all(reasons), f"{entry} does not say why it is there"
