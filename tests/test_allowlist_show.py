"""An allowlist is shown as it was read: as tables, as a diagram, as JSON, and as Markdown that reads back the same."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.allowlist import Allowlist, load, native
from flowwatch.allowlist.markdown import read_markdown
from flowwatch.allowlist.names import Names
from flowwatch.allowlist.rules import Declaration, External, Pods, PortSet, Rule
from flowwatch.allowlist.show import View, as_json, namespaces_of, view
from flowwatch.allowlist.show_command import show
from flowwatch.allowlist.show_mermaid import as_mermaid
from flowwatch.allowlist.show_tables import as_markdown, as_table
from flowwatch.allowlist.vocabulary import Vocabulary
from flowwatch.errors import AllowlistError, Problem
from flowwatch.model import Edge, Kind, Protocol
from flowwatch.yamlmarks import load_documents
from tests.support.peers import entity, pod, world

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC).timestamp()
ROOT = Path(__file__).resolve().parents[1]
HOMELAB = ROOT / "examples" / "homelab" / "allowlist.yaml"

HEAD = """\
apiVersion: flowwatch/v1
kind: Allowlist
workloads:
  monitoring:
    loki: {app: loki}
    grafana: {app: grafana}
    host: {app: host}
  seaweedfs:
    filer: {app: filer}
externals:
  discord: {fqdn: [discord.com, "*.discord.com"]}
  nas: {cidr: [10.0.0.0/8], except: [10.1.0.0/16, 10.2.0.0/16]}
"""

SMALL = (
    HEAD
    + """\
governs: [monitoring]
rules:
  - {from: monitoring/loki, to: [filer, self], ports: [8333, 7946], reason: "S3 storage | memberlist", owner: platform}
  - {from: ingress, to: grafana, ports: 3000, reason: the web interface}
  - {from: grafana, to: discord, ports: [443/TCP, 443/UDP], reason: alerts, expires: 2027-03-31}
  - {from: grafana, to: nas, ports: any, reason: over, expires: 2026-09-30}
"""
)


def allowlist(text: str = SMALL) -> tuple[Declaration, Names]:
    """What a native text declares, and its names."""
    problems: list[Problem] = []
    vocabulary = Vocabulary(problems)
    declaration = native.read(load_documents(text, "allowlist.yaml").documents, problems, vocabulary)
    assert problems == []
    return declaration, Names(vocabulary.workloads, vocabulary.externals, vocabulary.aliases)


def shown(text: str = SMALL, namespace: str = "") -> View:
    """What is shown of a native text."""
    declaration, _ = allowlist(text)
    return view(declaration.rules, declaration.governs, NOW, namespace)


def run(*arguments: str | Path) -> Result:
    """The command's outcome."""
    return CliRunner().invoke(show, [str(argument) for argument in arguments])


# ------------------------------------------------------------------ tables

TABLE = """\
4 rules, 1 expired; governs monitoring

Cross-namespace communication

From (namespace)    To (namespace)      Port       Purpose                   Owner
─────────────────────────────────────────────────────────────────────────────────────
loki (monitoring)   filer (seaweedfs)   8333/TCP   S3 storage | memberlist   platform
                    self                7946/TCP

External destinations

From (namespace)       To (namespace)       Port      Purpose   Expires
──────────────────────────────────────────────────────────────────────────
grafana (monitoring)   discord (external)   443/TCP   alerts    2027-03-31
                                            443/UDP
grafana (monitoring)   nas (external)       any       over      2026-09-30

Nodes, ingress and the API server

From (namespace)   To (namespace)         Port       Purpose
──────────────────────────────────────────────────────────────────────
ingress            grafana (monitoring)   3000/TCP   the web interface

monitoring (2 components)

Component   Ingress            Egress
────────────────────────────────────────────────────────────────────────────────────
loki        self → 8333/7946   filer (seaweedfs) + self:8333/7946
grafana     ingress → 3000     discord (external):443/TCP+443/UDP (until 2027-03-31)

seaweedfs (1 component)

Component   Ingress                         Egress
──────────────────────────────────────────────────
filer       loki (monitoring) → 8333/7946   (none)
"""


def test_the_tables_of_a_terminal() -> None:
    """Every rule once with its reason, then every component with what it may; what is over declares nothing."""
    assert as_table(shown()) + "\n" == TABLE


