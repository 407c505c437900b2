"""Markdown tables declare what their rows say: every row is understood, or named with what is wrong in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.allowlist import Allowlist, load, native, parse
from flowwatch.allowlist.markdown import MOST_PROBLEMS, Markdown, read_markdown
from flowwatch.allowlist.mdcells import read_ports
from flowwatch.allowlist.mdtables import plain, tables_of
from flowwatch.allowlist.names import SPELLINGS, Names, Unreadable
from flowwatch.allowlist.rules import Declaration, External
from flowwatch.allowlist.vocabulary import RESERVED, Vocabulary, normal
from flowwatch.errors import AllowlistError, Problem
from flowwatch.model import Declared, Identity, Kind, Peer
from flowwatch.yamlmarks import load_documents
from flowwatch.yamlnodes import MAX_CHARACTERS
from tests.support.effort import TWICE, effort
from tests.support.patience import hang_guard
from tests.support.peers import edge, entity, pod

NOW = 1_790_812_800.0
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SEED = SHARED / "seeds" / "002_bd4052eb88b4c9cf.txt"
TOPOLOGY = SHARED / "data" / "simulated" / "dev.topology.json"

NATIVE = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads:
  monitoring:
    grafana: {app: grafana}
    loki: {app: loki}
    prometheus: {app: prometheus}
    prometheus-operator: {app: operator}
    host: {app: oddly-named}
  database:
    shared-pg: {cnpg.io/cluster: shared-pg}
  seaweedfs:
    master: {app: seaweedfs, part: master}
    filer: {app: seaweedfs, part: filer}
  argo:
    workflows-server: {app: workflows-server}
    pxe-sync: {pxe-sync: "true"}
  logging:
    loki: {app: loki}
externals:
  cloudflare-r2: {fqdn: ["*.r2.cloudflarestorage.com"]}
  public-dns: {cidr: [1.1.1.1/32]}
aliases:
  SeaweedFS: [seaweedfs/master, seaweedfs/filer]
  PXE sync pods: argo/pxe-sync
  operator (monitoring): monitoring/prometheus-operator
  Object storage, or a mirror of it: [cloudflare-r2, world]
  Traffic rules: monitoring/grafana
rules: []
"""

CROSS = """\
# Network

## Cross-namespace communication

| From (namespace) | To (namespace) | Port | Purpose |
|---|---|---|---|
| Grafana (monitoring) | shared-pg (database) | 5432 | Dashboard state |
| Prometheus (monitoring) | SeaweedFS (seaweedfs) | 9327 | Metrics scrape |
| Loki (monitoring) | SeaweedFS filer (seaweedfs) | 8333 | S3 storage |
| Argo Workflows server (argo) | shared-pg (database) | 5432/TCP | Workflow `archive` |
| PXE sync pods (argo) | SeaweedFS filer (seaweedfs) | 8333 | Artifact/log storage |
| shared-pg (database) | Cloudflare R2 (external) | 443 | Backup |
"""

CROSS_NATIVE = """\
rules:
  - {from: monitoring/grafana, to: shared-pg, ports: 5432, reason: Dashboard state}
  - {from: prometheus, to: [master, filer], ports: 9327, reason: Metrics scrape}
  - {from: monitoring/loki, to: filer, ports: 8333, reason: S3 storage}
  - {from: workflows-server, to: shared-pg, ports: 5432, reason: Workflow archive}
  - {from: pxe-sync, to: filer, ports: 8333, reason: Artifact/log storage}
  - {from: shared-pg, to: cloudflare-r2, ports: 443, reason: Backup}
"""


def names_of(text: str = NATIVE) -> Names:
    """The names a native allowlist defines."""
    problems: list[Problem] = []
    vocabulary = Vocabulary(problems)
    native.read(load_documents(text, "allowlist.yaml").documents, problems, vocabulary)
    assert problems == []
    return Names(vocabulary.workloads, vocabulary.externals, vocabulary.aliases)


NAMES = names_of()


def read(text: str) -> Markdown:
    """What a document declares beside the native allowlist above."""
    return read_markdown(text, "network.md", NAMES)


def titles(text: str) -> list[str]:
    """The rules of a document without a problem, in words."""
    found = read(text)
    assert found.problems == ()
    return [rule.title for rule in found.rules]


def component(name: str, ingress: str = "(none)", egress: str = "(none)", heading: str = "monitoring") -> str:
    """A document with one component."""
    return f"## {heading}\n\n| Component | Ingress | Egress |\n|---|---|---|\n| {name} | {ingress} | {egress} |\n"


def path(source: str, destination: str = "shared-pg (database)", port: str = "1", reason: str = "why") -> str:
    """A document with one path."""
    return f"| From | To | Port | Purpose |\n|---|---|---|---|\n| {source} | {destination} | {port} | {reason} |\n"


# ------------------------------------------------------------------ the cross-namespace table


def test_a_table_of_paths_declares_what_native_rules_declare() -> None:
    """Same sources, destinations, ports, reasons, and the line of each row as its place."""
    found = read(CROSS)
    declared = parse(NATIVE.replace("rules: []\n", CROSS_NATIVE), "allowlist.yaml", NOW)

    assert found.problems == ()
    for rule, other in zip(found.rules, declared.rules, strict=True):
        assert (rule.sources, rule.destinations, rule.reason) == (other.sources, other.destinations, other.reason)
        assert rule.ports == other.ports
    assert [rule.place for rule in found.rules] == [f"network.md:{line}" for line in range(7, 13)]
    assert [rule.id for rule in found.rules] == list(range(6))


