"""Conformance: what policies mean is what Cilium's own engine said of them, and what the reference says."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowwatch.policy.command import probe
from flowwatch.policy.probe import ScenarioError, answer, study
from tests.support import shared

OWN = Path(__file__).parent / "data" / "policy_probes.jsonl"
SCENARIOS = [json.loads(line) for line in OWN.read_text(encoding="utf-8").splitlines()]
EXPECTED = {"expected": "verdict", "exp_egress": "egress", "exp_ingress": "ingress", "by": "by"}


def engine_scenarios() -> Iterator[dict[str, Any]]:
    with lzma.open(shared.folder("policy-probes") / "probes.jsonl.xz", "rt") as lines:
        yield from map(json.loads, lines)


def pod(name: str, namespace: str = "shop") -> dict[str, Any]:
    return {"id": name, "namespace": namespace, "labels": {"app": name}, "ip": "10.0.0.9"}


def scenario(**changed: Any) -> dict[str, Any]:
    """A sound scenario: one policy that isolates `b`, and one probe."""
    policy = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"endpointSelector": {"matchLabels": {"app": "b"}}, "ingress": [{}]},
    }
    base: dict[str, Any] = {
        "policies": [policy],
        "endpoints": [pod("a"), pod("b")],
        "probes": [{"id": "x", "src": "a", "dst": "b", "proto": "tcp", "port": 80}],
    }
    return base | changed


@pytest.mark.parametrize("given", SCENARIOS, ids=[f"{one['section']} {one['case']}" for one in SCENARIOS])
def test_what_the_reference_says(given: dict[str, Any]) -> None:
    """Every scenario of our own, by the section of the reference that it is about."""
    for probed, answered in zip(given["probes"], answer(given), strict=True):
        expected = {EXPECTED[key]: value for key, value in probed.items() if key in EXPECTED}
        assert {key: answered[key] for key in expected} == expected, probed
        assert answered["id"] == probed["id"]


def test_every_section_has_scenarios() -> None:
    """What the reference tells apart is told apart here."""
    assert {one["section"][0] for one in SCENARIOS} == set("123456789")
    assert len(SCENARIOS) > 100


def test_cilium_would_answer_the_same() -> None:
    """Every probe of the shared suite, those on which versions differ too, with both sides and who decided."""
    wrong = []
    probes = 0
    for one in engine_scenarios():
        for probed, answered in zip(one["probes"], answer(one), strict=True):
            probes += 1
            expected = {
                "id": probed["id"],
                "verdict": probed["expected_cilium"],
                "egress": probed["cilium_egress"],
                "ingress": probed["cilium_ingress"],
                "egress_by": probed["egress_by"],
                "ingress_by": probed["ingress_by"],
            }
            if {key: answered[key] for key in expected} != expected:
                wrong.append((one["case"], expected, answered))
    assert probes == 6357
    assert not wrong


def test_the_kubernetes_api_is_one_switch_away() -> None:
    """Rules of a direction outside `policyTypes` are enforced by Cilium and ignored by the API's own text."""
    given = next(one for one in SCENARIOS if one["case"] == "rules-outside-the-types-are-enforced")
    strict = given | {"config": {"strict_policy_types": True}}
    assert [one["verdict"] for one in answer(given)] == ["allow", "deny"]
    assert [one["verdict"] for one in answer(strict)] == ["allow", "allow"]


def test_the_command_answers_line_by_line(tmp_path: Path) -> None:
    """One answer a line, in order; blank lines are passed over."""
    file = tmp_path / "suite.jsonl"
    file.write_text(f"{json.dumps(scenario())}\n\n{json.dumps(scenario(policies=[]))}\n")
    result = CliRunner().invoke(probe, [str(file)])
    assert result.exit_code == 0
    assert [json.loads(line)["verdict"] for line in result.stdout.splitlines()] == ["deny", "allow"]


def test_the_command_reads_standard_input() -> None:
    """Without a file, and with `-`."""
    for arguments in ([], ["-"]):
        result = CliRunner().invoke(probe, arguments, input=json.dumps(scenario()))
        assert json.loads(result.stdout)["verdict"] == "deny"