def test_the_tables_fit_the_terminal() -> None:
    """Cells are folded, never cut."""
    narrow = as_table(shown(), 60)

    assert max(map(len, narrow.splitlines())) <= 60
    assert "memberlist" in narrow


def test_control_characters_are_not_printed() -> None:
    """A reason cannot move the cursor or change colours."""
    told = as_table(shown(SMALL.replace("the web interface", '"\\e[31mred [bold]x[/bold]"')))

    assert "\x1b" not in told
    assert "\\x1b[31mred [bold]x[/bold]" in told


# ------------------------------------------------------------------ Markdown

MARKDOWN = """\
# Allowlist

4 rules, 1 expired; governs monitoring.

## Cross-namespace communication

| From (namespace) | To (namespace) | Port | Purpose | Owner |
| --- | --- | --- | --- | --- |
| loki (monitoring) | filer (seaweedfs), self | 8333/TCP, 7946/TCP | S3 storage \\| memberlist | platform |

## External destinations

| From (namespace) | To (namespace) | Port | Purpose | Expires |
| --- | --- | --- | --- | --- |
| grafana (monitoring) | discord (external) | 443/TCP, 443/UDP | alerts | 2027-03-31 |
| grafana (monitoring) | nas (external) | any | over | 2026-09-30 |

## Nodes, ingress and the API server

| From (namespace) | To (namespace) | Port | Purpose |
| --- | --- | --- | --- |
| ingress | grafana (monitoring) | 3000/TCP | the web interface |

## monitoring (2 components)

| Component | Ingress | Egress |
| --- | --- | --- |
| **loki** | self → 8333/7946 | filer (seaweedfs) + self:8333/7946 |
| **grafana** | ingress → 3000 | discord (external):443/TCP+443/UDP (until 2027-03-31) |

## seaweedfs (1 component)

| Component | Ingress | Egress |
| --- | --- | --- |
| **filer** | loki (monitoring) → 8333/7946 | (none) |"""


def test_the_markdown_of_an_allowlist() -> None:
    """The same tables, in the form in which people write them."""
    assert as_markdown(shown()) == MARKDOWN


def reread(text: str) -> tuple[Declaration, Declaration]:
    """What a native text declares, and what its Markdown declares beside the same names."""
    declaration, names = allowlist(text)
    written = as_markdown(view(declaration.rules, declaration.governs, NOW))
    found = read_markdown(written, "allowlist.md", names)
    assert found.problems == (), written
    assert found.ignored == ()
    return declaration, Declaration(found.rules, declaration.governs)


def told(rule: Rule) -> tuple[object, ...]:
    """Everything a rule says, but for its place."""
    return (
        *(rule.sources, rule.destinations, rule.ports, rule.reason),
        *(rule.owner, rule.ticket, rule.expires, rule.transport, rule.conditions),
    )


@pytest.mark.parametrize("text", [SMALL, HOMELAB.read_text()], ids=["small", "homelab"])
def test_markdown_reads_back_as_the_same_rules(text: str) -> None:
    """One for one, whatever order the tables have; what the components repeat adds nothing."""
    before, after = reread(text)

    assert sorted(map(repr, map(told, before.rules))) == sorted(map(repr, map(told, after.rules)))


PEERS = [
    *(pod("monitoring", name) for name in ("loki", "grafana", "host", "other")),
    *(pod("seaweedfs", "filer"), pod("argo", "job", {"stage": "build", "ready": ""}), pod("argo", "x", {"stage": "x"})),
    *(entity(kind) for kind in (Kind.HOST, Kind.REMOTE_NODE, Kind.INGRESS, Kind.KUBE_APISERVER)),
    *(world("10.0.0.1"), world("10.1.0.1"), world("2001:db8::1", labels=("reserved:world-ipv6",))),
    *(world("203.0.113.7", "discord.com"), world("203.0.113.8", "localhost"), world("203.0.113.9", "a.b.io")),
]
SERVICES = [
    *((Protocol.TCP, port) for port in (80, 81, 443, 8333)),
    *((Protocol.UDP, port) for port in (53, 81)),
    *((Protocol.ICMP, 8), (Protocol.ICMPV6, 128), (Protocol.SCTP, 80)),
]
LATER = datetime(2027, 6, 1, tzinfo=UTC).timestamp()


def verdicts(declaration: Declaration) -> list[str]:
    """What an allowlist says of every edge between the peers above, today and later."""
    judge = Allowlist(declaration, NOW)
    edges = [Edge(source, to, *service) for source, to, service in product(PEERS, PEERS, SERVICES)]
    return [f"{edge} {now} {judge.judge(edge, now).declared}" for now in (NOW, LATER) for edge in edges]


