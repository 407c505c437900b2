"""How an allowlist is written: every form that is understood, and what it stands for."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

from flowwatch.allowlist import Allowlist, load, parse, read_text
from flowwatch.allowlist.rules import (
    ENTITIES,
    Entity,
    External,
    Operator,
    Pods,
    PortRange,
    Requirement,
    Rule,
    Same,
    Transport,
)
from flowwatch.errors import AllowlistError
from flowwatch.model import Protocol

ROOT = Path(__file__).resolve().parents[1]
NOW = 1_790_812_800.0

HEAD = "apiVersion: flowwatch/v1\nkind: Allowlist\n"
WORKLOADS = """\
workloads:
  monitoring:
    loki: {app: loki}
    grafana: {app: grafana}
  logging:
    loki: {app: loki}
externals:
  discord: {fqdn: [discord.com]}
"""


def rules_of(text: str) -> tuple[Rule, ...]:
    """The rules of an allowlist with a few names defined."""
    return read_text(HEAD + WORKLOADS + text, "allowlist.yaml").rules


def rule(**fields: str) -> Rule:
    """One rule, its fields written as YAML."""
    written = {"from": "pods", "to": "world", "ports": "443", "reason": "a test", **fields}
    (only,) = rules_of("rules:\n- " + "\n  ".join(f"{key}: {value}" for key, value in written.items()))
    return only


def label(key: str, value: str) -> Requirement:
    """The requirement that a label has a value."""
    return Requirement(key, Operator.IN, (value,))


def pods(name: str, *requirements: Requirement) -> Pods:
    """The pods of a namespace, as a rule sees them."""
    return Pods(name, name.partition("/")[0], requirements)


@pytest.mark.parametrize(
    ("written", "selector"),
    [
        ("monitoring/loki", pods("monitoring/loki", label("app", "loki"))),
        ("grafana", pods("monitoring/grafana", label("app", "grafana"))),
        ("discord", External("discord", ("discord.com",))),
        ("monitoring/*", pods("monitoring/*")),
        ("undefined-elsewhere/*", pods("undefined-elsewhere/*")),
        ("pods", Pods("pods")),
        *((name, Entity(name)) for name in ENTITIES),
        ("{namespace: argo}", pods("argo/*")),
        ("{namespace: argo, labels: {app: a}}", pods("argo/{app=a}", label("app", "a"))),
        (
            "{namespace: argo, labels: {k8s:app: a}}",
            pods("argo/{k8s:app=a}", Requirement("app", Operator.IN, ("a",), "k8s")),
        ),
        ("{namespace: argo, labels: {any:app: a}}", pods("argo/{app=a}", label("app", "a"))),
        ("{namespace: argo, labels: {run: true}}", pods("argo/{run=true}", label("run", "true"))),
        ("{namespace: argo, labels: {version: 1.50}}", pods("argo/{version=1.50}", label("version", "1.50"))),
        (
            "{namespace: argo, expressions: [{key: run, operator: Exists}]}",
            pods("argo/{run}", Requirement("run", Operator.EXISTS)),
        ),
        (
            "{namespace: argo, labels: {app: a}, expressions: [{key: run, operator: NotIn, values: [c, b]}]}",
            pods("argo/{app=a, run NotIn (b, c)}", label("app", "a"), Requirement("run", Operator.NOT_IN, ("b", "c"))),
        ),
        ("{fqdn: [GitHub.com., '*.github.com']}", External("github.com, *.github.com", ("github.com", "*.github.com"))),
        ("{fqdn: github.com}", External("github.com", ("github.com",))),
        ("{cidr: 10.1.2.3/8}", External("10.0.0.0/8", (), ("10.0.0.0/8",))),
        ("{cidr: ['2001:DB8::/32']}", External("2001:db8::/32", (), ("2001:db8::/32",))),
        (
            "{cidr: [0.0.0.0/0], except: [10.0.0.0/8]}",
            External("0.0.0.0/0", (), ("0.0.0.0/0",), ("10.0.0.0/8",)),
        ),
        ("{fqdn: [a.io], cidr: [10.0.0.0/8]}", External("a.io, 10.0.0.0/8", ("a.io",), ("10.0.0.0/8",))),
    ],
)
def test_a_peer_may_be_written_in_many_ways(written: str, selector: object) -> None:
    """Names, reserved words and mappings each stand for one selector, at either end."""
    assert rule(**{"from": written}).sources == (selector,)
    assert rule(to=written).destinations == (selector,)


def test_peers_may_be_a_list() -> None:
    """A list means any of its elements, and may mix names and mappings."""
    one = rule(**{"from": "[grafana, monitoring/loki, {namespace: argo}, grafana]"})

    assert [selector.name for selector in one.sources] == ["monitoring/grafana", "monitoring/loki", "argo/*"]


def test_self_is_the_other_end() -> None:
    """`self` may stand at either end, alone or beside others."""
    assert rule(**{"from": "grafana"}, to="[self, world]").destinations == (Same(), Entity("world"))
    assert rule(**{"from": "self"}, to="grafana").sources == (Same(),)


TCP, UDP, SCTP, ICMP, ICMPV6 = Protocol.TCP, Protocol.UDP, Protocol.SCTP, Protocol.ICMP, Protocol.ICMPV6


@pytest.mark.parametrize(
    ("written", "ranges", "text"),
    [
        ("8333", [(TCP, 8333, 8333)], "8333/TCP"),
        ("8333/TCP", [(TCP, 8333, 8333)], "8333/TCP"),
        ("'8333'", [(TCP, 8333, 8333)], "8333/TCP"),
        ("53/udp", [(UDP, 53, 53)], "53/UDP"),
        ("5000/SCTP", [(SCTP, 5000, 5000)], "5000/SCTP"),
        ("53/ANY", [(TCP, 53, 53), (UDP, 53, 53), (SCTP, 53, 53)], "53/ANY"),
        ("2379-2381/TCP", [(TCP, 2379, 2381)], "2379-2381/TCP"),
        ("1-65535/ANY", [(TCP, 1, 65535), (UDP, 1, 65535), (SCTP, 1, 65535)], "1-65535/ANY"),
        ("icmp/8", [(ICMP, 8, 8)], "ICMP/8"),
        ("ICMP/0", [(ICMP, 0, 0)], "ICMP/0"),
        ("icmp/echo-request", [(ICMP, 8, 8)], "ICMP/8"),
        ("icmpv6/128", [(ICMPV6, 128, 128)], "ICMPV6/128"),
        ("icmpv6/echo-request", [(ICMPV6, 128, 128)], "ICMPV6/128"),
        ("icmp", [(ICMP, 0, 255)], "ICMP"),
        ("any", [], "any"),
        ("[80, 443/TCP, 443/UDP]", [(TCP, 80, 80), (TCP, 443, 443), (UDP, 443, 443)], "80/TCP,443/TCP,443/UDP"),
        ("[443, 443/TCP]", [(TCP, 443, 443)], "443/TCP"),
    ],
)
def test_ports_may_be_written_in_many_ways(written: str, ranges: list[tuple[Protocol, int, int]], text: str) -> None:
    """Numbers, ranges, protocols, ICMP types and `any`."""
    ports = rule(ports=written).ports

    assert ports.ranges == tuple(PortRange(*each) for each in ranges)
    assert ports.everything is (written == "any")
    assert str(ports) == text


def test_a_rule_says_where_and_why() -> None:
    """Everything a person wrote about a rule is kept, and where they wrote it."""
    one = rule(owner="platform", ticket="117", expires="2027-03-31", reason="S3  storage\n    for logs")

    assert (one.owner, one.ticket, one.reason) == ("platform", "117", "S3 storage for logs")
    assert one.expires == datetime.date(2027, 3, 31)
    assert one.ends == datetime.datetime(2027, 4, 1, tzinfo=datetime.UTC).timestamp()
    assert one.place == "allowlist.yaml:12"
    assert one.id == 0


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"from": "monitoring/loki", "to": "grafana", "ports": "80"}, "monitoring/loki → monitoring/grafana:80/TCP"),
        ({"from": "[pods, world]", "to": "discord", "ports": "any"}, "pods, world → discord:any"),
        (
            {"from": "[host, init, all, world]", "ports": "[1, 2, 3, 4]"},
            "host, init, all, world → world:1/TCP,2/TCP,3/TCP,4/TCP",
        ),
        (
            {"from": "[host, init, all, world, pods]", "ports": "[1, 2, 3, 4, 5]"},
            "host, init, all, +2 → world:1/TCP,2/TCP,3/TCP,+2",
        ),
    ],
)
def test_a_title_is_the_rule_in_a_few_words(fields: dict[str, str], title: str) -> None:
    """Titles name who, whom and where, and stay short."""
    assert rule(**fields).title == title


def test_workloads_may_be_written_out() -> None:
    """Labels alone, or labels and expressions; a label may itself be called `labels`."""
    (one,) = read_text(
        HEAD
        + """\
