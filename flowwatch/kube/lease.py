"""The edge of an election: keeps a Lease in a thread of its own, and says at any time whether this replica leads."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import aiohttp

from flowwatch.errors import ClusterError
from flowwatch.kube.access import Access, Place
from flowwatch.kube.election import DURATION, RETRY, Election, Record
from flowwatch.kube.resources import LEASES

log = logging.getLogger("flowwatch.lease")

REQUEST_SECONDS = 3.0
CLOSING = 0.05
"""Seconds for connections to close in, at the end."""
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def own_namespace(configured: str) -> str:
    """The namespace of the Lease: as configured, or that of the pod we run in. Raises ClusterError."""
    if configured:
        return configured
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ClusterError(
            "kubernetes.namespace: this does not run in a pod; name the namespace of the Lease"
        ) from error


def own_identity(env: Mapping[str, str] = os.environ) -> str:
    """A name for this process that no other ever had."""
    return f"{env.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:12]}"


class Leading:
    """Takes part in the election while the context lasts, and resigns at its end."""

    def __init__(
        self,
        place: Place,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        """`clock` never goes back, in seconds."""
        self.election = Election(identity)
        self.error = ""
        """Why the lease could not be asked for last; empty while it can."""
        self._path = f"{place.url}{LEASES.path_in(namespace)}"
        self._name, self._namespace = name, namespace
        self._access = Access(place, clock)
        self._clock = clock
        self._random = random or Random()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(2 * REQUEST_SECONDS)

    def leads(self) -> bool:
        """Whether this replica leads now; from any thread."""
        return self.election.leads(self._clock())

    # ── the thread ───────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._take_part())
        except BaseException:
            log.exception("the election ended")  # and with it, within seconds, this replica's lead
        finally:
            self._begun.set()
            self._loop.run_until_complete(asyncio.sleep(CLOSING))
            self._loop.close()

    async def _take_part(self) -> None:
        self._task = asyncio.current_task()
        self._begun.set()
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            led = False
            try:
                while True:
                    await self._try(session)
                    if self.leads() is not led:
                        led = not led
                        log.info("%s the lease %s", "holds" if led else "does not hold", self._name)
                    await asyncio.sleep(RETRY * self._random.uniform(0.8, 1.2))
            except asyncio.CancelledError:
                await self._resign(session)

    async def _try(self, session: aiohttp.ClientSession) -> None:
        before = self.error
        try:
            await self._turn(session)
            self.error = ""
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            self.error = str(error) or type(error).__name__
            if self.error != before:
                log.warning("the lease %s cannot be asked for: %s", self._name, self.error)

    async def _turn(self, session: aiohttp.ClientSession) -> None:
        election = self.election
        if not self.leads():
            status, body = await self._ask(session, "GET")
            election.seen(_record(body) if status == 200 else None, self._clock())
        asked = self._clock()
        wanted = election.wants(asked, _moment())
        if wanted is None:
            return
        status, body = await self._ask(session, "PUT" if wanted.version else "POST", wanted)
        if status in (200, 201):
            election.written(_record(body), asked, self._clock())
        else:  # somebody was faster; the next turn sees who
            election.seen(None, self._clock())

    async def _resign(self, session: aiohttp.ClientSession) -> None:
        wanted = self.election.resigns()
        if wanted is not None:
            try:
                await self._ask(session, "PUT", wanted)
                log.info("gave up the lease %s", self._name)
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
                log.warning("could not give up the lease %s: %s", self._name, error)

    async def _ask(self, session: aiohttp.ClientSession, method: str, record: Record | None = None) -> tuple[int, Any]:
        """A request, and its status (200, 201; 404 of what is not there; 409 of what changed meanwhile) and answer."""
        url = self._path if method == "POST" else f"{self._path}/{self._name}"
        async with session.request(
            method,
            url,
            json=None if record is None else self._object(record),
            headers=self._access.headers(),
            ssl=self._access.context(),
            allow_redirects=False,
        ) as response:
            if response.status == 401:
                self._access.refused()
            if response.status in (200, 201):
                return response.status, await response.json(content_type=None)
            if (method, response.status) in (("GET", 404), ("PUT", 404), ("PUT", 409), ("POST", 409)):
                return response.status, None
            raise ValueError(f"{response.status} {response.reason}: {(await response.text())[:200]}")

    def _object(self, record: Record) -> dict[str, Any]:
        metadata = {"name": self._name, "namespace": self._namespace}
        if record.version:
            metadata["resourceVersion"] = record.version
        spec = {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": max(int(record.duration), 1),
            "acquireTime": record.acquired or None,
            "renewTime": record.renewed or None,
            "leaseTransitions": record.transitions,
        }
        return {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata, "spec": spec}


def _record(body: Any) -> Record:
    try:
        spec = body.get("spec") or {}
        return Record(
            holder=str(spec.get("holderIdentity") or ""),
            duration=float(spec.get("leaseDurationSeconds") or DURATION),
            transitions=int(spec.get("leaseTransitions") or 0),
            version=str(body["metadata"]["resourceVersion"]),
            renewed=str(spec.get("renewTime") or ""),
            acquired=str(spec.get("acquireTime") or ""),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("the answer is no Lease") from error


def _moment() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
