"""An API server that keeps objects, and misbehaves on request: a real HTTP server in a thread of its own.

What it does well it does as a real one: resource versions of one counter for all, pages of a list that are one
moment, watches from a version on, bookmarks, and 410 for what it no longer remembers. Everything else is asked of
it by name (`FAULTS`) and happens to the next request or event it fits.
"""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from flowwatch.kube.resources import LEASES, WATCHED, Resource

Json = dict[str, Any]

FAULTS = (
    "close",  # the watches that are open end properly
    "reset",  # they end in the middle of a line
    "abort",  # their connections are reset
    "gone-status",  # the next watch is answered with 410
    "gone-event",  # the next watch is answered with 200 and an ERROR event of code 410
    "error-event",  # the next watch gets an ERROR event of code 500
    "slow-list",  # the next list comes in drops
    "lost-page",  # the next continue token has expired
    "failing",  # the next request is answered with 500
    "busy",  # the next request is answered with 429 and Retry-After
    "garbage",  # the next event is followed by something that is no JSON
    "twice",  # the next event comes twice
    "late",  # the next event comes after the one that follows it
    "hang",  # the watches that are open never say anything again
    "bookmark",  # the watches that are open are told how far they are
    "compact",  # everything before now is forgotten
    "new-token",  # the token that was good is good no more
    "no-streaming",  # streaming lists are refused from now on
)
_NOW = ("close", "reset", "abort", "hang", "bookmark")


