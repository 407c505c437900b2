"""`flowwatch replay`: judge captures, print what was found, and exit so that a pipeline can use it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from rich.console import Console

from flowwatch import render
from flowwatch.config import JudgeSettings
from flowwatch.declared import read
from flowwatch.engine import Engine
from flowwatch.model import Square
from flowwatch.receive.capture import CaptureReceiver
from flowwatch.replay import FOR_EVER, Replayed
from flowwatch.replay import replay as replayed
from flowwatch.store import Store
from flowwatch.terminal import output_width, replay_progress
from flowwatch.words import number, percent, plural

DRIFT = 1
DRIFT_SQUARES = (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--allowlist",
    "declared",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="What is declared: files or directories.",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv", "markdown"]), default="table", show_default=True
)
@click.option("--cluster", default="default", show_default=True, help="The name to report the cluster by.")
@click.option("--strict", is_flag=True, help="Stop at the first line that cannot be read.")
@click.option(
    "--store",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the flows in this database, to query them.",
)
def replay(
    files: tuple[str, ...], declared: tuple[Path, ...], form: str, cluster: str, strict: bool, database: Path | None
) -> None:
    """Judge captures: `hubble observe -o json` lines, exporter logs, protobuf; compressed or not; `-` is stdin."""
    console = Console(stderr=True)
    settle = JudgeSettings().settle
    wanted = read(declared, time.time())
    store = Store(database) if database else None
    try:
        with replay_progress(console) as progress:
            engine = Engine(cluster=cluster, allowlist=wanted, settle=settle, active_for=FOR_EVER)
            if store is not None:
                engine.restore(store.restore(), time.time())
            where = ("", 0, 0)

            def moved(file: str, read: int, total: int) -> None:
                nonlocal where
                where = (file, read, total)

            def broken(file: str, line: int, message: str) -> None:
                place = f"{file}:{line}" if line else file
                console.print(f"{place}: {message}", markup=False, highlight=False, soft_wrap=True)

            receiver = CaptureReceiver(files, strict=strict, on_broken=broken, on_progress=moved)

            def told(flows: int) -> None:
                progress.update(*where, flows, receiver.status.broken)

            result = replayed(receiver, engine, settle, store, told)
    finally:
        if store is not None:
            store.close()
    _print_findings(result, form)
    if receiver.unknown_enums:
        unheard = ", ".join(f"{name} ({number(count)})" for name, count in receiver.unknown_enums.most_common(10))
        console.print(f"values newer than this flowwatch, taken as unknown: {unheard}", markup=False, highlight=False)
    _print_summary(console, result, judged=wanted is not None)
    sys.exit(DRIFT if any(finding.square in DRIFT_SQUARES for finding in result.findings) else 0)


def _print_findings(result: Replayed, form: str) -> None:
    text = render.findings(result.findings, form, output_width())  # type: ignore[arg-type]  # click checked the choice
    if text.strip():
        click.echo(text.rstrip("\n"))


def _print_summary(console: Console, result: Replayed, judged: bool) -> None:
    squares = ", ".join(f"{number(edges)} {square}" for square, edges in result.squares.items() if edges)
    lost = sum(result.lost.values())
    parts = [f"{number(result.flows)} flows"]
    if result.broken:
        parts.append(plural(result.broken, "broken line"))
    if lost:
        parts.append(f"{number(lost)} events lost before they were captured")
    parts.append(f"coverage {percent(result.coverage)}")
    console.print("; ".join(parts), highlight=False)
    if not judged:
        console.print("nothing was judged: no allowlist (--allowlist FILE)", highlight=False)
        return
    blind = lost or not result.flows
    verdict = "drift" if result.findings else "unknown: we did not see everything" if blind else "no drift"
    console.print(f"edges: {squares or 'none'}; {verdict}", highlight=False)
