"""Pictures of the page, light and dark: `.venv/bin/python -m tests.screenshots FOLDER [ADDRESS]`.

Without an address, the page is that of a simulated cluster which has drifted; it takes a quarter of a minute to.
Needs Chromium.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from flowwatch import config
from flowwatch.assemble import running
from flowwatch.demo import clean, demo_config, simulated_hubble
from tests.support.browser import Tab, browser

VIEWS = {
    "overview": "/",
    "findings": "/findings",
    "matrix": "/matrix",
    "edges": "/edges",
    "flows": "/flows?verdict=DROPPED",
    "coverage": "/coverage",
    "conditions": "/conditions",
    "search": "/search?text=loki",
    "nothing": "/nowhere",
}
DRIFT = 6
"""Findings to wait for."""


def main(folder: Path, address: str = "") -> None:
    """Take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if not address:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            clean(directory)
            server = stack.enter_context(simulated_hubble(directory, ["--rate", "400"]))
            settings = demo_config(config.load(None, {}), directory, server)
            settings = replace(settings, web=replace(settings.web, listen="127.0.0.1:0"))
            daemon, service = stack.enter_context(running(settings))
            end = time.monotonic() + 120
            while len(daemon.snapshot.findings) < DRIFT and time.monotonic() < end:
                time.sleep(0.5)
            address = service.address
        asyncio.run(_take(folder, address))


async def _take(folder: Path, address: str) -> None:
    with urllib.request.urlopen(f"{address}/api/v1/findings?limit=1") as answer:
        first = json.load(answer)["findings"]
    views = VIEWS | {f"finding-{finding['square']}": f"/findings/{finding['fingerprint']}" for finding in first}
    async with browser() as tab:
        for name, path in views.items():
            for theme, width in (("light", 1280), ("dark", 1280), ("narrow", 420)):
                await _shot(tab, f"{address}{path}", theme == "dark", width, folder / f"{name}-{theme}.png")


async def _shot(tab: Tab, address: str, dark: bool, width: int, file: Path) -> None:
    await tab.look(width, dark=dark)
    await tab.goto(address)
    file.write_bytes(await tab.screenshot())
    print(file)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