def test_optional_columns_are_read() -> None:
    """Owner, ticket, last day, transport and conditions may have columns; columns nobody knows are remarks."""
    (rule,) = read(
        "| From | To | Port | Why | Owner | Ticket | Expires | Transport | Condition | Notes |\n"
        "|:---|---:|:-:|---|---|---|---|---|---|---|\n"
        "| loki (monitoring) | grafana (monitoring) | 80 | w | me | T-1 | 2027-03-31 | Encrypted | A, B | x |\n"
    ).rules

    assert (rule.owner, rule.ticket, str(rule.expires), rule.transport) == ("me", "T-1", "2027-03-31", "encrypted")
    assert rule.conditions == ("A", "B")


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Grafana (monitoring)", ["monitoring/grafana"]),
        ("grafana", ["monitoring/grafana"]),
        ("**grafana**", ["monitoring/grafana"]),
        ("[Grafana](https://grafana.com) (Monitoring)", ["monitoring/grafana"]),
        ("Prometheus Operator (monitoring)", ["monitoring/prometheus-operator"]),
        ("operator (monitoring)", ["monitoring/prometheus-operator"]),
        ("SeaweedFS filer (seaweedfs)", ["seaweedfs/filer"]),
        ("seaweedfs-filer", ["seaweedfs/filer"]),
        ("SeaweedFS (seaweedfs)", ["seaweedfs/master", "seaweedfs/filer"]),
        ("SEAWEEDFS", ["seaweedfs/master", "seaweedfs/filer"]),
        ("monitoring/loki", ["monitoring/loki"]),
        ("monitoring/*", ["monitoring/*"]),
        ("all pods (monitoring)", ["monitoring/*"]),
        ("every pod", ["pods"]),
        ("Loki (monitoring), Loki (logging)", ["monitoring/loki", "logging/loki"]),
        ("Loki (monitoring)<br>Grafana (monitoring)", ["monitoring/loki", "monitoring/grafana"]),
        ("Loki (monitoring) and Kubernetes API", ["monitoring/loki", "kube-apiserver"]),
        ("host/remote-node", ["host", "remote-node"]),
        ("host", ["host"]),
        ("host (monitoring)", ["monitoring/host"]),
        ("all nodes", ["host", "remote-node"]),
        ("Cloudflare R2 (external)", ["cloudflare-r2"]),
        ("Cloudflare R2", ["cloudflare-r2"]),
        ("discord.com (external)", ["discord.com"]),
        ("Object storage, or a mirror of it", ["cloudflare-r2", "world"]),
        ("github.com + *.github.com", ["github.com", "*.github.com"]),
        ("{api,www}.github.com", ["api.github.com", "www.github.com"]),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("10.0.0.0/8 except 10.1.0.0/16 and 10.2.0.0/16", ["10.0.0.0/8 except 10.1.0.0/16 and 10.2.0.0/16"]),
        ("QNAP NAS (192.168.0.241)", ["QNAP NAS"]),
        ("`argo/{pxe-sync=true, !done, stage In (a, b)}`", ["argo/{pxe-sync=true, !done, stage In (a, b)}"]),
    ],
)
def test_names_are_found(text: str, meant: list[str]) -> None:
    """Case, hyphens and markup do not matter; brackets hold the namespace; lists may be written in any way."""
    found = read(path(text))

    assert found.problems == ()
    assert [selector.name for selector in found.rules[0].sources] == meant


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Graphana (monitoring)", "nothing is named `Graphana (monitoring)`\n{}    did you mean `grafana`?"),
        (
            "Grafana (monitorng)",
            "`monitorng` is no namespace that the allowlist knows\n{}    did you mean `monitoring`?",
        ),
        ("Grafana (database)", "nothing is named `Grafana (database)`\n{}    `Grafana` is in `monitoring`"),
        ("xyzzy (database)", "nothing is named `xyzzy (database)`\n{}    `database` has `shared-pg`"),
        (
            "Loki",
            "`Loki` may mean `monitoring/loki` or `logging/loki`\n{}    put the namespace in brackets behind the name",
        ),
        (
            "SeaweedFS (monitoring)",
            "nothing is named `SeaweedFS (monitoring)`\n{}    the alias `SeaweedFS` stands for `seaweedfs/master` ",
        ),
        (
            "Cloudflare R3 (external)",
            "nothing is named `Cloudflare R3 (external)`\n{}    did you mean `cloudflare-r2`?",
        ),
        ("xyzzy", "nothing is named `xyzzy`\n{}    define it under `workloads`, `externals` or `aliases`"),
        ("loki.monitoring", "nothing is named `loki.monitoring`\n{}"),
        ("loki.logging.svc", "nothing is named `loki.logging.svc`\n{}"),
        ("Gateway or trusted peer", "nothing is named `Gateway or trusted peer`\n{}"),
        ("10.0.0.0/33", "nothing is named `33`\n{}"),
        ("{a,b.example.com", "the braces of `{{a,b.example.com` do not match\n{}"),
        ("{a,b}{.com", "the braces of `{{a,b}}{{.com` do not match\n{}"),
        ("{a,b}" * 9, "`{}` stands for more than 200 peers\n".format("{{a,b}}" * 9) + "{}"),
        ("", "expected a peer, and there is none\n{}"),
        ("self", ""),
    ],
)
def test_a_name_nobody_knows_is_never_guessed(text: str, complaint: str) -> None:
    """The problem names file, line and cell, and what comes close."""
    row = f"| {text} | shared-pg (database) | 1 | why |"
    found = read(path(text))

    if text == "self":
        assert found.problems == ()
        return
    (problem,) = found.problems
    assert str(problem).startswith("network.md:3: From: " + complaint.format(f"       3 | {row}\n").rstrip("\n"))


