"""`flowwatch coverage`: what was seen of every node, what was lost and by whom, and when nothing was seen at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import click

from flowwatch import config, render
from flowwatch.database import Database
from flowwatch.terminal import output_width
from flowwatch.words import age, number, percent, plain, plural

BLIND = 1
LOSSES = ("perf", "queue", "ring", "other", "own", "unreported")
"""Who lost events, as the columns of the ledger name them."""

Row = Mapping[str, object]


@click.command()
@click.option("--since", default="24h", show_default=True, help="From when: 1h, 7d, 2026-01-31T12:00:00Z, all.")
@click.option("--until", default="now", show_default=True, help="Until when.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option(
    "--store",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The database file.  [default: store.path]",
)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The YAML file; without it, the environment and defaults.",
)
def coverage(since: str, until: str, form: str, database: Path | None, path: Path | None) -> None:
    """What was seen of every node and what was not. Exits 1 where less was seen than `judge.min_coverage` asks."""
    settings = config.load(path, os.environ)
    with Database(database or settings.store.path) as opened:
        nodes = opened.table("coverage", since=since, until=until).to_pylist()
        gaps = opened.table("gaps", since=since, until=until).to_pylist()
    if form == "json":
        told = {"coverage": total(nodes), "nodes": nodes, "gaps": gaps}
        click.echo(json.dumps(plain(told), ensure_ascii=False, indent=2))
    else:
        _print_nodes(nodes, form)
        if form == "table":
            _print_gaps(gaps)
            click.echo(sentence(nodes, gaps))
    sys.exit(0 if total(nodes) >= settings.judge.min_coverage else BLIND)


def total(nodes: Sequence[Row]) -> float:
    """The share (0…1) of what happened on all nodes that can be vouched for; 0 without any."""
    expected = sum(float(str(row["expected"])) for row in nodes)
    vouched = sum(float(str(row["coverage"])) * float(str(row["expected"])) for row in nodes)
    return vouched / expected if expected else 0.0


def sentence(nodes: Sequence[Row], gaps: Sequence[Row]) -> str:
    """The whole in one sentence."""
    if not nodes:
        return "nothing is known: no node was expected in that time"
    lost = sum(int(str(row[f"lost_{who}"])) for row in nodes for who in LOSSES)
    false = sum(int(str(row["lost_false"])) for row in nodes)
    missing = sum(float(str(row["missing"])) for row in nodes)
    parts = [f"{percent(total(nodes))} of what happened on {plural(len(nodes), 'node')} is vouched for"]
    parts.append(f"{plural(lost, 'event')} lost" if lost else "no event lost")
    if false:
        parts.append(f"{plural(false, 'report')} of loss found false")
    if gaps:
        parts.append(f"{plural(len(gaps), 'gap')} that nothing can fill any more")
    if missing >= 1:
        parts.append(f"{age(missing)} of the nodes' time not seen")
    return "; ".join(parts)


def _print_nodes(nodes: Sequence[Row], form: str) -> None:
    if form == "csv":
        rows = [list(row.values()) for row in nodes]
        click.echo(render.table(list(nodes[0]) if nodes else ["node"], rows, "csv", output_width()).rstrip("\n"))
        return
    columns = ["cluster", "node", "coverage", "expected", "connected", "recovered", "missing", "flows", "lost", "by"]
    rows = [
        [
            row["cluster"],
            row["node"],
            percent(float(str(row["coverage"]))),
            *(age(float(str(row[span]))) for span in ("expected", "connected", "recovered", "missing")),
            number(int(str(row["flows"]))),
            number(sum(int(str(row[f"lost_{who}"])) for who in LOSSES)),
            ", ".join(f"{who} {row[f'lost_{who}']}" for who in (*LOSSES, "false") if row[f"lost_{who}"]),
        ]
        for row in nodes
    ]  # fmt: skip
    click.echo(render.table(columns, rows, "table", output_width()).rstrip("\n"))


def _print_gaps(gaps: Sequence[Row]) -> None:
    if not gaps:
        return
    rows = [
        [row["cluster"], row["node"], *(_moment(row[end]) for end in ("since", "until")),
         age(float(str(row["seconds"]))), row["reason"]]
        for row in gaps
    ]  # fmt: skip
    columns = ["cluster", "node", "not seen since", "until", "for", "reason"]
    click.echo()
    click.echo(render.table(columns, rows, "table", output_width()).rstrip("\n"))
    click.echo()


def _moment(value: object) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else str(value)
