"""`flowwatch simulate`: serve a simulated Hubble that can be broken, or write what it would have sent to a file."""

from __future__ import annotations

import contextlib
import heapq
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from flowwatch.config_values import UnreadableValue, parse_duration
from flowwatch.errors import FlowwatchError
from flowwatch.simulate.certificates import make_certificates, served_with
from flowwatch.simulate.cluster import Cluster, make_cluster
from flowwatch.simulate.endpoint import Tls
from flowwatch.simulate.faults import MEANINGS, Fault, chaos, parse_fault
from flowwatch.simulate.homelab import CLUSTER_NAME
from flowwatch.simulate.record import record
from flowwatch.simulate.relay import SORT_BUFFER
from flowwatch.simulate.ring import CAPACITY, LOST_INTERVAL
from flowwatch.simulate.server import SimulatedHubble, limited
from flowwatch.simulate.stage import Event
from flowwatch.simulate.traffic import Script, plan, traffic
from flowwatch.simulate.truth import Tally, Truth

_CAPTURED = 10_000


def _duration(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """A duration such as `30s` or `2m`, in seconds."""
    try:
        return None if text is None else parse_duration(text)
    except UnreadableValue as error:
        raise click.BadParameter(str(error)) from error


def _pairs(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Words such as `perf=5` as names with numbers."""
    pairs = []
    for text in texts:
        name, _, number = text.partition("=")
        try:
            pairs.append((name, float(number)))
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not a name and a number, such as name=2.5") from error
    return tuple(pairs)


def _faults(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> tuple[Fault, ...]:
    try:
        return tuple(sorted((parse_fault(text) for text in texts), key=_when))
    except FlowwatchError as error:
        raise click.BadParameter(str(error)) from error


def _when(fault: Fault) -> float:
    return fault.at


_EPILOG = "\b\n" + "\n".join(
    [
        "A fault is a mode and, in any order, node=NAME (or its number, or *; else the",
        "relay), at=DURATION after the start, for=DURATION, stream=NUMBER (as in the",
        "journal). Without for=, what breaks something is over at once; the rest lasts.",
        "",
        "\b",
        *(f"  {mode:<19} {meaning}" for mode, meaning in MEANINGS.items()),
    ]
)
_FILE = click.Path(path_type=Path, dir_okay=False)
_EXISTING = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command(epilog=_EPILOG)
@click.option("--listen", default="127.0.0.1:4245", show_default=True, help="Where to serve; port 0 takes a free one.")
@click.option("--rate", type=click.FloatRange(0, 1_000_000), default=200.0, show_default=True,
              help="Flows per second; 0: as many as the client takes.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Same seed (and --start), same flows.")
@click.option("--flows", type=click.IntRange(min=1), help="End the traffic after so many flows.")
@click.option("--at-once", is_flag=True, help="Begin at once instead of with the first client.")
@click.option(
    "--violations-for",
    callback=_duration,
    metavar="DURATION",
    help="Let no violation begin later than this after the start.",
)
@click.option("--lost", type=click.IntRange(min=0), default=25, show_default=True,
              help="Report so many events as lost, a few at a time.")  # fmt: skip
@click.option("--fail-node", default="", metavar="NODE", help="Let this node become unavailable.")
@click.option(
    "--fail-after", callback=_duration, metavar="DURATION", default="10s", show_default=True, help="When it does."
)
@click.option("--truth", type=_FILE, help="Write what the traffic contains to this file, anew every second.")
@click.option("--print-truth", is_flag=True, help="Print the plan of violations, and at the end what came of it.")
@click.option("--tls-cert", type=_EXISTING, help="Serve TLS with this certificate (PEM).")
@click.option("--tls-key", type=_EXISTING, help="The key of the certificate.")
@click.option("--tls-client-ca", type=_EXISTING, help="Demand client certificates signed by this CA.")
@click.option("--serve", type=click.Choice(["relay", "nodes"]), default="relay", show_default=True,
              help="nodes: besides the relay, a server of every node, and peer.Peer on all of them.")  # fmt: skip
@click.option("--peer-socket", type=_FILE, metavar="PATH", help="Serve the first node's agent and peer.Peer "
              "at this unix socket too.")  # fmt: skip
@click.option("--cluster", default=CLUSTER_NAME, show_default=True, metavar="NAME",
              help="The cluster's name; nodes are called NAME/node in any but this one.")  # fmt: skip
@click.option("--certificates", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Serve TLS that demands client certificates, with those in this directory; "
              "makes them (with openssl) if there are none.")  # fmt: skip
@click.option("--capacity", default=CAPACITY, show_default=True, type=click.IntRange(1, 65_535),
              help="Events that a node remembers.")  # fmt: skip
@click.option("--sort-buffer", default=SORT_BUFFER, show_default=True, type=click.IntRange(min=0),
              help="Flows that the relay holds back to sort them, at most.")  # fmt: skip
@click.option("--lost-interval", callback=_duration, metavar="DURATION", default=f"{LOST_INTERVAL:g}s",
              show_default=True, help="How long a node collects what a slow reader lost before it says so; "
              "0s: at once and one by one, as before Cilium 1.19.")  # fmt: skip
@click.option("--lose", callback=_pairs, multiple=True, metavar="BY=RATE",
              help="Let every node lose so many events a second, by ring, perf or queue. Repeatable.")  # fmt: skip
@click.option("--skew", callback=_pairs, multiple=True, metavar="NODE=SECONDS",
              help="Let a node's clock be ahead (negative: behind). Repeatable.")  # fmt: skip
@click.option("--fault", "faults", callback=_faults, multiple=True, metavar="FAULT",
              help="Break something, such as 'rst node=2 at=20s for=10s'; see below. Repeatable.")  # fmt: skip
@click.option("--chaos", "chaos_seed", type=int, metavar="SEED", help="Break things at random, every 5 s on average. "
              "Same seed, same faults.")  # fmt: skip
@click.option("--journal", type=_FILE, help="Write what each node emits, what each stream is given, and the faults, "
              "as JSON lines.")  # fmt: skip
@click.option("--as-capture", type=_FILE, help=f"Write a capture (.jsonl or .bin) of --flows flows "
              f"(default {_CAPTURED}) instead of serving.")  # fmt: skip
@click.option("--start", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="When a capture begins (UTC; default now).")
def simulate(
    listen: str,
    rate: float,
    seed: int,
    flows: int | None,
    at_once: bool,
    violations_for: float | None,
    lost: int,
    fail_node: str,
    fail_after: float,
    truth: Path | None,
    print_truth: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    serve: str,
    peer_socket: Path | None,
    cluster: str,
    certificates: Path | None,
    capacity: int,
    sort_buffer: int,
    lost_interval: float,
    lose: tuple[tuple[str, float], ...],
    skew: tuple[tuple[str, float], ...],
    faults: tuple[Fault, ...],
    chaos_seed: int | None,
    journal: Path | None,
    as_capture: Path | None,
    start: datetime | None,
) -> None:
    """Serve a simulated Hubble: the traffic of a homelab, with known violations and all the usual noise.

    The first line on standard output is `listening on ADDRESS:PORT`. The cluster is the one that
    examples/homelab/allowlist.yaml declares.
    """
    script = Script(violations_for, lost, fail_node, fail_after, lose, skew)
    try:
        made = make_cluster(name=cluster)
        if as_capture is not None:
            began = start.replace(tzinfo=UTC).timestamp() if start else time.time()
            _capture(made, as_capture, began, rate, seed, script, flows or _CAPTURED, truth, print_truth)
            return
        if start is not None:
            raise click.UsageError("--start needs --as-capture: what is served happens now")
        tls, node_tls = _certified(certificates, made, _tls(tls_cert, tls_key, tls_client_ca))
        names = [node.name for node in made.nodes]
        planned = [fault.check(names) for fault in faults]
        wild = chaos(chaos_seed, names) if chaos_seed is not None else iter(())
        hubble = SimulatedHubble(
            rate=rate, seed=seed, listen=listen, script=script, flows=flows, at_once=at_once, tls=tls, truth_file=truth,
            cluster=made, nodes=serve == "nodes", node_tls=node_tls, peer_socket=peer_socket, capacity=capacity,
            lost_interval=lost_interval, sort_buffer=sort_buffer, faults=heapq.merge(planned, wild, key=_when),
            journal_file=journal,
        )  # fmt: skip
        more = [f"node {name} at {{{name}}}" for name in names] if serve == "nodes" else []
        more += [f"peers at unix:{peer_socket}"] if peer_socket else []
        _serve(hubble, print_truth, more)
    except FlowwatchError as error:
        raise click.ClickException(str(error)) from error


def _serve(hubble: SimulatedHubble, print_truth: bool, more: list[str]) -> None:
    with _signals() as asked:
        address = hubble.start()
        try:
            click.echo(f"listening on {address}")
            for line in more:
                click.echo(line.format_map(hubble.node_addresses))
            if print_truth:
                _print_plan(hubble.truth())
            asked.wait()
        finally:
            hubble.stop()
    if print_truth:
        _print_outcome(hubble.truth())


def _capture(
    cluster: Cluster,
    path: Path,
    start: float,
    rate: float,
    seed: int,
    script: Script,
    flows: int,
    truth: Path | None,
    print_truth: bool,
) -> None:
    scenes = plan(cluster)
    known = Truth(scenes)
    known.begin(start)
    events = limited(
        traffic(cluster, seed, int(start * 1e9), rate or 200.0, script, scenes=scenes),
        flows,
    )

    def counted() -> Iterator[Event]:
        for event in events:
            known.count((event,))
            yield event

    written = record(counted(), path)
    if truth is not None:
        known.write(truth)
    click.echo(f"wrote {written} messages to {path}")
    if print_truth:
        _print_outcome(known)


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    asked = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        asked.set()

    before = {which: signal.signal(which, ask) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        raise click.UsageError("TLS needs both --tls-cert and --tls-key")
    return Tls(cert, key, client_ca)


def _certified(directory: Path | None, cluster: Cluster, tls: Tls | None) -> tuple[Tls | None, dict[str, Tls]]:
    """What relay and nodes serve with."""
    if directory is None:
        return tls, {}
    if tls is not None:
        raise click.UsageError("--certificates brings all that --tls-cert, --tls-key and --tls-client-ca do")
    if not (directory / "ca.crt").is_file():
        make_certificates(directory, cluster)
    return served_with(directory, cluster)


def _print_plan(truth: Truth) -> None:
    click.echo("what will go wrong, and when it begins:")
    for tally in truth.violations:
        click.echo(f"  {tally.offset:5.1f} s  {_said(tally)}")
    click.echo(f"and {len(truth.traps)} traps, {len(truth.expected)} expected edges")


def _print_outcome(truth: Truth) -> None:
    totals = truth.totals
    click.echo(f"sent {totals.flows} flows in {totals.messages} messages, {totals.lost} reported lost:")
    for tally in truth.violations:
        click.echo(f"  {tally.connections:4} connections, {tally.flows:5} flows  {_said(tally)}")
    seen = sum(1 for tally in truth.expected if tally.flows)
    click.echo(f"expected edges seen: {seen} of {len(truth.expected)}")


def _said(tally: Tally) -> str:
    return f"{tally.case.square or '':10}  {tally.case.edge}"