def test_an_alias_may_have_no_second_meaning() -> None:
    """Aliases are checked where they are written."""
    head, _, _ = NATIVE.partition("aliases:")
    for written, complaint in {
        "host: monitoring/loki": "`host` is a reserved word and cannot be defined anew",
        "x: nobody": "nothing is named `nobody`",
        "x: self": "`self` has no meaning outside a rule",
        "x: []": "the list is empty; expected at least one element",
        "'': grafana": "expected an alias of at most 200 characters, not text",
        "x: grafana\n  X: prometheus": "`X` is already defined differently at f:",
    }.items():
        with pytest.raises(AllowlistError) as raised:
            parse(f"{head}aliases:\n  {written}\nrules: []\n", "f", NOW)
        assert complaint in str(raised.value)


def test_aliases_of_several_documents_count_together() -> None:
    """The same alias twice is no problem where both mean the same, in whatever order."""
    again = (
        "---\napiVersion: flowwatch/v1\nkind: Allowlist\naliases: {seaweedfs: [filer, master], Gateway: ingress}\n"
        "rules: []\n"
    )

    assert [one.name for one in names_of(NATIVE + again).find("gateway")] == ["ingress"]


def test_what_needs_no_definition_is_documented() -> None:
    """Every spelling stands in docs/allowlist.md, and means there what it means."""
    text = (ROOT / "docs" / "allowlist.md").read_text(encoding="utf-8")
    section = text.partition("These need no definition")[2].partition("For everything else")[0]
    documented = {
        normal(word): row.split("|")[2]
        for row in section.splitlines()[4:]
        if row.startswith("| `")
        for word in re.findall("`([^`]+)`", row.split("|")[1])
    }

    assert documented.keys() == SPELLINGS.keys() - set(RESERVED)
    for spelling, meaning in documented.items():
        assert all(f"`{selector.name}`" in meaning for selector in SPELLINGS[spelling]), spelling


def test_the_documented_tables_are_read() -> None:
    """With the names they use, and with the aliases the page shows."""
    text = (ROOT / "docs" / "allowlist.md").read_text(encoding="utf-8")
    (page,) = re.findall(r"```markdown\n(.*?)```", text, re.DOTALL)
    (aliases,) = re.findall(r"```yaml\n(aliases:.*?)```", text, re.DOTALL)
    names = NATIVE.partition("aliases:")[0].replace(
        "  argo:\n", "    volume: {a: b}\n  kube-system: {coredns: {a: b}}\n  argo:\n"
    )
    found = read_markdown(page, "page.md", names_of(names + aliases))

    assert found.problems == ()
    assert [rule.title for rule in found.rules] == [
        "monitoring/grafana → database/shared-pg:5432/TCP",
        "database/shared-pg → cloudflare-r2:443/TCP",
        "pods → kube-system/coredns:53/UDP,53/TCP",
        "ingress → monitoring/grafana:3000/TCP",
        "monitoring/prometheus → monitoring/grafana:3000/TCP",
        "monitoring/grafana → kube-apiserver:6443/TCP",
        "monitoring/prometheus → host, remote-node:9100/TCP,10250/TCP",
    ]


# ------------------------------------------------------------------ ports


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5432", "5432/TCP"),
        ("8080/TCP", "8080/TCP"),
        ("53 (UDP/TCP)", "53/UDP 53/TCP"),
        ("53/TCP+UDP", "53/TCP 53/UDP"),
        ("53 (TCP and UDP)", "53/TCP 53/UDP"),
        ("53/ANY", "53/ANY"),
        ("9333/19333", "9333/TCP 19333/TCP"),
        ("443/7844 (TCP), 7844 (UDP)", "443/TCP 7844/TCP 7844/UDP"),
        ("443/TCP/7844/UDP", "443/TCP 7844/UDP"),
        ("443/TCP, 7844/UDP and 80", "443/TCP 7844/UDP 80/TCP"),
        ("443 TCP", "443/TCP"),
        ("2379–2381", "2379-2381/TCP"),
        ("8200 (HTTP)", "8200/TCP"),
        ("Any", "any"),
        ("any (TCP)", "1-65535/TCP"),
        ("icmp/8", "ICMP/8"),
        ("ICMPv6 + 443", "ICMPV6 443/TCP"),
    ],
)  # fmt: skip
def test_ports_are_read(text: str, meant: str) -> None:
    """A number alone is TCP; protocols stand behind their numbers or in brackets."""
    assert " ".join(read_ports(text)[0].texts) == meant


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected ports such as "),
        ("Platform-dependent", "expected ports such as "),
        ("TCP/443", "expected ports such as "),
        ("70000", "expected a port from 1 to 65535, not `70000`"),
        ("0", "expected ports such as "),
        ("90-80", "the range ends before it begins"),
        ("53//54", "expected ports such as "),
        ("icmp/256", "expected an ICMP type from 0 to 255"),
        ("http", "expected ports such as "),
        ("4٣", "expected ports such as "),
    ],
)
def test_ports_that_are_none_are_refused(text: str, complaint: str) -> None:
    """Whatever is not certainly a port is a problem with the cell."""
    with pytest.raises(Unreadable, match=complaint.replace("`", ".")):
        read_ports(text)
    (problem,) = read(path("grafana", port=text)).problems

    assert (problem.line, problem.field) == (3, "Port")


