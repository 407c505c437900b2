"""The compiled policy engine and the independent oracle agree on everything that can be generated.

The bulk run judges 200,000 (policies, endpoints, probe) cases by seed, in chunks that pytest-xdist spreads::

    python -m pytest tests/test_policy_against_oracle.py -n 2

That is about half a minute on two cores. Other cases: ``POLICY_SEED=7 python -m pytest ...``. A difference is shrunk
and shown as one line of JSON; the semantics document says who is right, and the line goes to
``tests/data/policy_disagreements.jsonl`` with a name (``case``), the section that decides (``why``) and the answer
(``expected``), where it is replayed against both for good.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from flowwatch.policy.probe import answer
from tests.support import policy_oracle
from tests.support.policy_cases import random_scenarios, scenarios
from tests.support.policy_oracle_rejects import rejected
from tests.support.policy_shrink import shrink

SEED = int(os.environ.get("POLICY_SEED", "1"))
CHUNKS = 40
SCENARIOS = 200
PROBES = 25
KEPT = Path(__file__).parent / "data" / "policy_disagreements.jsonl"

WEB = {"endpointSelector": {"matchLabels": {"app": "web"}}}
HTTP = {"http": [{"path": "/"}]}
REFUSED: dict[str, dict[str, Any]] = {
    "section [] alone": {**WEB, "ingress": []},
    "section null alone": {**WEB, "ingress": None},
    "no section": {**WEB},
    "no selector": {"ingress": [{}]},
    "both selectors": {**WEB, "nodeSelector": {}, "ingress": [{}]},
    "nodeSelector in a CNP": {"nodeSelector": {}, "ingress": [{}]},
    "In without values": {
        "endpointSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": []}]},
        "ingress": [{}],
    },
    "NotIn without values": {
        "endpointSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn"}]},
        "ingress": [{}],
    },
    "Exists with values": {
        "endpointSelector": {"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["web"]}]},
        "ingress": [{}],
    },
    "peer selector In without values": {
        **WEB,
        "ingress": [{}, {"fromEndpoints": [{"matchExpressions": [{"key": "tier", "operator": "In", "values": []}]}]}],
    },
    "two peer kinds": {**WEB, "ingress": [{"fromEntities": ["health"], "fromCIDR": ["192.0.2.0/24"]}]},
    "unknown entity": {**WEB, "ingress": [{"fromEntities": ["galaxy"]}]},
    "fromRequires": {**WEB, "ingress": [{"fromRequires": [{"matchLabels": {"app": "x"}}]}]},
    "icmps and toPorts": {
        **WEB,
        "ingress": [{"icmps": [{"fields": [{"type": 8}]}], "toPorts": [{"ports": [{"port": "1"}]}]}],
    },
    "prefix missing": {**WEB, "ingress": [{"fromCIDR": ["192.0.2.1"]}]},
    "except outside cidr": {**WEB, "ingress": [{"fromCIDRSet": [{"cidr": "192.0.2.0/24", "except": ["10.0.0.0/8"]}]}]},
    "cidr and group": {**WEB, "ingress": [{"fromCIDRSet": [{"cidr": "192.0.2.0/24", "cidrGroupRef": "g"}]}]},
    "more than 40 ports": {
        **WEB,
        "ingress": [{"toPorts": [{"ports": [{"port": str(number)} for number in range(1, 42)]}]}],
    },
    "port too large": {**WEB, "ingress": [{"toPorts": [{"ports": [{"port": "65536"}]}]}]},
    "http on any protocol": {**WEB, "ingress": [{"toPorts": [{"ports": [{"port": "81"}], "rules": HTTP}]}]},
    "http on port 0": {
        **WEB,
        "ingress": [{"toPorts": [{"ports": [{"port": "0", "protocol": "TCP"}], "rules": HTTP}]}],
    },
    "dns on ingress": {
        **WEB,
        "ingress": [{"toPorts": [{"ports": [{"port": "53"}], "rules": {"dns": [{"matchPattern": "*"}]}}]}],
    },
    "two l7 protocols": {
        **WEB,
        "ingress": [{}],
        "egress": [
            {
                "toPorts": [
                    {
                        "ports": [{"port": "53", "protocol": "TCP"}],
                        "rules": {**HTTP, "dns": [{"matchPattern": "*"}]},
                    }
                ]
            }
        ],
    },
    "dns on a range": {
        **WEB,
        "ingress": [{}],
        "egress": [
            {"toPorts": [{"ports": [{"port": "53", "endPort": 60}], "rules": {"dns": [{"matchPattern": "*"}]}}]}
        ],
    },
}


def policies_of(names: list[str]) -> list[str]:
    """The policies among what decided a side; the implicit allows are left out."""
    return sorted(name for name in names if not name.startswith("labels:"))


def essence(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What both have to agree on: the verdicts, and who decided each side where that is known."""
    result = []
    for its in answers:
        line = {key: its[key] for key in ("id", "verdict", "egress", "ingress")}
        for side in ("egress_by", "ingress_by"):
            if its[side] is not None:
                line[side] = policies_of(its[side])
        result.append(line)
    return result


