"""The Helm chart, rendered by Helm itself, and what it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "flowwatch"
HELM = Path(sys.executable).parent / "helm"
VALUES = sorted((ROOT / "tests" / "data" / "chart").glob("*.yaml"))
"""Sets of values that between them use every template and every branch."""
NAMESPACE = "flowwatch"
Object = Mapping[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Helm to its end; the caller looks at what it said."""
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=120, check=False)


def template(*arguments: str | Path, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """`helm template` of the release `flowwatch`."""
    return helm("template", "flowwatch", chart, "--namespace", NAMESPACE, *arguments)


def rendered(values: Path | None, *arguments: str | Path) -> list[Object]:
    """The objects that a set of values makes."""
    return [each for each in yaml.safe_load_all(_rendered(values, arguments)) if each]


@cache
def _rendered(values: Path | None, arguments: tuple[str | Path, ...]) -> str:
    done = template(*(["--values", values] if values else []), *arguments)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def of_kind(manifest: Sequence[Object], kind: str) -> list[Object]:
    """The objects of one kind."""
    return [each for each in manifest if each["kind"] == kind]


def the(manifest: Sequence[Object], kind: str) -> Any:
    """The one object of a kind."""
    [found] = of_kind(manifest, kind)
    return found


def pod_of(manifest: Sequence[Object]) -> Any:
    """The specification of the pod."""
    return the(manifest, "Deployment")["spec"]["template"]["spec"]


def container_of(manifest: Sequence[Object]) -> Any:
    """Its one container."""
    [container] = pod_of(manifest)["containers"]
    return container


def configmap(manifest: Sequence[Object], volume: str) -> dict[str, str]:
    """The files of the ConfigMap that a volume of the pod shows; none where there is no such volume."""
    for each in pod_of(manifest)["volumes"]:
        if each["name"] == volume:
            name = each["configMap"]["name"]
            return dict(next(one["data"] for one in of_kind(manifest, "ConfigMap") if one["metadata"]["name"] == name))
    return {}


def mounted(manifest: Sequence[Object], folder: Path) -> dict[str, str]:
    """Lay out in a folder what the pod sees below /etc/flowwatch of the release's own ConfigMaps, linked as kubelet
    links them; gives the pod's environment with its paths moved there."""
    for mount in container_of(manifest)["volumeMounts"]:
        files = configmap(manifest, mount["name"]) if mount["name"] in ("config", "allowlist") else {}
        target = folder / mount["mountPath"].lstrip("/")
        data = target / "..2026_11_21"
        data.mkdir(parents=True)
        (target / "..data").symlink_to(data.name)
        for name, text in files.items():
            (data / name).write_text(text.replace("/etc/flowwatch", f"{folder}/etc/flowwatch"), encoding="utf-8")
            (target / name).symlink_to(Path("..data") / name)
    environment = {each["name"]: each["value"] for each in container_of(manifest)["env"]}
    return {name: f"{folder}{value}" if value.startswith("/") else value for name, value in environment.items()}
