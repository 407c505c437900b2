"""`flowwatch allowlist`: what can be done with a declaration by itself."""

from __future__ import annotations

import time
from pathlib import Path

import click

from flowwatch.declared import read
from flowwatch.words import plural


@click.group()
def allowlist() -> None:
    """Look at an allowlist."""


@allowlist.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
def check(paths: tuple[Path, ...]) -> None:
    """Say everything that is wrong with an allowlist."""
    rules = plural(len(read(paths, time.time()).rules), "rule")
    click.echo(f"{', '.join(str(path) for path in paths)}: ok, {rules}")
