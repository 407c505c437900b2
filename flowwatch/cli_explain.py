"""`flowwatch allowlist explain`: why an edge is declared or not.

Exit codes: 0 declared, 1 not declared, 2 unknown (or an error, told on standard error).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import click

from flowwatch import config
from flowwatch.allowlist import Allowlist
from flowwatch.database import Database
from flowwatch.declared import read
from flowwatch.engine import Engine
from flowwatch.errors import FlowwatchError, QueryError
from flowwatch.explain import as_json, end_of, explain, port_of, told
from flowwatch.model import Declared, Edge, Identity, Kind
from flowwatch.receive import Batch
from flowwatch.receive.jsonl import LineConverter, LineError

EXIT = {Declared.YES: 0, Declared.NO: 1, Declared.UNKNOWN: 2, Declared.UNGOVERNED: 2}


@click.command(name="explain")
@click.argument("line", required=False)
@click.option(
    "--from", "source", help="Who: namespace/workload, namespace:label=value, an address, a name, or an entity."
)
@click.option("--to", "destination", help="To whom, written alike.")
@click.option("--port", help="5432/TCP, 53/UDP, ICMP/8.")
@click.option("--flow", "uuid", help="The uuid of a flow that was the sample of a finding; needs a database.")
@click.option(
    "--allowlist", "paths", multiple=True, type=click.Path(path_type=Path, exists=True), help="What is declared."
)
@click.option(
    "--config",
    "settings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take the allowlist and the database from here.",
)
@click.option(
    "--store",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where observed workloads are looked up.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def explain_command(
    line: str | None,
    source: str | None,
    destination: str | None,
    port: str | None,
    uuid: str | None,
    paths: tuple[Path, ...],
    settings: Path | None,
    database: Path | None,
    form: str,
) -> None:
    """Say which rule or policy allows or denies an edge, and if none, what comes nearest.

    The edge is --from, --to and --port; or a LINE of a capture (`-`: standard input); or --flow.
    """
    configured = config.load(settings, os.environ)
    allowlist = read(paths or configured.allowlist, time.time(), configured.policy)
    if allowlist is None:
        raise QueryError("nothing is declared: name an allowlist with --allowlist or --config")
    store = database or (configured.store.path if configured.store.path.exists() else None)
    if line is not None:
        edges = _edges_of(sys.stdin.read() if line == "-" else line, allowlist)
    elif uuid is not None:
        edges = [_edge_of_flow(uuid, store, allowlist)]
    elif source and destination and port:
        observed = _Observed(store)
        protocol, number = port_of(port)
        ends = [
            end_of(text, option, allowlist, observed) for text, option in ((source, "--from"), (destination, "--to"))
        ]
        edges = [Edge(ends[0], ends[1], protocol, number)]
    else:
        raise QueryError("name an edge: --from, --to and --port; or a line of a capture; or --flow UUID")
    explanations = [explain(allowlist, edge, time.time()) for edge in edges]
    if form == "json":
        click.echo(json.dumps([as_json(one) for one in explanations], indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(told(one) for one in explanations))
    sys.exit(max(EXIT[one.judgement.declared] for one in explanations))


class _Observed:
    """Looks identities up in a database, if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __call__(self, namespace: str, workload: str) -> Iterable[Identity]:
        if self._path is None:
            return
        with Database(self._path) as database:
            rows = database.table("identities", since="all").to_pylist()
        for row in rows:
            if (row["namespace"], row["workload"]) == (namespace, workload):
                yield Identity(Kind(row["kind"]), row["cluster"], row["namespace"], tuple(row["labels"]))


def _edges_of(text: str, allowlist: Allowlist) -> list[Edge]:
    """The edges that lines of a capture are about, once each."""
    engine, converter = Engine(cluster="", allowlist=allowlist), LineConverter()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                engine.ingest(Batch("line", "", [converter.convert(line.encode())]), 0.0)
            except LineError as error:
                raise FlowwatchError(f"line {number}: {error}") from error
    if not len(engine.edges):
        raise FlowwatchError("these flows are about no edge: replies, noise, or too many fields are missing")
    return [engine.edges.edge(number) for number in range(len(engine.edges))]


def _edge_of_flow(uuid: str, store: Path | None, allowlist: Allowlist) -> Edge:
    """The edge of a finding that has the flow among its samples."""
    if store is None:
        raise QueryError("--flow: name the database with --store or --config")
    with Database(store) as database:
        rows = [row for row in database.table("samples", since="all").to_pylist() if row["uuid"] == uuid]
    if not rows:
        raise QueryError(f"--flow: no finding has a flow {uuid!r} among its samples; pass the flow itself as a line")
    row, observed = rows[0], _Observed(store)
    protocol, port = port_of(row["service"])
    return Edge(
        end_of(row["source"], "--flow", allowlist, observed), end_of(row["destination"], "--flow", allowlist, observed),
        protocol, port,
    )  # fmt: skip
