"""Generated scenarios of the conformance format: policies of every kind, endpoints, probes, configuration.

One generator, two ways to run it: `scenarios` for hypothesis, which shrinks; `random_scenarios` for bulk, by seed.
Each scenario carries in `tags` the names of the constructs it contains (see `policy_constructs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.support.policy_cases_cilium import cilium_policy
from tests.support.policy_cases_kubernetes import cluster_network_policy, network_policy
from tests.support.policy_cases_probes import probe
from tests.support.policy_cases_selectors import Maker
from tests.support.policy_dice import Dice, Draw, HypothesisDice, RandomDice
from tests.support.policy_world import GROUPS, SERVICES, configuration, others, pods


def scenario(dice: Dice, case: str, probe_count: int) -> dict[str, Any]:
    """One scenario of one to four policies; `case` is the prefix of the probes' ids."""
    config = configuration(dice)
    maker = Maker(dice, config)
    policies = policies_of(maker)
    pod_list = pods(dice)
    endpoints = [*pod_list, *others(dice, config)]
    probes = []
    for place in range(probe_count):
        probes.append({"id": f"{case}#{place}", **probe(maker, pod_list, endpoints, policies)})
    result: dict[str, Any] = {"suite": "generated", "case": case, "policies": policies, "endpoints": endpoints}
    if config:
        result["config"] = config
    if maker.uses_groups:
        result["cidrgroups"] = GROUPS
    if maker.uses_services:
        result["services"] = SERVICES
    return {**result, "probes": probes, "tags": sorted(dice.marks)}


def policies_of(maker: Maker) -> list[dict[str, Any]]:
    """One to four policies of mixed kinds."""
    dice = maker.dice
    count = 1 + dice.below(4)
    if count > 1:
        dice.mark("§1 several policies")
    priorities = dice.some([0, 5, 10, 999, 1000], count, count)
    result = []
    for place in range(count):
        choice = dice.below(10)
        if choice <= 4:
            result.append(cilium_policy(maker, f"p{place}"))
        elif choice <= 7:
            result.append(network_policy(maker, f"p{place}"))
        else:
            result.append(cluster_network_policy(maker, f"p{place}", priorities[place]))
    if len([policy for policy in result if policy["kind"] == "ClusterNetworkPolicy"]) > 1:
        dice.mark("§9 two policies")
    return result


def random_scenarios(seed: int, count: int, probes: int = 25) -> Iterator[dict[str, Any]]:
    """So many scenarios of so many probes each; the same seed gives the same ones."""
    for place in range(count):
        yield scenario(RandomDice(f"{seed}/{place}"), f"{seed}/{place}", probes)


@st.composite
def scenarios(draw: Draw, probes: int = 6) -> dict[str, Any]:
    """The same scenarios for hypothesis, with fewer probes each."""
    return scenario(HypothesisDice(draw), "generated", probes)
