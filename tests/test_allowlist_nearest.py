"""The nearest rule: which one a person most likely meant, and in what the edge differs from it."""

from __future__ import annotations

import pytest

from flowwatch.allowlist import parse
from flowwatch.model import Declared, Edge, Kind, Protocol
from tests.support.peers import edge, entity, pod, world

NOW = 1_790_812_800.0

HEAD = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads:
  monitoring:
    loki: {app: loki}
    grafana: {app: grafana}
    tempo: {app: tempo}
  seaweedfs:
    filer: {app: filer}
    master: {app: master}
  database:
    pg: {app: pg}
externals:
  discord: {fqdn: [discord.com]}
  nas: {cidr: [10.0.0.0/8]}
rules:
"""

LOKI, GRAFANA, TEMPO = pod("monitoring", "loki"), pod("monitoring", "grafana"), pod("monitoring", "tempo")
FILER, MASTER, VOLUME = pod("seaweedfs", "filer"), pod("seaweedfs", "master"), pod("seaweedfs", "volume")
PG = pod("database", "pg")
HOST, API = entity(Kind.HOST), entity(Kind.KUBE_APISERVER, "kube-apiserver", "remote-node")
FILER_RULE = "monitoring/loki → seaweedfs/filer:8333/TCP"
SOMEWHERE = world("203.0.113.7", "evil.example")


def nearest(rules: list[str], one: Edge) -> tuple[str, tuple[str, ...]]:
    """The nearest of some rules, written as `from → to:ports`, and in what the edge differs."""
    written = []
    for rule in rules:
        source, _, rest = rule.partition(" → ")
        destination, _, ports = rest.rpartition(":")
        written.append(f"- {{from: {source}, to: {destination}, ports: {ports}, reason: because}}\n")
    judgement = parse(HEAD + "".join(written), "allowlist.yaml", NOW).judge(one, NOW)
    assert judgement.declared is Declared.NO
    return judgement.nearest, judgement.differs


@pytest.mark.parametrize(
    ("rules", "title", "differs"),
    [
        (["loki → filer:8333"], "monitoring/loki → seaweedfs/filer:8333/TCP", ("port",)),
        (["loki → master:80"], "monitoring/loki → seaweedfs/master:80/TCP", ("destination",)),
        (["grafana → filer:80"], "monitoring/grafana → seaweedfs/filer:80/TCP", ("source",)),
        (["loki → master:81"], "monitoring/loki → seaweedfs/master:81/TCP", ("destination", "port")),
        (["grafana → filer:81"], "monitoring/grafana → seaweedfs/filer:81/TCP", ("source", "port")),
        (["grafana → master:80"], "", ()),
        (["grafana → master:81"], "", ()),
    ],
)
def test_the_answer_names_what_differs(rules: list[str], title: str, differs: tuple[str, ...]) -> None:
    """One rule at a time, every way in which it can be close; only the port in common is not close."""
    assert nearest(rules, edge(LOKI, FILER)) == (title, differs)


def test_the_ends_count_more_than_the_port_and_the_source_more_than_the_destination() -> None:
    """Of rules that are close in different ways, the order is fixed."""
    rules = ["grafana → filer:81", "loki → master:81", "grafana → filer:80", "loki → master:80", "loki → filer:81"]
    found = []
    while rules:
        title, differs = nearest(rules, edge(LOKI, FILER))
        found.append(differs)
        assert title.endswith(rules.pop().rpartition(":")[2] + "/TCP")

    assert found == [("port",), ("destination",), ("source",), ("destination", "port"), ("source", "port")]


@pytest.mark.parametrize(
    ("rules", "one", "title"),
    [
        # The closest port.
        (["loki → filer:9000", "loki → filer:90", "loki → filer:8333"], edge(LOKI, FILER), "90/TCP"),
        (["loki → filer:100-200", "loki → filer:60-70"], edge(LOKI, FILER), "60-70/TCP"),
        # The same protocol, however far the port.
        (["loki → filer:80/UDP", "loki → filer:60000"], edge(LOKI, FILER), "60000/TCP"),
        (["loki → filer:icmp/8", "loki → filer:80/UDP"], edge(LOKI, FILER), "80/UDP"),
        (["loki → filer:8", "loki → filer:icmp/0"], edge(LOKI, FILER, 8, Protocol.ICMP), "ICMP/0"),
        # The same namespace.
        (["loki → pg:80", "loki → master:80"], edge(LOKI, FILER), "seaweedfs/master:80/TCP"),
        (["pg → filer:80", "tempo → filer:80"], edge(LOKI, FILER), "monitoring/tempo → seaweedfs/filer:80/TCP"),
        # The same sort of peer.
        (["loki → host:80", "loki → pg:80"], edge(LOKI, FILER), "database/pg:80/TCP"),
        (["loki → pg:80", "loki → discord:80"], edge(LOKI, SOMEWHERE), "discord:80/TCP"),
        (["loki → pg:80", "loki → nas:80"], edge(LOKI, SOMEWHERE), "nas:80/TCP"),
        (["loki → discord:80", "loki → remote-node:80"], edge(LOKI, HOST), "remote-node:80/TCP"),
        (["ingress → loki:80", "host → loki:80"], edge(API, LOKI), "host → monitoring/loki:80/TCP"),
        # The sort before the namespace, and both before the port.
        (["loki → pg:81", "loki → master:9000"], edge(LOKI, VOLUME), "seaweedfs/master:9000/TCP"),
        # A rule that names the workload, before one for every pod.
        (["pods → pg:80", "loki → pg:80"], edge(LOKI, FILER), "monitoring/loki → database/pg:80/TCP"),
        (["monitoring/* → filer:443", "loki → filer:443"], edge(LOKI, FILER), "loki → seaweedfs/filer:443/TCP"),
        (["all → filer:81", "loki → filer:443"], edge(LOKI, FILER), "monitoring/loki → seaweedfs/filer:443/TCP"),
        # The first one written.
        (["loki → master:80", "loki → {namespace: seaweedfs, labels: {a: b}}:80"], edge(LOKI, FILER), "master:80/TCP"),
        (["loki → filer:70", "loki → filer:90"], edge(LOKI, FILER), "70/TCP"),
    ],
)
def test_ties_go_to_what_a_person_would_look_at(rules: list[str], one: Edge, title: str) -> None:
    """Among rules that differ in the same way, the one most alike is named."""
    assert nearest(rules, one)[0].endswith(title)


def test_expired_rules_are_not_near() -> None:
    """A rule that ended is told apart; what is near is what still holds."""
    text = HEAD + "- {from: loki, to: filer, ports: 81, reason: x, expires: 2020-01-01}\n"
    judgement = parse(text, "allowlist.yaml", NOW).judge(edge(LOKI, FILER), NOW)

    assert (judgement.nearest, judgement.differs) == ("", ())


def test_self_is_near_by_its_source() -> None:
    """A workload that may only talk to itself differs in the destination."""
    title, differs = nearest(["loki → self:80"], edge(LOKI, GRAFANA))

    assert (title, differs) == ("monitoring/loki → self:80/TCP", ("destination",))


@pytest.mark.parametrize(
    ("rules", "one", "title"),
    [
        (["grafana → world:443", "loki → filer:8333"], edge(LOKI, SOMEWHERE, port=443), FILER_RULE),
        (["grafana → world:443"], edge(LOKI, SOMEWHERE, port=443), ""),
        (["cluster → filer:80"], edge(LOKI, PG, port=443), ""),
        (["[cluster, host] → filer:80"], edge(LOKI, PG, port=443), ""),
        (["host → pods:any"], edge(LOKI, PG, port=443), ""),
        (["pods → filer:53"], edge(LOKI, PG, port=53), "pods → seaweedfs/filer:53/TCP"),
        (["loki → self:80", "loki → filer:8333"], edge(LOKI, PG, port=79), FILER_RULE),
    ],
)
def test_what_is_said_of_everybody_is_no_hint(rules: list[str], one: Edge, title: str) -> None:
    """A rule for the world or for every pod is not close to an edge just because the edge is in it too."""
    assert nearest(rules, one)[0] == title
