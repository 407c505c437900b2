"""`flowwatch allowlist`: what can be done with a declaration by itself."""

from __future__ import annotations

import time
from pathlib import Path

import click

from flowwatch.allowlist.show_command import show
from flowwatch.cli_explain import explain_command
from flowwatch.declared import read
from flowwatch.lint.command import lint
from flowwatch.policy.command import probe
from flowwatch.words import plural


@click.group()
def allowlist() -> None:
    """Look at an allowlist."""


@allowlist.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
def check(paths: tuple[Path, ...]) -> None:
    """Say everything that is wrong with an allowlist."""
    declared = read(paths, time.time())
    rules = plural(len(declared.rules) if declared else 0, "rule")
    click.echo(f"{', '.join(str(path) for path in paths)}: ok, {rules}")
    if declared and declared.ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(declared.ignored.items()))
        click.echo(f"ignored, of kinds that declare nothing: {kinds}")


for _command in (explain_command, lint, probe, show):
    allowlist.add_command(_command)
