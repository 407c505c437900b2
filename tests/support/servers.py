"""Real Prometheus and Alertmanager processes on loopback, each with a data directory of its own."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from aiohttp import web

from tests.support.patience import PATIENCE

LISTENING = re.compile(r'msg="Listening on".* address=(\S+)')
T = TypeVar("T")


def program(name: str) -> str:
    """The path of a program, or a skipped test that names it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus prometheus-alertmanager)")
    return found


def run(name: str, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end; the caller looks at what it said."""
    command = [program(name), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False)


async def until(ask: Callable[[], Awaitable[T]], what: object, seconds: float = PATIENCE) -> T:
    """Ask again and again for something that is not there yet; give it, or fail naming it as it is by then."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await ask()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {seconds} s: {what}")
    return found


@asynccontextmanager
async def served(*routes: web.RouteDef) -> AsyncIterator[str]:
    """An HTTP server for the routes; gives its `host:port`."""
    app = web.Application()
    app.router.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def prometheus(directory: Path, config: str) -> AsyncIterator[str]:
    """A Prometheus with this configuration; gives its `host:port`."""
    file = directory / "prometheus.yml"
    file.write_text(config, encoding="utf-8")
    arguments = (
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    )
    async with _running(directory, "prometheus", *arguments) as address:
        yield address


@asynccontextmanager
async def alertmanager(directory: Path, config: str, *more: str, cluster: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """An Alertmanager with this configuration, on its own; or, where `cluster` has addresses, listening for its
    cluster on the first and joining the others. Gives its `host:port`."""
    file = directory / "alertmanager.yml"
    file.write_text(config, encoding="utf-8")
    arguments = (
        f"--config.file={file}",
        f"--storage.path={directory / 'alertmanager'}",
        "--web.listen-address=127.0.0.1:0",
        f"--cluster.listen-address={cluster[0] if cluster else ''}",
        *(f"--cluster.peer={peer}" for peer in cluster[1:]),
        *more,
    )
    async with _running(directory, "prometheus-alertmanager", *arguments) as address:
        yield address


@asynccontextmanager
async def _running(directory: Path, name: str, *arguments: str) -> AsyncIterator[str]:
    path = program(name)
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            path, *arguments, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:

        async def address() -> str:
            said = log.read_text(encoding="utf-8")
            if process.returncode is not None:
                pytest.fail(f"{name} ended at once:\n{said}")
            found = LISTENING.search(said)
            return found[1] if found else ""

        yield await until(address, f"{name} listens")
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


def serve_on_free_port(app: web.Application, note: Path) -> None:
    """Serve until this process is ended; the port is written to `note` once it is open."""

    async def serve() -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        written = note.with_suffix(".new")
        written.write_text(str(runner.addresses[0][1]), encoding="utf-8")
        written.rename(note)
        await asyncio.Event().wait()

    asyncio.run(serve())
