"""The oracle of network policy semantics answers as Cilium's own policy engine did.

The strict probes of the shared conformance suite are the proof; the rest are rules of the semantics document that
those probes do not reach.
"""

from __future__ import annotations

import json
import lzma
from functools import cache
from typing import Any

import pytest

from tests.support import shared
from tests.support.policy_oracle import answer, explain
from tests.support.policy_oracle_peers import name_matches
from tests.support.policy_oracle_rejects import rejected


@cache
def suite() -> list[dict[str, Any]]:
    """The scenarios of the shared suite."""
    with lzma.open(shared.folder("policy-probes") / "probes.jsonl.xz", "rt") as lines:
        return [json.loads(line) for line in lines]


def endpoint(name: str, **fields: Any) -> dict[str, Any]:
    """A pod of namespace a, or whatever the fields say."""
    if "entity" in fields or "entities" in fields:
        return {"id": name, "ip": "192.0.2.5", **fields}
    labels = {"kubernetes.io/metadata.name": fields.get("namespace", "a")}
    plain = {"ip": "10.1.5.10", "namespace": "a", "labels": {"app": name}, "namespace_labels": labels}
    return {"id": name, **plain, **fields}


def one(policy: dict[str, Any], src: dict[str, Any], dst: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The answer to a single probe against a single policy."""
    config = fields.pop("config", {})
    probe = {"id": "x", "src": src["id"], "dst": dst["id"], "proto": "tcp", "port": 80, **fields}
    return answer({"policies": [policy], "endpoints": [src, dst], "probes": [probe], "config": config})[0]


def cnp(**spec: Any) -> dict[str, Any]:
    """A CiliumNetworkPolicy p of namespace a about app=web."""
    selector = {"matchLabels": {"app": "web"}}
    meta = {"name": "p", "namespace": "a"}
    return {"kind": "CiliumNetworkPolicy", "metadata": meta, "spec": {"endpointSelector": selector, **spec}}


def test_strict_probes() -> None:
    """Every strict probe gets Cilium's verdict, on both sides."""
    wrong = []
    count = 0
    for scenario in suite():
        for probe, its in zip(scenario["probes"], answer(scenario), strict=True):
            expected = (probe["id"], probe["expected"], probe["exp_egress"], probe["exp_ingress"])
            count += probe["strict"]
            if probe["strict"] and (its["id"], its["verdict"], its["egress"], its["ingress"]) != expected:
                wrong.append((scenario["case"], probe, its))
    assert not wrong
    assert count > 6000


def test_attribution_of_strict_probes() -> None:
    """Every side of a strict probe is decided by the policies Cilium names."""
    for scenario in suite():
        for probe, its in zip(scenario["probes"], explain(scenario), strict=True):
            for side in ("egress_by", "ingress_by"):
                named = [name for name in probe[side] if not name.startswith("labels:")]
                assert not probe["strict"] or its[side] == named, (scenario["case"], probe["id"])


def test_loose_probes() -> None:
    """Where versions or the Kubernetes text differ, the oracle follows Cilium."""
    for scenario in suite():
        for probe, its in zip(scenario["probes"], answer(scenario), strict=True):
            assert its["verdict"] == probe["expected_cilium"], (scenario["case"], probe["id"])


@pytest.mark.parametrize(
    ("item", "name", "expected"),
    [
        ("*.x.io", "www.x.io", True),
        ("*.x.io", "x.io", False),
        ("*.x.io", "a.b.x.io", False),
        ("*x.io", "x.io", True),
        ("*x.io", "subx.io", True),
        ("*x.io", "www.x.io", False),
        ("sub*.x.io", "sub1.x.io", True),
        ("sub*.x.io", "sub.x.io", True),
        ("*", "a.b.c", True),
        ("**", "a.b.c", True),
        ("*.", "a.b.c", True),
        ("**.x.io", "a.b.x.io", True),
        ("**.x.io", "b.x.io", True),
        ("**.x.io", "x.io", False),
        ("a.**.io", "a.b.io", True),
        ("a.**.io", "a.b.c.io", False),
        ("*.X.io", "WWW.x.IO.", True),
    ],
)
def test_pattern_grammar(item: str, name: str, expected: bool) -> None:
    """§4.3: what a star means in a matchPattern."""
    assert name_matches({"matchPattern": item}, name) is expected


def test_name_is_literal() -> None:
    """§4.3: matchName has no wildcards, no case, and no trailing dot."""
    assert name_matches({"matchName": "Api.x.io"}, "api.X.io.")
    assert not name_matches({"matchName": "api.x.io"}, "apiax.io")


def test_groups_are_unknown() -> None:
    """§4.5: a cloud group leaves a world peer undecided, but neither a pod nor a peer another rule decides."""
    policy = cnp(egress=[{"toGroups": [{"aws": {}}]}, {"toCIDR": ["192.0.2.6/32"]}])
    web, world = endpoint("web"), endpoint("w", entity="world")
    assert one(policy, web, world)["verdict"] == "unknown"
    assert one(policy, web, {**world, "ip": "192.0.2.6"})["verdict"] == "allow"
    assert one(policy, web, endpoint("db"))["verdict"] == "deny"


def test_default_deny_from_elsewhere_keeps_l7_rules() -> None:
    """§8: without default deny in the direction L7 rules restrict nothing; one isolating policy makes them bite."""
    ports = [{"ports": [{"port": "80", "protocol": "TCP"}], "rules": {"http": [{"path": "/a"}]}}]
    open_policy = cnp(ingress=[{"toPorts": ports}], enableDefaultDeny={"ingress": False})
    web, db = endpoint("web"), endpoint("db")
    probe = {"id": "x", "src": "db", "dst": "web", "proto": "tcp", "port": 80, "l7": {"http": {"path": "/b"}}}
    scenario = {"policies": [open_policy], "endpoints": [web, db], "probes": [probe]}
    assert answer(scenario)[0]["ingress"] == "allow"
    isolating = cnp(ingress=[{"fromEntities": ["health"]}])
    isolating["metadata"]["name"] = "q"
    assert answer({**scenario, "policies": [open_policy, isolating]})[0]["ingress"] == "deny-l7"


def test_refused_object_enforces_nothing() -> None:
    """§2: one bad rule and nothing of the object is enforced."""
    policy = cnp(ingress=[{}, {"fromEntities": ["world"], "fromCIDR": ["10.0.0.0/8"]}])
    assert rejected(policy, {}) == "Entities and CIDR in one rule"
    assert one(policy, endpoint("db"), endpoint("web"))["verdict"] == "allow"


def test_init_endpoint_is_isolated() -> None:
    """§1: an endpoint without labels yet is in default deny even when nothing selects it."""
    policy = cnp(ingress=[{}])
    init = endpoint("init", entity="init")
    assert one(policy, init, endpoint("db"))["egress"] == "deny"


def test_host_policy_needs_the_host_firewall() -> None:
    """§7: a nodeSelector governs the host, and only with the host firewall."""
    policy = {
        "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {"nodeSelector": {"matchLabels": {"zone": "x"}}, "ingress": [{}]},
    }
    host = endpoint("host", entity="host", node_labels={"zone": "x"})
    other = endpoint("host", entity="host", node_labels={"zone": "y"})
    db = endpoint("db")
    assert one(policy, db, host)["ingress"] == "allow"
    assert one(policy, db, host, config={"host_firewall": True})["ingress"] == "deny"
    assert one(policy, db, other, config={"host_firewall": True})["ingress"] == "allow"
