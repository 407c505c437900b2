"""`flowwatch allowlist lint` as it is used: what it prints, what it leaves out, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from flowwatch.decode.native import NativeDecoder
from flowwatch.engine import Engine
from flowwatch.errors import AllowlistError, StoreError
from flowwatch.lint import CHECKS
from flowwatch.lint.command import lint
from flowwatch.receive import Batch
from flowwatch.store import Store
from tests.support.flowtext import parse

START = 1_780_000_000.0

BAD = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEntities: [internet]
  ingressDeny:
  - fromEntities: [cluster]
"""
QUIET = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  egress: [{to: [{namespaceSelector: {}}], ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}]
"""
FLOWS = """
+0s verdict FORWARDED egress noreply shop/web* -> shop/api 8080/TCP SYN
+1s verdict DROPPED egress POLICY_DENIED policy=CiliumNetworkPolicy:shop/web shop/web* -> world(203.0.113.7) 443/TCP SYN
"""

FINDING = {
    "type": "object",
    "properties": {
        **{key: {"type": "string"} for key in ("check", "file", "field", "object", "text", "message", "hint")},
        "severity": {"enum": ["error", "warning", "info"]},
        "line": {"type": "integer", "minimum": 0},
    },
    "required": ["check", "severity", "file", "line", "field", "object", "text", "message", "hint"],
    "additionalProperties": False,
}
COUNTS = ("error", "warning", "info", "ignored", "files", "left_out", "policies", "rules")
JSON = {
    "type": "object",
    "properties": {
        "findings": {"type": "array", "items": FINDING},
        "summary": {
            "type": "object",
            "properties": {"observed": {"type": "boolean"}, **{key: {"type": "integer"} for key in COUNTS}},
            "required": ["observed", *COUNTS],
            "additionalProperties": False,
        },
    },
    "required": ["findings", "summary"],
    "additionalProperties": False,
}


def run(*arguments: str | Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(lint, [str(argument) for argument in arguments])


def write(folder: Path, text: str, name: str = "policy.yaml") -> Path:
    """A file with a text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_people_see_the_line_and_what_to_do(tmp_path: Path) -> None:
    """File, line, severity, sentence and check; the object and field; the line itself; the way out."""
    path = write(tmp_path, QUIET + "---\n" + BAD)
    result = run(path)
    assert result.exit_code == 1
    assert result.output == (
        f"{path}:15: error: there is no entity `internet`, so the policy is rejected [entity-unknown]\n"
        "    in CiliumNetworkPolicy shop/web, spec.ingress[0].fromEntities[0]\n"
        "      15 | - fromEntities: [internet]\n"
        "    there are: all, world, cluster, host, init, ingress, unmanaged, remote-node, health, none, "
        "kube-apiserver\n"
        "\n"
        f"{path}:17: warning: `cluster` includes `host` and `remote-node`, so it is also the kubelet: its probes are "
        "denied, whatever any policy allows [cluster-in-ingress-deny]\n"
        "    in CiliumNetworkPolicy shop/web, spec.ingressDeny[0].fromEntities[0]\n"
        "      17 | - fromEntities: [cluster]\n"
        "    deny `world` only, or allow what is wanted and let default deny do the rest\n"
        "\n"
        "1 error, 1 warning; 2 policies in 1 file checked\n"
    )


def test_nothing_found(tmp_path: Path) -> None:
    """Said in words, and the exit code is 0."""
    result = run(write(tmp_path, QUIET))
    assert (result.exit_code, result.output) == (0, "nothing found; 1 policy in 1 file checked\n")


@pytest.mark.parametrize(("severity", "code", "shown"), [("error", 1, 1), ("warning", 1, 2), ("info", 1, 3)])
def test_the_threshold_decides_what_is_shown(tmp_path: Path, severity: str, code: int, shown: int) -> None:
    """What is less bad is counted and not shown."""
    remark = BAD.replace("[internet]", "[internet]\n  - fromEntities: [world]\n  - fromEntities: [world]")
    result = run(write(tmp_path, QUIET + "---\n" + remark), "--severity", severity, "--format", "json")
    answer = json.loads(result.output)
    assert (result.exit_code, len(answer["findings"])) == (code, shown)
    assert (answer["summary"]["error"], answer["summary"]["warning"], answer["summary"]["info"]) == (1, 1, 1)


