"""`flowwatch export`: what is stored, as Parquet files for other tools."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from flowwatch import config, report
from flowwatch.database import Database
from flowwatch.errors import QueryError
from flowwatch.export import export, settled
from flowwatch.words import plural


@click.command(name="export")
@click.option("--since", required=True, help="From when: 1h, 7d, 2026-01-31T12:00:00Z, all.")
@click.option("--until", default="now", show_default=True, help="Until when; what is younger than two minutes waits.")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Write below here."
)
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
def export_command(since: str, until: str, folder: Path, database: Path | None, path: Path | None) -> None:
    """Write flows, edges, findings and coverage as Parquet, partitioned by cluster, date and hour.

    Run again it writes what is missing. While a daemon owns the database, the daemon is asked.
    """
    settings = config.load(path, os.environ)
    now = time.time()
    window = (report.moment(since, now, "--since"), settled(report.moment(until, now, "--until"), now))
    if window[0] >= window[1]:
        raise QueryError("nothing to export: the window ends before it begins, or is younger than two minutes")
    with Database(database or settings.store.path) as opened:
        done = export(opened, window, folder, settings.cluster, lambda line: click.echo(line, err=True))
    before = f"; {plural(done.skipped, 'hour')} exported before" if done.skipped else ""
    click.echo(f"{folder}: {plural(done.flows, 'flow')} of {plural(done.hours, 'hour')}{before}")
