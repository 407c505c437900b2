"""Put a daemon together from a configuration: allowlist, store, engine, receiver.

The one place that turns settings into parts, shared by `run`, `demo` and the tests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowwatch.config import Config
from flowwatch.daemon import Daemon
from flowwatch.declared import DeclaredFiles
from flowwatch.engine import Engine
from flowwatch.model import Snapshot
from flowwatch.receive import Receiver
from flowwatch.receive.relay import RelayReceiver
from flowwatch.service import Service
from flowwatch.store import Store, claim

OVERLAP = 10.0
"""Seconds: nodes' flows reach us out of order by less than this."""


@contextmanager
def running(
    config: Config, receiver: Receiver | None = None, clock: Callable[[], float] = time.time
) -> Iterator[tuple[Daemon, Service]]:
    """A daemon that runs, stores, serves and alerts while the context lasts, then stops in order:
    receive no more, commit, tell Alertmanager, close the file."""
    now = clock()
    files = DeclaredFiles(config.allowlist, config.policy)
    allowlist = files.load(now)
    store = Store(config.store.path, memory_limit=config.store.memory_limit)
    try:
        engine = Engine(
            cluster=config.cluster,
            allowlist=allowlist,
            settle=config.judge.settle,
            active_for=config.judge.active_for,
        )
        engine.restore(store.restore(), now)
        # A stream that is opened again asks for what it missed; the engine leaves out what it had.
        source = receiver or RelayReceiver(
            config.hubble, since=lambda: engine.newest - OVERLAP if engine.newest else None
        )
        daemon = Daemon(config, source, store, engine, files, clock=clock)
        with Service(daemon, config, clock) as service, claim(config.store.path, service.address, _access(config)):
            daemon.start()
            try:
                yield daemon, service
            finally:
                daemon.stop()
    finally:
        store.close()


def _access(config: Config) -> dict[str, str]:
    """The files that those beside us need to ask us."""
    files = {"token_file": config.web.token_file, "certificate": config.web.tls.cert}
    return {name: str(file.absolute()) for name, file in files.items() if file}


def watch(
    daemon: Daemon, stop: threading.Event, show: Callable[[Snapshot], None] | None = None, every: float = 0.5
) -> None:
    """Show snapshots until `stop` is set or the daemon ends; raises what ended it."""
    while not stop.wait(every) and not daemon.ended.is_set():
        if show:
            show(daemon.snapshot)
    if show:
        show(daemon.snapshot)
    if daemon.failure:
        raise daemon.failure