workloads:
  argo:
    short: {labels: x, app: y}
    long:
      labels: {app: y}
      expressions: [{key: run, operator: In, values: b}]
rules: [{from: short, to: long, ports: any, reason: a test}]
""",
        "allowlist.yaml",
    ).rules

    assert one.sources == (pods("argo/short", label("app", "y"), label("labels", "x")),)
    assert one.destinations == (pods("argo/long", label("app", "y"), label("run", "b")),)


def test_governs_may_be_one_or_many_and_is_united() -> None:
    """Documents that say what they govern count together; the others add nothing."""
    text = f"{HEAD}governs: a\n---\n{HEAD}governs: [b, c]\n---\n{HEAD}rules: []\n"

    assert read_text(text, "allowlist.yaml").governs == frozenset("abc")
    assert read_text(HEAD, "allowlist.yaml").governs is None


def test_documents_may_use_names_of_one_another() -> None:
    """A rule may stand before the document that defines what it names."""
    rules = "rules: [{from: web, to: db, ports: 5432, reason: a test}]"
    names = "workloads: {shop: {web: {app: web}, db: {app: db}}}"
    text = f"{HEAD}{rules}\n---\n{HEAD}{names}\n"

    assert [one.title for one in read_text(text, "allowlist.yaml").rules] == ["shop/web → shop/db:5432/TCP"]


def test_the_same_definition_may_be_repeated() -> None:
    """Defining a name once more is no error while it means the same."""
    assert read_text(f"{HEAD}{WORKLOADS}---\n{HEAD}{WORKLOADS}", "allowlist.yaml").rules == ()


def test_anchors_and_merges_may_be_used() -> None:
    """YAML's own ways to say a thing once work everywhere."""
    (one,) = rules_of("rules: [{from: &webs [grafana, discord], to: *webs, ports: 80, reason: a test}]")

    assert one.sources == one.destinations


