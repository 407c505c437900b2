"""The wheel and the image: what is in them, and that the Dockerfile's own steps make a daemon that runs.

No container engine is needed. The builder's instructions are read from the Dockerfile and carried out in a temporary
folder, with the image's absolute paths moved below it, so what is tested is the text that a container engine would run.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MOVED = ("/opt/flowwatch", "/var/lib/flowwatch")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    verb: str
    rest: str


def stages() -> list[list[Instruction]]:
    """The Dockerfile's stages in order, each beginning with its FROM; what stands before the first is left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    found: list[list[Instruction]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        verb, _, rest = line.strip().partition(" ")
        if verb == "FROM":
            found.append([])
        if verb and found:
            found[-1].append(Instruction(verb, rest.strip()))
    return found


def settings(stage: list[Instruction]) -> dict[str, str]:
    """What the ENV instructions of a stage set, as written."""
    words = [word for each in stage if each.verb == "ENV" for word in shlex.split(each.rest)]
    return dict(word.split("=", 1) for word in words)


def the(stage: list[Instruction], verb: str) -> str:
    """The argument of the one instruction of this kind."""
    [instruction] = [each for each in stage if each.verb == verb]
    return instruction.rest


@dataclass(frozen=True, slots=True)
class Image:
    """The outcome of the builder's steps: a root folder that holds what the image holds under the same paths."""

    root: Path

    def at(self, path: str) -> Path:
        """Where an absolute path of the image is."""
        return self.root / path.lstrip("/")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the image's entry point as a container would: in its working directory, with its settings alone."""
        final = stages()[-1]
        program, *rest = json.loads(the(final, "ENTRYPOINT"))
        environment = {name: moved(value, self.root) for name, value in settings(final).items()}
        environment["PATH"] = environment["PATH"].replace("$PATH", os.environ["PATH"])
        return subprocess.run(
            [str(self.at(program)), *rest, *arguments],
            cwd=self.at(the(final, "WORKDIR")),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def files(self) -> dict[str, int]:
        """Every file of the image outside its volume, with the time of its last change."""
        volume = self.at("/var/lib/flowwatch")
        paths = (path for path in self.root.rglob("*") if path.is_file() and not path.is_relative_to(volume))
        return {str(path): path.stat().st_mtime_ns for path in paths}


def moved(text: str, root: Path) -> str:
    """Text of the Dockerfile with the image's absolute paths below `root`."""
    for path in MOVED:
        text = text.replace(path, f"{root}{path}")
    return text


def require_index(folder: Path) -> None:
    """Skips where no package index can be reached; in CI there must be one."""
    options = ["--quiet", "--no-cache-dir", "--retries", "0", "--timeout", "20", "--no-deps", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, "mdurl"]
    probe = subprocess.run(command, capture_output=True, text=True, check=False)
    if probe.returncode:
        reason = f"the package index cannot be reached: {(probe.stderr.strip().splitlines() or ['pip failed'])[-1]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The builder stage, carried out."""
    top = tmp_path_factory.mktemp("image")
    require_index(top / "probe")
    root, build, builder = top / "root", top / "build", top / "builder"
    for folder in (build, *(Path(f"{root}{path}").parent for path in MOVED)):
        folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", builder], check=True)
    stage = stages()[0]
    environment = os.environ | settings(stage) | {"PATH": f"{builder}/bin{os.pathsep}{os.environ['PATH']}"}
    try:
        for instruction in stage:
            if instruction.verb == "COPY":
                *sources, target = shlex.split(instruction.rest)
                for source in map(ROOT.joinpath, sources):
                    if source.is_dir():
                        shutil.copytree(source, build / target, ignore=shutil.ignore_patterns("__pycache__"))
                    else:
                        (build / target).parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(source, build / target)
            elif instruction.verb == "RUN":
                command = moved(instruction.rest, root)
                done = subprocess.run(
                    ["sh", "-c", command],
                    cwd=build,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"RUN {command}\n{done.stdout}"
        yield Image(root)
    finally:
        shutil.rmtree(top)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [path] = folder.iterdir()
    with zipfile.ZipFile(path) as opened:
        yield opened


def shipped(pattern: str) -> set[str]:
    """Files of the checkout that match, as paths from its root."""
    return {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern) if path.is_file() and path.suffix != ".pyc"}


def test_the_wheel_holds_the_package_and_its_data(wheel: zipfile.ZipFile) -> None:
    """Modules, the page and data lie where they do in the checkout, queries and examples below flowwatch/_data."""
    names = set(wheel.namelist())
    queries, package = shipped("queries/**/*.sql"), shipped("flowwatch/**/*")

    assert queries
    assert "flowwatch/page/overview.html" in package
    assert package <= names
    assert {f"flowwatch/_data/{path}" for path in queries | shipped("examples/**/*") | {"runbook.md"}} <= names


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    """No tests, no caches, nothing at the top level but the package and its metadata."""
    names = wheel.namelist()

    assert {name.split("/")[0] for name in names} == {"flowwatch", f"flowwatch-{PROJECT['version']}.dist-info"}
    unwanted = [fnmatch.filter(names, pattern) for pattern in ("*/test*", "*/conftest.py", "*/__pycache__/*", "*.pyc")]
    assert not any(unwanted), unwanted


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    """Version, Python and the command are those of pyproject.toml."""
    information = f"flowwatch-{PROJECT['version']}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{information}/METADATA").decode())

    assert metadata["Version"] == PROJECT["version"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert "flowwatch = flowwatch.cli:main" in wheel.read(f"{information}/entry_points.txt").decode()


def test_the_version_is_the_same_everywhere() -> None:
    """pyproject.toml, the package and the image's label name one version."""
    version = PROJECT["version"]

    assert f'__version__ = "{version}"' in (ROOT / "flowwatch/__init__.py").read_text()
    assert Instruction("ARG", f"VERSION={version}") in stages()[-1]


def test_the_image_runs_as_nobody_and_needs_no_shell() -> None:
    """A numeric user that is not root, an entry point in exec form, and no command run in the final stage."""
    final = stages()[-1]

    assert the(final, "USER") == "65532:65532"
    assert json.loads(the(final, "ENTRYPOINT")) == ["/opt/flowwatch/bin/flowwatch"]
    assert not [each for each in final if each.verb in {"RUN", "SHELL"}]


def test_the_image_says_what_it_is() -> None:
    """The labels that registries and scanners read, filled from the arguments of the build."""
    final = stages()[-1]
    labels = dict(
        word.removeprefix("org.opencontainers.image.").split("=", 1) for word in shlex.split(the(final, "LABEL"))
    )

    assert labels["title"] == PROJECT["name"]
    assert labels["description"] == PROJECT["description"]
    given = {name: f"${{{argument}}}" for name, argument in (("version", "VERSION"), ("revision", "REVISION"))}
    assert labels.items() >= (given | {"base.name": "${PYTHON_IMAGE}"}).items()
    declared = {each.rest.partition("=")[0] for each in final if each.verb == "ARG"}
    assert declared == {"PYTHON_IMAGE", "VERSION", "REVISION"}


def test_the_image_writes_to_its_volume_alone() -> None:
    """With a read-only root, home, temporary files and the working directory are all on the volume."""
    final = stages()[-1]
    [volume] = json.loads(the(final, "VOLUME"))

    assert {the(final, "WORKDIR"), settings(final)["HOME"], settings(final)["TMPDIR"]} == {volume}
    assert settings(final)["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_dockerignore_lets_through_what_is_copied_and_nothing_else() -> None:
    """Each COPY from the context finds its source, and no entry is left over."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    [first, *entries] = [line for line in lines if line and not line.startswith("#")]
    allowed = {entry[1:] for entry in entries if entry.startswith("!")}
    copies = [shlex.split(each.rest) for each in stages()[0] if each.verb == "COPY"]
    sources = {source for words in copies for source in words[:-1]}

    assert first == "*"
    assert sources == allowed
    assert [entry for entry in entries if not entry.startswith("!")] == ["**/__pycache__"]


@pytest.mark.slow
@pytest.mark.xdist_group("image")
def test_the_image_runs(image: Image) -> None:
    """Its command starts away from the checkout, finds its queries in the wheel, and writes nothing to the root."""
    before = image.files()
    default = json.loads(the(stages()[-1], "CMD"))

    version, queries, usage = image.run("--version"), image.run("query", "--list"), image.run(*default, "--help")

    assert version.returncode == 0, version.stderr
    assert PROJECT["version"] in version.stdout
    assert queries.returncode == 0, queries.stderr
    for path in sorted(shipped("queries/report/*.sql")):
        assert Path(path).stem in queries.stdout
    assert usage.returncode == 0, usage.stderr
    assert image.files() == before


@pytest.mark.slow
@pytest.mark.xdist_group("image")
def test_the_image_is_compiled_and_holds_no_installer(image: Image) -> None:
    """Every module of the package has its bytecode, and there is no pip to install anything with."""
    [packages] = image.at("/opt/flowwatch/lib").glob("python3.*/site-packages")
    modules = list((packages / "flowwatch").rglob("*.py"))
    compiled = {path.name.split(".")[0] for path in (packages / "flowwatch").rglob("__pycache__/*.pyc")}

    assert modules
    assert {path.stem for path in modules} <= compiled
    assert not list(packages.glob("pip*"))
    assert not list(packages.rglob("tests"))
    assert not [path for path in image.at("/opt/flowwatch/bin").iterdir() if path.name.startswith("pip")]


@pytest.mark.slow
@pytest.mark.xdist_group("image")
def test_the_image_holds_what_was_declared(image: Image) -> None:
    """Each requirement of the installed packages, flowwatch's own included, is met by what the lock installed."""
    check = [sys.executable, "-m", "pip", "--python", str(image.at("/opt/flowwatch/bin/python")), "check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
