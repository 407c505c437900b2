"""What the Helm chart makes of values, held against Kubernetes' schemas, Pod Security and the product itself."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from flowwatch import __version__, config, daemon, service
from flowwatch.cli import cli
from flowwatch.config_read import CONFIG_VARIABLE
from tests.support.chart import (
    CHART,
    HELM,
    ROOT,
    VALUES,
    Object,
    configmap,
    container_of,
    helm,
    mounted,
    of_kind,
    pod_of,
    rendered,
    template,
    the,
)

KUBERNETES = ("1.27", "1.31", "1.34", kubernetes_validate.latest_version())
FOREIGN = {"CiliumNetworkPolicy", "Certificate", "HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"}
"""Kinds that Kubernetes itself has no schema for."""
EVERY_SET = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


@EVERY_SET
def test_helm_has_nothing_to_say_against_it(values: Path) -> None:
    """`helm lint --strict` passes with every set of values."""
    done = helm("lint", "--strict", "--quiet", CHART, "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr


@EVERY_SET
def test_kubernetes_accepts_it(values: Path) -> None:
    """Every object follows the schema of its kind, in the oldest version that the chart admits and in the newest."""
    for each in rendered(values):
        if each["kind"] not in FOREIGN:
            for version in KUBERNETES:
                kubernetes_validate.validate(each, version, strict=True)


def test_the_sets_of_values_make_every_object() -> None:
    """What the other tests look at is everything the chart can make, but roles."""
    made = {each["kind"] for values in VALUES for each in rendered(values)}
    assert made > FOREIGN
    templates = "\n".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir())
    possible = {kind for kind in re.findall(r"^kind: (\w+)$", templates, re.MULTILINE) if "Role" not in kind}
    assert possible <= made


def test_the_oldest_version_is_the_one_the_chart_admits() -> None:
    """Helm refuses an older cluster, and takes the oldest that the schemas were held against."""
    assert template("--kube-version", f"{KUBERNETES[0]}.0").returncode == 0
    assert "requires kubeVersion" in template("--kube-version", "1.26.9").stderr


def test_the_plain_manifests_are_current(tmp_path: Path) -> None:
    """deploy/*.yaml are what deploy/render.sh writes."""
    done = subprocess.run(
        ["sh", ROOT / "deploy" / "render.sh", tmp_path],
        env={"HELM": str(HELM), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "deploy").glob("*.yaml")}


def test_versions_agree() -> None:
    """The chart's, the product's, and with it the tag of the image."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == __version__
    assert container_of(rendered(None))["image"] == f"flowwatch:{__version__}"


# ── the pod ──────────────────────────────────────────────────────────────────────────────────────


@EVERY_SET
def test_the_pod_is_restricted(values: Path) -> None:
    """All that Pod Security `restricted` asks for, and a read-only root besides."""
    pod, container = pod_of(rendered(values)), container_of(rendered(values))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    assert not any("hostPort" in port for port in container["ports"])
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}


@EVERY_SET
def test_only_the_volume_and_a_sized_tmp_can_be_written(values: Path) -> None:
    """Everything else is mounted read-only, and an emptyDir has a limit."""
    pod, container = pod_of(rendered(values)), container_of(rendered(values))
    writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/var/lib/flowwatch", "/tmp"}
    assert all(each["emptyDir"]["sizeLimit"] for each in pod["volumes"] if "emptyDir" in each)
    assert {each["name"]: each["value"] for each in container["env"]}["TMPDIR"] == "/tmp"


@EVERY_SET
def test_every_mount_has_its_volume(values: Path) -> None:
    """And every volume is mounted."""
    pod, container = pod_of(rendered(values)), container_of(rendered(values))
    volumes = [each["name"] for each in pod["volumes"]]
    assert sorted(volumes) == sorted({each["name"] for each in container["volumeMounts"]})


@EVERY_SET
def test_what_is_run_exists(values: Path) -> None:
    """The command, its flags and every environment variable are the product's."""
    container = container_of(rendered(values))
    command, *flags = container["args"]
    known = [name for option in cli.commands[command].params for name in (*option.opts, *option.secondary_opts)]
    assert set(flags) <= set(known)
    variables = {each["name"] for each in container["env"] if each["name"] != "TMPDIR"}
    assert variables <= {CONFIG_VARIABLE, *(key.variable for key in config.KEYS)}


@EVERY_SET
def test_the_configuration_is_accepted(values: Path, tmp_path: Path) -> None:
    """flowwatch reads what the pod would, with the pod's environment; every file it names is in a mount."""
    manifest = rendered(values)
    loaded = config.load(None, mounted(manifest, tmp_path))
    container = container_of(manifest)
    mounts = [Path(f"{tmp_path}{each['mountPath']}") for each in container["volumeMounts"]]
    named = [path for key in config.KEYS for path in paths(key.value_in(loaded))]
    for path in named:
        moved = path if path.is_relative_to(tmp_path) else Path(f"{tmp_path}{path}")
        assert any(moved.is_relative_to(mount) for mount in mounts), path
    assert loaded.store.path == Path("/var/lib/flowwatch/flowwatch.duckdb")
    assert loaded.web.port == container["ports"][0]["containerPort"]
    assert loaded.web.host in ("0.0.0.0", "::")


def paths(value: object) -> Iterator[Path]:
    """The paths in a value of the configuration."""
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, Path):
            yield each


def test_what_the_values_say_reaches_the_configuration(tmp_path: Path) -> None:
    """TLS, the token, several sources, sizes: as the chart's values describe them."""
    nodes = config.load(None, mounted(rendered(CHART_VALUES["nodes"]), tmp_path / "nodes"))
    assert nodes.hubble.source == "nodes"
    assert nodes.hubble.tls.enabled
    assert nodes.hubble.tls.server_name == "hubble-peer.default.hubble-grpc.cilium.io"
    assert nodes.hubble.tls.key is not None
    assert nodes.web.token_file is not None
    assert nodes.web.tls.cert is not None
    assert nodes.alerts.external_url == "https://flowwatch.example.org"
    assert nodes.store.memory_limit == 512 * 1000**2
    assert nodes.store.commit_rows == 1_000_000
    outside = config.load(None, mounted(rendered(CHART_VALUES["outside"]), tmp_path / "outside"))
    assert [source.cluster for source in outside.every_source] == ["west", "east", "north", "south"]
    assert outside.alerts.external_url == "https://flowwatch.example.org/flowwatch"
    assert [path.name for path in outside.allowlist] == ["allowlist", "team-shop"]
    plain = config.load(None, mounted(rendered(CHART_VALUES["plain"]), tmp_path / "plain"))
    assert plain.alerts.external_url == "http://flowwatch.flowwatch.svc:9950"
    assert plain.hubble.tls.ca is not None
    assert plain.hubble.tls.cert is plain.hubble.tls.key is None
    assert plain.hubble.tls.server_name == "instance.hubble-relay.cilium.io"


CHART_VALUES = {path.stem: path for path in VALUES}


@EVERY_SET
def test_a_rollout_cannot_deadlock(values: Path) -> None:
    """The pods of old and new never wait for each other; every wait ends before Kubernetes gives up."""
    manifest = rendered(values)
    deployment, container = the(manifest, "Deployment")["spec"], container_of(manifest)
    loaded = yaml.safe_load(configmap(manifest, "config")["flowwatch.yaml"])
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    startup, live, ready = (container[f"{name}Probe"] for name in ("startup", "liveness", "readiness"))
    assert startup["httpGet"]["path"] == live["httpGet"]["path"] == "/healthz"
    assert ready["httpGet"]["path"] == "/readyz"
    scheme = "HTTPS" if loaded["web"].get("tls") else "HTTP"
    assert {probe["httpGet"]["scheme"] for probe in (startup, live, ready)} == {scheme}
    grace = config.Config().web.ready_grace
    assert deployment["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"] + grace
    for budget in of_kind(manifest, "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] == 1
        assert "minAvailable" not in budget["spec"]


def test_there_is_time_to_drain() -> None:
    """Kubernetes waits longer than the daemon does for its last rows and its last alerts; no value may shorten it."""
    [joined] = re.findall(r"_thread\.join\(([\d.]+)\)", inspect.getsource(service.Service.__exit__))
    drain = daemon.STOP_PATIENCE + float(joined)
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert pod_of(rendered(None))["terminationGracePeriodSeconds"] >= drain + 20
    assert schema["properties"]["terminationGracePeriodSeconds"]["minimum"] > drain


def test_a_changed_configuration_restarts_the_pod_and_a_changed_allowlist_does_not() -> None:
    """The first is read once, the second whenever it changes."""

    def annotations(*arguments: str) -> Any:
        return the(rendered(None, *arguments), "Deployment")["spec"]["template"]["metadata"]["annotations"]

    assert annotations() != annotations("--set", "config.cluster=other")
    assert annotations() == annotations("--set", r"allowlist.files.shop\.yaml=kind: Allowlist")


# ── rights ───────────────────────────────────────────────────────────────────────────────────────


@EVERY_SET
def test_it_may_ask_the_api_server_what_the_code_asks_it(values: Path) -> None:
    """Nothing, unless `apiServer` is enabled: there is no role, and no token in the pod."""
    manifest = rendered(values)
    assert not [each for each in manifest if "Role" in each["kind"]]
    assert pod_of(manifest)["automountServiceAccountToken"] is False
    assert the(manifest, "ServiceAccount")["automountServiceAccountToken"] is False


def test_the_rights_that_the_command_prints_are_those_of_the_role() -> None:
    """What `flowwatch cluster rights` prints can be given to the chart as it is."""
    done = CliRunner().invoke(cli, ["cluster", "rights"], env={"FLOWWATCH_KUBERNETES_LEASE": "flowwatch"})
    rights = json.loads(done.output)
    given = {"enabled": True, "clusterRules": rights["clusterRole"], "rules": rights["role"]}
    manifest = rendered(None, "--set-json", f"apiServer={json.dumps(given)}")
    assert the(manifest, "ClusterRole")["rules"] == rights["clusterRole"] != []
    assert the(manifest, "Role")["rules"] == rights["role"] != []


def test_rights_are_exactly_those_given() -> None:
    """With apiServer.enabled, rules are passed on as they are, the token is there, and the API server in reach."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
    given = {"enabled": True, "clusterRules": [rule], "rules": [rule]}
    manifest = rendered(None, "--set-json", f"apiServer={json.dumps(given)}")
    assert the(manifest, "ClusterRole")["rules"] == the(manifest, "Role")["rules"] == [rule]
    for kind in ("ClusterRole", "Role"):
        binding = the(manifest, f"{kind}Binding")
        assert binding["roleRef"]["name"] == the(manifest, kind)["metadata"]["name"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "flowwatch", "namespace": "flowwatch"}]
    assert pod_of(manifest)["automountServiceAccountToken"] is True
    assert {"kube-apiserver"} in [set(rule.get("toEntities", ())) for rule in egress(manifest)]
    for each in manifest:
        if each["kind"] not in FOREIGN:
            kubernetes_validate.validate(each, KUBERNETES[-1], strict=True)


def egress(manifest: list[Object]) -> Any:
    """What the CiliumNetworkPolicy lets out."""
    return the(manifest, "CiliumNetworkPolicy")["spec"]["egress"]


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def test_the_schema_knows_every_key_of_the_configuration() -> None:
    """`config` takes the keys that flowwatch has, and no other; `allowlist` is what the chart adds to."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]["config"]

    def names(part: Any, prefix: str = "") -> Iterator[str]:
        for name, inner in part.get("properties", {}).items():
            yield from names(inner, f"{prefix}{name}.") if "properties" in inner else (f"{prefix}{name}",)

    assert set(names(schema)) == {key.name for key in config.KEYS}
    item = schema["properties"]["sources"]["items"]
    assert set(names(item)) == {
        "cluster",
        *(key.name.removeprefix("hubble.") for key in config.KEYS if key.path[0] == "hubble"),
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("config.hubbel.server=x", "hubbel"),
        ("size=huge", "size"),
        ("persistance.enabled=false", "persistance"),
        ("terminationGracePeriodSeconds=30", "greater than or equal to 45"),
        ("config.store.path=/tmp/x.duckdb", "store.path"),
        ("hubbleTLS.enabled=true", "hubbleTLS.secret or hubbleTLS.certManager.enabled"),
        ("hubbleTLS.enabled=true,hubbleTLS.certManager.enabled=true", "issuerRef"),
        ("httpRoute.enabled=true", "httpRoute.parentRefs"),
        ("ingress.enabled=true", "ingress.host"),
        ("config.hubble.source=file", "hostPath"),
        ("config.hubble.server=unix:/run/hubble.sock", "hostPath"),
        ("config.hubble.source=nodes,networkPolicy.cilium=false", "set networkPolicy.cilium"),
        ("config.alerts.alertmanagers={http://alertmanager.obs}", "networkPolicy.services"),
        ("ingress.enabled=true,ingress.host=x.example,networkPolicy.cilium=false", "networkPolicy.ingressController"),
    ],
)
def test_what_cannot_work_is_refused(given: str, told: str) -> None:
    """Before anything reaches the cluster, with the value that it is about."""
    done = template("--set", given)
    assert done.returncode != 0
    assert told in done.stderr


def test_what_to_open_next_is_told(tmp_path: Path) -> None:
    """The notes name the page, what is not declared yet, and who may see it; without what was already done."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    notes = 'kind: Notes\ntext: |\n  {{- include "flowwatch.notes" . | nindent 2 }}\n'
    (chart / "templates" / "shown.yaml").write_text(notes, encoding="utf-8")

    def shown(name: str) -> str:
        done = template("--values", CHART_VALUES[name], "--show-only", "templates/shown.yaml", chart=chart)
        assert done.returncode == 0, done.stderr
        return str(yaml.safe_load(done.stdout)["text"])

    first = shown("defaults")
    assert "kubectl --namespace flowwatch port-forward service/flowwatch 9950" in first
    assert "http://localhost:9950/findings" in first
    assert "Only flowwatch's own network policy is declared yet" in first
    assert "No Alertmanager is named" in first
    assert "WARNING" not in first
    behind = shown("nodes")
    assert "https://flowwatch.example.org/\n" in behind
    assert "WARNING" not in behind
    assert "Alertmanager" not in behind
    open_to_all = shown("outside")
    assert "WARNING: whoever reaches https://flowwatch.example.org/flowwatch sees every flow" in open_to_all
    assert "is declared yet" not in open_to_all
    assert "a restart forgets" in shown("plain")
    for command in re.findall(r"flowwatch -- flowwatch (\w+)", first):
        assert command in cli.commands