# ------------------------------------------------------------------ components


@pytest.mark.parametrize(
    ("ingress", "egress", "meant"),
    [
        ("ingress, loki → 80", "(none)", ["ingress, monitoring/loki → monitoring/grafana:80/TCP"]),
        ("ingress -> 80 (L7 HTTP); host → 81", "-", ["ingress → ", "host → "]),
        ("loki (logging)/host → 80/81", "none", ["logging/loki, host → monitoring/grafana:80/TCP,81/TCP"]),
        ("(deny world)", "deny world", []),
        ("", "kube-apiserver", ["monitoring/grafana → kube-apiserver:any"]),
        ("", "loki:80/81, shared-pg (database):5433 (state)", ["monitoring/grafana → monitoring/loki:80/TCP,81/TCP",
         "monitoring/grafana → database/shared-pg:5433/TCP"]),
        ("", "loki (logging)", ["monitoring/grafana → logging/loki:any"]),
        ("", "a.com + {b,c}.d.com :443", ["monitoring/grafana → a.com, b.d.com, c.d.com:443/TCP"]),
        ("", "self:7946 (memberlist)", ["monitoring/grafana → self:7946/TCP"]),
        ("grafana (self) → 7946", "", ["self → monitoring/grafana:7946/TCP"]),
        ("", "public DNS 53 (UDP)", ["monitoring/grafana → public-dns:53/UDP"]),
        ("", "NAS (10.0.0.1):2049 (NFS)", ["monitoring/grafana → NAS:2049/TCP"]),
        ("", "10.0.0.1:80 (NAS)", ["monitoring/grafana → 10.0.0.1:80/TCP"]),
        ("", "[2001:db8::1]:80", ["monitoring/grafana → 2001:db8::1:80/TCP"]),
        ("", "2001:db8::/32", ["monitoring/grafana → 2001:db8::/32:any"]),
        ("", "0.0.0.0/0:443 — too many (S3, R2) to name, HTTPS only", ["monitoring/grafana → 0.0.0.0/0:443/TCP"]),
        ("", "operator:80", ["monitoring/grafana → monitoring/prometheus-operator:80/TCP"]),
    ],
)  # fmt: skip
def test_what_a_component_may(ingress: str, egress: str, meant: list[str]) -> None:
    """Names of the table's own namespace stand alone; ports follow an arrow, a colon or a space."""
    found = titles(component("**grafana** (Deployment)", ingress, egress) + CROSS)[6:]

    assert len(found) == len(meant)
    assert all(title.startswith(start) for title, start in zip(found, meant, strict=True))


@pytest.mark.parametrize(
    ("name", "ingress", "egress", "column", "complaint"),
    [
        ("graphana", "", "", "Component", "nothing is named `graphana`"),
        ("loki (monitorng)", "", "", "", ""),
        ("loki (database)", "", "", "Component", "nothing is named `loki (database)`"),
        ("host", "", "", "Component", "expected one workload, and `host` is something else"),
        ("loki", "nobody → 80", "", "Ingress", "nothing is named `nobody`"),
        ("loki", "grafana → 80 → 81", "", "Ingress", "`grafana → 80 → 81` has more than one arrow"),
        ("loki", "grafana → http", "", "Ingress", "expected ports such as"),
        ("loki", "", "grafana:http", "Egress", "expected ports such as"),
        ("loki", "grafana → 80; deny world", "", "Ingress", "`deny world` denies, and a table declares"),
        ("loki", "grafana (self) → 80", "", "Ingress", "`grafana` is not `monitoring/loki`, whose row this is"),
        ("loki", "", "HTTPS 443", "Egress", "nothing is named `HTTPS`"),
        ("loki", "", "grafana:80 (until 2027-02-30)", "Egress", "`2027-02-30` is no day of the calendar"),
    ],
)
def test_a_broken_row_of_a_component_is_told(name: str, ingress: str, egress: str, column: str, complaint: str) -> None:
    """The problem names the cell; brackets that name no namespace are a remark."""
    found = read(component(name, ingress, egress) + CROSS)

    assert [(one.line, one.field) for one in found.problems] == ([(5, column)] if column else [])
    assert all(problem.message.startswith(complaint) for problem in found.problems)


