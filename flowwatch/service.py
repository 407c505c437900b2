"""What runs beside the ingest: the HTTP surface and the alerts, in one event loop of its own thread.

It only reads the daemon's newest snapshot. Alerts advance once a second; sending never waits for
anybody. Serving goes on however badly the stream or the store is doing, and says so.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import pyarrow as pa

from flowwatch import alerts_patch, report, sql, web
from flowwatch.alerting import Alerting, settings_of
from flowwatch.config import Config
from flowwatch.daemon import Daemon
from flowwatch.errors import FlowwatchError
from flowwatch.model import Finding, Snapshot
from flowwatch.notify import Notifier, NotifySettings
from flowwatch.notify_targets import TLSFiles
from flowwatch.status import readiness
from flowwatch.store_search import Search
from flowwatch.web.serving import serving

log = logging.getLogger("flowwatch.service")

ALERT_TICK = 1.0
QUERIES_AT_ONCE = 2
"""Queries that run at the same time; more wait, for they compete with the ingest."""
QUERY_SECONDS = 20.0
"""How long one query may take."""
STALE_BEAT = 60.0
"""Seconds without a sign of life after which a thread counts as stuck."""


class DaemonView:
    """What the HTTP surface may know of a daemon (`web.View`)."""

    def __init__(self, daemon: Daemon, clock: Callable[[], float] = time.time) -> None:
        self._daemon = daemon
        self._clock = clock
        self._queries = asyncio.Semaphore(QUERIES_AT_ONCE)

    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._daemon.snapshot

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format asked for."""
        return self._daemon.metrics.exposition(accept)

    def health(self) -> Mapping[str, str]:
        """Every thread showed a sign of life lately."""
        now = self._clock()
        return {
            name: "ok" if now - beat < STALE_BEAT else f"no sign of life for {now - beat:.0f} s"
            for name, beat in self._daemon.beats().items()
        }

    def ready(self) -> Mapping[str, str]:
        """The store takes rows, and a stream has been up or was waited for long enough."""
        return readiness(self._daemon.snapshot, self._clock(), self._daemon.config.web.ready_grace)

    async def query(self, name: str, params: Mapping[str, str]) -> web.QueryResult:
        """Run a named query in a thread of its own."""
        query = sql.report(name)
        return await self._run(query, report.parameters(query, params, self._clock()))

    async def select(self, name: str, values: Mapping[str, object]) -> web.QueryResult:
        """Run a query of the page's in a thread of its own."""
        return await self._run(sql.queries("page")[name], values)

    async def _run(self, query: sql.Query, values: Mapping[str, object]) -> web.QueryResult:
        async with self._queries:
            return await asyncio.to_thread(self._ask, query, values)

    def _ask(self, query: sql.Query, values: Mapping[str, object]) -> web.QueryResult:
        table = self._daemon.store.query(query, values, QUERY_SECONDS)
        columns = [column.to_pylist() for column in table.columns]
        return web.QueryResult(tuple(table.column_names), list(zip(*columns, strict=True)), lambda: _arrow(table))

    def patches(self, finding: Finding) -> web.Patches:
        """What would make the finding end."""
        return web.Patches(alerts_patch.allowlist_line(finding), alerts_patch.policy(finding))

    def queries(self) -> Sequence[Mapping[str, object]]:
        """The named queries."""
        return report.described()

    def logs(self) -> Search:
        """The stored flows as log lines."""
        return Search(self._daemon.store, self._daemon.config.cluster)


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


class Service:
    """Serves and alerts while the context lasts; `address` is where."""

    def __init__(
        self,
        daemon: Daemon,
        config: Config,
        clock: Callable[[], float] = time.time,
        leads: Callable[[], bool] | None = None,
    ) -> None:
        """`leads` says at any time whether it is for this process to push alerts; None: it always is."""
        self._daemon = daemon
        self._leads = leads
        self._config = config
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if isinstance(self._error, OSError):
            raise FlowwatchError(
                f"web.listen: cannot listen on {self._config.web.listen}: {self._error}"
            ) from self._error
        if self._error:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10.0)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._error = error
            if self._ready.is_set():
                log.exception("serving and alerting ended")
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        settings = self._config.web
        # Behind a proxy on this machine, requests name the host that people know.
        known = urlsplit(self._config.alerts.external_url).hostname or ""
        async with serving(DaemonView(self._daemon, self._clock), settings, (known,)) as address:
            self.address = address
            async with aiohttp.ClientSession() as session:
                notifier = Notifier(
                    self._config.alerts.alertmanagers, self._notify_settings(), self._daemon.metrics, session
                )
                notifier.start()
                self._ready.set()
                await self._alert(notifier)
                await notifier.close(2.0)

    async def _alert(self, notifier: Notifier) -> None:
        """Advance the alerts until told to stop."""
        assert self._stop is not None
        alerting = Alerting(self._daemon, settings_of(self._config, self.address), self._clock, self._leads)
        while True:
            alerting.advance(notifier)
            self._daemon.metrics.leads(alerting.led)
            try:
                await asyncio.wait_for(self._stop.wait(), ALERT_TICK)
            except TimeoutError:
                continue
            return

    def _notify_settings(self) -> NotifySettings:
        wanted = self._config.alerts
        return NotifySettings(
            timeout=wanted.timeout,
            username=wanted.basic_auth.username,
            password_file=wanted.basic_auth.password_file,
            bearer_token_file=wanted.bearer_token_file,
            tls=TLSFiles(wanted.tls.ca, wanted.tls.cert, wanted.tls.key, wanted.tls.server_name),
            resolve_interval=wanted.resolve_interval,
        )
