"""`flowwatch cluster`: what is live in the cluster, held against what is declared, without a daemon."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from flowwatch import config, render
from flowwatch.declared import options_of, read
from flowwatch.kube.access import place
from flowwatch.kube.differences import differences, enforced, grave
from flowwatch.kube.live import Live
from flowwatch.kube.resources import Grant, grants, lease_grants
from flowwatch.kube.watching import read_once
from flowwatch.model import Difference
from flowwatch.status import difference_json
from flowwatch.terminal import output_width
from flowwatch.words import plural, printable

DIFFERENT = 1
CONFIG_OPTION = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The YAML file; without it, the environment and defaults.",
)


@click.group()
def cluster() -> None:
    """Ask the cluster's API server what is enforced there."""


@cluster.command()
@click.option("--strict", is_flag=True, help="Exit 1 also for what is only left open.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@CONFIG_OPTION
def check(strict: bool, form: str, path: Path | None) -> None:
    """List the live policies, namespaces and pods once, and say where they are otherwise than declared.

    Exits 1 where what is enforced is not what is declared: policies that are missing, differ, are declared nowhere,
    or are rejected. Namespaces without default deny, workloads without a policy and policies about nothing are told,
    and exit 1 with --strict alone.
    """
    settings = config.load(path, os.environ)
    kubernetes = settings.kubernetes
    allowlist = read(settings.allowlist, time.time(), settings.policy)
    live = read_once(place(kubernetes.api, kubernetes.token_file, kubernetes.ca_file))
    found = differences(
        allowlist.objects if allowlist else None,
        live,
        enforced(live, options_of(settings.policy), settings.policy.local_cluster),
        exempt=kubernetes.exempt,
    )
    declared = len(allowlist.objects.policies) if allowlist else 0
    if form == "json":
        told = {"declared": declared, "policies": len(live.policies), "pods": len(live.pods)}
        click.echo(
            json.dumps({**told, "differences": [difference_json(one) for one in found]}, ensure_ascii=False, indent=2)
        )
    else:
        click.echo(_shown(found, form))
        if form == "table":
            click.echo(sentence(found, live, declared))
    sys.exit(DIFFERENT if (found if strict else grave(found)) else 0)


@cluster.command()
@CONFIG_OPTION
def rights(path: Path | None) -> None:
    """The rights that are needed, as rules in JSON: `clusterRole` of `cluster check` and `kubernetes.watch`, `role` of
    `kubernetes.lease` in the namespace of the Lease."""
    settings = config.load(path, os.environ)
    lease = lease_grants(settings.kubernetes.lease) if settings.kubernetes.lease else ()
    found = {"clusterRole": [_rule(one) for one in grants()], "role": [_rule(one) for one in lease]}
    click.echo(json.dumps(found, indent=2))


def _rule(grant: Grant) -> dict[str, list[str]]:
    rule = {"apiGroups": [grant.group], "resources": [grant.resource], "verbs": list(grant.verbs)}
    return {**rule, "resourceNames": list(grant.names)} if grant.names else rule


def sentence(found: Sequence[Difference], live: Live, declared: int) -> str:
    """The whole in one sentence."""
    there = f"{plural(len(live.policies), 'live policy', 'live policies')} and {plural(len(live.pods), 'pod')}"
    if not declared:
        compared = "no network policy is declared, so live ones are compared with nothing"
    else:
        wrong = len(grave(found))
        compared = (
            f"{plural(wrong, 'policy is', 'policies are')} not as declared" if wrong else "every policy is as declared"
        )
    left = len(found) - len(grave(found))
    return f"{there}: {compared}" + (f"; {plural(left, 'thing')} left open" if left else "")


def _shown(found: Sequence[Difference], form: str) -> str:
    rows = [[str(one.deviation), one.what, printable("; ".join([one.reason, *one.fields])), one.place] for one in found]
    columns = ["difference", "of", "reason", "declared at"]
    return render.table(columns, rows, form, output_width()).rstrip("\n")  # type: ignore[arg-type]  # click checked it
