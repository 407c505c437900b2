"""The real HTTP server on loopback, asked in raw bytes."""

from __future__ import annotations

import asyncio
import atexit
import logging
import socket
import threading
from functools import cache

from aiohttp import web as aiohttp_web
from aiohttp.http_exceptions import HttpProcessingError

from flowwatch import web
from tests.test_http import View

PATIENCE = 30.0
"""Seconds for an answer that takes milliseconds."""
QUIET = 0.03
"""Seconds after which no more of an answer is waited for; what comes later is seen as an error in the log."""
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Server:
    """Serves the API in a thread of its own, and notes what went wrong in it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.problems.append(str(context)))
        self._runner = aiohttp_web.AppRunner(web.build(View()), access_log=None)
        for name in ("flowwatch.web", "aiohttp", "asyncio"):
            logging.getLogger(name).addHandler(_Kept(self.problems))
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(PATIENCE):
            raise TimeoutError("the server does not start")

    def _run(self, ready: threading.Event) -> None:
        async def start() -> None:
            await self._runner.setup()
            site = aiohttp_web.TCPSite(self._runner, "127.0.0.1", 0)
            await site.start()
            self.address: tuple[str, int] = self._runner.addresses[0]
            ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)


@cache
def server() -> Server:
    """The one that all inputs are sent to."""
    one = Server()
    atexit.register(one.stop)
    return one


def ask(data: bytes) -> str:
    """Every request gets an answer that is no failure of ours, or its connection closed; the next one is served."""
    there = server()
    answer = exchange(there.address, data)
    status = answer.split(b" ", 2)[1:2]
    assert not answer or answer.startswith(b"HTTP/"), answer[:100]
    assert b" 500 Internal" not in answer, answer
    assert exchange(there.address, PROBE).startswith(b"HTTP/1.1 200")
    assert not there.problems, there.problems
    return "" if status == [b"200"] else (status or [b"closed"])[0].decode()


def exchange(address: tuple[str, int], data: bytes) -> bytes:
    """Send this and nothing more; what comes back until the server ends it, or is quiet: it may wait for more."""
    parts: list[bytes] = []
    with socket.create_connection(address, PATIENCE) as connection:
        try:
            connection.sendall(data)
            # Only the probe says that it is the last request, so only its end is waited for.
            connection.settimeout(PATIENCE if data is PROBE else QUIET)
            while part := connection.recv(1 << 16):
                parts.append(part)
        except (ConnectionResetError, BrokenPipeError):
            pass
        except TimeoutError:
            assert data is not PROBE, "the server does not answer"
    return b"".join(parts)


class _Kept(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        # The library says at this level, too, that a request makes no sense.
        if not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)):
            self._problems.append(self.format(record))