def test_a_bad_line_is_named_and_the_others_are_answered() -> None:
    """The command ends with 2, having answered all it could."""
    lines = ["{", json.dumps(scenario()), "[]", '{"endpoints": 3}', json.dumps(scenario(policies=[]))]
    result = CliRunner().invoke(probe, input="\n".join(lines))
    assert result.exit_code == 2
    assert [json.loads(line)["verdict"] for line in result.stdout.splitlines()] == ["deny", "allow"]
    places = [line.partition(": ")[0] for line in result.stderr.splitlines()]
    assert places == ["standard input:1", "standard input:3", "standard input:4"]


def test_a_rejected_policy_is_not_enforced_and_told() -> None:
    """As in a cluster, nothing of it is in force; why is said once."""
    broken = scenario()
    broken["policies"][0]["spec"]["ingress"] = [{"fromEntities": ["universe"]}]
    result = CliRunner().invoke(probe, input=json.dumps(broken))
    assert result.exit_code == 0
    assert json.loads(result.stdout)["verdict"] == "allow"
    assert "CiliumNetworkPolicy:shop/p is rejected" in result.stderr
    assert "`universe`" in result.stderr
    assert CliRunner().invoke(probe, ["--quiet"], input=json.dumps(broken)).stderr == ""


def test_unheard_of_settings_and_kinds_are_told() -> None:
    """They are left out, and not silently."""
    _, notes = study(scenario(config={"color": 1}, policies=[{"apiVersion": "v1", "kind": "Secret"}]))
    assert notes == [
        "config.color: no such setting is known; it is left out",
        "Secret: 1 not read, for this is no kind of policy",
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"endpoints": None}, "endpoints: expected a list, not nothing"),
        ({"endpoints": [{}]}, "endpoints[0].id: expected text, not nothing"),
        ({"endpoints": [{"id": "a", "ip": "x"}]}, "endpoints[0].ip: expected an address, not `x`"),
        ({"endpoints": [{"id": "a", "entity": "moon"}]}, "endpoints[0].entity: expected one of world, host"),
        ({"endpoints": [{"id": "a", "labels": {"k": 1}}]}, "endpoints[0].labels.k: expected text, not a number (`1`)"),
        ({"probes": [3]}, "probes[0]: expected a mapping, not a number (`3`)"),
        ({"probes": [{"src": "q"}]}, "probes[0].src: there is no endpoint `q`"),
        ({"probes": [{"src": "a", "dst": "b", "proto": "tls"}]}, "probes[0].proto: expected one of tcp, udp"),
        ({"probes": [{"src": "a", "dst": "b", "proto": "tcp", "port": 70000}]}, "probes[0].port: expected a number"),
        ({"probes": [{"src": "a", "dst": "b", "proto": "tcp", "l7": 1}]}, "probes[0].l7: expected a mapping"),
        ({"policies": ["x"]}, "policies[0]: expected a mapping, not text (`x`)"),
        ({"config": {"enforcement": []}}, "config.enforcement: expected default, always or never"),
        ({"config": {"host_firewall": "yes"}}, "config.host_firewall: expected true or false"),
        ({"services": [{"Name": 1}]}, "services[0].Name: expected text"),
        ({"cidrgroups": [{}]}, "cidrgroups[0].name: expected text"),
    ],
)
def test_a_scenario_that_cannot_be_read_says_where(changed: dict[str, Any], message: str) -> None:
    """The field is named, and what was expected of it."""
    with pytest.raises(ScenarioError) as raised:
        answer(scenario(**changed))
    assert str(raised.value).startswith(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a value with a key or index in it."""
    if isinstance(value, dict):
        return [(value, key) for key in value] + [found for one in value.values() for found in places(one)]
    if isinstance(value, list):
        return [(value, key) for key in range(len(value))] + [found for one in value for found in places(one)]
    return []


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_scenario_ends_in_a_traceback(data: st.DataObject) -> None:
    """With anything in any place, a scenario is answered or its error names the place."""
    given = json.loads(json.dumps(data.draw(st.sampled_from(SCENARIOS))))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(given)))
        container[key] = data.draw(JSON)
    with suppress(ScenarioError):
        answers = answer(given)
        json.dumps(answers)
        assert {one["verdict"] for one in answers} <= {"allow", "deny", "unknown"}