def test_a_path_that_both_ends_tell_is_declared_as_far_as_both_let_it_pass() -> None:
    """The narrower of the two counts, once; what only one end tells is declared as it is told."""
    text = """\
## monitoring
| Component | Ingress | Egress |
|---|---|---|
| grafana | (none) | loki:80/81, prometheus, prometheus-operator:1 |
| loki | grafana → 81/82 | self:7946 |
| prometheus | grafana, loki → 9090 | (none) |
| prometheus-operator | grafana → 2 | (none) |
"""

    assert titles(text) == [
        "monitoring/grafana → monitoring/loki:81/TCP",
        "monitoring/grafana → monitoring/prometheus:9090/TCP",
        "monitoring/loki → self:7946/TCP",
        "monitoring/loki → monitoring/prometheus:9090/TCP",
    ]


def test_what_other_tables_declare_is_not_declared_again() -> None:
    """A component's row that repeats a path adds no rule, unless it holds for longer."""
    text = CROSS + component("grafana", egress="shared-pg (database):5432/5433")
    until = path("grafana").replace("Purpose |", "Purpose | Expires |").replace("---|\n", "---|---|\n")
    until = until.replace("why |", "why | 2027-01-01 |")

    assert titles(text)[6:] == ["monitoring/grafana → database/shared-pg:5433/TCP"]
    assert len(titles(until + "\n" + component("grafana", egress="shared-pg (database):1 (until 2026-12-31)"))) == 1
    assert len(titles(until + "\n" + component("grafana", egress="shared-pg (database):1"))) == 2


@pytest.mark.parametrize("heading", ["monitoring (2 policies)", "Namespace monitoring", "`monitoring` namespace"])
def test_the_heading_names_the_namespace(heading: str) -> None:
    """Above the component's table, with or without the word, perhaps with another heading between."""
    text = component("loki", egress="grafana:80", heading=f"{heading}\n### Components")

    assert titles(text) == ["monitoring/loki → monitoring/grafana:80/TCP"]


def test_without_such_a_heading_a_component_must_be_the_only_one_of_its_name() -> None:
    """Otherwise its brackets have to hold the namespace."""
    text = component("loki", egress="host:80", heading="Components")
    (problem,) = read(text).problems

    assert problem.message == "`loki` may mean `monitoring/loki` or `logging/loki`"
    assert problem.hint == "put the table below a heading with the name of the namespace"
    assert titles(text.replace("| loki |", "| loki (logging) |")) == ["logging/loki → host:80/TCP"]


# ------------------------------------------------------------------ tables about one workload


ONE_SIDED = """\
# Network security

## {}

=== ":material-login: Ingress (Incoming)"

    | Source | Port | Reason |
    | :--- | :--- | :--- |
    | **Prometheus** | `8200` (HTTP) | Required for **scrapes**. |

### Egress

| Destination | Typical port | Why it exists |
|---|---|---|
| Kubernetes API | 443 | service registration |
| CoreDNS | 53/TCP+UDP | names |
"""


def test_a_table_with_one_end_is_about_the_workload_of_its_heading() -> None:
    """By name, by alias, or for a namespace by all of its pods; the nearest heading that names pods counts."""
    for heading, subject in (
        ("Traffic rules", "monitoring/grafana"),
        ("loki (monitoring)", "monitoring/loki"),
        ("database (1 policy)", "database/*"),
    ):
        text = ONE_SIDED.format(heading).replace("CoreDNS", "Public DNS")
        assert titles(text) == [
            f"monitoring/prometheus → {subject}:8200/TCP",
            f"{subject} → kube-apiserver:443/TCP",
            f"{subject} → public-dns:53/TCP,53/UDP",
        ]
    assert read(ONE_SIDED.format("loki (logging)")).problems[0].message == "nothing is named `CoreDNS`"


def test_a_table_with_one_end_and_no_workload_is_a_problem() -> None:
    """It would declare something, and nobody can say for whom."""
    found = read(ONE_SIDED.format("Rules"))

    assert [problem.line for problem in found.problems] == [7, 13]
    assert found.problems[0].message.startswith("nothing says whose paths these are")


# ------------------------------------------------------------------ what is a table, and what is none


def test_tables_that_declare_nothing_are_counted() -> None:
    """They are listed with their headers, and nothing in them matters."""
    found = read(CROSS + "\n| Namespace | Pod | Reason |\n|---|---|---|\n| x | y |\n\na | b\n")

    assert len(found.rules) == 6
    assert found.ignored == ("network.md:14: Namespace | Pod | Reason",)


def test_what_a_reader_does_not_see_declares_nothing() -> None:
    """Code blocks, comments and front matter are left out; a row commented out does not end its table."""
    row = "| Loki (logging) | shared-pg (database) | 1 | no |"
    hidden = [
        f"---\ntitle: x\n{row}\n---\n{CROSS}",
        f"{CROSS}<!-- {row} -->\n",
        CROSS.replace("| Loki", f"<!-- {row}\n{row}\n-->\n| Loki"),
        f"{CROSS}\n```\n{path('nobody')}```\n",
        f"{CROSS}\n    ~~~~ text\n{path('nobody')}~~~\n{path('nobody')}~~~~\n",
    ]

    assert all(len(titles(text)) == 6 for text in hidden)