def engine_of(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """What the engine says."""
    return essence(list(answer(copy.deepcopy(scenario))))


def oracle_of(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """What the oracle says."""
    return essence(policy_oracle.explain(scenario))


def differences(scenario: dict[str, Any]) -> list[str]:
    """The ids of the probes on which the two differ; who decided only counts where the oracle knows."""
    pairs = zip(engine_of(scenario), oracle_of(scenario), strict=True)
    return [oracle["id"] for engine, oracle in pairs if {key: engine[key] for key in oracle} != oracle]


def described(scenario: dict[str, Any], probe_id: str) -> str:
    """One difference, shrunk, with both answers."""
    small = shrink(scenario, probe_id, engine_of, oracle_of)
    return f"{json.dumps(small)}\n  engine: {engine_of(small)}\n  oracle: {oracle_of(small)}"


def kept() -> list[dict[str, Any]]:
    """The named cases on which the two once differed."""
    return [json.loads(line) for line in KEPT.read_text().splitlines()]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_generated_scenarios(scenario: dict[str, Any]) -> None:
    """Whatever hypothesis comes up with, the two give the same answers for the same reasons."""
    assert [described(scenario, probe_id) for probe_id in differences(scenario)[:1]] == []


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_bulk(chunk: int) -> None:
    """Five thousand probes of this chunk's seed get the same answers for the same reasons."""
    wrong: list[tuple[dict[str, Any], str]] = []
    for scenario in random_scenarios(SEED * 1000 + chunk, SCENARIOS, PROBES):
        wrong += [(scenario, probe_id) for probe_id in differences(scenario)]
    shown = [described(scenario, probe_id) for scenario, probe_id in wrong[:3]]
    assert not wrong, f"{len(wrong)} of {SCENARIOS * PROBES} probes differ, for example\n" + "\n".join(shown)


def test_bulk_is_large_enough() -> None:
    """All chunks together are the promised two hundred thousand cases."""
    assert CHUNKS * SCENARIOS * PROBES >= 200_000


@pytest.mark.parametrize("case", kept(), ids=lambda case: case["case"])
@pytest.mark.parametrize("judge", [engine_of, oracle_of], ids=["engine", "oracle"])
def test_kept_disagreements(case: dict[str, Any], judge: Any) -> None:
    """On every case the two once differed on, both now say what the named section says."""
    found = [{key: its[key] for key in ("id", "verdict", "egress", "ingress")} for its in judge(case)]
    assert found == case["expected"], case["why"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_objects_enforce_nothing(name: str) -> None:
    """An object that the cluster refuses isolates nobody and allows nobody, in the engine and the oracle (§2)."""
    meta = {"name": "refused", "namespace": "a"}
    refused = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": meta, "spec": REFUSED[name]}
    assert rejected(refused, {})
    pod = {"namespace": "a", "namespace_labels": {"kubernetes.io/metadata.name": "a"}, "ports": []}
    scenario = {
        "policies": [refused],
        "endpoints": [
            {**pod, "id": "web", "ip": "10.1.5.10", "labels": {"app": "web"}, "service_account": "x"},
            {**pod, "id": "db", "ip": "10.1.5.11", "labels": {"app": "db"}, "service_account": "x"},
        ],
        "probes": [{"id": "in", "src": "db", "dst": "web", "proto": "tcp", "port": 80}],
    }
    assert oracle_of(scenario)[0]["ingress"] == "allow"
    assert differences(scenario) == []