class FakeCluster:
    """Serves while the context lasts. Methods may be called from any thread."""

    def __init__(
        self,
        resources: tuple[Resource, ...] = WATCHED,
        *,
        streaming: bool = True,
        token: str = "",
        bookmark_every: float = 0.0,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        """Without `bookmark_every` (seconds), it bookmarks only where that is asked of it."""
        self.resources = {one.path: one for one in resources}
        self.objects: dict[str, dict[tuple[str, str], Json]] = {path: {} for path in self.resources}
        self.token = token
        self.on_new_token: Callable[[str], object] = lambda _: None
        self.asked: Counter[str] = Counter()
        """Questions by what was asked: list, page, stream, watch; and answers by status."""
        self.url = ""
        self.leases: dict[str, Json] = {}
        self.holders: list[str] = []
        """Who held a lease, one after the other."""
        self._tls = tls
        self._streaming = streaming
        self._bookmark_every = bookmark_every
        self._version = 100
        self._forgotten = 0
        self._history: list[tuple[int, str, str, Json]] = []
        self._pages: dict[str, list[Json]] = {}
        self._faults: Counter[str] = Counter()
        self._watches: list[_Watch] = []
        self._loop = asyncio.new_event_loop()
        self._begun = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="fake-cluster", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(60.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60.0)

    # ── what it is told to do ────────────────────────────────────────────────────────────────────

    def put(self, resource: Resource, found: Json) -> None:
        """Create an object, or change it."""
        self._call(lambda: self._put(resource, copy.deepcopy(found)))

    def delete(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Delete an object; nothing where there is none."""
        self._call(lambda: self._delete(resource, (namespace, name)))

    def fault(self, name: str) -> None:
        """Misbehave, see `FAULTS`."""
        assert name in FAULTS, name
        self._call(lambda: self._misbehave(name))

    def heal(self) -> None:
        """Forget every fault that waits for its moment, and say what was held back."""
        self._call(self._heal)

    def state(self, resource: Resource) -> dict[tuple[str, str], object]:
        """What is kept of its objects."""
        found: dict[tuple[str, str], object] = self._call(
            lambda: {key: resource.keep(one) for key, one in self.objects[resource.path].items()}
        )
        return found

    def _call(self, work: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60.0)

    def _put(self, resource: Resource, found: Json) -> None:
        metadata = found["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        kind = "MODIFIED" if key in self.objects[resource.path] else "ADDED"
        self.objects[resource.path][key] = found
        self._happened(resource.path, kind, found)

    def _delete(self, resource: Resource, key: tuple[str, str]) -> None:
        found = self.objects[resource.path].pop(key, None)
        if found is not None:
            self._version += 1
            found = copy.deepcopy(found)
            found["metadata"]["resourceVersion"] = str(self._version)
            self._happened(resource.path, "DELETED", found)

    def _happened(self, path: str, kind: str, found: Json) -> None:
        self._history.append((self._version, path, kind, found))
        twice, late, garbage = (self._take(name) for name in ("twice", "late", "garbage"))
        for watch in self._watches:
            if watch.path == path:
                watch.tell(kind, found, twice=twice, late=late, garbage=garbage)

    def _misbehave(self, name: str) -> None:
        if name in _NOW:
            for watch in self._watches:
                watch.queue.put_nowait(self._bookmark(watch) if name == "bookmark" else name)
        elif name == "compact":
            self._forgotten, self._history = self._version, []
            self._pages.clear()
        elif name == "new-token":
            self.token += "x"
            self.on_new_token(self.token)
            self._misbehave("close")
        elif name == "no-streaming":
            self._streaming = False
        else:
            self._faults[name] += 1

    def _heal(self) -> None:
        self._faults.clear()
        for watch in self._watches:
            watch.flush()

    def _take(self, name: str) -> bool:
        found = self._faults[name] > 0
        self._faults[name] -= found
        return found

    def _bookmark(self, watch: _Watch, *, initial: bool = False) -> bytes:
        metadata: Json = {"resourceVersion": str(self._version)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return _line("BOOKMARK", {"kind": self.resources[watch.path].kind, "metadata": metadata})

    # ── what it answers ──────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        application = web.Application()
        application.router.add_route("*", f"{LEASES.path_in('{namespace}')}{{name:.*}}", self._lease)
        application.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        context = None
        if self._tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*self._tls)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        scheme, host = ("https", "localhost") if context else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{runner.addresses[0][1]}"
        self._begun.set()
        bookmarking = asyncio.create_task(self._bookmark_now_and_then())
        await self._stop.wait()
        bookmarking.cancel()
        for watch in self._watches:
            watch.queue.put_nowait("close")
        await runner.cleanup()

    async def _bookmark_now_and_then(self) -> None:
        while self._bookmark_every:
            await asyncio.sleep(self._bookmark_every)
            self._misbehave("bookmark")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return self._status(401, "Unauthorized")
        if self._take("failing"):
            return self._status(500, "etcdserver: request timed out")
        if self._take("busy"):
            return self._status(429, "too many requests", {"Retry-After": "0.01"})
        if path not in self.resources:
            return self._status(404, "the server could not find the requested resource")
        if request.query.get("watch") == "1":
            return await self._watch(request, path)
        return await self._list(request, path)

    async def _lease(self, request: web.Request) -> web.StreamResponse:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return self._status(401, "Unauthorized")
        name = request.match_info["name"].removeprefix("/")
        given = await request.json() if request.body_exists else {}
        self.asked[f"lease {request.method}"] += 1
        known = self.leases.get(name or given["metadata"]["name"])
        if request.method == "GET" or known is None:
            if request.method != "POST":
                return web.json_response(known) if known else self._status(404, "not found")
        elif request.method == "POST":
            return self._status(409, "already exists")
        elif given["metadata"].get("resourceVersion") != known["metadata"]["resourceVersion"]:
            return self._status(409, "the object has been modified")
        self._version += 1
        given["metadata"]["resourceVersion"] = str(self._version)
        self.leases[given["metadata"]["name"]] = given
        holder = given["spec"]["holderIdentity"]
        if holder and self.holders[-1:] != [holder]:
            self.holders.append(holder)
        return web.json_response(given, status=201 if request.method == "POST" else 200)

    def _status(self, code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
        self.asked[str(code)] += 1
        body = {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}
        return web.json_response(body, status=code, headers=headers)

    async def _list(self, request: web.Request, path: str) -> web.StreamResponse:
        token, limit = request.query.get("continue", ""), int(request.query.get("limit", "0"))
        self.asked["page" if token else "list"] += 1
        if token:
            if self._take("lost-page") or token not in self._pages:
                return self._status(410, "The provided continue parameter is too old")
            found, version = self._pages.pop(token), token.split("-")[0]
        else:
            found = [copy.deepcopy(one) for _, one in sorted(self.objects[path].items())]
            version = str(self._version)
        metadata = {"resourceVersion": version}
        if limit and len(found) > limit:
            metadata["continue"] = f"{version}-{len(self._pages)}-{self.asked['list']}"
            self._pages[metadata["continue"]] = found[limit:]
            found = found[:limit]
        body = json.dumps({"kind": "List", "metadata": metadata, "items": found}).encode()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        slow = self._take("slow-list")
        await response.prepare(request)
        step = max(len(body) // 5, 1) if slow else len(body)
        for at in range(0, len(body), step):
            await response.write(body[at : at + step])
            if slow:
                await asyncio.sleep(0.005)
        await response.write_eof()
        return response

    async def _watch(self, request: web.Request, path: str) -> web.StreamResponse:
        initial = request.query.get("sendInitialEvents") == "true"
        self.asked["stream" if initial else "watch"] += 1
        if initial and not self._streaming:
            return self._status(422, "sendInitialEvents is forbidden for watch unless the feature is enabled")
        if self._take("gone-status"):
            return self._status(410, "too old resource version")
        since = int(request.query.get("resourceVersion") or "0")
        watch = _Watch(path)
        if self._take("gone-event") or (not initial and since < self._forgotten):
            watch.queue.put_nowait(_error(410, "too old resource version"))
        elif self._take("error-event"):
            watch.queue.put_nowait(_error(500, "etcd event received with no matching prefix"))
        elif initial:
            for _, found in sorted(self.objects[path].items()):
                watch.tell("ADDED", found)
            watch.queue.put_nowait(self._bookmark(watch, initial=True))
        else:
            for version, where, kind, found in self._history:
                if version > since and where == path:
                    watch.tell(kind, found)
        # Nothing may happen between what was and what comes: the loop was not left since.
        self._watches.append(watch)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
            await self._say(request, response, watch)
        finally:
            self._watches.remove(watch)
        return response

    async def _say(self, request: web.Request, response: web.StreamResponse, watch: _Watch) -> None:
        while True:
            said = await watch.queue.get()
            if said == "close":
                await response.write_eof()
                return
            if said == "hang":
                while await watch.queue.get() not in ("close", "reset", "abort"):
                    pass
                return
            if said in ("reset", "abort"):
                if said == "reset":
                    await response.write(b'{"type":"ADDED","object":{"metadata":{"na')
                if request.transport is not None:
                    request.transport.abort()
                return
            assert isinstance(said, bytes)
            await response.write(said)
            if said.startswith(b'{"type": "ERROR"'):
                await response.write_eof()
                return


class _Watch:
    """One open watch: what it has yet to say, as bytes, and what is to happen to it, as words."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.queue: asyncio.Queue[bytes | str] = asyncio.Queue()
        self._held: list[bytes] = []

    def tell(self, kind: str, found: Json, *, twice: bool = False, late: bool = False, garbage: bool = False) -> None:
        line = _line(kind, found)
        if late:
            self._held.append(line)
            return
        for said in (line, line) if twice else (line,):
            self.queue.put_nowait(said)
        if garbage:
            self.queue.put_nowait(b"\x00{not json}\n")
        self.flush()

    def flush(self) -> None:
        """Say what was held back."""
        held, self._held = self._held, []
        for line in held:
            self.queue.put_nowait(line)


def _line(kind: str, found: Json) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


def _error(code: int, message: str) -> bytes:
    return _line("ERROR", {"kind": "Status", "code": code, "message": message})
