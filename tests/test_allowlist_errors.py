"""What is wrong with an allowlist is said in the reader's words, with the line it is on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowwatch.allowlist import load, parse
from flowwatch.errors import AllowlistError, Problem

NOW = 1_790_812_800.0

GOOD = """\
apiVersion: flowwatch/v1
kind: Allowlist
governs: [monitoring]
workloads:
  monitoring:
    loki: {app: loki}
    grafana: {app: grafana}
  logging:
    loki: {app: loki}
externals:
  discord: {fqdn: [discord.com]}
  nas: {cidr: [10.0.0.0/8], except: [10.1.0.0/16]}
rules:
  - from: grafana
    to: discord
    ports: 443/TCP
    reason: alerts
"""


def problems_of(text: str) -> list[Problem]:
    """The problems of an allowlist."""
    with pytest.raises(AllowlistError) as raised:
        parse(text, "allowlist.yaml", NOW)
    return raised.value.problems


def test_the_text_these_tests_break_is_sound() -> None:
    """Without a change there is nothing to complain about."""
    assert len(parse(GOOD, "allowlist.yaml", NOW).rules) == 1


# (what is replaced, by what, the whole complaint)
BROKEN: list[tuple[str, str, str]] = [
    # The document.
    (
        "apiVersion: flowwatch/v1\n",
        "",
        "allowlist.yaml:1: `apiVersion` is missing; expected `apiVersion: flowwatch/v1`\n       1 | kind: Allowlist",
    ),
    (
        "flowwatch/v1",
        "flowwatch/v2",
        "allowlist.yaml:1: apiVersion: expected `apiVersion: flowwatch/v1`, not text (`flowwatch/v2`)\n"
        "       1 | apiVersion: flowwatch/v2\n    did you mean `flowwatch/v1`?",
    ),
    (
        "kind: Allowlist",
        "kind: CiliumNetworkPolicy",
        "allowlist.yaml:2: kind: expected `kind: Allowlist`, not text (`CiliumNetworkPolicy`)\n"
        "       2 | kind: CiliumNetworkPolicy",
    ),
    (
        "governs:",
        "govern:",
        "allowlist.yaml:3: govern: unknown key `govern`\n       3 | govern: [monitoring]\n    did you mean `governs`?",
    ),
    (
        "[monitoring]",
        "[Monitoring]",
        "allowlist.yaml:3: governs[0]: expected the name of a namespace (lower-case letters, digits and `-`), "
        "not text (`Monitoring`)\n       3 | governs: [Monitoring]",
    ),
    (
        "[monitoring]",
        "['*']",
        "allowlist.yaml:3: governs[0]: expected the name of a namespace (lower-case letters, digits and `-`), "
        "not text (`*`)\n       3 | governs: ['*']\n    leave out `governs` to speak about every namespace",
    ),
    (
        "[monitoring]",
        "[]",
        "allowlist.yaml:3: governs: the list is empty; expected at least one element\n       3 | governs: []",
    ),
    # Workloads and externals.
    (
        "    loki: {app: loki}\n    grafana",
        "    loki: [app]\n    grafana",
        "allowlist.yaml:6: workloads.monitoring.loki: expected labels, such as `{app: web}`, not a list\n"
        "       6 | loki: [app]",
    ),
    (
        "    loki: {app: loki}\n    grafana",
        "    loki: {}\n    grafana",
        "allowlist.yaml:6: workloads.monitoring.loki: expected at least one label\n       6 | loki: {}\n"
        "    write `namespace/*` for every pod of a namespace",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {app: 'gra fana'}",
        "allowlist.yaml:7: workloads.monitoring.grafana.app: `gra fana` cannot be the value of a label: expected "
        "at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at either end\n"
        "       7 | grafana: {app: 'gra fana'}",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {app: }",
        "allowlist.yaml:7: workloads.monitoring.grafana.app: expected the value of a label, not nothing\n"
        "       7 | grafana: {app: }",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {'app name': x}",
        'allowlist.yaml:7: workloads.monitoring.grafana["app name"]: expected a label key such as `app` or `k8s:app`, '
        "not text (`app name`)\n       7 | grafana: {'app name': x}",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {labels: {app: grafana}, namespace: x}",
        "allowlist.yaml:7: workloads.monitoring.grafana.namespace: unknown key `namespace`\n"
        "       7 | grafana: {labels: {app: grafana}, namespace: x}\n    known here: `labels`, `expressions`",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {expressions: [{key: app, operator: Equals}]}",
        "allowlist.yaml:7: workloads.monitoring.grafana.expressions[0].operator: expected one of `In`, `NotIn`, "
        "`Exists`, `DoesNotExist`, not text (`Equals`)\n"
        "       7 | grafana: {expressions: [{key: app, operator: Equals}]}",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {expressions: [{key: app, operator: exists}]}",
        "allowlist.yaml:7: workloads.monitoring.grafana.expressions[0].operator: expected one of `In`, `NotIn`, "
        "`Exists`, `DoesNotExist`, not text (`exists`)\n"
        "       7 | grafana: {expressions: [{key: app, operator: exists}]}\n"
        "    did you mean `Exists`?",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {expressions: [{key: app, operator: In}]}",
        "allowlist.yaml:7: workloads.monitoring.grafana.expressions[0]: `values` is missing; `In` compares with them\n"
        "       7 | grafana: {expressions: [{key: app, operator: In}]}",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {expressions: [{key: app, operator: Exists, values: [a]}]}",
        "allowlist.yaml:7: workloads.monitoring.grafana.expressions[0].values: `Exists` takes no `values`\n"
        "       7 | grafana: {expressions: [{key: app, operator: Exists, values: [a]}]}",
    ),
    (
        "    grafana: {app: grafana}",
        "    grafana: {app: grafana}\n    gra/fana: {app: x}",
        'allowlist.yaml:8: workloads.monitoring["gra/fana"]: expected a name of letters, digits, `-`, `_` and `.`, '
        "not text (`gra/fana`)\n       8 | gra/fana: {app: x}",
    ),
    (
        "  logging:\n",
        "  Logging:\n",
        "allowlist.yaml:8: workloads.Logging: expected the name of a namespace (lower-case letters, digits and `-`), "
        "not text (`Logging`)\n       8 | Logging:",
    ),
    (
        "  logging:\n    loki: {app: loki}\n",
        "  logging: loki\n",
        "allowlist.yaml:8: workloads.logging: expected a mapping of workload names, not text (`loki`)\n"
        "       8 | logging: loki",
    ),
    (
        "  discord: {fqdn: [discord.com]}\n",
        "  discord: {fqdn: [discord.com]}\n  world: {cidr: [0.0.0.0/0]}\n",
        "allowlist.yaml:12: externals.world: `world` is a reserved word and cannot be defined anew\n"
        "      12 | world: {cidr: [0.0.0.0/0]}",
    ),
    (
        "{fqdn: [discord.com]}",
        "{dns: [discord.com]}",
        "allowlist.yaml:11: externals.discord.dns: unknown key `dns`\n      11 | discord: {dns: [discord.com]}\n"
        "    known here: `fqdn`, `cidr`, `except`",
    ),
    (
        "{fqdn: [discord.com]}",
        "{fqdn: [https://discord.com]}",
        "allowlist.yaml:11: externals.discord.fqdn[0]: expected a DNS name such as `github.com` or `*.github.com`, "
        "not text (`https://discord.com`)\n      11 | discord: {fqdn: [https://discord.com]}\n"
        "    leave out the scheme and the path",
    ),
    (
        "{fqdn: [discord.com]}",
        "{fqdn: ['discord.com:443']}",
        "allowlist.yaml:11: externals.discord.fqdn[0]: expected a DNS name such as `github.com` or `*.github.com`, "
        "not text (`discord.com:443`)\n      11 | discord: {fqdn: ['discord.com:443']}\n"
        "    give the port under `ports`",
    ),
    (
        "{fqdn: [discord.com]}",
        "{fqdn: [1.1.1.1]}",
        "allowlist.yaml:11: externals.discord.fqdn[0]: expected a DNS name such as `github.com` or `*.github.com`, "
        "not text (`1.1.1.1`)\n      11 | discord: {fqdn: [1.1.1.1]}\n    give addresses under `cidr`",
    ),
    (
        "{cidr: [10.0.0.0/8]",
        "{cidr: [10.0.0.1]",
        "allowlist.yaml:12: externals.nas.cidr[0]: expected a range of addresses such as `10.0.0.0/8`, "
        "not text (`10.0.0.1`)\n      12 | nas: {cidr: [10.0.0.1], except: [10.1.0.0/16]}\n    write `10.0.0.1/32`",
    ),
    (
        "{cidr: [10.0.0.0/8]",
        "{cidr: [10.0.0.0/33]",
        "allowlist.yaml:12: externals.nas.cidr[0]: expected a range of addresses such as `10.0.0.0/8`, "
        "not text (`10.0.0.0/33`)\n      12 | nas: {cidr: [10.0.0.0/33], except: [10.1.0.0/16]}",
    ),
    (
        "{cidr: [10.0.0.0/8]",
        "{cidr: [nas.local]",
        "allowlist.yaml:12: externals.nas.cidr[0]: expected a range of addresses such as `10.0.0.0/8`, "
        "not text (`nas.local`)\n      12 | nas: {cidr: [nas.local], except: [10.1.0.0/16]}\n"
        "    give names under `fqdn`",
    ),
    (
        "except: [10.1.0.0/16]",
        "except: [11.0.0.0/8]",
        "allowlist.yaml:12: externals.nas.except: `11.0.0.0/8` lies in none of 10.0.0.0/8\n"
        "      12 | nas: {cidr: [10.0.0.0/8], except: [11.0.0.0/8]}",
    ),
    (
        "{fqdn: [discord.com]}",
        "{fqdn: [discord.com], except: [10.0.0.0/8]}",
        "allowlist.yaml:11: externals.discord.except: `except` takes addresses out of `cidr`, and there is none\n"
        "      11 | discord: {fqdn: [discord.com], except: [10.0.0.0/8]}",
    ),
    (
        "{fqdn: [discord.com]}",
        "{}",
        "allowlist.yaml:11: externals.discord: expected `fqdn` or `cidr`\n      11 | discord: {}",
    ),
    # Rules.
    (
        "rules:\n  - from: grafana\n    to: discord\n    ports: 443/TCP\n    reason: alerts\n",
        "rules:\n",
        "allowlist.yaml:13: rules: expected a list of rules, not nothing\n      13 | rules:",
    ),
    (
        "  - from: grafana\n    to: discord\n    ports: 443/TCP\n    reason: alerts\n",
        "  - grafana\n",
        "allowlist.yaml:14: rules[0]: expected a mapping with `from`, `to`, `ports`, `reason`, `transport`, "
        "`condition`, `owner`, `ticket`, `expires`, not text (`grafana`)\n      14 | - grafana",
    ),
    (
        "    ports: 443/TCP\n",
        "",
        "allowlist.yaml:14: rules[0]: `ports` is missing\n      14 | - from: grafana",
    ),
    (
        "    reason: alerts\n",
        "",
        "allowlist.yaml:14: rules[0]: `reason` is missing\n      14 | - from: grafana",
    ),
    (
        "reason: alerts",
        "reason: ' '",
        "allowlist.yaml:17: rules[0].reason: expected why the path is needed, in words, not text\n"
        "      17 | reason: ' '",
    ),
    (
        "reason: alerts",
        "reason: [alerts]",
        "allowlist.yaml:17: rules[0].reason: expected why the path is needed, in words, not a list\n"
        "      17 | reason: [alerts]",
    ),
    (
        "reason: alerts",
        "reason: alerts\n    owner:",
        "allowlist.yaml:18: rules[0].owner: expected who answers for the rule, in words, not nothing\n"
        "      18 | owner:",
    ),
    (
        "    ports: 443/TCP\n",
        "    prots: 443/TCP\n    ports: 443\n",
        "allowlist.yaml:16: rules[0].prots: unknown key `prots`\n      16 | prots: 443/TCP\n    did you mean `ports`?",
    ),
    (
        "reason: alerts",
        "reason: alerts\n    expires: next week",
        "allowlist.yaml:18: rules[0].expires: expected a day such as `2027-03-31`, not text (`next week`)\n"
        "      18 | expires: next week",
    ),
    (
        "reason: alerts",
        "reason: alerts\n    expires: 2027-02-30",
        "allowlist.yaml:18: rules[0].expires: `2027-02-30` looks like a date but cannot be read as one\n"
        "      18 | expires: 2027-02-30",
    ),
    (
        "from: grafana",
        "from: []",
        "allowlist.yaml:14: rules[0].from: the list is empty; expected at least one element\n      14 | - from: []",
    ),
    (
        "from: grafana",
        "from:",
        "allowlist.yaml:14: rules[0].from: expected a peer: a name, or a mapping such as `{fqdn: [...]}`, "
        "`{cidr: [...]}` or `{namespace: ...}`, not nothing\n      14 | - from:",
    ),
    (
        "from: grafana",
        "from: [[grafana]]",
        "allowlist.yaml:14: rules[0].from[0]: expected a peer: a name, or a mapping such as `{fqdn: [...]}`, "
        "`{cidr: [...]}` or `{namespace: ...}`, not a list\n      14 | - from: [[grafana]]",
    ),
    (
        "from: grafana",
        "from: graphana",
        "allowlist.yaml:14: rules[0].from: nothing is named `graphana`\n      14 | - from: graphana\n"
        "    did you mean `grafana`?",
    ),
    (
        "from: grafana",
        "from: monitoring/graphana",
        "allowlist.yaml:14: rules[0].from: nothing is named `monitoring/graphana`\n"
        "      14 | - from: monitoring/graphana\n    did you mean `monitoring/grafana`?",
    ),
    (
        "from: grafana",
        "from: kube-api-server",
        "allowlist.yaml:14: rules[0].from: nothing is named `kube-api-server`\n      14 | - from: kube-api-server\n"
        "    did you mean `kube-apiserver`?",
    ),
    (
        "from: grafana",
        "from: xyzzy",
        "allowlist.yaml:14: rules[0].from: nothing is named `xyzzy`\n      14 | - from: xyzzy\n"
        "    define it under `workloads` or `externals`",
    ),
    (
        "from: grafana",
        "from: loki",
        "allowlist.yaml:14: rules[0].from: `loki` may mean `monitoring/loki` or `logging/loki`\n"
        "      14 | - from: loki\n    write the workload with its namespace",
    ),
    (
        "from: grafana",
        "from: Monitoring/*",
        "allowlist.yaml:14: rules[0].from: expected the name of a namespace (lower-case letters, digits and `-`) "
        "before `/*`, not `Monitoring`\n      14 | - from: Monitoring/*",
    ),
    (
        "from: grafana",
        "from: self",
        "allowlist.yaml:14: rules[0].from: `self` needs a workload at the other end of the rule\n"
        "      14 | - from: self",
    ),
    (
        "from: grafana",
        "from: {labels: {app: x}}",
        "allowlist.yaml:14: rules[0].from: expected `namespace`, `fqdn` or `cidr`\n"
        "      14 | - from: {labels: {app: x}}\n    write `pods` for every pod, `world` for everything outside",
    ),
    (
        "from: grafana",
        "from: {namespace: x, cidr: 10.0.0.0/8}",
        "allowlist.yaml:14: rules[0].from: a peer is either outside (`fqdn`, `cidr`) or a pod (`namespace`, `labels`)\n"
        "      14 | - from: {namespace: x, cidr: 10.0.0.0/8}\n    write two peers",
    ),
    (
        "from: grafana",
        "from: {namespace: [x]}",
        "allowlist.yaml:14: rules[0].from.namespace: expected the name of a namespace (lower-case letters, digits "
        "and `-`), not a list\n      14 | - from: {namespace: [x]}",
    ),
    (
        "from: grafana",
        "from: {namespace: x, labels: {}}",
        "allowlist.yaml:14: rules[0].from.labels: expected at least one label\n"
        "      14 | - from: {namespace: x, labels: {}}\n    write `namespace/*` for every pod of a namespace",
    ),
]

PORTS_EXPECTED = "expected ports such as `8333`, `53/UDP`, `53/ANY`, `2379-2381/TCP`, `icmp/8` or `any`"
BROKEN_PORTS = [
    ("http", f"{PORTS_EXPECTED}, not `http`"),
    ("0", "expected a port from 1 to 65535, not `0`"),
    ("-1", "expected a port from 1 to 65535, not `-1`"),
    ("080", "expected a port from 1 to 65535, not `080`"),
    ("65536", "expected a port from 1 to 65535, not `65536`"),
    ("99999999999999999999", "expected a port from 1 to 65535, not `99999999999999999999`"),
    ("70000-80/TCP", "expected a port from 1 to 65535, not `70000`"),
    ("0x50", f"{PORTS_EXPECTED}, not `0x50`"),
    ("80.0", f"{PORTS_EXPECTED}, not `80.0`"),
    ("1:30", f"{PORTS_EXPECTED}, not `1:30`"),
    ("80 443", f"{PORTS_EXPECTED}, not `80 443`"),
    ("true", f"{PORTS_EXPECTED}, not `true`"),
    ("{tcp: 80}", f"{PORTS_EXPECTED}, not a mapping"),
    ("90-80", "the range ends before it begins; expected `80-90`"),
    ("80/HTTP", "expected the protocol TCP, UDP, SCTP or ANY, not `HTTP`"),
    ("icmp/256", "expected an ICMP type from 0 to 255"),
    (
        "icmp/ping",
        "`icmp/ping` names no type of ICMP; expected a number or one of echo-reply, destination-unreachable, redirect, "
        "echo-request, router-advertisement, router-solicitation, time-exceeded, parameter-problem, timestamp-request, "
        "timestamp-reply",
    ),
]
BROKEN += [
    ("443/TCP", ports, f"allowlist.yaml:16: rules[0].ports: {message}\n      16 | ports: {ports}")
    for ports, message in BROKEN_PORTS
]


BROKEN += [
    (
        "    reason: alerts\n",
        f"    reason: alerts\n    {written}\n",
        f"allowlist.yaml:18: rules[0].{complaint.format(line=f'      18 | {written}')}",
    )
    for written, complaint in (
        (
            "transport: encrypt",
            "transport: expected `encrypted` or `authenticated`, not text (`encrypt`)\n{line}\n"
            "    did you mean `encrypted`?",
        ),
        ("transport: [encrypted]", "transport: expected `encrypted` or `authenticated`, not a list\n{line}"),
        (
            "transport: encrypted",
            "transport: Cilium encrypts and authenticates within the cluster, and an end of this rule is outside\n"
            "{line}\n    write a rule of its own, without `transport`, for what is outside",
        ),
        (
            "condition: gateway ready",
            "condition: expected the name of a condition, such as `GatewayIntegrationReady` (letters and digits), "
            "not text (`gateway ready`)\n{line}",
        ),
        ("condition: []", "condition: the list is empty; expected at least one element\n{line}"),
    )
]


@pytest.mark.parametrize(("what", "by", "complaint"), BROKEN, ids=[f"{what}-{by}" for what, by, _ in BROKEN])
def test_every_mistake_has_its_complaint(what: str, by: str, complaint: str) -> None:
    """One change for the worse gives one complaint, in these words."""
    assert GOOD.count(what) == 1

    assert "\n".join(str(problem) for problem in problems_of(GOOD.replace(what, by))) == complaint


def test_every_problem_is_told_at_once() -> None:
    """Nobody has to mend a file one error at a time; problems come in the order of the lines."""
    text = GOOD.replace("kind: Allowlist", "kind: X").replace("443/TCP", "[http, 1, 0]").replace("alerts", "''")
    text += "    reason: twice\n  - {from: nobody, to: discord, ports: 1}\n"

    assert [(problem.line, problem.field) for problem in problems_of(text)] == [
        (2, "kind"),
        (16, "rules[0].ports[0]"),
        (16, "rules[0].ports[2]"),
        (17, "rules[0].reason"),
        (18, "rules[0].reason"),
        (19, "rules[1]"),
        (19, "rules[1].from"),
    ]


def test_a_redefinition_names_both_places() -> None:
    """Two files that disagree about a name are told where the other one is."""
    text = GOOD + "---\napiVersion: flowwatch/v1\nkind: Allowlist\nworkloads: {monitoring: {loki: {app: other}}}\n"
    (problem,) = problems_of(text)

    assert (problem.line, problem.message) == (
        21,
        "`monitoring/loki` is already defined differently at allowlist.yaml:6",
    )


def test_a_name_of_an_external_and_of_a_workload_is_ambiguous() -> None:
    """A bare name that may mean two things is no guess of ours."""
    (problem,) = problems_of(GOOD.replace("  nas:", "  grafana:"))

    assert problem.message == "`grafana` may mean `monitoring/grafana` or the external `grafana`"


@pytest.mark.parametrize("text", ["", "---\n---\n", "# nothing\n", "null\n"])
def test_a_file_without_an_allowlist_is_an_error(text: str) -> None:
    """Nothing declared by mistake is not the same as nothing declared."""
    (problem,) = problems_of(text)

    assert str(problem) == "allowlist.yaml: this holds no allowlist; expected a document with `kind: Allowlist`"


@pytest.mark.parametrize("text", ["5", "[1, 2]", "a: [", "\ta", "&a [*a]", "--- {}\n---\n- 1"])
def test_other_yaml_is_an_error(text: str) -> None:
    """Whatever else a file may hold is turned down with a line."""
    assert all(problem.line for problem in problems_of(text))


def test_names_are_not_missed_while_a_file_cannot_be_read(tmp_path: Path) -> None:
    """A file with broken YAML is the only thing complained about: it may define what others use."""
    (tmp_path / "10.yaml").write_text("apiVersion: flowwatch/v1\nkind: [")
    (tmp_path / "20.yaml").write_text(GOOD.replace("from: grafana", "from: elsewhere"))

    with pytest.raises(AllowlistError) as raised:
        load([tmp_path], NOW)

    assert [Path(problem.file).name for problem in raised.value.problems] == ["10.yaml"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Missing files, empty directories and bytes that are no text, all in one go."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: caf\u00e9\n".encode("latin-1"))
    paths: list[str | Path] = [tmp_path / "missing.yaml", tmp_path / "empty", tmp_path / "latin.yaml", "nul\0"]

    with pytest.raises(AllowlistError) as raised:
        load(paths, NOW)

    assert [str(problem) for problem in raised.value.problems] == [
        f"{tmp_path}/empty: no `*.yaml` or `*.yml` is in this directory",
        "nul\0: cannot be read: embedded null byte",
        f"{tmp_path}/missing.yaml: cannot be read: No such file or directory",
        f"{tmp_path}/latin.yaml:2: byte 0xe9 is not UTF-8",
    ]


def test_no_file_at_all_is_an_error() -> None:
    """Loading nothing is a mistake of the caller's configuration."""
    with pytest.raises(AllowlistError, match="no file was given"):
        load([], NOW)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.text(max_size=8),
    st.sampled_from(["pods", "self", "world", "monitoring/loki", "loki", "10.0.0.0/8", "53/UDP", "a.io", "*", "In"]),
)
keys = st.one_of(
    st.text(max_size=4),
    st.sampled_from(["from", "to", "ports", "reason", "expires", "fqdn", "cidr", "except", "monitoring"]),
    st.sampled_from(["namespace", "labels", "expressions", "key", "operator", "values"]),
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def is_read_or_explained(text: str) -> bool:
    """Whether the text is an allowlist or an AllowlistError; anything else is raised."""
    try:
        parse(text, "allowlist.yaml", NOW)
    except AllowlistError as error:
        return bool(error.problems) and str(error).startswith("allowlist.yaml")
    return True


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["governs", "workloads", "externals", "rules"]), anything))
def test_wrong_types_anywhere_are_explained(document: dict[str, object]) -> None:
    """Whatever stands where something else was expected, the answer is a problem, never a traceback."""
    assert is_read_or_explained(yaml.safe_dump({"apiVersion": "flowwatch/v1", "kind": "Allowlist", **document}))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=3)), max_size=4))
def test_a_mangled_file_is_explained(edits: list[tuple[int, int, str]]) -> None:
    """Random damage to a good file is read or explained."""
    text = GOOD
    for at, cut, paste in edits:
        text = text[:at] + paste + text[at + cut :]
    assert is_read_or_explained(text)
