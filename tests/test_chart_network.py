"""flowwatch is subject to what it checks: its own policies, its own allowlist, and a capture of its own traffic."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from click.testing import CliRunner

from flowwatch import allowlist, config
from flowwatch.assemble import running
from flowwatch.cli import cli
from flowwatch.config import Config
from flowwatch.decode.fallback import FallbackDecoder
from flowwatch.engine import Engine
from flowwatch.model import Square
from flowwatch.receive import Batch
from tests.support.chart import ROOT, VALUES, Object, configmap, container_of, mounted, of_kind, rendered, the
from tests.support.feed import Feed
from tests.support.flowtext import parse

EVERY_SET = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
START = 1_780_000_000.0
US = "flowwatch/flowwatch"
SERVED = {
    "hubble-relay.kube-system": ("kube-system/hubble-relay", 4245),
    "alertmanager-operated.monitoring": ("monitoring/alertmanager", 9093),
    "alertmanager.obs": ("obs/anything", 9094),
    "am.obs": ("obs/am", 9093),
}
"""Which pods stand behind the Services that the sets of values name, and the port that those listen on."""
LABELS = {
    US: ("app.kubernetes.io/name=flowwatch", "app.kubernetes.io/instance=flowwatch"),
    "flowwatch/stranger": ("app.kubernetes.io/name=stranger",),
    "kube-system/hubble-relay": ("k8s-app=hubble-relay",),
    "kube-system/coredns": ("k8s-app=kube-dns",),
    "monitoring/alertmanager": ("app.kubernetes.io/name=alertmanager",),
    "monitoring/prometheus": ("app.kubernetes.io/name=prometheus",),
    "monitoring/grafana": ("app.kubernetes.io/name=grafana",),
    "obs/prometheus": ("app.kubernetes.io/name=prometheus",),
    "ingress-nginx/nginx": ("app.kubernetes.io/name=ingress-nginx",),
    "obs/am": ("app=am",),
}
CLIENTS = {
    "defaults": ("monitoring/prometheus", "monitoring/grafana"),
    "nodes": ("monitoring/prometheus", "monitoring/grafana", "ingress"),
    "outside": ("obs/prometheus", "ingress-nginx/nginx"),
    "plain": ("monitoring/prometheus", "monitoring/grafana"),
}
"""Who asks, by the set of values."""


def destinations(loaded: Config) -> Iterator[str]:
    """Everything that this configuration makes flowwatch connect to, as flows name it, with the port at the pod."""
    yield "kube-system/coredns 53/UDP"
    yield "kube-system/coredns 53/TCP SYN"
    for source in loaded.every_source:
        if source.hubble.source == "nodes":
            yield "host 4244/TCP SYN"
            yield "remote-node 4244/TCP SYN"
        else:
            yield behind(source.hubble.server, 0)
    for address in loaded.alerts.alertmanagers:
        url = urlsplit(address.removeprefix("dns+"))
        yield behind(url.netloc, {"http": 80, "https": 443}[url.scheme])


def behind(address: str, port: int) -> str:
    """Who answers at `host:port`."""
    url = urlsplit(f"//{address}")
    host, port = url.hostname or "", url.port or port
    try:
        return f"world({ip_address(host)}) {port}/TCP SYN"
    except ValueError:
        pass
    served = host.partition(".svc")[0].split(".")[-2:]
    if ".".join(served) in SERVED and not host.endswith(".org"):
        pods, port = SERVED[".".join(served)]
        return f"{pods} {port}/TCP SYN"
    return f"world(203.0.113.80,{host}) {port}/TCP SYN"


def declared(manifest: Sequence[Object], *, everything: bool) -> str:
    """Its own policies: those in the cluster, or those in the ConfigMap of the allowlist."""
    kinds = [*of_kind(manifest, "CiliumNetworkPolicy"), *of_kind(manifest, "NetworkPolicy")]
    own = [yaml.safe_load(text) for name, text in configmap(manifest, "allowlist").items() if "policy" in name]
    return yaml.safe_dump_all(kinds if everything else own)


def played(text: str, flows: Sequence[str]) -> dict[str, Square]:
    """The square of each edge that these flows are, judged by these policies."""
    engine = Engine(
        cluster="test", allowlist=allowlist.parse(text, "own.yaml", START), settle=5.0, decoder=FallbackDecoder()
    )
    lines = "\n".join(f"+{second}s {flow}" for second, flow in enumerate(flows))
    counts = engine.ingest(Batch("test", "test", [line.message for line in parse(lines, START, LABELS)]), START)
    assert sum(counts.classes.values()) == len(flows)
    found = {str(finding.edge): finding.square for finding in engine.current(START + len(flows) + 60)}
    expected = engine.findings.counts(START + len(flows) + 60)[Square.EXPECTED]
    return found | {"expected": expected}  # type: ignore[dict-item]


def loaded(manifest: Sequence[Object], folder: Path) -> Config:
    """The configuration as the pod reads it."""
    return config.load(None, mounted(manifest, folder))


def own_traffic(values: Path, folder: Path) -> list[str]:
    """A capture of what flowwatch sends and answers where it runs with these values."""
    manifest = rendered(values)
    settings = loaded(manifest, folder)
    sent = [f"verdict FORWARDED egress noreply {US}* -> {end}" for end in destinations(settings)]
    port = settings.web.port
    return sent + [
        f"verdict FORWARDED ingress noreply {client} -> {US}* {port}/TCP SYN" for client in CLIENTS[values.stem]
    ]


@EVERY_SET
@pytest.mark.parametrize("everything", [True, False], ids=["in the cluster", "in the allowlist"])
def test_its_own_traffic_is_no_drift(values: Path, everything: bool, tmp_path: Path) -> None:
    """Every address that the configuration names, and everyone who asks, is covered by its own policies: those that
    are enforced, and those that it declares to itself."""
    flows = own_traffic(values, tmp_path)
    text = declared(rendered(values), everything=everything)
    assert played(text, flows) == {"expected": len(set(flows))}


@EVERY_SET
def test_its_policies_let_nothing_else_through(values: Path) -> None:
    """Neighbours, other ports, the world and the API server would be found out."""
    port = container_of(rendered(values))["ports"][0]["containerPort"]
    strays = [
        f"verdict FORWARDED egress noreply {US}* -> world(203.0.113.7) 8443/TCP SYN",
        f"verdict FORWARDED egress noreply {US}* -> kube-apiserver 6443/TCP SYN",
        f"verdict FORWARDED egress noreply {US}* -> kube-system/hubble-relay 80/TCP SYN",
        f"verdict FORWARDED egress noreply {US}* -> flowwatch/stranger 4245/TCP SYN",
        f"verdict FORWARDED ingress noreply flowwatch/stranger -> {US}* {port}/TCP SYN",
        f"verdict FORWARDED ingress noreply monitoring/prometheus -> {US}* 22/TCP SYN",
        f"verdict FORWARDED ingress noreply world(203.0.113.8) -> {US}* {port}/TCP SYN",
    ]
    squares = played(declared(rendered(values), everything=False), strays)
    assert squares.pop("expected") == 0
    assert list(squares.values()) == [Square.UNEXPECTED] * len(strays)


@EVERY_SET
def test_its_policies_are_clean_under_its_own_checks(values: Path, tmp_path: Path) -> None:
    """`flowwatch allowlist lint` finds nothing in them, with the workload beside them."""
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(rendered(values)), encoding="utf-8")
    done = CliRunner().invoke(cli, ["allowlist", "lint", str(tmp_path / "all.yaml")])
    assert done.exit_code == 0, done.output


def test_the_plain_manifest_is_clean_too() -> None:
    """As it lies in the repository."""
    done = CliRunner().invoke(cli, ["allowlist", "lint", str(ROOT / "deploy" / "flowwatch.yaml")])
    assert done.exit_code == 0, done.output


@EVERY_SET
def test_the_pod_would_run(values: Path, tmp_path: Path) -> None:
    """The real daemon with the rendered configuration and its allowlist, linked as kubelet links ConfigMaps: it
    starts, judges by its own policy, and answers at the probes."""
    manifest = rendered(values)
    settings = loaded(manifest, tmp_path)
    # Secrets and the ConfigMaps of others are not ours to render, and the volume is elsewhere.
    own = tuple(path for path in settings.allowlist if list(path.glob("*.yaml")))
    settings = replace(
        settings,
        allowlist=own,
        alerts=replace(settings.alerts, alertmanagers=()),
        store=replace(settings.store, path=tmp_path / "flowwatch.duckdb"),
        web=config.WebSettings(listen="127.0.0.1:0", prefix=settings.web.prefix),
    )
    with running(settings, Feed()) as (daemon, service):
        root = service.address.removesuffix(settings.web.prefix)
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            with urllib.request.urlopen(root + container_of(manifest)[name]["httpGet"]["path"]) as answer:
                assert set(json.loads(answer.read()).values()) == {"ok"}
        with urllib.request.urlopen(root + "/metrics") as answer:
            assert b"flowwatch_stream_up" in answer.read()
        assert daemon.snapshot.rules == len(own_policies(manifest))


def own_policies(manifest: Sequence[Object]) -> list[str]:
    """The policies in the allowlist's ConfigMap."""
    return [name for name in configmap(manifest, "allowlist") if "policy" in name]


def test_a_policy_goes_with_the_pod_it_selects() -> None:
    """Service, monitors, budget and policies all select the labels that the pod has."""
    for values in VALUES:
        manifest = rendered(values)
        labels = the(manifest, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
        selectors = [the(manifest, "Service")["spec"]["selector"]]
        selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(manifest, "PodDisruptionBudget")]
        selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(manifest, "PodMonitor")]
        selectors += [
            each["spec"]["endpointSelector"]["matchLabels"] for each in of_kind(manifest, "CiliumNetworkPolicy")
        ]
        policies = [each["spec"]["podSelector"] for each in of_kind(manifest, "NetworkPolicy")]
        selectors += [each["matchLabels"] for each in policies if each]
        assert all(selector.items() <= labels for selector in selectors)
        served = the(manifest, "Service")["metadata"]["labels"].items()
        for monitor in of_kind(manifest, "ServiceMonitor"):
            assert monitor["spec"]["selector"]["matchLabels"].items() <= served
