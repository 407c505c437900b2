"""`flowwatch allowlist probe`: a conformance suite in, its answers out.

One scenario a line, one answer a line for each probe. A line that cannot be read is told on standard error and the
others are answered all the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import IO

import click

from flowwatch.policy.probe import ScenarioError, study
from flowwatch.yamlmarks import clip

FAILED = 2
_LONGEST = 32 * 1024 * 1024


@click.command(name="probe")
@click.argument("file", default="-", type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="[FILE|-]")
@click.option("--quiet", is_flag=True, help="Do not tell of policies that are rejected.")
def probe(file: str, quiet: bool) -> None:
    """Answer a conformance suite: policies, endpoints and probes, one scenario of JSON a line."""
    failed = False
    with nullcontext(sys.stdin.buffer) if file == "-" else click.open_file(file, "rb") as source:
        for answers, messages, broken in respond(source):
            failed = failed or broken
            if broken or not quiet:
                for message in messages:
                    click.echo(f"{'standard input' if file == '-' else file}:{printable(message)}", err=True)
            if answers:
                click.echo("\n".join(answers))
    if failed:
        sys.exit(FAILED)


def respond(lines: IO[bytes] | Iterable[bytes]) -> Iterator[tuple[list[str], list[str], bool]]:
    """For each scenario its answers as lines of JSON, messages that begin with the number of its line, and whether it
    could not be read."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            if len(line) > _LONGEST:
                raise ScenarioError(f"the line is longer than {_LONGEST} bytes")
            answers, notes = study(_parse(line))
        except ScenarioError as error:
            yield [], [f"{number}: {error}"], True
            continue
        texts = [json.dumps(answer, separators=(",", ":")) for answer in answers]
        yield texts, [f"{number}: {note}" for note in notes], False


def _parse(line: bytes) -> dict[str, object]:
    try:
        scenario = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"this is not JSON: {clip(str(error), 160)}") from None
    if not isinstance(scenario, dict):
        raise ScenarioError("expected a mapping with `policies`, `endpoints` and `probes`")
    return scenario


def printable(message: str) -> str:
    """The message without anything that standard error could not take."""
    return message.encode("utf-8", "backslashreplace").decode()
