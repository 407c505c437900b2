"""Whole systems: what is found in them is true, and a thousand policies are no more work each than a few."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from flowwatch.lint import Checked, Options, Severity, Sources, lint, parse, read
from tests.support import shared
from tests.support.effort import TWICE, effort

NOW = 1_790_812_800.0
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
EFFORT = 45_000
"""What one policy among a thousand may cost: twice what it does, which is 1.5 ms of a slow core."""


def checked(*paths: Path) -> Checked:
    """What is found in files and directories."""
    return lint(read(paths), Options(NOW))


def counted(result: Checked, *without: Severity) -> Counter[str]:
    """How often each check found something."""
    return Counter(each.check for each in result.findings if each.severity not in without)


@pytest.mark.parametrize(
    "folder", [folder for folder in sorted(EXAMPLES.rglob("*")) if folder.is_dir() and any(folder.glob("*.yaml"))]
)
def test_no_example_holds_an_error(folder: Path) -> None:
    """Whatever is shown to users would be accepted by a cluster."""
    assert [each for each in checked(folder).findings if each.severity is Severity.ERROR] == []


def test_the_homelab_allowlist() -> None:
    """Its rules name no owners; the rest are remarks: probes that one rule for all of them covers."""
    result = checked(EXAMPLES / "homelab" / "allowlist.yaml")
    assert set(counted(result, Severity.INFO)) <= {"rule-without-owner"}
    assert set(counted(result)) <= {"rule-without-owner", "redundant-rule", "wider-than-reason"}
    assert result.rules > 80


def test_the_simulated_policies() -> None:
    """A policy for every workload and none for a namespace: a pod nobody wrote a policy for is open
    on ingress (on egress the one for DNS isolates it). All else are remarks, and no rule is voided,
    shadowed, one-sided or without DNS."""
    result = checked(shared.folder("simulated") / "dev.cnp.yaml")
    assert counted(result, Severity.INFO) == Counter({"namespace-without-default-deny": 14})
    assert set(counted(result)) == {
        "namespace-without-default-deny",
        "host-allowed-anyway",
        "redundant-rule",
        "world-includes-private",
    }
    redundant = [each.problem for each in result.findings if each.check == "redundant-rule"]
    assert [problem.line for problem in redundant] == [528, 820, 976, 1131]
    assert result.policies == 58


def test_a_thousand_policies_cost_twice_what_half_of_them_do() -> None:
    """The simulated cluster eighteen times over, in namespaces of their own, and nine times."""
    text = (shared.folder("simulated") / "dev.cnp.yaml").read_text(encoding="utf-8")
    first, *documents = text.split("\n---\n")
    namespaces = re.compile(r'("k8s:io\.kubernetes\.pod\.namespace": "|namespace: ")([^"]+)"')
    texts = [first]
    for number in range(18):
        texts += [namespaces.sub(rf'\g<1>\g<2>-{number}"', document) for document in documents]
    parts = ["\n---\n".join(texts[start : start + 57]) for start in range(0, len(texts), 57)]
    parsed = [parse(part, f"part-{number}.yaml") for number, part in enumerate(parts)]
    results: list[Checked] = []
    half, whole = (
        effort(lambda files=tuple(parsed[:count]): results.append(lint(Sources(files), Options(NOW))))
        for count in (9, len(parsed))
    )
    assert [result.policies for result in results] == [9 * 57, 1 + 18 * 57]
    assert whole < TWICE * half
    assert whole < EFFORT * results[1].policies
