"""The examples do what their readers are told: scenarios come true, files are sound, commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click import Context
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.allowlist import load, parse, read
from flowwatch.allowlist.rules import Rule, Transport
from flowwatch.cli import cli
from flowwatch.conditions import declared
from flowwatch.decode.fallback import FallbackDecoder
from flowwatch.decode.native import NativeDecoder
from flowwatch.errors import AllowlistError
from flowwatch.model import Declared, Edge, Kind
from flowwatch.transport import Carriage, Standing, judge
from tests.support.peers import edge, entity, pod, world
from tests.support.scenario import outcomes, run

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOW = 1_790_812_800.0

SYSTEMS = ("homelab", "openbao", "safespring", "verrazzano")
SCENARIOS = sorted(EXAMPLES.glob("*/scenarios/*.txt"))


# ── scenarios ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("decoder", [NativeDecoder, FallbackDecoder], ids=["native", "fallback"])
@pytest.mark.parametrize("path", SCENARIOS, ids=[f"{path.parts[-3]}/{path.stem}" for path in SCENARIOS])
def test_scenario(path: Path, decoder: type[NativeDecoder] | type[FallbackDecoder]) -> None:
    """What a scenario file says comes true."""
    run(path, decoder)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_has_flows_that_pass_and_flows_that_are_found(system: str) -> None:
    """Its scenarios hold at least one of each: nothing found, forwarded undeclared, dropped though declared."""
    said = [
        findings
        for path in sorted((EXAMPLES / system / "scenarios").glob("*.txt"))
        for name, _, findings, _ in outcomes(path, NativeDecoder)
        if name == "findings"
    ]
    assert len(said) >= 6
    assert [] in said
    assert {"unexpected", "blocked", "denied"} <= {line.partition(" ")[0] for findings in said for line in findings}


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_files_of_a_system_make_one_allowlist(system: str) -> None:
    """All of them together are read without a problem, no rule is about to end, and each has its reason."""
    allowlist = load([EXAMPLES / system], NOW)
    assert allowlist.rules
    assert allowlist.expired(NOW + 20 * 365 * 86_400) == ()
    assert all(rule.reason for rule in allowlist.rules)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_commands_a_reader_is_shown_exist(system: str) -> None:
    """Every `flowwatch` line of a README is a command with options it has, on files that are there."""
    readme = (EXAMPLES / system / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    flowwatch (.+)$", readme, re.MULTILINE)
    assert commands
    for line in commands:
        words = shlex.split(line)
        command, context = cli.commands[words[0]], Context(cli)
        while hasattr(command, "commands"):
            words = words[1:]
            command = command.commands[words[0]]
        known = {option for parameter in command.get_params(context) for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line
        for word in words:
            if word.startswith("examples/"):
                assert (EXAMPLES.parent / word).exists(), word


# ── OpenBao: what is added takes nothing away ────────────────────────────────────────────────────

OPENBAO = EXAMPLES / "openbao"
CORE, CUSTOM = OPENBAO / "allowlist.yaml", OPENBAO / "custom-ingress.yaml"

BAO = pod("openbao", "bao", {"app.kubernetes.io/name": "openbao", "app.kubernetes.io/component": "server"})
CONTROLLER = pod(
    "openbao-operator",
    "controller",
    {"app.kubernetes.io/name": "openbao-operator", "app.kubernetes.io/component": "controller"},
)
COREDNS = pod("kube-system", "coredns", {"k8s-app": "kube-dns"})
CORE_PATHS = (
    edge(CONTROLLER, BAO, 8200),
    edge(BAO, BAO, 8201),
    edge(COREDNS, BAO, 8200),
    edge(entity(Kind.HOST), BAO, 8200),
    edge(BAO, entity(Kind.KUBE_APISERVER, "kube-apiserver", "remote-node"), 6443),
    edge(BAO, COREDNS, 53),
)

HEAD = "apiVersion: flowwatch/v1\nkind: Allowlist\n"
peers = st.sampled_from(
    ["openbao/bao", "openbao-operator/controller", "shop/*", "pods", "world", "host", "all", "self"]
)
ports = st.sampled_from(["8200", "8201", "any", "1-65535/TCP", "53/UDP"])
rules = st.tuples(peers, peers, ports).filter(
    lambda rule: "self" not in rule[:2] or (not {"world", "host", "all"} & set(rule) and rule[0] != rule[1])
)


def declaring(path: Edge, *files: Path) -> tuple[Rule, ...]:
    """The rules of some files that declare an edge."""
    return load(files, NOW).declaring(path, NOW)


@pytest.mark.parametrize("path", CORE_PATHS, ids=str)
def test_custom_ingress_leaves_the_core_as_it_is(path: Edge) -> None:
    """Every core path is declared by the same rule, with the same reason, whether custom ingress is there or not."""
    before = load([CORE], NOW).judge(path, NOW)
    assert before.declared is Declared.YES
    assert load([CORE, CUSTOM], NOW).judge(path, NOW) == before
    assert declaring(path, CORE) == declaring(path, CORE, CUSTOM)


def test_custom_ingress_adds_what_it_says_and_no_more() -> None:
    """One application reaches OpenBao; its neighbour does not, and the application reaches nothing else."""
    allowlist = load([CORE, CUSTOM], NOW)
    said = {
        str(path): allowlist.judge(path, NOW).declared
        for path in (
            edge(pod("shop", "checkout"), BAO, 8200),
            edge(pod("shop", "checkout"), BAO, 8201),
            edge(pod("shop", "cart"), BAO, 8200),
            edge(pod("shop", "checkout"), CONTROLLER, 8443),
        )
    }
    assert list(said.values()) == [Declared.YES, Declared.NO, Declared.NO, Declared.NO]


@settings(deadline=None, max_examples=50)
@given(st.lists(rules, max_size=5))
def test_no_custom_rule_takes_a_core_path_away(written: list[tuple[str, str, str]]) -> None:
    """Whatever rules stand beside the core: what it declares stays declared."""
    custom = HEAD + "rules:\n" + "".join(
        f"  - {{from: {source}, to: {destination}, ports: {port}, reason: added}}\n"
        for source, destination, port in written
    )  # fmt: skip
    core = CORE.read_text(encoding="utf-8")
    allowlist = parse(f"{custom}---\n{core}" if written else core, "both.yaml", NOW)
    assert [path for path in CORE_PATHS if allowlist.judge(path, NOW).declared is not Declared.YES] == []


@pytest.mark.parametrize(
    ("addition", "complaint"),
    [
        ("workloads: {openbao: {bao: {app: other}}}", "`openbao/bao` is already defined differently"),
        ("rules: [{from: pods, to: openbao/bao, ports: 8200, reason: no, action: deny}]", "unknown key `action`"),
        ("deny: [{from: pods, to: openbao/bao, ports: 8200}]", "unknown key `deny`"),
        ("rules: [{from: pods, to: '!openbao/bao', ports: 8200, reason: no}]", "nothing is named `!openbao/bao`"),
    ],
)
def test_custom_ingress_has_no_words_to_take_away(tmp_path: Path, addition: str, complaint: str) -> None:
    """Redefining what the core names, and anything that would deny, is an error that names it."""
    (tmp_path / "custom-ingress.yaml").write_text(f"{HEAD}{addition}\n", encoding="utf-8")
    with pytest.raises(AllowlistError, match=re.escape(complaint)):
        load([CORE, tmp_path / "custom-ingress.yaml"], NOW)


def test_the_conditions_of_openbao() -> None:
    """The four that its operator reports, each with the paths it depends on."""
    found = declared(read(sorted(OPENBAO.glob("*.yaml"))).rules)
    assert {name: [rule.title for rule in rules] for name, rules in sorted(found.items())} == {
        "APIServerNetworkReady": [
            "openbao/bao → kube-apiserver:6443/TCP",
            "openbao-operator/controller → kube-apiserver:6443/TCP",
        ],
        "BackupConfigurationReady": [
            "openbao/backup → openbao/bao:8200/TCP",
            "openbao/backup → object-storage:443/TCP",
        ],
        "GatewayIntegrationReady": ["gateway-system/* → openbao/bao:8200/TCP"],
        "RestoreConfigurationReady": [
            "openbao/restore → object-storage:443/TCP",
            "openbao/restore → openbao/bao:8200/TCP",
        ],
    }


def test_jobs_are_declared_apart() -> None:
    """Without their file nothing of backup and restore is declared; with it, only they reach the storage."""
    backup = pod("openbao", "backup", {"app.kubernetes.io/name": "openbao", "app.kubernetes.io/component": "backup"})
    storage = world("52.216.1.1", "backups.s3.amazonaws.com")
    jobs = OPENBAO / "jobs.yaml"
    assert declaring(edge(backup, storage, 443), CORE) == ()
    assert declaring(edge(backup, storage, 443), CORE, jobs) != ()
    assert declaring(edge(BAO, storage, 443), CORE, jobs) == ()


# ── transport ────────────────────────────────────────────────────────────────────────────────────


def test_verrazzano_asks_for_mutual_tls_within_the_mesh() -> None:
    """Every path between its own components does, but for Rancher's and those that bring a TLS of their own."""
    without = {
        rule.title
        for rule in load([EXAMPLES / "verrazzano"], NOW).rules
        if rule.transport is not Transport.AUTHENTICATED
    }
    assert sorted(title.rpartition(" → ")[2] for title in without) == [
        "cattle-system/rancher:80/TCP",
        "ingress-nginx/controller:80/TCP,443/TCP",
        "istio-system/istiod:15012/TCP",
        "istio-system/istiod:15017/TCP",
        "kube-apiserver:6443/TCP",
        "kube-system/coredns:53/UDP,53/TCP",
        "verrazzano-system/*, ingress-nginx/*, istio-system/*, +2:any",
        "verrazzano-system/application-operator:9443/TCP",
    ]


@pytest.mark.parametrize(
    ("system", "asked"), [("verrazzano", Transport.AUTHENTICATED), ("safespring", Transport.ENCRYPTED)]
)
def test_where_hubble_is_silent_transport_is_unknown(system: str, asked: Transport) -> None:
    """A mesh's mutual TLS and TLS in general cannot be seen: neither a yes nor a no is made of that."""
    assert asked in {rule.transport for rule in load([EXAMPLES / system], NOW).rules}
    assert judge(asked, Carriage(), NOW).standing is Standing.UNKNOWN