def one_or_more(*elements: str) -> st.SearchStrategy[str]:
    """One to three of the elements, as a YAML list."""
    return st.lists(st.sampled_from(elements), min_size=1, max_size=3).map(lambda some: f"[{', '.join(some)}]")


PODS = (
    *("monitoring/loki", "grafana", "monitoring/host", "filer", "monitoring/*", "argo/*", "pods"),
    '{namespace: argo, labels: {stage: build, "k8s:ready": ""}}',
    "{namespace: argo, expressions: [{key: stage, operator: NotIn, values: [x, y]}, {key: ready, operator: Exists}]}",
    "{namespace: monitoring, expressions: [{key: app, operator: In, values: [loki, other]}]}",
    "{namespace: monitoring, expressions: [{key: app, operator: DoesNotExist}]}",
)
OTHERS = (
    *("host", "ingress", "kube-apiserver", "world", "cluster", "all", "discord", "nas"),
    '{fqdn: [localhost, "**.b.io", "*"]}',
    '{fqdn: discord.com, cidr: [10.0.0.0/8, "::/0"], except: [10.1.0.0/16]}',
    '{cidr: ["2001:db8::/32", 10.1.0.0/24]}',
)
PORTS = ("80", "80-81", "443", "8333/TCP", "53/UDP", "81/ANY", "icmp/8", "icmpv6", "80/SCTP", "any")
RULES = st.builds(
    "- {{from: {}, to: {}, ports: {}, reason: {}, {}}}".format,
    one_or_more(*PODS, *OTHERS),
    one_or_more(*PODS, *OTHERS, "self"),
    one_or_more(*PORTS),
    st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" ")).map(
        lambda text: json.dumps(f"{text}.", ensure_ascii=False)
    ),
    st.sampled_from(("owner: me", "expires: 2027-03-31", "expires: 2020-01-01", "condition: Ready")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=5))
def test_markdown_reads_back_with_the_same_meaning(rules: list[str]) -> None:
    """Whatever a native allowlist holds: labels, expressions, ranges with exceptions, single names, days."""
    text = HEAD + "rules:\n" + "\n".join(rules) + "\n"
    try:
        before, after = reread(text)
    except AssertionError:
        # Some of these are no allowlist: `self` with nothing but entities at the other end.
        assert "`self` needs a workload" in str(problems_of(text))
        return

    assert verdicts(before) == verdicts(after)
    assert sorted(rule.reason for rule in before.rules) == sorted(rule.reason for rule in after.rules)


def problems_of(text: str) -> list[Problem]:
    """What is wrong with a native text."""
    problems: list[Problem] = []
    native.read(load_documents(text, "allowlist.yaml").documents, problems)
    return problems


# ------------------------------------------------------------------ the diagram

MERMAID = """\
flowchart LR
    entity_ingress["ingress"]
    external_discord(["discord"])
    subgraph perimeter_monitoring["monitoring"]
        pods_monitoring_grafana["grafana"]
        pods_monitoring_loki["loki"]
    end
    subgraph perimeter_seaweedfs["seaweedfs (not governed)"]
        pods_seaweedfs_filer["filer"]
    end
    entity_ingress -->|"3000/TCP"| pods_monitoring_grafana
    pods_monitoring_grafana -->|"443/TCP, 443/UDP"| external_discord
    pods_monitoring_loki -->|"8333/TCP, 7946/TCP"| pods_monitoring_loki
    pods_monitoring_loki -->|"8333/TCP, 7946/TCP"| pods_seaweedfs_filer
    classDef outside fill:transparent,stroke:#60a5fa,stroke-width:2px;
    classDef inside fill:transparent,stroke:#22c55e,stroke-width:2px;
    class entity_ingress,external_discord outside;
    class pods_monitoring_grafana,pods_monitoring_loki,pods_seaweedfs_filer inside;"""

NODE = re.compile(r'    (    )?(\w+)(\["[^"]+"\]|\(\["[^"]+"\]\))')
ARROW = re.compile(r'    (\w+) -->\|"[^"|]+"\| (\w+)')
OTHER = re.compile(
    r'flowchart LR|    subgraph \w+\["[^"]+"\]|    end|    classDef \w+ [^"]+;|    class [\w,]+ \w+;|    %% [^\n]+'
)


