"""A small TCP proxy before each server: what a server cannot do to its own connections is done here.

One thread runs all of them. It cuts, resets and freezes connections, delays what the server sends
and adds what it never sent; TLS passes through it untouched. Methods may be called from any thread
and have happened when they return.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from flowwatch.errors import FlowwatchError
from flowwatch.simulate.faults import Mode

DELAY = 0.2
"""Seconds by which `delay` is late."""
_GARBAGE = b"\x00\xff" * 64
_RESET = struct.pack("ii", 1, 0)
_HIGH_WATER = 1 << 18
T = TypeVar("T")


class Proxy:
    """The thread of all fronts of a run."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._fronts: list[Front] = []

    def start(self) -> None:
        """Begin to serve fronts."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated-hubble-proxy", daemon=True)
        self._thread.start()

    def front(self, listen: str) -> Front:
        """A front at `host:port`, 0 for a free port. Raises FlowwatchError if it cannot be there."""
        front = Front(self, listen)
        self._fronts.append(front)
        return front

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the thread of the proxy."""
        assert self._loop is not None, "it has not started"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """Reset what is open and end the thread."""
        if self._loop is None or self._thread is None:
            return
        for front in self._fronts:
            front.close()
        self._fronts.clear()
        self.run(_finished())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None


class Front:
    """One address, and the connections made to it."""

    def __init__(self, proxy: Proxy, listen: str) -> None:
        self._proxy = proxy
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self.target = 0
        """The port of the server behind it, on loopback."""
        self.silent = False
        """New connections are accepted, and nothing else."""
        self.delay = 0.0
        # Bound as long as the front exists, so that nobody takes the port while it refuses connections.
        self._guard = _bound(listen)
        self.port = int(self._guard.getsockname()[1])

    def open(self) -> None:
        """Accept connections."""
        self._proxy.run(self._open())

    def refuse(self) -> None:
        """Refuse connections; those there are stay."""
        self._proxy.run(self._refuse())

    def close(self) -> None:
        """Refuse and reset, and leave the address."""
        self.refuse()
        self.cut(Mode.RST)
        self._guard.close()

    def cut(self, mode: Mode, client: str = "") -> None:
        """Break connections by `rst`, `fin` or `garbage`: all, or that of a client as the server names it."""
        self._proxy.run(self._cut(mode, client))

    def freeze(self, frozen: bool, client: str = "") -> None:
        """Let connections carry nothing, or go on: all, or that of a client."""
        self._proxy.run(self._each(client, lambda link: link.freeze(frozen)))

    def slow(self, delay: float, client: str = "") -> None:
        """Let what the server sends be late by so many seconds: on all connections, later ones too, or one."""
        if not client:
            self.delay = delay
        self._proxy.run(self._each(client, lambda link: link.slow(delay)))

    def joined(self, link: Link) -> None:
        """A connection was made."""
        self._links.add(link)

    def left(self, link: Link) -> None:
        """A connection is over."""
        self._links.discard(link)

    async def _open(self) -> None:
        if self._server is None:
            listener = socket.socket(self._guard.family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(self._guard.getsockname())
            self._server = await asyncio.get_running_loop().create_server(lambda: Link(self).client, sock=listener)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _each(self, client: str, do: Callable[[Link], None]) -> None:
        for link in list(self._links):
            if not client or link.name == client:
                do(link)

    async def _cut(self, mode: Mode, client: str) -> None:
        await self._each(client, lambda link: link.cut(mode))
        # Sockets are closed in the next rounds of the loop.
        for _ in range(3):
            await asyncio.sleep(0)


class Link:
    """One connection of a client, and the one to the server that it is passed on by."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.client, self.server = _End(self), _End(self)
        self.client.other, self.server.other = self.server, self.client
        self.name = ""
        """The client as the server behind names it."""
        self.frozen = front.silent
        self.delay = front.delay
        self._dialling: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The client is there: connect to the server."""
        self.front.joined(self)
        if self.frozen:
            self.client.pause()
        else:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, "127.0.0.1", self.front.target)
        except OSError:
            self.cut(Mode.RST)
            return
        assert self.server.transport is not None
        host, port = self.server.transport.get_extra_info("sockname")[:2]
        self.name = f"ipv4:{host}:{port}"
        if not self.frozen:
            self.client.resume()
        else:
            self.server.pause()

    def freeze(self, frozen: bool) -> None:
        """Carry nothing, or go on."""
        self.frozen = frozen
        if not frozen and self._dialling is None:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())
            return
        for end in (self.client, self.server):
            if frozen:
                end.pause()
            else:
                end.resume()

    def slow(self, delay: float) -> None:
        """Pass on late what the server sends."""
        self.delay = delay

    def cut(self, mode: Mode) -> None:
        """Break it: both ends, as the client is to see it."""
        if mode is Mode.GARBAGE and self.client.transport is not None:
            self.client.transport.write(_GARBAGE)
        for end in (self.client, self.server):
            end.break_off(reset=mode is Mode.RST)
        self.front.left(self)

    def over(self, end: _End) -> None:
        """One end is gone, so the other goes when it has passed on what it has."""
        if self._dialling is not None and not self._dialling.done():
            self._dialling.cancel()
        if end.other is not None:
            end.other.break_off(reset=False)
        self.front.left(self)


class _End(asyncio.Protocol):
    """One of the two connections of a link."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_HIGH_WATER)
        if self is self.link.client:
            self.pause()
            self.link.begin()

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is None or other.transport is None:
            return
        if self.link.delay and self is self.link.server:
            asyncio.get_running_loop().call_later(self.link.delay, other.transport.write, data)
        else:
            other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause()

    def resume_writing(self) -> None:
        if self.other is not None and not self.link.frozen:
            self.other.resume()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.link.over(self)

    def pause(self) -> None:
        """Read nothing for now."""
        if self.transport is not None:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def break_off(self, *, reset: bool) -> None:
        """End the connection: by a reset at once, or in order when what is left has been written."""
        if self.transport is None or (self.transport.is_closing() and not reset):
            return
        if reset:
            with contextlib.suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            self.transport.close()


async def _finished() -> None:
    """Wait for all that is being done, so that nothing is left open."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)


def _bound(listen: str) -> socket.socket:
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise FlowwatchError(f"cannot listen on {listen}: it is no address with a port")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        guard = socket.socket(family, kind)
        try:
            guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            guard.bind(address)
        except OSError:
            guard.close()
            raise
    except (OSError, OverflowError) as error:
        raise FlowwatchError(f"cannot listen on {listen}: it is not an address of this machine, or in use") from error
    return guard
