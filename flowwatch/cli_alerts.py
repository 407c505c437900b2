"""`flowwatch alerts`: what alerts would do, before they do it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from flowwatch import config, render, report
from flowwatch.alerting import settings_of
from flowwatch.alerts_backtest import Backtest, Spell, backtest
from flowwatch.alerts_text import SEVERITIES
from flowwatch.database import Database
from flowwatch.terminal import output_width
from flowwatch.words import clock


@click.group()
def alerts() -> None:
    """Look at alerts."""


@alerts.command(name="backtest")
@click.option("--since", default="30d", show_default=True, help="From when: 1h, 7d, 2026-01-31T12:00:00Z, all.")
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
    help="The YAML file with the settings to try; without it, the environment and defaults.",
)
def backtest_command(since: str, until: str, form: str, database: Path | None, path: Path | None) -> None:
    """Say how often each alert would have fired with these settings, from what the database has seen.

    While a daemon owns the database, the daemon is asked. What is declared counts as it was last judged.
    """
    settings = config.load(path, os.environ)
    with Database(database or settings.store.path) as opened:
        rows = opened.table("alert_history", since=since, until=until).to_pylist()
    now = time.time()
    end = _seconds(report.moment(until, now, "until"))
    begin = max(_seconds(report.moment(since, now, "since")), _begins(rows, end))
    found = backtest(map(_spell, rows), settings_of(settings, ""), begin, end)
    if form == "table":
        click.echo(f"from {clock(begin)} to {clock(end)} UTC, {found.days:.1f} days")
    click.echo(_written(found, form))


def _written(found: Backtest, form: str) -> str:
    columns = ["alert", "severity", "would have fired", "only pending", "per day"]
    rows: list[list[object]] = [
        [name, SEVERITIES[name], tally.fired, tally.pending_only, round(found.pages_per_day(name), 2)]
        for name, tally in found.tallies.items()
    ]
    if form == "json":
        return render.table([*columns, "findings"], [[*row, _of(found, str(row[0]))] for row in rows], "json")
    if form == "csv":
        return render.table(columns, rows, "csv")
    parts = [render.table(columns, rows, "table", output_width())]
    if top := found.top():
        parts.append(
            render.table(["most often", "about", "times"], [list(one) for one in top], "table", output_width())
        )
    return "\n\n".join(parts)


def _of(found: Backtest, name: str) -> dict[str, int]:
    return {about: times for alert, about, times in found.top(len(found.findings)) if alert == name}


def _spell(row: Mapping[str, object]) -> Spell:
    return Spell(
        source=str(row["source"]),
        destination=str(row["destination"]),
        service=str(row["service"]),
        source_is_pod=bool(row["source_namespace"]),
        destination_is_pod=row["destination_kind"] == "pod",
        declared=row["declared"] == "yes",
        evidence=str(row["evidence"]),
        side=str(row["side"]),
        first_seen=_seconds(row["first_seen"]),
        last_seen=_seconds(row["last_seen"]),
    )


def _begins(rows: list[dict[str, object]], end: float) -> float:
    return min((_seconds(row["history_begins"]) for row in rows), default=end)


def _seconds(moment: object) -> float:
    assert isinstance(moment, datetime)
    return moment.replace(tzinfo=UTC).timestamp()