def test_files_and_directories_make_one_allowlist(tmp_path: Path) -> None:
    """Directories are read in the order of the names of their files, and nothing is read twice."""
    directory = tmp_path / "allowlist.d"
    directory.mkdir()
    template = HEAD + "rules: [{{from: pods, to: world, ports: {}, reason: a test}}]\n"
    for name, port in (("20.yml", 2), ("10.yaml", 1), ("30.yaml", 3), (".hidden.yaml", 8), ("notes.txt", 9)):
        (directory / name).write_text(template.format(port))
    (tmp_path / "more.yaml").write_text("\ufeff" + template.format(4))

    allowlist = load([directory, tmp_path / "more.yaml", str(directory / "10.yaml")], NOW)

    assert [str(one.ports) for one in allowlist.rules] == ["1/TCP", "2/TCP", "3/TCP", "4/TCP"]
    assert [Path(one.file).name for one in allowlist.rules] == ["10.yaml", "20.yml", "30.yaml", "more.yaml"]
    assert [one.id for one in allowlist.rules] == [0, 1, 2, 3]


def digest(text: str, file: str = "allowlist.yaml") -> str:
    """The digest of an allowlist with a few names defined."""
    return parse(HEAD + WORKLOADS + text, file, NOW).digest


def test_a_rule_may_ask_how_the_path_is_carried() -> None:
    """Encrypted, or between ends that know each other; without a word, anyhow."""
    assert rule(to="grafana", transport="encrypted").transport is Transport.ENCRYPTED
    assert rule(to="grafana", transport="authenticated").transport is Transport.AUTHENTICATED
    assert rule().transport is None


