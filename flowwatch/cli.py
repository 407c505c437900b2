"""The command line: parse, call, print. No logic of its own.

Exit codes: 0 as it should be; 1 drift was found; 2 an error, told on standard error.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
import pyarrow.parquet as pq
from rich.console import Console

from flowwatch import __version__, cli_alerts, cli_allowlist, config, render, report
from flowwatch.assemble import running, watch
from flowwatch.cli_cluster import cluster
from flowwatch.cli_coverage import coverage
from flowwatch.cli_export import export_command
from flowwatch.cli_look import conditions, findings
from flowwatch.cli_look import watch as live
from flowwatch.cli_replay import replay
from flowwatch.database import Database
from flowwatch.declared import read
from flowwatch.demo import clean, demo_config, simulated_hubble
from flowwatch.errors import ConfigError, FlowwatchError, QueryError
from flowwatch.model import Snapshot
from flowwatch.receive.certificates import tls_problems
from flowwatch.simulate.command import simulate
from flowwatch.terminal import LiveView, line, output_width
from flowwatch.web import serving
from flowwatch.words import plural

LINE_EVERY = 60.0
ERROR = 2
CONFIG_OPTION = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The YAML file; without it, the environment and defaults.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="flowwatch")
def cli() -> None:
    """Does the network of a Cilium cluster do what was declared, and where does it not?"""


@cli.command()
@CONFIG_OPTION
@click.option("--live/--no-live", default=None, help="Show a live view instead of log lines (default: on a terminal).")
def run(path: Path | None, live: bool | None) -> None:
    """Stream flows from Hubble, judge, store and alert, until stopped."""
    settings = config.load(path, os.environ)
    show = sys.stderr.isatty() if live is None else live
    _start_logging(settings.log.level if not show else "error", settings.log.format)
    with _stop_on_signal() as stop:
        _run(settings, stop, show)


@cli.command()
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(".flowwatch"), show_default=True
)
@click.option("--rate", default=200.0, show_default=True, help="Flows per second of the simulated cluster.")
@click.option("--seed", default=1, show_default=True, help="Same seed, same flows.")
@click.option(
    "--listen", default="127.0.0.1:9950", show_default=True, help="Where to serve the page, the API and /metrics."
)
@click.option(
    "--alertmanager",
    "alertmanagers",
    multiple=True,
    help="Push alerts to this Alertmanager, e.g. http://127.0.0.1:9093.",
)
@click.option("--live/--no-live", default=None, help="Show a live view instead of lines (default: on a terminal).")
@click.option("--for", "seconds", type=float, default=None, help="Stop after so many seconds.")
def demo(
    directory: Path,
    rate: float,
    seed: int,
    listen: str,
    alertmanagers: tuple[str, ...],
    live: bool | None,
    seconds: float | None,
) -> None:
    """Watch a simulated cluster drift from its allowlist: a simulated Hubble and the real daemon."""
    show = sys.stderr.isatty() if live is None else live
    _start_logging("error", "text")
    clean(directory)
    with _stop_on_signal() as stop, simulated_hubble(directory, ["--rate", str(rate), "--seed", str(seed)]) as server:
        environment = {"FLOWWATCH_WEB_LISTEN": listen, "FLOWWATCH_ALERTS_ALERTMANAGERS": ",".join(alertmanagers)}
        settings = config.load(None, {name: value for name, value in environment.items() if value})
        if seconds is not None:
            timer = threading.Timer(seconds, stop.set)
            timer.daemon = True
            timer.start()
        _run(demo_config(settings, directory, server), stop, live=show)


def _run(settings: config.Config, stop: threading.Event, live: bool) -> None:
    """Run the daemon until `stop`, showing what it sees on standard error."""
    with running(settings) as (daemon, service):
        addresses = {
            "page": f"{service.address}/",
            "metrics": f"{service.address}/metrics",
            "api": f"{service.address}/api/v1/status",
        }
        if live or not logging.getLogger().isEnabledFor(logging.INFO):
            with LiveView(Console(stderr=True), addresses) as view:
                watch(daemon, stop, view.show)
            return
        logging.getLogger("flowwatch").info("serving: %s", " ".join(f"{name}={url}" for name, url in addresses.items()))
        watch(daemon, stop, _every_minute())


def _every_minute() -> Callable[[Snapshot], None]:
    """Log the whole in one line, now and then."""
    last = time.time()

    def show(snapshot: Snapshot) -> None:
        nonlocal last
        if snapshot.now - last >= LINE_EVERY:
            last = snapshot.now
            logging.getLogger("flowwatch").info("%s", line(snapshot))

    return show


@cli.command()
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="Say what each query answers.")
@click.option("--since", help="From when: 1h, 7d, 2026-01-31T12:00:00Z, all.  [default: 1h]")
@click.option("--until", help="Until when.  [default: now]")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv", "parquet"]), default="table", show_default=True
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of standard output."
)
@click.option(
    "--store",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The database file.  [default: store.path]",
)
@CONFIG_OPTION
def query(
    name: str | None,
    listing: bool,
    since: str | None,
    until: str | None,
    form: str,
    output: Path | None,
    database: Path | None,
    path: Path | None,
) -> None:
    """Run one of the named queries; while a daemon owns the database, the daemon is asked."""
    if listing or not name:
        rows = [[entry["name"], entry["doc"]] for entry in report.described()]
        click.echo(render.table(["query", "answers"], rows, "json" if form == "json" else "table", output_width()))
        if not listing:
            raise QueryError("name a query, or ask for them with --list")
        return
    given = {key: value for key, value in {"since": since, "until": until}.items() if value}
    with Database(database or config.load(path, os.environ).store.path) as opened:
        table = opened.table(name, **given)
    if form == "parquet":
        if output is None and sys.stdout.isatty():
            raise QueryError("parquet is not for a terminal: name a file with --output")
        with output.open("wb") if output else os.fdopen(os.dup(sys.stdout.fileno()), "wb") as sink:
            pq.write_table(table, sink)
        return
    rows = [list(row.values()) for row in table.to_pylist()]
    text = render.table(table.column_names, rows, form, output_width())  # type: ignore[arg-type]  # click checked the choice
    if output:
        output.write_text(text + "\n", encoding="utf-8")
    else:
        click.echo(text.rstrip("\n"))


@cli.group(name="config")
def config_group() -> None:
    """Look at the configuration."""


@config_group.command(name="check")
@CONFIG_OPTION
def config_check(path: Path | None) -> None:
    """Say everything that is wrong with the configuration and the allowlist it names."""
    settings = config.load(path, os.environ)
    if problems := [problem for source in settings.every_source for problem in tls_problems(source.hubble)]:
        raise ConfigError(problems)
    serving.check(settings.web)
    allowlist = read(settings.allowlist, time.time(), settings.policy)
    rules = plural(len(allowlist.rules), "rule") if allowlist else "no allowlist"
    click.echo(f"{path or 'environment and defaults'}: ok, {rules}")


@config_group.command(name="show")
@CONFIG_OPTION
def config_show(path: Path | None) -> None:
    """Print the values in force, and where each came from."""
    click.echo(config.show(config.load(path, os.environ)).rstrip("\n"))


for _command in (
    cli_alerts.alerts,
    cli_allowlist.allowlist,
    cluster,
    coverage,
    findings,
    live,
    conditions,
    export_command,
    replay,
    simulate,
):
    cli.add_command(_command)


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set while the context lasts; a second signal ends at once."""
    stop = threading.Event()

    def ask(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {which: signal.signal(which, ask) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _start_logging(level: str, form: str) -> None:
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    text.converter = time.gmtime
    handler.setFormatter(_JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def main() -> None:
    """Run the command line; errors of the user's are told in one place and exit 2."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ERROR)
    except FlowwatchError as error:
        click.echo(f"{error}", err=True)
        sys.exit(ERROR)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ERROR)
