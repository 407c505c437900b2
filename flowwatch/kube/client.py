"""The HTTP edge of a reflector: asks the API server what the reflector wants to know, and hands on what it answers.

One call is one question. Whatever goes wrong on the way is told to the reflector; nothing is raised but what ends
the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from random import Random
from typing import Any

import aiohttp

from flowwatch.kube.access import Access
from flowwatch.kube.reflector import Ask, Reflector, Want

LONGEST_WATCH = 240
"""Seconds after which the server is asked to end a watch; at random down to half of it, so that not all end at once."""
SILENCE = 90.0
"""Seconds without a byte after which a connection counts as dead; the server bookmarks about every minute."""
LIST_SECONDS = 120.0
LONGEST_EVENT = 8 * 1024**2
"""Bytes of one event; the API server takes no object near that."""
LONGEST_PAGE = 256 * 1024**2
LONGEST_RETRY_AFTER = 60.0
_SAID = 200


class Client:
    """Asks one API server. Runs in one event loop."""

    def __init__(
        self, access: Access, session: aiohttp.ClientSession, clock: Callable[[], float], random: Random,
        silence: float = SILENCE,
    ) -> None:  # fmt: skip
        self._access = access
        self._session = session
        self._clock = clock
        self._random = random
        self._silence = silence

    async def answer(self, reflector: Reflector) -> float:
        """Ask what the reflector wants to know next and give it the answer, to its end. Seconds for which the server
        wants to be left alone."""
        ask = reflector.ask()
        try:
            async with self._get(reflector, ask) as response:
                if response.status == 200:
                    await self._read(response, reflector, ask)
                    return 0.0
                return await self._refuse(response, reflector)
        except aiohttp.ClientConnectorCertificateError as error:
            reflector.broken(f"the certificate of the API server is not trusted: {error.certificate_error}")
        except TimeoutError:
            reflector.broken("the API server fell silent")
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            reflector.broken(str(error) or type(error).__name__)
        return 0.0

    def _get(self, reflector: Reflector, ask: Ask) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        listed = ask.want is Want.LIST
        timeout = aiohttp.ClientTimeout(
            total=LIST_SECONDS if listed else None, sock_connect=10.0, sock_read=self._silence
        )
        return self._session.get(
            self._access.place.url + reflector.resource.path,
            params=self._parameters(ask),
            headers=self._access.headers(),
            ssl=self._access.context(),
            timeout=timeout,
            allow_redirects=False,  # the token is for this server
        )

    def _parameters(self, ask: Ask) -> dict[str, str]:
        if ask.want is Want.LIST:
            wanted = {"limit": str(ask.limit) if ask.limit else "", "continue": ask.token}
            return {name: value for name, value in wanted.items() if value}
        seconds = self._random.randint(LONGEST_WATCH // 2, LONGEST_WATCH)
        watch = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        if ask.want is Want.WATCH:
            return {**watch, "resourceVersion": ask.version}
        return {**watch, "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}

    async def _read(self, response: aiohttp.ClientResponse, reflector: Reflector, ask: Ask) -> None:
        if ask.want is Want.LIST:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LONGEST_PAGE:
                    raise ValueError("a page of the list is too long")
            # Parsed beside the loop: a page may take longer than anybody should wait for.
            reflector.page(_object(await asyncio.to_thread(json.loads, body)), self._clock())
            return
        async with contextlib.aclosing(_lines(response)) as lines:
            async for line in lines:
                if not reflector.event(_object(json.loads(line)), self._clock()):
                    return
        reflector.closed()

    async def _refuse(self, response: aiohttp.ClientResponse, reflector: Reflector) -> float:
        text = (await response.content.read(64 * 1024)).decode("utf-8", "replace")
        try:
            message = str(_object(json.loads(text)).get("message") or "")
        except ValueError:
            message = text
        if response.status == 401:
            self._access.refused()
        reflector.refused(response.status, " ".join(message.split())[:_SAID] or str(response.reason), self._clock())
        try:
            return min(float(response.headers.get("Retry-After", "0")), LONGEST_RETRY_AFTER)
        except ValueError:
            return 0.0


def _object(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError("the answer of the API server is no object")
    return found


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """The lines of a body as they come; one that was cut off is none."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        *lines, last = chunk.split(b"\n")
        for line in lines:
            rest += line
            if rest.strip():
                yield bytes(rest)
            rest.clear()
        rest += last
        if len(rest) > LONGEST_EVENT:
            raise ValueError("an event is too long")