def test_the_threshold_decides_the_exit_code(tmp_path: Path) -> None:
    """A warning is no error."""
    path = write(tmp_path, QUIET + "---\n" + BAD.replace("internet", "world"))
    result = run(path, "--severity", "error")
    assert (result.exit_code, result.output) == (
        0,
        "nothing found; 1 warning not shown (--severity info); 2 policies in 1 file checked\n",
    )


def test_json_keeps_its_shape(tmp_path: Path) -> None:
    """Programs can rely on every field."""
    result = run(write(tmp_path, BAD), "--format", "json", "--severity", "info")
    answer = json.loads(result.output)
    Draft202012Validator(JSON).validate(answer)
    assert answer["findings"][-1] == {
        "check": "cluster-in-ingress-deny",
        "severity": "warning",
        "file": str(tmp_path / "policy.yaml"),
        "line": 9,
        "field": "spec.ingressDeny[0].fromEntities[0]",
        "object": "CiliumNetworkPolicy shop/web",
        "text": "  - fromEntities: [cluster]",
        "message": "`cluster` includes `host` and `remote-node`, so it is also the kubelet: its probes are denied, "
        "whatever any policy allows",
        "hint": "deny `world` only, or allow what is wanted and let default deny do the rest",
    }


def test_sarif_for_code_review(tmp_path: Path) -> None:
    """Every check is a rule, every finding a result with its line."""
    result = run(write(tmp_path, BAD), "--format", "sarif", "--severity", "error")
    answer = json.loads(result.output)
    (only,) = answer["runs"]
    assert answer["version"] == "2.1.0"
    assert [rule["id"] for rule in only["tool"]["driver"]["rules"]] == [check.name for check in CHECKS]
    (found,) = only["results"]
    assert (found["ruleId"], found["level"]) == ("entity-unknown", "error")
    assert found["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": str(tmp_path / "policy.yaml")},
        "region": {"startLine": 7},
    }


BOTH = ["entity-unknown", "cluster-in-ingress-deny"]
IGNORE = "# flowwatch: ignore"


@pytest.mark.parametrize(
    ("old", "new", "ignored", "left"),
    [
        ("[cluster]", f"[cluster]  {IGNORE} {BOTH[1]}", 1, BOTH[:1]),
        ("  - fromEntities: [c", f"  {IGNORE} {BOTH[1]}\n  - fromEntities: [c", 1, BOTH[:1]),
        ("v2", f"v2  {IGNORE} {BOTH[1]}, {BOTH[0]}", 2, []),
        ("apiVersion", f"{IGNORE} {BOTH[0]}: it is on its way\n\n# of another sort\napiVersion", 1, BOTH[1:]),
        ("[cluster]", f"[cluster]  {IGNORE} {BOTH[0]}", 0, BOTH),
        ("kind: C", f"{IGNORE} {BOTH[0]}\nkind: C", 0, BOTH),
    ],
)
def test_comments_ignore(tmp_path: Path, old: str, new: str, ignored: int, left: list[str]) -> None:
    """On the line, above it, or on the first line of the object; elsewhere, or of another check, not."""
    result = run(write(tmp_path, QUIET + "---\n" + BAD.replace(old, new, 1)), "--format", "json")
    answer = json.loads(result.output)
    assert [each["check"] for each in answer["findings"]] == left
    assert answer["summary"]["ignored"] == ignored
    assert result.exit_code == bool(left)


def test_lists_and_several_files_are_one_set(tmp_path: Path) -> None:
    """What one file says counts for another; objects in lists are objects; other kinds are left alone."""
    items = "\n".join(f"  {line}" for line in BAD.replace("internet", "world").splitlines())
    write(tmp_path, "apiVersion: v1\nkind: List\nitems:\n- " + items.lstrip() + "\n", "a.yaml")
    write(tmp_path, QUIET, "b.yml")
    write(tmp_path, "kind: Secret\napiVersion: v1\ndata: {a: b}\n", "c.yaml")
    (tmp_path / "notes.txt").write_text("no YAML: [")
    result = run(tmp_path, "--format", "json")
    answer = json.loads(result.output)
    assert [(each["check"], each["object"]) for each in answer["findings"]] == [
        ("cluster-in-ingress-deny", "CiliumNetworkPolicy shop/web")
    ]
    assert (answer["summary"]["files"], answer["summary"]["policies"]) == (3, 2)


def test_objects_of_one_line_are_told_apart(tmp_path: Path) -> None:
    """JSON without line breaks: the path says which object it is."""
    items = [
        {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumNetworkPolicy",
            "metadata": {"name": name, "namespace": "a"},
            "spec": {},
        }
        for name in ("one", "two")
    ]
    path = write(tmp_path, json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), "policies.json")
    answer = json.loads(run(path, "--format", "json", "--severity", "error").output)
    assert [each["object"] for each in answer["findings"] if each["check"] == "no-rules"] == [
        "CiliumNetworkPolicy a/one",
        "CiliumNetworkPolicy a/two",
    ]


