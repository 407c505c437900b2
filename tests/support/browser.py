"""A headless Chromium, driven over the DevTools protocol: what a person does with the page, and what the page did."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
import pytest

PATIENCE = 60.0
"""Seconds that anything may take before a test fails."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Space": (" ", 32, " "),
    "ArrowDown": ("ArrowDown", 40, ""),
}


def chromium() -> str:
    """The path of the browser, or a skipped test."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    return found


class Tab:
    """One tab. `requests` are the addresses it asked for, `complaints` what it wrote to its console as an error."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._session = ""
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())
        self._dialogs: list[asyncio.Future[dict[str, Any]]] = []
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def _read(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            else:
                self._note(told.get("method", ""), told.get("params", {}))

    def _note(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"].get("exception", params)))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Page.javascriptDialogOpening":
                self.complaints.append(f"a dialog: {params['message']}")
                self._dialogs.append(asyncio.ensure_future(self.call("Page.handleJavaScriptDialog", accept=True)))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; fails the test on an error."""
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "method": method, "params": params}
        await self._socket.send_json(command | ({"sessionId": self._session} if self._session else {}))
        told = await asyncio.wait_for(answer, PATIENCE)
        assert "error" not in told, (method, told["error"])
        result: dict[str, Any] = told["result"]
        return result

    async def open(self) -> Self:
        """Make the tab and listen to it."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def close(self) -> None:
        """Stop listening."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def goto(self, address: str) -> None:
        """Load an address and wait until it is there, its script too."""
        await self.call("Page.navigate", url=address)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'", address)

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        told = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in told, (expression, told["exceptionDetails"])
        return told["result"].get("value")

    async def until(self, expression: str, what: str = "") -> Any:
        """Wait until an expression is true."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            # A page that is just being left has nothing to say.
            try:
                if found := await self.evaluate(expression):
                    return found
            except AssertionError:
                if asyncio.get_running_loop().time() > end:
                    raise
            assert asyncio.get_running_loop().time() < end, f"not in time: {what or expression}"
            await asyncio.sleep(0.05)

    async def press(self, name: str, times: int = 1) -> None:
        """Press a key."""
        key, code, text = KEYS[name]
        for _ in range(times):
            common = {"key": key, "code": name, "windowsVirtualKeyCode": code}
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
            await self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def write(self, text: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def look(self, width: int = 1280, height: int = 900, *, dark: bool = False, scripts: bool = True) -> None:
        """Set the window and the theme; without scripts, as for those who run none."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    async def screenshot(self) -> bytes:
        """The whole page as PNG."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        told = await self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(told["data"])


@asynccontextmanager
async def browser() -> AsyncIterator[Tab]:
    """A fresh browser with one tab; it is gone with its profile when the context ends."""
    path = chromium()
    with tempfile.TemporaryDirectory(prefix="flowwatch-chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            path,
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": profile},
            start_new_session=True,
        )
        try:
            address = await asyncio.wait_for(_address(process), PATIENCE)
            drain = asyncio.create_task(_drain(process))
            async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
                tab = await Tab(socket).open()
                try:
                    yield tab
                finally:
                    await tab.close()
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 10)
                except TimeoutError:
                    process.kill()
                    await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = b""
    while line := await process.stderr.readline():
        said += line
        if match := re.search(rb"DevTools listening on (\S+)", line):
            return match[1].decode()
    pytest.fail(f"chromium did not start:\n{said.decode(errors='replace')}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass
