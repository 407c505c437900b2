"""`flowwatch findings`, `watch` and `conditions`: what a running flowwatch knows, on the terminal.

The flowwatch is the one at `--server`, or the one that owns the database; where nobody does, the database itself
tells what was last reported. Exit codes as elsewhere: 0 as it should be, 1 drift, 2 an error.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from flowwatch import config, render, sql
from flowwatch.database import running_owner
from flowwatch.declared import read
from flowwatch.engine import Engine
from flowwatch.errors import SourceError, StoreError
from flowwatch.listing import DIRECTIONS, FINDING_SQUARES, Filter, wanted
from flowwatch.model import Finding, Snapshot, Square
from flowwatch.remote import Access, Remote
from flowwatch.reread import finding_of_json, findings_of_rows, snapshot_of_json
from flowwatch.status import State, conclude, status_json
from flowwatch.store import Store
from flowwatch.terminal import LiveView, output_width
from flowwatch.words import json_text, printable

DRIFT = 1
PAGE = 1000
MOST = 100_000
"""Findings asked for at most."""

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
_FILE = click.Path(path_type=Path, dir_okay=False)


def asking(command: F) -> F:
    """Give a command the options that say whom to ask, as `server`, `token_file`, `ca`, `cert`, `key`, `database`
    and `path`."""
    options = (
        click.option("--server", help="Ask the flowwatch at this address, such as https://flowwatch.example.org."),
        click.option("--token-file", type=_FILE, help="A file with the token it asks for."),
        click.option("--ca", type=_FILE, help="Authorities to trust instead of the system's."),
        click.option("--cert", type=_FILE, help="A certificate to show, where it asks for one."),
        click.option("--key", type=_FILE, help="The private key of --cert."),
        click.option("--store", "database", type=_FILE, help="The database file.  [default: store.path]"),
        click.option("--config", "path", type=_FILE, help="The YAML file; without it, the environment and defaults."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def remote_of(given: dict[str, Any]) -> tuple[Remote | None, Path]:
    """The flowwatch to ask, None where none runs, and the database that is read then."""
    access = Access(given["token_file"], ca=given["ca"], cert=given["cert"], key=given["key"])
    if given["server"]:
        return Remote(given["server"], access), Path()
    file = given["database"] or config.load(given["path"], os.environ).store.path
    return running_owner(file), file


@click.command()
@click.option("--square", type=click.Choice([str(square) for square in Square]), help="Only this square.")
@click.option("--namespace", default="", help="Only what has part in this namespace.")
@click.option("--direction", type=click.Choice(DIRECTIONS), help="Only this side of the connection.")
@click.option("--text", default="", help="Only what holds all of these words.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv", "markdown"]), default="table", show_default=True
)
@asking
def findings(square: str | None, namespace: str, direction: str | None, text: str, form: str, **given: Any) -> None:
    """Print the active findings. Exits 1 if there are any of what is not declared, or declared and dropped."""
    filter = Filter(square or "", namespace, direction or "", text)
    remote, file = remote_of(given)
    if remote is not None:
        found, blind = _asked(remote, filter)
        where = remote.address
    else:
        found, blind = wanted(_stored(file), filter), ["no flowwatch runs: this is what was last reported"]
        where = str(file)
    click.echo(render.findings(found, form, output_width()).rstrip("\n"))  # type: ignore[arg-type]  # click checked it
    for reason in blind:
        click.echo(f"{where}: {printable(reason)}", err=True)
    sys.exit(DRIFT if any(finding.square in FINDING_SQUARES for finding in found) else 0)


def _asked(remote: Remote, filter: Filter) -> tuple[list[Finding], list[str]]:
    found: list[Finding] = []
    cursor = ""
    while True:
        answer = remote.json(
            "/api/v1/findings",
            square=filter.square,
            namespace=filter.namespace,
            direction=filter.direction,
            text=filter.text,
            cursor=cursor,
            limit=PAGE,
        )
        found += [_understood(remote, finding_of_json, each) for each in answer["findings"]]
        cursor = answer["next"]
        if not cursor or len(found) >= MOST:
            return found, [f"blind: {reason}" for reason in answer["blind"]]


def _understood(remote: Remote, read_back: Callable[[Any], T], answer: Any) -> T:
    """What an answer means, as `read_back` reads it."""
    try:
        return read_back(answer)
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{remote.address}: the answer is not one of this flowwatch: {error!r}") from error


def _stored(file: Path) -> tuple[Finding, ...]:
    if not file.exists():
        raise StoreError(f"{file}: there is no such file; name the `store.path` of a flowwatch, or a --server")
    store = Store(file, read_only=True)
    try:
        return findings_of_rows(store.query(sql.queries("page")["findings"], {}).to_pylist())
    finally:
        store.close()


@click.command()
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@asking
def conditions(form: str, **given: Any) -> None:
    """Print the status conditions that rules bear. Exits 1 unless all of them are True."""
    remote, file = remote_of(given)
    if remote is not None:
        found: Sequence[dict[str, str]] = remote.json("/api/v1/conditions")["conditions"]
    else:
        found = _evaluated(file, given["path"])
        click.echo(f"{file}: no flowwatch runs: nothing is seen since the last one did", err=True)
    if form == "json":
        click.echo(json_text(list(found), indent=2))  # type: ignore[arg-type]  # mappings of text
    elif found:
        columns = ("type", "status", "reason", "message", "lastTransitionTime")
        click.echo(render.table(columns, [[each[name] for name in columns] for each in found], "table", output_width()))
    else:
        click.echo("no rule bears a condition")
    sys.exit(0 if all(each["status"] == "True" for each in found) else DRIFT)


def _evaluated(file: Path, path: Path | None) -> list[dict[str, str]]:
    """The conditions by what a database holds and the allowlist of the configuration, now."""
    if not file.exists():
        raise StoreError(f"{file}: there is no such file; name the `store.path` of a flowwatch, or a --server")
    now, settings = time.time(), config.load(path, os.environ)
    engine = Engine(cluster=settings.cluster, allowlist=read(settings.allowlist, now, settings.policy))
    store = Store(file, read_only=True)
    try:
        engine.restore(store.restore(), now)
    finally:
        store.close()
    return [condition.manifest for condition in engine.conditions(now)]


@click.command()
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--for", "seconds", type=float, help="Stop after so many seconds.")
@asking
def watch(form: str, every: float, seconds: float | None, **given: Any) -> None:
    """Watch a running flowwatch live, until interrupted; `--format json` writes a line for each look. Exits 1 if
    there was drift at the last look."""
    remote, file = remote_of(given)
    if remote is None:
        raise StoreError(f"{file}: no flowwatch runs on it; name one with --server")
    console = Console(stderr=form == "json")
    addresses = {"page": f"{remote.address}/", "api": f"{remote.address}/api/v1/status"}
    stop = threading.Event()
    end = None if seconds is None else time.monotonic() + seconds
    last: Snapshot | None = None
    try:
        if form == "json":
            for last in _looks(remote, every, end, stop):
                click.echo(json_text(status_json(last)))
        else:
            with LiveView(console, addresses) as view:
                for last in _looks(remote, every, end, stop):
                    view.show(last)
    except KeyboardInterrupt:
        stop.set()
    sys.exit(DRIFT if last is not None and conclude(last).state is State.DRIFT else 0)


def _looks(remote: Remote, every: float, end: float | None, stop: threading.Event) -> Iterator[Snapshot]:
    """Snapshots, one each `every` seconds until `end` on the monotonic clock; at least one."""
    while True:
        answer = remote.json("/api/v1/status")
        snapshot = _understood(remote, snapshot_of_json, answer)
        if answer["findings_total"] > len(snapshot.findings):
            snapshot = replace(snapshot, findings=tuple(_asked(remote, Filter())[0]))
        yield snapshot
        if (end is not None and time.monotonic() + every > end) or stop.wait(every):
            return
