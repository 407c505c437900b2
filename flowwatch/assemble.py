"""Put a daemon together from a configuration: allowlist, store, engine, receiver.

The one place that turns settings into parts, shared by `run`, `demo` and the tests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from flowwatch.codes import NOISE, FlowClass
from flowwatch.config import Config
from flowwatch.daemon import Daemon
from flowwatch.declared import DeclaredFiles, options_of
from flowwatch.enforced import EnforcedPolicies
from flowwatch.engine import Engine
from flowwatch.kube.access import place
from flowwatch.kube.lease import Leading, own_identity, own_namespace
from flowwatch.kube.watching import Watching
from flowwatch.model import Snapshot
from flowwatch.noise import NoiseSettings
from flowwatch.receive import Receiver
from flowwatch.receive.sources import receiver_for
from flowwatch.service import Service
from flowwatch.store import claim
from flowwatch.store_begin import begin


@contextmanager
def running(
    config: Config, receiver: Receiver | None = None, clock: Callable[[], float] = time.time
) -> Iterator[tuple[Daemon, Service]]:
    """A daemon that runs, stores, serves and alerts while the context lasts, then stops in order:
    receive no more, commit, tell Alertmanager, close the file."""
    now = clock()
    files = DeclaredFiles(config.allowlist, config.policy)
    allowlist = files.load(now)
    store, restored = begin(config.store.path, config.store.memory_limit, clock)
    try:
        clusters = tuple(dict.fromkeys(source.cluster for source in config.every_source))
        engine = Engine(
            cluster=config.cluster,
            clusters=clusters if len(clusters) > 1 else (),
            allowlist=allowlist,
            settle=config.judge.settle,
            active_for=config.judge.active_for,
            noise=noise_settings(config),
        )
        engine.restore(restored, now)
        # A stream that is opened again asks for what it missed; the engine leaves out what it had.
        source = receiver or receiver_for(config, engine.cursors, clock)
        watching = _watching(config, clock)
        enforced = _enforced(config, watching, engine) if watching else None
        daemon = Daemon(config, source, store, engine, files, enforced=enforced, clock=clock)
        leading = _leading(config)
        # Left in the other order: when nothing is pushed any more, the lease is given up.
        with (
            watching or nullcontext(),
            leading or nullcontext(),
            Service(daemon, config, clock, leading.leads if leading else None) as service,
            claim(config.store.path, service.address, _access(config)),
        ):
            daemon.start()
            try:
                yield daemon, service
            finally:
                daemon.stop()
    finally:
        store.close()


def _watching(config: Config, clock: Callable[[], float]) -> Watching | None:
    """The watch of the cluster, where one is wanted. Raises ClusterError where there is no cluster to watch."""
    wanted = config.kubernetes
    return Watching(place(wanted.api, wanted.token_file, wanted.ca_file), clock) if wanted.watch else None


def _leading(config: Config) -> Leading | None:
    """The election of the replica that pushes alerts, where there is one. Raises ClusterError."""
    wanted = config.kubernetes
    if not wanted.lease:
        return None
    where = place(wanted.api, wanted.token_file, wanted.ca_file)
    return Leading(where, own_namespace(wanted.namespace), wanted.lease, own_identity())


def _enforced(config: Config, watching: Watching, engine: Engine) -> EnforcedPolicies:
    return EnforcedPolicies(
        watching,
        engine.edges,
        engine.findings,
        config.kubernetes,
        options_of(config.policy),
        cluster=config.policy.local_cluster,
        active_for=config.judge.active_for,
    )


def noise_settings(config: Config) -> NoiseSettings:
    """What is noise, by a configuration."""
    judge = config.judge
    judged = {one for one in NOISE if one.label in judge.not_noise}
    if not config.policy.allow_localhost:  # then policy does decide about a pod's own node
        judged.add(FlowClass.KUBELET_PROBE)
    return NoiseSettings(judge.start_window, judge.rollout_window, judged=frozenset(judged))


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
