"""The policies of the examples are sound, and mean what the allowlists beside them mean."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowwatch.allowlist import Allowlist, load
from flowwatch.allowlist.rules import Entity, External, Pods, Selector
from flowwatch.decode.native import NativeDecoder
from flowwatch.model import Declared, Edge, Identity, Kind, Peer, Protocol
from tests.support.scenario import labels_of, outcomes

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SEED = Path(__file__).resolve().parents[2] / "shared" / "seeds" / "002_bd4052eb88b4c9cf.txt"
NOW = 1_790_812_800.0

NETWORK_POLICY = ("networking.k8s.io/v1", "NetworkPolicy")
CILIUM_POLICY = ("cilium.io/v2", "CiliumNetworkPolicy")
CLUSTERWIDE_POLICY = ("cilium.io/v2", "CiliumClusterwideNetworkPolicy")

SYSTEMS = ("homelab", "openbao", "safespring", "verrazzano")
FILES = sorted(EXAMPLES.glob("*/policies/*.yaml"))

needs_seed = pytest.mark.skipif(not SEED.is_file(), reason=f"{SEED} is not there")
needs_policies = pytest.mark.skipif(
    importlib.util.find_spec("flowwatch.policy") is None, reason="flowwatch.policy is not there"
)


def documents(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Every document of some files."""
    return [one for path in paths for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def kind_of(document: dict[str, Any]) -> tuple[str, str]:
    """The version and the kind of a document."""
    return document["apiVersion"], document["kind"]


# ── their form ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parts[-3]}/{path.name}" for path in FILES])
def test_policies_are_policies(path: Path) -> None:
    """Each document is of a kind that a cluster takes, with the metadata and the sections its kind needs."""
    for document in documents([path]):
        assert document.keys() == {"apiVersion", "kind", "metadata", "spec"}
        spec, metadata = document["spec"], document["metadata"]
        match kind_of(document):
            case kind if kind == NETWORK_POLICY:
                assert metadata.keys() == {"name", "namespace"}
                assert spec.keys() <= {"podSelector", "policyTypes", "ingress", "egress"}
                assert {"podSelector", "policyTypes"} <= spec.keys()
                written = {key.capitalize() for key in ("ingress", "egress") if key in spec}
                assert written <= set(spec["policyTypes"])
            case kind if kind == CILIUM_POLICY:
                assert metadata.keys() == {"name", "namespace"}
                assert spec.keys() <= {"description", "endpointSelector", "ingress", "ingressDeny", "egress"}
                assert {"description", "endpointSelector", "egress"} <= spec.keys()
            case kind:
                assert kind == CLUSTERWIDE_POLICY
                assert metadata.keys() == {"name"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_names_are_used_once(system: str) -> None:
    """Of two policies of one name the second would replace the first."""
    names = [
        (*kind_of(one), one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in documents((EXAMPLES / system / "policies").glob("*.yaml"))
    ]
    assert sorted(set(names), key=str) == sorted(names, key=str)


@pytest.mark.parametrize("system", ["safespring", "verrazzano"])
def test_every_governed_namespace_starts_closed(system: str) -> None:
    """A policy with an empty selector isolates every pod of each namespace in both directions."""
    governed = yaml.safe_load((EXAMPLES / system / "allowlist.yaml").read_text())["governs"]
    closed = {
        one["metadata"]["namespace"]
        for one in documents([EXAMPLES / system / "policies" / "default-deny.yaml"])
        if one["spec"]["podSelector"] == {} and one["spec"]["policyTypes"] == ["Ingress", "Egress"]
    }
    assert closed == set(governed)


def test_verrazzano_needs_no_policies_but_those_of_kubernetes() -> None:
    """Any network plugin that implements NetworkPolicy will do."""
    assert {kind_of(one) for one in documents((EXAMPLES / "verrazzano" / "policies").glob("*.yaml"))} == {
        NETWORK_POLICY
    }


def rules_of(document: dict[str, Any], *sections: str) -> list[dict[str, Any]]:
    """The rules of some sections of a policy."""
    return [rule for section in sections for rule in document["spec"].get(section) or []]


def test_the_homelab_heeds_its_caveats() -> None:
    """No L7 rule behind TLS passthrough; no deny but of the world."""
    for document in documents((EXAMPLES / "homelab" / "policies").glob("*.yaml")):
        for rule in rules_of(document, "ingressDeny", "egressDeny"):
            assert rule == {"fromEntities": ["world"]}
        if document["metadata"]["name"] == "kanidm":
            assert not any("rules" in ports for rule in rules_of(document, "ingress") for ports in rule["toPorts"])


def test_the_custom_ingress_of_openbao_only_adds() -> None:
    """It opens a way in: it isolates no direction that the core does not, and denies nothing."""
    (custom,) = documents([EXAMPLES / "openbao" / "policies" / "custom-ingress.yaml"])
    (core,) = (
        one for one in documents([EXAMPLES / "openbao" / "policies" / "openbao.yaml"]) if kind_of(one) == NETWORK_POLICY
    )
    assert kind_of(custom) == NETWORK_POLICY, "which cannot deny"
    assert set(custom["spec"]["policyTypes"]) < set(core["spec"]["policyTypes"])
    assert custom["spec"]["podSelector"] == core["spec"]["podSelector"]


# ── the tables of the homelab ────────────────────────────────────────────────────────────────────


def rows(text: str) -> list[tuple[str, str, str, str]]:
    """The rows of the component tables: (namespace, component, ingress, egress)."""
    found, namespace = [], ""
    for line in text.splitlines():
        if heading := re.match(r"## (\S+) \(\d+ polic", line):
            namespace = heading[1]
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if namespace and line.startswith("| **") and len(cells) == 3:
            name = re.match(r"\*\*([^*]+)\*\*", cells[0])
            assert name
            found.append((namespace, name[1], cells[1], cells[2]))
    return found


def numbers(text: str) -> set[str]:
    """The ports that a cell of a table names."""
    text = re.sub(r"\d+\.\d+\.\d+\.\d+(/\d+)?|acme-v02|\((?!L7)[^()]*\)", "", text)
    return set(re.findall(r"(?<![\w.-])\d{2,5}(?![\w.-])", text))


def ports_of(rules: Iterable[dict[str, Any]]) -> set[str]:
    """The ports that rules of a policy open."""
    return {port["port"] for rule in rules for each in rule.get("toPorts", ()) for port in each["ports"]}


@needs_seed
def test_every_row_of_the_homelab_has_its_policy() -> None:
    """One policy for each row, with the ports the row names: no more, none less."""
    written = rows(SEED.read_text(encoding="utf-8"))
    policies = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): one
        for one in documents((EXAMPLES / "homelab" / "policies").glob("*.yaml"))
        if kind_of(one) == CILIUM_POLICY
    }
    assert sorted(policies) == sorted((namespace, component) for namespace, component, _, _ in written)
    for namespace, component, ingress, egress in written:
        policy = policies[namespace, component]
        assert ("ingressDeny" in policy["spec"]) is ("deny world" in ingress), component
        # The API server is meant by its name alone; it listens on 6443.
        meant = {"7946"} if component == "loki" else set()  # it stands in the egress to itself only
        assert ports_of(rules_of(policy, "ingress")) == numbers(ingress) | meant, component
        assert ports_of(rules_of(policy, "egress")) - {"6443"} == numbers(egress) - {"6443"}, component


# ── what they mean ───────────────────────────────────────────────────────────────────────────────


ENTITIES = {
    "host": Peer(Identity(Kind.HOST, "default", "", ("reserved:host",))),
    "remote-node": Peer(Identity(Kind.REMOTE_NODE, "default", "", ("reserved:remote-node",))),
    "kube-apiserver": Peer(
        Identity(Kind.KUBE_APISERVER, "default", "", ("reserved:kube-apiserver", "reserved:remote-node"))
    ),
    "ingress": Peer(Identity(Kind.INGRESS, "default", "", ("reserved:ingress",))),
    "somewhere": Peer(Identity(Kind.WORLD, "default", "", ("reserved:world",)), "", "203.0.113.9"),
    "example.org": Peer(Identity(Kind.WORLD, "default", "", ("reserved:world",)), "", "203.0.113.9", ("example.org",)),
}


def pod(name: str, labels: Iterable[str]) -> Peer:
    """A pod as Cilium labels it."""
    namespace, _, workload = name.partition("/")
    own = [f"k8s:{label}" for label in labels]
    own += [f"k8s:io.kubernetes.pod.namespace={namespace}", "k8s:io.cilium.k8s.policy.cluster=default"]
    own += [f"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name={namespace}"]
    return Peer(Identity(Kind.POD, "default", namespace, tuple(sorted(own))), workload)


def labels_for(definition: dict[str, Any]) -> list[str]:
    """Labels that a workload's definition selects."""
    if "expressions" not in definition:
        return [f"{key}={value}" for key, value in definition.items()]
    found = [f"{key}={value}" for key, value in definition.get("labels", {}).items()]
    for one in definition["expressions"]:
        if one["operator"] in ("In", "Exists"):
            found.append(f"{one['key']}={one.get('values', ['some'])[0]}")
    return found


@cache
def peers_of(system: str) -> dict[str, Peer]:
    """Everybody there is in an example: its workloads, those of its scenarios, entities, and what is outside."""
    peers = dict(ENTITIES)
    scenarios = (EXAMPLES / system / "scenarios" / "workloads.labels").read_text(encoding="utf-8")
    peers |= {name: pod(name, labels) for name, labels in labels_of(scenarios).items()}
    for document in documents(sorted((EXAMPLES / system).glob("*.yaml"))):
        for namespace, workloads in document.get("workloads", {}).items():
            for name, definition in workloads.items():
                peers[f"{namespace}/{name}"] = pod(f"{namespace}/{name}", labels_for(definition))
        for external in document.get("externals", {}).values():
            for name in external.get("fqdn", ()):
                known = name.replace("**", "a.b").replace("*", "some")
                peers[known] = Peer(ENTITIES["somewhere"].identity, "", "203.0.113.9", (known,))
            for cidr in external.get("cidr", ()):
                address = cidr.partition("/")[0].replace("0.0.0.0", "203.0.113.9").replace("::", "2001:db8::9")
                peers[address] = Peer(ENTITIES["somewhere"].identity, "", address)
    return peers


@cache
def services_of(system: str, destination: str) -> list[tuple[Protocol, int]]:
    """Every port that an example opens of a workload (empty: beyond all of them), and some it never does."""
    never = {(Protocol.TCP, 22), (Protocol.TCP, 10250), (Protocol.UDP, 443)}
    spans = {
        (span.protocol, span.first)
        for rule in native(system).rules
        for span in rule.ports.ranges
        if any(_may_mean(selector, destination) for selector in rule.destinations)
    }
    return sorted(spans | never)


def _may_mean(selector: Selector, destination: str) -> bool:
    if isinstance(selector, Pods) and selector.requirements:
        return selector.name == destination
    return not destination or not isinstance(selector, Entity | External)


@cache
def native(system: str) -> Allowlist:
    """An example's allowlist."""
    return load(sorted((EXAMPLES / system).glob("*.yaml")), NOW, cluster="default")


@cache
def policies(system: str) -> Allowlist:
    """An example's policies, read as the declaration."""
    return load([EXAMPLES / system / "policies"], NOW, cluster="default")


def differences(system: str) -> set[tuple[str, str, str]]:
    """The edges of which the policies say something else than the allowlist: (from, to, what the policies say)."""
    found = set()
    peers = peers_of(system)
    pods = {name for name, peer in peers.items() if peer.identity.kind is Kind.POD}
    for source, destination in itertools.permutations(peers, 2):
        outside = {source, destination} - ENTITIES.keys() - pods
        # Of what is outside but for one address, only what the pods may reach there is of interest.
        if not {source, destination} & pods or source in outside:
            continue
        for protocol, port in services_of(system, destination if destination in pods else ""):
            edge = Edge(peers[source], peers[destination], protocol, port)
            wanted = native(system).judge(edge, NOW).declared is Declared.YES
            said = policies(system).judge(edge, NOW).declared
            if (said is Declared.YES) is not wanted:
                found.add((source, destination, f"{edge.service} {said}"))
    return found


@needs_policies
@pytest.mark.parametrize("system", ["homelab", "safespring"])
def test_policies_mean_what_the_allowlist_means(system: str) -> None:
    """Between all workloads, entities and externals of an example, on all ports in use: the same is declared."""
    assert sorted(differences(system)) == []


@needs_policies
def test_the_allowlist_of_openbao_is_stricter_with_the_node() -> None:
    """Cilium lets a pod's own node reach all of its ports, and the allowlist declares those of the probes alone."""
    wider = differences("openbao")
    assert {(source, said.partition(" ")[2]) for source, _, said in wider} == {("host", "yes")}
    assert {destination for _, destination, _ in wider} == {
        "openbao/bao", "openbao/backup", "openbao/restore", "openbao-operator/controller",
    }  # fmt: skip


@needs_policies
def test_where_the_policies_of_verrazzano_are_wider() -> None:
    """NetworkPolicy cannot name the API server or the world: those ports are open to more than was meant."""
    governed = {"verrazzano-system", "ingress-nginx", "istio-system", "keycloak", "cattle-system"}
    to_api, from_api = set(), set()
    for source, destination, said in differences("verrazzano"):
        port, _, answer = said.partition(" ")
        assert answer == Declared.YES, (source, destination, said)
        assert port in {"80/TCP", "443/TCP", "6443/TCP", "9443/TCP", "15017/TCP"}, (source, destination, said)
        (to_api if port == "6443/TCP" else from_api).add((source, destination))
    # Out on the API server's port goes what needs the API server, to whoever is not closed to it.
    assert {source for source, _ in to_api} == {
        "verrazzano-system/application-operator", "verrazzano-system/api", "verrazzano-system/prometheus",
        "ingress-nginx/controller", "istio-system/istiod", "cattle-system/rancher",
    }  # fmt: skip
    assert not {destination.partition("/")[0] for _, destination in to_api} & governed
    # In on the webhooks' ports and on the ingress controller's come those whose egress is not closed.
    assert {destination for _, destination in from_api} == {
        "verrazzano-system/application-operator", "istio-system/istiod", "ingress-nginx/controller",
    }  # fmt: skip
    assert not {source.partition("/")[0] for source, _ in from_api} & governed


SCENARIOS = [path for system in ("homelab", "safespring") for path in (EXAMPLES / system / "scenarios").glob("*.txt")]
ONLY_NATIVE = ("encryption",)
"""Scenarios about what a network policy cannot ask for."""


@needs_policies
@pytest.mark.parametrize(
    "path",
    sorted(one for one in SCENARIOS if one.stem not in ONLY_NATIVE),
    ids=lambda path: f"{path.parts[-3]}/{path.stem}",
)
def test_scenarios_come_true_with_policies_as_the_declaration(path: Path, tmp_path: Path) -> None:
    """The same is found, in the same squares; only the nearest rules are not the same."""
    text = path.read_text(encoding="utf-8").replace("../allowlist.yaml", str(path.parents[1] / "policies"))
    text = text.replace("workloads from workloads.labels", f"workloads from {path.parent / 'workloads.labels'}")
    (tmp_path / path.name).write_text(text, encoding="utf-8")
    for name, _, expected, actual in outcomes(tmp_path / path.name, NativeDecoder):
        if name == "squares":
            continue  # policies do not ask for encryption, so nothing is unknown to them
        # What is forwarded although declared policies deny it is a gap in their enforcement.
        meant = [re.sub(r"^FlowwatchUnexpected\w+gress", "FlowwatchEnforcementGap", line) for line in expected]
        found, wanted = (sorted(line.partition(" nearest=")[0] for line in lines) for lines in (actual, meant))
        assert found == wanted, name


_NAMES = {
    "Grafana": "grafana", "Prometheus": "prometheus", "Loki": "loki", "Tempo": "tempo", "CoreDNS": "coredns",
    "Tetragon operator": "tetragon-operator", "SeaweedFS": "filer", "SeaweedFS filer": "filer",
    "Argo Workflows controller": "workflows-controller", "Argo Workflows server": "workflows-server",
    "CloudNative-PG": "cloudnative-pg", "Cloudflared": "cloudflared", "EventSource": "eventsource",
    "Workflow pods": "workflow-pods", "PXE sync pods": "pxe-sync", "Trivy Operator": "trivy-operator",
    "Kanidm": "kanidm", "ArgoCD server": "server", "Hubble UI": "hubble-ui",
    "Cloudflare R2": "some.r2.cloudflarestorage.com",
}  # fmt: skip


def paths_across(text: str) -> list[tuple[str, str, int]]:
    """The rows of the table "Cross-Namespace Communication": (from, to, port)."""
    table = text.split("## Cross-Namespace Communication")[1].partition("\n## ")[0]
    found = []
    for source, its_namespace, destination, namespace, port in re.findall(
        r"^\| (.+?) \((.+?)\) \| (.+?) \((.+?)\) \| (\d+) \|", table, re.MULTILINE
    ):
        one, other = _NAMES.get(source, source), _NAMES.get(destination, destination)
        to = other if namespace == "external" else f"{namespace}/{other}"
        found.append((f"{its_namespace}/{one}", to, int(port)))
    return found


@needs_seed
@needs_policies
def test_every_path_across_namespaces_is_declared() -> None:
    """Each row of the homelab's table, by its allowlist and by its policies alike."""
    paths = paths_across(SEED.read_text(encoding="utf-8"))
    assert len(paths) == 22
    peers = peers_of("homelab")
    for source, destination, port in paths:
        edge = Edge(peers[source], peers[destination], Protocol.TCP, port)
        for declared in (native("homelab"), policies("homelab")):
            assert declared.judge(edge, NOW).declared is Declared.YES, str(edge)