def check_mermaid(text: str) -> None:
    """Every line is a node, an arrow between nodes, or one of the few others; every id is given once."""
    nodes = [found[2] for line in text.splitlines() if (found := NODE.fullmatch(line))]
    for line in text.splitlines():
        arrow = ARROW.fullmatch(line)
        assert arrow or NODE.fullmatch(line) or OTHER.fullmatch(line), line
        assert not arrow or {arrow[1], arrow[2]} <= set(nodes)
    assert len(set(nodes)) == len(nodes)
    assert text.count("    subgraph ") == text.splitlines().count("    end")


def test_the_diagram_of_an_allowlist() -> None:
    """Perimeters with their components, everything else around them, arrows with ports; what is over is left out."""
    assert as_mermaid(shown()) == MERMAID
    check_mermaid(MERMAID)


def test_the_diagram_does_not_depend_on_the_order_of_the_rules() -> None:
    """As long as no two rules tell ports of one path."""
    declaration, _ = allowlist()

    assert as_mermaid(view(declaration.rules[::-1], declaration.governs, NOW)) == MERMAID


def test_the_diagram_of_one_namespace() -> None:
    """Only what its pods reach, and what reaches them."""
    drawn = as_mermaid(shown(namespace="seaweedfs"))

    assert ARROW.findall(drawn) == [("pods_monitoring_loki", "pods_seaweedfs_filer")]
    check_mermaid(drawn)


def test_the_diagram_of_the_homelab_is_sound() -> None:
    """All of it, and every namespace of it by itself."""
    declared = load([HOMELAB], NOW)
    for namespace in ("", *namespaces_of(declared.rules, declared.governs)):
        check_mermaid(as_mermaid(view(declared.rules, declared.governs, NOW, namespace)))


def test_nothing_to_draw_is_an_empty_diagram() -> None:
    """And still one."""
    assert as_mermaid(View((), (), None)) == "flowchart LR"


def test_what_would_end_a_label_is_escaped() -> None:
    """Quotes, brackets, bars, hashes and markup are characters of the label; ids that collide are numbered."""
    bad = External('"]; click a "x" | <b>&#35;`', ("a.b",))
    rules = [
        Rule(0, (Pods("a-b/c", "a-b"), Pods("a-b/c", "a-b", ())), (bad,), PortSet(('8"|0',)), ""),
        Rule(1, (Pods("a-b/*", "a-b"), Pods("end", "")), (External("x y (1)", (), ("::/0",)),), PortSet(("any",)), ""),
        Rule(2, (External("x.y!1", ("q",)),), (Pods("a-b", ""),), PortSet(("1\n2", "any")), ""),
    ]
    drawn = as_mermaid(view(rules, None, NOW))

    check_mermaid(drawn)
    assert "8#34;#124;0" in drawn


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(max_size=3), st.text(min_size=1)), min_size=1, max_size=6))
def test_any_name_can_be_drawn(names: list[tuple[str, str, str]]) -> None:
    """Selectors of other sources may be called anything."""
    rules = [
        Rule(0, (Pods(name, namespace),), (External(text, (text,)), Pods(text, namespace)), PortSet((text,)), name)
        for name, namespace, text in names
    ]
    one = view(rules, None, NOW)

    check_mermaid(as_mermaid(one))
    as_table(one, 80)
    as_markdown(one)
    assert json.loads(as_json(one))["governs"] is None


# ------------------------------------------------------------------ JSON


def test_json_holds_everything() -> None:
    """Selectors, ports, reasons, owners, days and places."""
    told = json.loads(as_json(shown()))
    first, _, third, _ = told["rules"]

    assert told["governs"] == ["monitoring"]
    assert first["from"] == [
        {
            "kind": "pods",
            "text": "loki (monitoring)",
            "name": "monitoring/loki",
            "namespace": "monitoring",
            "requirements": [{"key": "app", "operator": "In", "values": ["loki"], "source": ""}],
        }
    ]
    assert first["to"][1] == {"kind": "self", "text": "self", "name": "self"}
    assert first["ports"]["ranges"][0] == {"protocol": "TCP", "first": 8333, "last": 8333}
    assert (first["reason"], first["owner"], first["file"]) == ("S3 storage | memberlist", "platform", "allowlist.yaml")
    assert first["line"] == SMALL[: SMALL.index("- {from: monitoring/loki")].count("\n") + 1
    assert third["expires"] == "2027-03-31"
    assert third["to"][0]["patterns"] == ["discord.com", "*.discord.com"]


