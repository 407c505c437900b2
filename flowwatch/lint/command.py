"""`flowwatch allowlist lint`: parse, read, check, print.

Exit codes: 0 nothing at or above the threshold, 1 something is, 2 an error.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import click

from flowwatch import __version__
from flowwatch.database import Database
from flowwatch.lint import report, sources
from flowwatch.lint.context import NEWEST, Options
from flowwatch.lint.found import Severity
from flowwatch.lint.observed import Observed, from_tables
from flowwatch.lint.peers import Network, parse_network
from flowwatch.lint.table import lint as run

FOUND = 1
_SPAN = re.compile(r"[\d.\sa-z]+")
_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,3})(?:\.\d+)?")


@click.command(name="lint")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
@click.option("--format", "form", type=click.Choice(["table", "json", "sarif"]), default="table", show_default=True)
@click.option(
    "--severity",
    type=click.Choice([str(severity) for severity in Severity]),
    default=str(Severity.WARNING),
    show_default=True,
    help="Show, and fail on, what is at least this bad.",
)
@click.option(
    "--store",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also hold the policies against what a flowwatch database has observed.",
)
@click.option("--since", default="all", show_default=True, help="From when on observations count: 7d, 2026-01-31, all.")
@click.option(
    "--pod-cidr",
    "ranges",
    multiple=True,
    metavar="CIDR",
    help="Addresses that pods get; several are possible.",
)
@click.option(
    "--cilium",
    "version",
    default=".".join(map(str, NEWEST)),
    show_default=True,
    metavar="VERSION",
    help="The version of Cilium that enforces the policies.",
)
def lint(
    paths: tuple[Path, ...],
    form: report.Format,
    severity: str,
    database: Path | None,
    since: str,
    ranges: tuple[str, ...],
    version: str,
) -> None:
    """Say what policies and allowlists do that nobody meant: rules that never match, or match too much."""
    options = Options(time.time(), tuple(map(_network, ranges)), _release(version))
    observed = _observed(database, since) if database is not None else None
    checked = run(sources.read(paths), options, observed)
    threshold = Severity(severity)
    click.echo(report.rendered(checked, form, threshold, __version__))
    sys.exit(FOUND if checked.worse(threshold) else 0)


def _observed(path: Path, since: str) -> Observed:
    with Database(path) as database:
        tables = [
            database.table(name, since=since).to_pylist()
            for name in ("identities", "observed_edges", "observed_policies")
        ]
    window = "so far" if since == "all" else f"in the last {since}" if _SPAN.fullmatch(since) else f"since {since}"
    return from_tables(*tables, where=str(path), window=window)


def _network(text: str) -> Network:
    network = parse_network(text)
    if network is None:
        raise click.BadParameter(f"expected a range of addresses such as 10.0.0.0/8, not {text!r}")
    return network


def _release(text: str) -> tuple[int, int]:
    found = _VERSION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"expected a version such as 1.18, not {text!r}")
    return int(found[1]), int(found[2])
