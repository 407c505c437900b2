"""How long policies take: `python -m tests.support.policy_bench` prints it. No test depends on the numbers.

A thousand policies are read and compiled; then distinct edges are judged, and judged again.
"""

from __future__ import annotations

import random
import time
from typing import Any

from flowwatch.allowlist.policies import Policies
from flowwatch.model import Edge, Protocol
from flowwatch.policy.compiled import PolicySet
from flowwatch.policy.nodes import Plain
from flowwatch.policy.objects import read_objects, unpack
from tests.support.policies import pod, world

POLICIES = 1000
EDGES = 20_000


def document(number: int) -> dict[str, Any]:
    """One policy with five rules."""
    peers = [
        {"matchLabels": {"app": f"app{peer}", "io.kubernetes.pod.namespace": f"ns{peer % 50}"}}
        for peer in range(number, number + 3)
    ]
    spec = {
        "endpointSelector": {"matchLabels": {"app": f"app{number % 400}"}},
        "ingress": [
            {"fromEndpoints": peers, "toPorts": [{"ports": [{"port": str(8000 + number % 100), "protocol": "TCP"}]}]},
            {"fromEntities": ["host"]},
        ],
        "egress": [
            {"toFQDNs": [{"matchPattern": f"*.svc{number}.example.com"}], "toPorts": [{"ports": [{"port": "443"}]}]},
            {"toCIDR": [f"10.{number % 250}.0.0/16"]},
            {"toEndpoints": [{"matchLabels": {"app": f"app{number + 1}"}}]},
        ],
    }
    metadata = {"name": f"p{number}", "namespace": f"ns{number % 50}"}
    return {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata, "spec": spec}


def edges(chance: random.Random) -> list[Edge]:
    """Edges between two thousand pods, and from them to a thousand names outside."""
    pods = [pod(f"ns{number % 50}", app=f"app{number % 400}") for number in range(2000)]
    outside = [world(f"10.{chance.randrange(255)}.1.1", f"a.svc{number}.example.com") for number in range(1000)]
    return [
        Edge(
            chance.choice(pods),
            chance.choice(pods if chance.random() < 0.7 else outside),
            Protocol.TCP,
            chance.choice([443, 8000 + chance.randrange(100)]),
        )
        for _ in range(EDGES)
    ]


def main() -> None:
    """Print what each step takes."""
    documents = [document(number) for number in range(POLICIES)]
    started = time.perf_counter()
    objects = read_objects(one for each in documents for one in unpack(Plain(each, "bench")))
    read = time.perf_counter()
    compiled = PolicySet(objects)
    done = time.perf_counter()
    print(f"read {POLICIES} policies     {read - started:8.3f} s")
    print(f"compile them           {done - read:8.3f} s   ({len(objects.entries)} entries)")
    asked = edges(random.Random(1))
    for what in ("judge new edges", "judge them again"):
        started = time.perf_counter()
        for edge in asked:
            compiled.judge(edge)
        print(f"{what:22} {(time.perf_counter() - started) / EDGES * 1e6:8.1f} µs each")
    allowlist = Policies(objects, 0)
    started = time.perf_counter()
    for edge in asked:
        allowlist.judge(edge)
    print(f"{'judge, with reasons':22} {(time.perf_counter() - started) / EDGES * 1e6:8.1f} µs each")


if __name__ == "__main__":
    main()