def test_a_rule_may_count_for_conditions() -> None:
    """One name, or a list of them."""
    assert rule(condition="BackupConfigurationReady").conditions == ("BackupConfigurationReady",)
    assert rule(condition="[A, B, A]").conditions == ("A", "B")
    assert rule().conditions == ()


def test_the_digest_is_of_what_is_declared() -> None:
    """Comments, layout, unused names and file names do not count; everything that is said does."""
    text = "rules: [{from: grafana, to: discord, ports: 443, reason: alerts}]"
    same = "# why\n\nrules:\n- from: [monitoring/grafana]\n  to: discord\n  ports: [443/TCP]\n  reason: alerts\n"
    others = [
        text.replace("443", "444"),
        text.replace("alerts", "other alerts"),
        text.replace("grafana", "monitoring/loki"),
        text.replace("reason", "expires: 2027-01-01, reason"),
        text.replace("reason", "condition: AlertsReady, reason"),
        "governs: monitoring\n" + text,
    ]

    assert digest(text) == digest(same, "other.yaml")
    assert len({digest(text), *map(digest, others)}) == len(others) + 1


def test_an_allowlist_may_declare_nothing() -> None:
    """An empty list of rules is a statement, too."""
    assert parse(HEAD + "rules: []", "allowlist.yaml", NOW).rules == ()


def fenced(path: Path) -> list[str]:
    """The YAML examples of a document."""
    return re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)


def test_the_example_of_the_documentation_is_an_allowlist() -> None:
    """What the page shows as complete can be used as it stands, and the fragment in its place."""
    complete = [text for text in fenced(ROOT / "docs" / "allowlist.md") if "apiVersion" in text]
    (fragment,) = [text for text in fenced(ROOT / "docs" / "allowlist.md") if text.startswith("workflow-pods")]

    allowlist = parse(complete[0], "allowlist.md", NOW)
    indented = "".join(f"    {line}\n" for line in fragment.splitlines())

    assert len(complete) == 1
    assert isinstance(allowlist, Allowlist)
    assert len(allowlist.rules) == 7
    assert read_text(f"{HEAD}workloads:\n  argo:\n{indented}", "allowlist.md").rules == ()


def test_the_documentation_names_every_word() -> None:
    """Every entity, operator and key of the format is explained."""
    page = (ROOT / "docs" / "allowlist.md").read_text()
    words = (
        *ENTITIES,
        *Operator,
        "pods",
        "self",
        "governs",
        "from",
        "to",
        "ports",
        "reason",
        "owner",
        "ticket",
        "expires",
        "transport",
        "condition",
        *Transport,
    )

    assert [word for word in words if f"`{word}`" not in page] == []


def test_nothing_that_is_wrong_is_half_loaded() -> None:
    """One bad rule among good ones is an error, not an allowlist without it."""
    good = "{from: pods, to: world, ports: 1, reason: a test}"
    with pytest.raises(AllowlistError):
        rules_of(f"rules: [{good}, {{from: pods, to: world, ports: 0, reason: a test}}]")