def test_what_a_reader_sees_declares_something_wherever_it_stands() -> None:
    """In quotations, indented, without outer bars, with escaped bars, entities and carriage returns."""
    for text in (
        "".join(f"> {line}\n" for line in path("grafana").splitlines()),
        "".join(f"    {line}\n" for line in path("grafana").splitlines()),
        path("grafana", reason="a \\| b").replace("\n|", "\n").replace("|\n", "\n"),
        path("&#103;rafana").replace("\n", "\r\n"),
        "text\n" + path("`grafana`") + "text\n",
    ):
        assert titles(text) == ["monitoring/grafana → database/shared-pg:1/TCP"]


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        (path("grafana").replace("| why |", "|"), 3, "the row has 3 cells, and the header has 4"),
        (path("grafana", reason="a | b"), 3, "the row has 5 cells, and the header has 4\n"),
        (path("grafana", reason=""), 3, "Purpose: expected why the path is needed, in words"),
        (path("grafana").replace("---|---|---|---", "---|---"), 1, "this header has no line of dashes below it\n"),
        (path("grafana").replace("Purpose", "Notes"), 1, "a column `Purpose` or `Reason` is missing"),
        (path("grafana").replace("Purpose |", "Why | From |").replace("---|\n", "---|---|\n"), 1,
         "`From` and `From` are the same column"),
        (path("grafana") + "and\n| loki | loki | 1 | why |\n", 5, "this row belongs to no table\n"),
        (path("grafana") + "\n| loki | loki | 1 | why |\n", 5, "this row belongs to no table\n"),
        (path("host", "self"), 3, "To: `self` needs a workload at the other end"),
        ("# Nothing\n", 0, "this declares nothing; expected a table with rows"),
        ("| From | To | Port | Purpose |\n|---|---|---|---|\n", 0, "this declares nothing; expected a table"),
        ("x" * 1_000_001, 0, "the file is longer than 1000000 characters"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_told(text: str, line: int, complaint: str) -> None:
    """Nothing that was meant to declare something is left out in silence."""
    (problem,) = read(text).problems
    place = f"network.md:{line}: " if line else "network.md: "
    said = str(problem).replace(f"\n       {line} | {problem.text}", "") + "\n"

    assert said.startswith(place + complaint)


@pytest.mark.parametrize(
    ("column", "text", "complaint"),
    [
        ("Expires", "soon", "expected a day such as `2027-03-31`, not `soon`"),
        ("Transport", "encryptd", "expected `encrypted` or `authenticated`, not `encryptd`"),
        ("Condition", "not ready", "expected the name of a condition"),
    ],
)
def test_a_broken_optional_column_is_told(column: str, text: str, complaint: str) -> None:
    """It would change what the row declares."""
    written = path("grafana").replace("Purpose |", f"Purpose | {column} |").replace("---|\n", "---|---|\n")
    (problem,) = read(written.replace("why |", f"why | {text} |")).problems

    assert (problem.field, problem.line) == (column, 3)
    assert problem.message.startswith(complaint)


def test_transport_needs_both_ends_in_the_cluster() -> None:
    """As in the native format."""
    text = path("grafana", "world").replace("Purpose |", "Purpose | Transport |").replace("---|\n", "---|---|\n")
    (problem,) = read(text.replace("why |", "why | encrypted |")).problems

    assert problem.message.startswith("Cilium encrypts and authenticates within the cluster")


def test_there_is_an_end_to_problems() -> None:
    """A document full of nonsense is given up, not read to its end."""
    found = read(path("grafana") + "| nobody | nobody | x | y |\n" * 1_000)

    assert len(found.problems) == MOST_PROBLEMS + 1
    assert "the rest is not read" in found.problems[-1].message


@pytest.mark.parametrize(
    ("cell", "meant"),
    [
        ("**a** and __b__", "a and b"),
        ("_a b_", "a b"),
        ("*.a.com + *.b.com", "*.a.com + *.b.com"),
        ("**.a.com + **.b.com", "**.a.com + **.b.com"),
        ("my__odd__name", "my__odd__name"),
        ("`**a**` \\*b\\* `` ` ``", "**a** *b* `"),
        ("[a](b) ![c](d \"e\") <b>f</b>", "a c f"),
        ("a &lt; b &amp;&amp; c", "a < b && c"),
        ("` unclosed", "` unclosed"),
        ("\ue02a\ufffd", "\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_markup_is_not_part_of_a_cell(cell: str, meant: str) -> None:
    """What a reader sees counts; wildcards are no emphasis."""
    assert plain(cell) == meant


def test_headings_nest() -> None:
    """Underlined ones as well; a table knows all that it stands below."""
    text = "A\n=\n## B ##\n### C\n\n## D\n\nE\n---\n| a | b |\n|-|-|\n| 1 | 2 |\n"

    assert [table.headings for table in tables_of(text)] == [("A", "E")]


# ------------------------------------------------------------------ files


def test_a_page_that_is_named_is_read_and_a_directory_reads_none(tmp_path: Path) -> None:
    """README files next to an allowlist declare nothing by themselves."""
    (tmp_path / "allowlist.yaml").write_text(NATIVE)
    (tmp_path / "network.md").write_text(CROSS + "\n| A | B |\n|---|---|\n")

    alone = load([tmp_path], NOW)
    both = load([tmp_path, tmp_path / "network.md"], NOW)

    assert len(alone.rules) == 0
    assert [rule.id for rule in both.rules] == list(range(6))
    assert both.rules[0].place == f"{tmp_path / 'network.md'}:7"
    judged = both.judge(
        edge(pod("monitoring", "grafana"), pod("database", "x", {"cnpg.io/cluster": "shared-pg"}), 5432), NOW
    )
    assert judged.declared is Declared.YES
    assert judged.reason.endswith("network.md:7): Dashboard state")


def test_native_problems_come_before_those_of_a_page(tmp_path: Path) -> None:
    """What a broken document would have defined is no problem of the page."""
    (tmp_path / "a.yaml").write_text(NATIVE.replace("{app: grafana}", "[]"))
    (tmp_path / "b.md").write_text(CROSS)

    with pytest.raises(AllowlistError) as raised:
        load([tmp_path / "b.md", tmp_path / "a.yaml"], NOW)

    assert [Path(problem.file).name for problem in raised.value.problems] == ["a.yaml"]


def test_pages_alone_are_an_allowlist(tmp_path: Path) -> None:
    """As far as they name entities and what is outside; everything else has no name."""
    page = tmp_path / "page.TXT"
    page.write_text(path("ingress", "10.0.0.0/8"))

    assert [rule.title for rule in load([page], NOW).rules] == ["ingress → 10.0.0.0/8:1/TCP"]
    page.write_text(path("grafana", "ingress"))
    with pytest.raises(AllowlistError, match="nothing is named `grafana`"):
        load([page], NOW)


# ------------------------------------------------------------------ the documentation of a cluster

# What the page of the homelab calls peers, beyond the names that its allowlist gives them.
HOMELAB_ALIASES = """\
---
apiVersion: flowwatch/v1
kind: Allowlist
aliases:
  SeaweedFS: [seaweedfs/master, seaweedfs/volume, seaweedfs/filer]
  PXE sync pods: argo/pxe-sync
  sensors (tofu-cloudflare, upgrade-k8s, pxe-sync): argo/sensor
  sensors (tofu-cloudflare, upgrade-k8s, pxe-sync, talos-build): argo/sensor
  app-controller (argocd): argocd/application-controller
  operator (monitoring): monitoring/prometheus-operator
  external DNS: public-dns
  HTTPS: {cidr: [0.0.0.0/0, "::/0"]}
"""


def homelab() -> tuple[Declaration, Names]:
    """The native example, and the names of it and of its page."""
    text = (ROOT / "examples" / "homelab" / "allowlist.yaml").read_text() + HOMELAB_ALIASES
    problems: list[Problem] = []
    vocabulary = Vocabulary(problems)
    declaration = native.read(load_documents(text, "allowlist.yaml").documents, problems, vocabulary)
    assert problems == []
    return declaration, Names(vocabulary.workloads, vocabulary.externals, vocabulary.aliases)


needs_seed = pytest.mark.skipif(not SEED.is_file(), reason="there is no folder shared/seeds beside the checkout")
needs_topology = pytest.mark.skipif(
    not TOPOLOGY.is_file(), reason="there is no folder shared/data/simulated beside the checkout"
)


@needs_seed
def test_the_page_of_a_cluster_is_read_whole() -> None:
    """Every row of every table that declares something, all 22 of the cross-namespace table among them."""
    _, names = homelab()
    found = read_markdown(SEED.read_text(), "network.md", names)
    cross = [rule for rule in found.rules if 21 <= rule.line <= 42]

    assert found.problems == ()
    assert [header.partition(": ")[2] for header in found.ignored] == [
        "Policy | Selector | Egress",
        "Namespace | Pod | Reason",
    ]
    assert [rule.line for rule in cross] == list(range(21, 43))
    assert cross[-1].title == "database/shared-pg → cloudflare-r2:443/TCP"


@needs_seed
@needs_topology
def test_the_page_of_a_cluster_declares_what_its_native_allowlist_declares() -> None:
    """Between all documented pods, the ingress proxy and the nodes, on every TCP port that either names."""
    declaration, names = homelab()
    page = read_markdown(SEED.read_text(), "network.md", names)
    by_hand, by_page = Allowlist(declaration, NOW), Allowlist(Declaration(page.rules), NOW)
    pods = [one for one in json.loads(TOPOLOGY.read_text()) if one["documented"] and not one["host_network"]]
    peers = [
        Peer(Identity(Kind.POD, "default", one["namespace"], tuple(sorted(one["labels"]))), one["workload"])
        for one in pods
    ]
    callers = [*peers, entity(Kind.INGRESS), entity(Kind.REMOTE_NODE), entity(Kind.KUBE_APISERVER)]
    every = [rule for rule in (*declaration.rules, *page.rules) if not isinstance(rule.destinations[0], External)]
    ports = {span.first for rule in every for span in rule.ports.ranges}
    differing = [
        str(one)
        for one in (edge(source, to, port) for source, to, port in product(callers, peers, ports))
        if by_hand.judge(one, NOW).declared is not by_page.judge(one, NOW).declared
    ]

    # The page has DNS for every pod in a table of clusterwide policies, which declares nothing here.
    assert [one for one in differing if not one.endswith("kube-system/coredns:53/TCP")] == []


# ------------------------------------------------------------------ hostile input

PIECES = st.sampled_from(
    ["|", "\\|", "---", "|---|---|---|---|\n", "\n", "\n\n", "# ", "## monitoring\n", "`", "```\n", "<!--", "-->", "**",
     "(", ")", "{a,b}", "[", "]", " → ", "->", ":", ";", ", ", " + ", "/", "grafana", "Loki (monitoring)", "self",
     "host", "&#" + "9" * 5_000 + ";",
     "53 (UDP/TCP)", "443", "any", "*.a.com", "10.0.0.0/8", "2001:db8::/32", "deny world", "(none)", "—", " — ", "\\",
     "| From | To | Port | Purpose |\n", "| Component | Ingress | Egress |\n|---|---|---|\n", "&#124;", "<br>", "\x00",
     "| Source | Port | Reason |\n|---|---|---|\n", "> ", "    ", "until 2027-01-01", "icmp/8", "::", "argo/{a=b}"]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=60).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the reader raise, and every problem names the document and a line of it."""
    found = read(text)
    lines = text.splitlines()

    assert found.rules or found.problems
    assert all(problem.file == "network.md" and 0 <= problem.line <= len(lines) for problem in found.problems)
    for rule in found.rules:
        assert rule.sources
        assert rule.destinations
        assert rule.reason
        assert rule.ports.ranges or rule.ports.everything
    Allowlist(Declaration(found.rules), NOW)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["From", "To", "Port", "Ingress", "Egress", "Component"]), st.one_of(st.text(), PIECES))
def test_any_cell_is_understood_or_told(column: str, cell: str) -> None:
    """A row is never left out in silence: it declares something, denies, or is a problem."""
    cell = cell.replace("|", "").replace("\n", " ").replace("\\", "").replace("<!--", "")
    if cell.splitlines() != ([cell] if cell else []):
        return
    if column in ("From", "To", "Port"):
        cells = {"From": "grafana", "To": "prometheus", "Port": "80", column: cell}
        found = read(path(cells["From"], cells["To"], cells["Port"]))
        assert bool(found.rules) is not bool(found.problems)
    else:
        cells = {"Component": "grafana", "Ingress": "", "Egress": "", column: cell}
        read(component(cells["Component"], cells["Ingress"], cells["Egress"]) + CROSS)


def repeated(part: str, room: int) -> str:
    """As many of a part as there is room for."""
    return part * (room // len(part))


def ticks(room: int) -> str:
    """A row with a run of ticks that only a shorter one follows."""
    return "| " + "`" * (room // 2) + "a" + "`" * (room // 2 - 1) + " |\n"


HOSTILE: list[Callable[[int], str]] = [
    lambda room: "(" * room,
    lambda room: "|" * room,
    lambda room: "`" * (room // 2) + "|\n" + repeated("` `` ", room // 2) + "|\n",
    lambda room: "| " + repeated("` `` ", room) + "|\n",
    lambda room: "| " + repeated("`a``b``` ", room) + "|\n",
    ticks,
    lambda room: ticks(room // 50) * 50,
    lambda room: "<!--" * (room // 4),
    lambda room: path("grafana", reason=repeated("**a ", room)),
    lambda room: path("grafana", reason=repeated("**a ", room // 10)) * 10,
    lambda room: path("grafana", reason="[" * room),
    lambda room: path("grafana", reason="[" * (room // 10)) * 10,
    lambda room: path(repeated("{a,b}", room)),
    lambda room: path(repeated("((((", room)),
    lambda room: path(repeated("grafana, ", room) + "grafana"),
    lambda room: path(repeated("a/", room)),
    lambda room: component("grafana", egress=repeated("a + ", room)),
    lambda room: component("grafana", egress=repeated("self:1; ", room)),
    lambda room: "\n".join(f"{'#' * (at % 6 + 1)} {at}" for at in range(room // 11)),
    lambda room: repeated("| a | b |\n|---|---|\n", room),
    lambda room: repeated("a\n| b |\n", room),
]
"""Texts of about so many characters in which something repeats without end."""


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_cost_in_proportion_to_their_length(hostile: Callable[[int], str]) -> None:
    """Whatever repeats without end costs twice as much when it is twice as long, or is cut off."""
    once, twice = hostile(10_000), hostile(20_000)
    read(once)  # what the first text ever costs is no part of it

    assert effort(lambda: read(twice)) < TWICE * effort(lambda: read(once))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_do_not_hang(hostile: Callable[[int], str]) -> None:
    """Nor does an expression try everything anew from each character of the longest text there may be."""
    text = hostile(MAX_CHARACTERS - 1_000)
    assert MAX_CHARACTERS // 2 < len(text) <= MAX_CHARACTERS

    with hang_guard():
        read(text)


def test_the_same_peer_of_two_rows_is_one() -> None:
    """A peer that a table spells out equals itself, so that the judge holds it once."""
    row = "| loki (logging) | GitHub.com | 1 | why |\n"
    found = read(path("grafana", "github.com") + row)

    assert found.rules[0].destinations == found.rules[1].destinations == (External("github.com", ("github.com",)),)
