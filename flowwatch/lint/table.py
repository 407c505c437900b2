"""All checks there are, and running them over what was read.

Checks that find what the cluster rejects come first: one of the others asks what they found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flowwatch.errors import Problem
from flowwatch.lint import (
    addresses,
    agent,
    cidr,
    clusterwide,
    coverage,
    denial,
    entities,
    fqdn,
    hostnetwork,
    http,
    l7,
    namedports,
    nativerules,
    peerlists,
    ports,
    redundancy,
    selectors,
    services,
    shape,
    subjects,
    unseen,
    unused,
)
from flowwatch.lint.check import Check, Needs
from flowwatch.lint.context import Context, Earlier, Options
from flowwatch.lint.found import Lint, Severity
from flowwatch.lint.objects import Object
from flowwatch.lint.observed import Observed
from flowwatch.lint.sources import Sources

_MODULES = (
    *(shape, subjects, selectors, peerlists, ports, namedports, l7, http, fqdn, cidr, addresses, entities),
    *(denial, coverage, redundancy, services, hostnetwork, agent, clusterwide, nativerules, unseen, unused),
)
CHECKS: tuple[Check, ...] = tuple(check for module in _MODULES for check in module.CHECKS)
"""Every check, by subject."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of it: findings by file and line, and how much was looked at."""

    findings: tuple[Lint, ...]
    ignored: int
    files: int
    left_out: int
    policies: int
    rules: int
    observed: bool
    blind: bool = False
    """Observations were given, and there are none in them."""

    def count(self, severity: Severity) -> int:
        """How many findings are of one severity."""
        return sum(each.severity is severity for each in self.findings)

    def worse(self, threshold: Severity) -> tuple[Lint, ...]:
        """The findings at or above a threshold."""
        return tuple(each for each in self.findings if each.severity.rank <= threshold.rank)


class _Places:
    """Which object a line is in."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self._objects: dict[str, list[Object]] = {}
        for thing in objects:
            self._objects.setdefault(thing.root.file, []).append(thing)

    def find(self, problem: Problem) -> Object | None:
        """The object a problem is in; None where it is in none, or no line is known."""
        found: Object | None = None
        for thing in self._objects.get(problem.file, ()) if problem.line else ():
            if thing.root.line > problem.line:
                break
            # Several objects may begin on one line, as in JSON: then the path tells.
            if found is None or thing.root.line > found.root.line or problem.field.startswith(thing.root.path):
                found = thing
        return found


def lint(sources: Sources, options: Options, observed: Observed | None = None) -> Checked:
    """Run every check that has what it needs."""
    with _uncollected():
        return _lint(sources, options, observed)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of garbage while the context lasts: all that is read stays until the end, and
    looking through it for garbage again and again takes longer than all checks together."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _lint(sources: Sources, options: Options, observed: Observed | None) -> Checked:
    # Where nothing was seen, nothing can be missing.
    blind = observed is not None and not observed.endpoints
    context = Context(sources.files, options, None if blind else observed)
    context.check_names = frozenset(check.name for check in CHECKS)
    ignores = {source.file: source.ignores for source in sources.files}
    places = _Places(context.objects)
    found: dict[Lint, None] = {}
    ignored = 0
    for check in sorted(CHECKS, key=lambda check: not check.rejects):
        for problem in _run(check, context):
            thing = places.find(problem)
            if check.rejects and thing is not None:
                context.rejections.append(Earlier(thing, problem.line))
            lines = (problem.line, thing.root.line) if thing is not None else (problem.line,)
            if any(check.name in ignores.get(problem.file, {}).get(line, ()) for line in lines):
                ignored += 1
            else:
                found[Lint(check.name, check.severity, problem, thing.title if thing is not None else "")] = None
    return Checked(
        tuple(sorted(found, key=lambda each: each.order)),
        ignored,
        len(sources.files),
        sources.left_out,
        len(context.policies),
        len(context.native.rules),
        observed is not None and not blind,
        blind,
    )


def _run(check: Check, context: Context) -> Iterator[Problem]:
    if check.needs is Needs.FILES or context.observed is not None:
        yield from check.run(context)