def test_tables_in_documents_are_left_out(tmp_path: Path) -> None:
    """Markdown declares paths, not policies."""
    result = run(write(tmp_path, "| From | To |\n|---|---|\n", "paths.md"), write(tmp_path, QUIET))
    assert result.exit_code == 0
    assert "1 document left out" in result.output


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Nothing is checked where something is missing; what is merely no YAML is a finding."""
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty")
    assert isinstance(result.exception, AllowlistError)
    assert run(tmp_path / "nothing.yaml").exit_code == 2
    broken = run(write(tmp_path, "a: [\n"), "--format", "json")
    assert [each["check"] for each in json.loads(broken.output)["findings"]] == ["invalid-yaml"]
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    assert "is not UTF-8" in run(tmp_path / "latin.yaml").output


def test_options_are_read_or_refused(tmp_path: Path) -> None:
    """Ranges and versions in words the user knows."""
    path = write(tmp_path, QUIET)
    assert run(path, "--pod-cidr", "10.42.0.0/16", "--pod-cidr", "fd00::/56", "--cilium", "v1.17.3").exit_code == 0
    refused = run(path, "--pod-cidr", "10.42.0.0")
    assert (refused.exit_code, "expected a range of addresses" in refused.output) == (2, True)
    refused = run(path, "--cilium", "newest")
    assert (refused.exit_code, "expected a version such as" in refused.output) == (2, True)


def test_versions_change_what_is_found(tmp_path: Path) -> None:
    """What a version takes is no error there."""
    bare = BAD.replace("fromEntities: [internet]", "fromCIDR: [203.0.113.1]")
    path = write(tmp_path, QUIET + "---\n" + bare)
    assert "[cidr-invalid]" in run(path).output
    assert "[cidr-invalid]" not in run(path, "--cilium", "1.19").output


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with a few flows."""
    engine = Engine(cluster="test", decoder=NativeDecoder())
    engine.ingest(Batch("test", "test", [line.message for line in parse(FLOWS, START)]), START)
    store = Store(tmp_path / "seen.duckdb")
    store.commit(engine.drain(START))
    store.close()
    return tmp_path / "seen.duckdb"


OBSERVED = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: site, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
  - toEndpoints: [{matchLabels: {app: api}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
  - toEndpoints: [{matchLabels: {app: apii}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
  - toCIDR: [203.0.113.0/24]
---
apiVersion: flowwatch/v1
kind: Allowlist
workloads:
  shop:
    web: {app: web}
    gone: {app: gone}
rules: [{from: shop/gone, to: shop/web, ports: 80, reason: none, owner: nobody}]
"""


def test_what_was_observed_counts(tmp_path: Path, database: Path) -> None:
    """Labels, addresses and policies come from the database; the window is named."""
    result = run(
        write(tmp_path, OBSERVED), "--store", database, "--since", "all", "--severity", "info", "--format", "json"
    )
    answer = json.loads(result.output)
    found = {(each["check"], each["line"]) for each in answer["findings"]}
    assert {("peer-unseen", 9), ("cidr-few-addresses", 11), ("subject-unseen", 18), ("policy-not-in-files", 0)} <= found
    assert ("rule-unused", 7) not in found
    assert ("subject-unseen", 17) not in found
    policy = next(each for each in answer["findings"] if each["check"] == "policy-not-in-files")
    assert policy["file"] == str(database)
    assert "`CiliumNetworkPolicy:shop/web` denied traffic so far" in policy["message"]
    assert answer["summary"]["observed"] is True


def test_nothing_is_said_of_a_window_without_observations(tmp_path: Path, database: Path) -> None:
    """Where nothing was seen, nothing can be missing."""
    path = write(tmp_path, OBSERVED)
    result = run(path, "--store", database, "--since", "2100-01-01", "--format", "json")
    checks = {each["check"] for each in json.loads(result.output)["findings"]}
    assert not checks & {"peer-unseen", "subject-unseen", "rule-unused", "pod-unselected"}
    assert "nothing was observed" in run(path, "--store", database, "--since", "2100-01-01").output


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """An error that names it."""
    result = run(write(tmp_path, QUIET), "--store", tmp_path / "no.duckdb")
    assert isinstance(result.exception, StoreError)
