"""The main job on one machine: a simulated Hubble in a process of its own, and the real daemon.

Everything it writes is in one directory. The simulated cluster is the homelab of `examples/`.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from flowwatch.config import Config, HubbleSettings, JudgeSettings
from flowwatch.errors import SourceError

STARTUP = 20.0
"""Seconds to wait for the simulated Hubble."""


def homelab_allowlist() -> Path:
    """The allowlist of the simulated cluster: in `examples/` of a checkout, inside the package once installed."""
    package = Path(str(resources.files("flowwatch")))
    installed = package / "_data" / "examples"
    root = installed if installed.is_dir() else package.parent / "examples"
    return root / "homelab" / "allowlist.yaml"


def demo_config(config: Config, directory: Path, server: str) -> Config:
    """The configuration of the demo: findings end soon, so that one sees them end."""
    return replace(
        config,
        cluster="homelab",
        allowlist=(homelab_allowlist(),),
        hubble=HubbleSettings(server=server),
        store=replace(config.store, path=directory / "demo.duckdb"),
        judge=replace(JudgeSettings(), settle=3.0, active_for=120.0),
    )


def clean(directory: Path) -> None:
    """Begin anew: remove what an earlier demo left in its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("demo.duckdb", "demo.duckdb.wal", "demo.duckdb.owner", "truth.jsonl"):
        (directory / name).unlink(missing_ok=True)


@contextlib.contextmanager
def simulated_hubble(directory: Path, arguments: Sequence[str]) -> Iterator[str]:
    """A simulated Hubble in a process of its own while the context lasts; gives its address."""
    command = [sys.executable, "-m", "flowwatch", "simulate", "--listen", "127.0.0.1:0"]
    command += ["--truth", str(directory / "truth.jsonl"), *arguments]
    with (
        (directory / "simulate.log").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, start_new_session=True
        ) as process,
    ):
        try:
            yield _address(process, directory)
        finally:
            process.terminate()
            try:
                process.wait(3.0)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str], directory: Path) -> str:
    """The address from the first line the simulated Hubble prints."""
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    reader.join(STARTUP)
    line = lines[0].strip() if lines else ""
    if not line.startswith("listening on "):
        raise SourceError(f"the simulated Hubble did not start; see {directory / 'simulate.log'}")
    return line.removeprefix("listening on ")