# ------------------------------------------------------------------ rules that do not tell their ends


class Policy(Rule):
    """A rule that goes by a title of its own."""

    @property
    def title(self) -> str:
        """The policy."""
        return f"NetworkPolicy:{self.reason}"


def test_a_rule_without_ends_is_shown_by_its_title() -> None:
    """In tables of its own, which declare nothing when they are read back, and beside the diagram."""
    rules = [Policy(0, (), (), PortSet(()), "web/a|b", file="p.yaml", line=3), *allowlist()[0].rules]
    everything = view(rules, None, NOW)

    assert "NetworkPolicy:web/a|b   p.yaml:3   web/a|b" in as_table(everything)
    assert "| `NetworkPolicy:web/a\\|b` | p.yaml:3 | web/a\\|b |" in as_markdown(everything)
    assert as_mermaid(everything).endswith("    %% not drawn: NetworkPolicy:web/a|b (p.yaml:3)")
    assert json.loads(as_json(everything))["rules"][0]["title"] == "NetworkPolicy:web/a|b"
    assert len(read_markdown(as_markdown(everything), "f", allowlist()[1]).ignored) == 1
    assert namespaces_of(rules, None) == ["monitoring", "seaweedfs", "web"]
    assert [rule.title for rule in view(rules, None, NOW, "web").rules] == ["NetworkPolicy:web/a|b"]
    assert view(rules, None, NOW, "seaweedfs").untold() == []


# ------------------------------------------------------------------ one namespace, and the command


def test_one_namespace_is_what_its_pods_reach_and_what_reaches_them() -> None:
    """Other ends of the same rules, and other namespaces, are left out."""
    text = HEAD + "rules:\n- {from: [filer, grafana, pods], to: [monitoring/loki, host], ports: 80, reason: x}\n"
    narrow = shown(text, "seaweedfs")

    assert [rule.title for rule in narrow.rules] == ["seaweedfs/filer, pods → monitoring/loki, host:80/TCP"]
    assert list(narrow.perimeters()) == ["seaweedfs", ""]
    assert [rule.title for rule in shown(text, "monitoring").rules] == [
        "monitoring/grafana, pods → monitoring/loki, host:80/TCP",
        "seaweedfs/filer → monitoring/loki:80/TCP",
    ]


@pytest.mark.parametrize("form", ["table", "mermaid", "json", "markdown"])
def test_the_command_prints_every_form(form: str) -> None:
    """Of the whole allowlist and of one namespace."""
    whole, part = run(HOMELAB, "--format", form), run(HOMELAB, "--format", form, "--namespace", "database")

    assert (whole.exit_code, part.exit_code) == (0, 0)
    assert len(part.output) < len(whole.output)
    assert "discord" in whole.output
    assert "discord" not in part.output


def test_the_command_knows_its_namespaces() -> None:
    """A namespace nobody names is an error that offers those that come close."""
    result = run(HOMELAB, "--namespace", "databse")

    assert result.exit_code == 2
    assert "the allowlist names no namespace `databse`; did you mean `database`?" in result.output


def test_the_command_reads_what_it_wrote(tmp_path: Path) -> None:
    """Documentation generated from an allowlist can take the place of its rules: only the order may differ."""
    names = HOMELAB.read_text().partition("\nrules:")[0]
    (tmp_path / "names.yaml").write_text(names)
    (tmp_path / "network.md").write_text(run(HOMELAB, "--format", "markdown").output)

    again = run(tmp_path / "names.yaml", tmp_path / "network.md", "--format", "markdown")

    assert again.exit_code == 0
    before, after = ((tmp_path / "network.md").read_text(), again.output)
    assert sorted(re.split(r"[,;]? |\n", before)) == sorted(re.split(r"[,;]? |\n", after))


def test_the_command_tells_what_is_wrong(tmp_path: Path) -> None:
    """As every command does that reads an allowlist."""
    (tmp_path / "broken.yaml").write_text("kind: Allowlist\n")
    result = run(tmp_path / "broken.yaml")

    assert isinstance(result.exception, AllowlistError)


def test_days_without_end_can_be_shown() -> None:
    """The last possible day is one like any other."""
    text = SMALL.replace("2027-03-31", "9999-12-31")

    assert reread(text)[1].rules[1].expires == date(9999, 12, 31)
