"""The command `flowwatch allowlist show`: reads an allowlist and prints it."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from flowwatch.allowlist import load
from flowwatch.allowlist.show import as_json, namespaces_of, view
from flowwatch.allowlist.show_mermaid import as_mermaid
from flowwatch.allowlist.show_tables import as_markdown, as_table
from flowwatch.yamlmarks import clip, did_you_mean


@click.command(name="show")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="PATH...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "mermaid", "json", "markdown"]),
    default="table",
    show_default=True,
)
@click.option("--namespace", default="", help="Only what concerns the pods of this namespace.")
def show(paths: tuple[Path, ...], form: str, namespace: str) -> None:
    """Print an allowlist as tables, as a diagram of its perimeters, or as JSON."""
    now = time.time()
    allowlist = load(paths, now)
    known = namespaces_of(allowlist.rules, allowlist.governs)
    if namespace and namespace not in known:
        hint = did_you_mean(namespace, known) or f"known: {', '.join(known) or 'none'}"
        message = f"the allowlist names no namespace `{clip(namespace)}`; {hint}"
        raise click.BadParameter(message, param_hint="--namespace")
    shown = view(allowlist.rules, allowlist.governs, now, namespace)
    match form:
        case "mermaid":
            click.echo(as_mermaid(shown))
        case "json":
            click.echo(as_json(shown))
        case "markdown":
            click.echo(as_markdown(shown))
        case _:
            console = Console()
            click.echo(as_table(shown, console.width if console.is_terminal else None))
