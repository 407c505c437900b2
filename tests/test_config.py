"""The configuration: defaults that are promised, values wherever they may be written, and every mistake named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowwatch import config_values
from flowwatch.config import (
    KEYS,
    AlertSettings,
    BasicAuthSettings,
    Config,
    HubbleSettings,
    JudgeSettings,
    LogSettings,
    PolicySettings,
    StoreSettings,
    TLSSettings,
    WebSettings,
    load,
    reference,
    show,
)
from flowwatch.config_values import (
    UnreadableValue,
    format_duration,
    format_size,
    mask,
    parse_duration,
    parse_size,
    split_address,
)
from flowwatch.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
ALL_SET = """
cluster: prod
hubble:
  server: relay.example.org:443
  tls: {enabled: true, ca: ca.pem, cert: tls.crt, key: /abs/tls.key, server_name: x.hubble-relay.cilium.io}
  quiet_timeout: 90s
  reconnect_min: 100ms
  reconnect_max: 1m30s
  dial_timeout: 2.5s
allowlist: [base.yaml, more]
store: {path: data/flows.duckdb, commit_interval: 5s, commit_rows: 1_000, memory_limit: 1GiB, retention: 36h}
judge: {settle: 0, active_for: 1h, unused_after: 14d, min_coverage: 1}
alerts:
  alertmanagers:
    - http://am-0:9093/
    - https://user:secret@am-1:9093/prefix
  for: 1m
  keep_firing_for: 5m
  resend_interval: 30s
  resolved_retention: 0s
  labels: {team: on, severity: 1}
  external_url: https://flowwatch.example.org/
  timeout: 3s
  basic_auth: {username: me, password_file: password}
web: {listen: "[::]:8080"}
log: {level: debug, format: json}
"""


def problems(directory: Path, text: str | bytes, env: Mapping[str, str] | None = None) -> str:
    """What is reported for a file of this content, without the directory."""
    path = directory / "flowwatch.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(path, env or {})
    return str(caught.value).replace(f"{directory}/", "")


def accepted(directory: Path, text: str, env: Mapping[str, str] | None = None) -> Config:
    """The configuration that a file of this content makes."""
    path = directory / "flowwatch.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env or {})


# Values


def test_defaults_are_as_promised() -> None:
    """Whoever relies on a default finds it here, and nowhere else does it change unseen."""
    assert load(None, {}) == Config(
        cluster="default",
        hubble=HubbleSettings(
            server="hubble-relay.kube-system.svc:80",
            tls=TLSSettings(enabled=False, ca=None, cert=None, key=None, server_name=""),
            quiet_timeout=120.0,
            reconnect_min=0.5,
            reconnect_max=30.0,
            dial_timeout=5.0,
        ),
        allowlist=(),
        store=StoreSettings(
            path=Path("flowwatch.duckdb"),
            commit_interval=1.0,
            commit_rows=122_880,
            memory_limit=256_000_000,
            retention=604_800.0,
        ),
        policy=PolicySettings(
            cilium="1.20",
            local_cluster="",
            enforcement="default",
            host_firewall=True,
            node_selectors=True,
            allow_localhost=True,
            cidr_nodes=False,
            cidr_pods=False,
            strict_policy_types=False,
        ),
        judge=JudgeSettings(settle=5.0, active_for=900.0, unused_after=604_800.0, min_coverage=0.99),
        alerts=AlertSettings(
            alertmanagers=(),
            for_=0.0,
            keep_firing_for=0.0,
            resend_interval=60.0,
            resolved_retention=900.0,
            labels={},
            external_url="",
            timeout=10.0,
            basic_auth=BasicAuthSettings(username="", password_file=None),
            bearer_token_file=None,
        ),
        web=WebSettings(listen="127.0.0.1:9950"),
        log=LogSettings(level="info", format="text"),
    )


def test_every_key_can_be_set_in_the_file(tmp_path: Path) -> None:
    """A file may say everything; its relative paths are relative to its own directory."""
    config = accepted(tmp_path, ALL_SET)
    assert config == Config(
        cluster="prod",
        hubble=HubbleSettings(
            server="relay.example.org:443",
            tls=TLSSettings(
                enabled=True,
                ca=tmp_path / "ca.pem",
                cert=tmp_path / "tls.crt",
                key=Path("/abs/tls.key"),
                server_name="x.hubble-relay.cilium.io",
            ),
            quiet_timeout=90.0,
            reconnect_min=0.1,
            reconnect_max=90.0,
            dial_timeout=2.5,
        ),
        allowlist=(tmp_path / "base.yaml", tmp_path / "more"),
        store=StoreSettings(
            path=tmp_path / "data/flows.duckdb",
            commit_interval=5.0,
            commit_rows=1000,
            memory_limit=1024**3,
            retention=129_600.0,
        ),
        judge=JudgeSettings(settle=0.0, active_for=3600.0, unused_after=1_209_600.0, min_coverage=1.0),
        alerts=AlertSettings(
            alertmanagers=("http://am-0:9093", "https://user:secret@am-1:9093/prefix"),
            for_=60.0,
            keep_firing_for=300.0,
            resend_interval=30.0,
            resolved_retention=0.0,
            labels={"team": "on", "severity": "1"},
            external_url="https://flowwatch.example.org",
            timeout=3.0,
            basic_auth=BasicAuthSettings(username="me", password_file=tmp_path / "password"),
        ),
        web=WebSettings(listen="[::]:8080"),
        log=LogSettings(level="debug", format="json"),
    )
    assert (config.web.host, config.web.port) == ("::", 8080)


def test_relative_paths_of_the_environment_stay_as_they_are(tmp_path: Path) -> None:
    """What the environment and the defaults name is relative to the working directory."""
    config = accepted(tmp_path, "cluster: x", {"FLOWWATCH_ALLOWLIST": "a.yaml, b.yaml"})
    assert config.allowlist == (Path("a.yaml"), Path("b.yaml"))
    assert config.store.path == Path("flowwatch.duckdb")


def test_every_key_has_a_variable_that_wins(tmp_path: Path) -> None:
    """What the environment says holds, whatever the file says; lists and maps are written with commas."""
    env = {
        "FLOWWATCH_CLUSTER": "staging",
        "FLOWWATCH_HUBBLE_TLS_SERVER_NAME": "y.hubble-relay.cilium.io",
        "FLOWWATCH_HUBBLE_TLS_CERT": "",
        "FLOWWATCH_HUBBLE_TLS_KEY": "",
        "FLOWWATCH_ALERTS_ALERTMANAGERS": "http://a:1, http://b:2",
        "FLOWWATCH_ALERTS_FOR": "2m",
        "FLOWWATCH_ALERTS_LABELS": "team=net, tier = prod",
        "FLOWWATCH_ALLOWLIST": "",
    }
    config = accepted(tmp_path, ALL_SET, env)
    assert config.cluster == "staging"
    assert config.hubble.tls.server_name == "y.hubble-relay.cilium.io"
    assert (config.hubble.tls.cert, config.hubble.tls.key) == (None, None)
    assert config.alerts.alertmanagers == ("http://a:1", "http://b:2")
    assert config.alerts.for_ == 120.0
    assert config.alerts.labels == {"team": "net", "tier": "prod"}
    assert config.allowlist == ()


def test_variables_are_named_after_their_keys() -> None:
    """Each key has one variable, each variable one key, and none is one that Kubernetes sets for a Service."""
    variables = {key.name: key.variable for key in KEYS}
    assert variables["hubble.tls.server_name"] == "FLOWWATCH_HUBBLE_TLS_SERVER_NAME"
    assert variables["alerts.for"] == "FLOWWATCH_ALERTS_FOR"
    assert len(set(variables.values())) == len(variables)
    assert not [name for name in variables.values() if re.search(r"SERVICE_|_PORT", name)]


def test_a_single_value_stands_for_a_list_of_one(tmp_path: Path) -> None:
    """`allowlist: file` is what one writes who has one file."""
    assert accepted(tmp_path, "allowlist: only.yaml").allowlist == (tmp_path / "only.yaml",)


@pytest.mark.parametrize(
    "text", ["", "---\n", "# nothing\n", "hubble:\nstore: {}\n", "\ufeffcluster: default\n", "hubble: {tls: }"]
)
def test_nothing_said_means_the_defaults(tmp_path: Path, text: str) -> None:
    """An empty file and empty sections are no mistakes."""
    assert accepted(tmp_path, text) == Config()


def test_texts_are_what_was_written(tmp_path: Path) -> None:
    """What YAML takes for a switch, a number or a date is a name where a name is asked for."""
    for text in ("on", "0x1F", "1:30", "2026-01-01", "1_000", "~x", "'null'"):
        assert accepted(tmp_path, f"cluster: {text}").cluster == text.strip("'")


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    """FLOWWATCH_CONFIG stands in for a path, and gives way to one."""
    (tmp_path / "a.yaml").write_text("cluster: a")
    (tmp_path / "b.yaml").write_text("cluster: b")
    env = {"FLOWWATCH_CONFIG": str(tmp_path / "a.yaml")}
    assert load(None, env).cluster == "a"
    assert load(tmp_path / "b.yaml", env).cluster == "b"
    assert load(None, {"FLOWWATCH_CONFIG": ""}).cluster == "default"


def test_variables_of_kubernetes_services_are_left_alone() -> None:
    """A Service called flowwatch puts variables into every pod beside it; they must not stop the daemon."""
    env = {
        "FLOWWATCH_SERVICE_HOST": "10.0.0.1",
        "FLOWWATCH_SERVICE_PORT": "9950",
        "FLOWWATCH_SERVICE_PORT_HTTP": "9950",
        "FLOWWATCH_PORT": "tcp://10.0.0.1:9950",
        "FLOWWATCH_PORT_9950_TCP": "tcp://10.0.0.1:9950",
        "FLOWWATCH_PORT_9950_TCP_ADDR": "10.0.0.1",
        "FLOWWATCH_METRICS_SERVICE_HOST": "10.0.0.2",
        "FLOWWATCH_METRICS_PORT_80_TCP_PROTO": "tcp",
        "OTHER": "x",
        "flowwatch_cluster": "x",
    }
    assert load(None, env) == Config()


def test_a_configuration_does_not_change() -> None:
    """What was loaded holds for the life of the process."""
    with pytest.raises(FrozenInstanceError):
        load(None, {}).cluster = "other"  # type: ignore[misc]


# Mistakes


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (
            "hubble:\n  sever: relay:80\n",
            "flowwatch.yaml:2: hubble.sever: unknown key\n       2 | sever: relay:80\n    did you mean server?",
        ),
        ("listen: 0.0.0.0:80", "flowwatch.yaml:1: listen: unknown key\n       1 | listen: 0.0.0.0:80\n"
         "    did you mean web.listen?"),
        ("qqq: 1", "flowwatch.yaml:1: qqq: unknown key\n       1 | qqq: 1\n"
         "    known here: cluster, hubble, sources, allowlist, store, policy, kubernetes, judge, alerts, web, log"),
        ("web.listen: 0.0.0.0:80", 'flowwatch.yaml:1: ["web.listen"]: unknown key\n       1 | web.listen: 0.0.0.0:80\n'
         "    write it nested: web: {listen: …}"),
        ("log: {Level: info}", "flowwatch.yaml:1: log.Level: unknown key\n       1 | log: {Level: info}\n"
         "    did you mean level?"),
        ("judge: {settle: 5}", "flowwatch.yaml:1: judge.settle: '5' is not a duration\n       1 | judge: {settle: 5}\n"
         "    expected a duration such as 500ms, 5s, 1h30m or 7d; did you mean 5s?"),
        ("judge:\n  settle: 5 minutes", "flowwatch.yaml:2: judge.settle: '5 minutes' is not a duration\n"
         "       2 | settle: 5 minutes\n"
         "    expected a duration such as 500ms, 5s, 1h30m or 7d; did you mean 5m?"),
        ("hubble: {dial_timeout: 0s}", "flowwatch.yaml:1: hubble.dial_timeout: '0s' is too short\n"
         "       1 | hubble: {dial_timeout: 0s}\n"
         "    expected a duration such as 500ms, 5s, 1h30m or 7d; at least 1ms"),
        ("store: {memory_limit: 256}", "flowwatch.yaml:1: store.memory_limit: '256' is not a size\n"
         "       1 | store: {memory_limit: 256}\n"
         "    expected a size such as 256MB or 1GiB; did you mean 256MB?"),
        ("store: {memory_limit: 1MB}", "flowwatch.yaml:1: store.memory_limit: '1MB' is too small\n"
         "       1 | store: {memory_limit: 1MB}\n    expected a size such as 256MB or 1GiB; at least 64MB"),
        ("store: {commit_rows: 0}", "flowwatch.yaml:1: store.commit_rows: '0' is too small\n"
         "       1 | store: {commit_rows: 0}\n    expected a whole number of at least 1; at least 1"),
        ("judge: {min_coverage: 99%}", "flowwatch.yaml:1: judge.min_coverage: '99%' is not a ratio\n"
         "       1 | judge: {min_coverage: 99%}\n    expected a number from 0 to 1 such as 0.99; did you mean 0.99?"),
        ("judge: {min_coverage: 1.01}", "flowwatch.yaml:1: judge.min_coverage: '1.01' is more than 1\n"
         "       1 | judge: {min_coverage: 1.01}\n    expected a number from 0 to 1 such as 0.99"),
        ("hubble: {tls: {enabled: yes}}", "flowwatch.yaml:1: hubble.tls.enabled: 'yes' is not a switch\n"
         "       1 | hubble: {tls: {enabled: yes}}\n    expected true or false; did you mean true?"),
        ("log: {level: warn}", "flowwatch.yaml:1: log.level: 'warn' is not known\n       1 | log: {level: warn}\n"
         "    expected debug, info, warning or error; did you mean warning?"),
        ("hubble: {server: relay}", "flowwatch.yaml:1: hubble.server: 'relay' has no port\n"
         "       1 | hubble: {server: relay}\n"
         "    expected an address such as hubble-relay.kube-system.svc:80 or unix:/path; did you mean relay:80?"),
        ("hubble: {server: 'tls://relay:443'}", "flowwatch.yaml:1: hubble.server: 'tls://relay:443' is not an address\n"
         "       1 | hubble: {server: 'tls://relay:443'}\n    expected an address such as "
         "hubble-relay.kube-system.svc:80 or unix:/path; leave out tls:// and set hubble.tls.enabled"),
        ("hubble: {server: 'relay:0'}", "flowwatch.yaml:1: hubble.server: 'relay:0' has no usable port\n"
         "       1 | hubble: {server: 'relay:0'}\n"
         "    expected an address such as hubble-relay.kube-system.svc:80 or unix:/path"),
        ("web: {listen: ':9950'}",
         "flowwatch.yaml:1: web.listen: ':9950' has no host\n       1 | web: {listen: ':9950'}\n"
         "    expected an address such as 127.0.0.1:9950 or [::1]:9950; did you mean 0.0.0.0:9950?"),
        ("web: {listen: '::1:9950'}", "flowwatch.yaml:1: web.listen: '::1:9950' is not an address\n"
         "       1 | web: {listen: '::1:9950'}\n"
         "    expected an address such as 127.0.0.1:9950 or [::1]:9950; did you mean [::1]:9950?"),
        ("alerts: {alertmanagers: [am:9093]}", "flowwatch.yaml:1: alerts.alertmanagers[0]: 'am:9093' is not a URL\n"
         "       1 | alerts: {alertmanagers: [am:9093]}\n"
         "    expected a URL such as http://alertmanager:9093; did you mean http://am:9093?"),
        ("alerts:\n  alertmanagers:\n    - http://a\n    - http://b:x\n",
         "flowwatch.yaml:4: alerts.alertmanagers[1]: 'http://b:x' is not a URL\n       4 | - http://b:x\n"
         "    expected a URL such as http://alertmanager:9093"),
        ("alerts: {external_url: 'https://x/?a=b'}",
         "flowwatch.yaml:1: alerts.external_url: 'https://x/?a=b' has a part after the path\n"
         "       1 | alerts: {external_url: 'https://x/?a=b'}\n    expected a URL such as "
         "https://flowwatch.example.org, or nothing; leave out everything from ? or # on"),
        ("alerts: {labels: {a-b: x}}", "flowwatch.yaml:1: alerts.labels.a-b: 'a-b' is not a label name\n"
         "       1 | alerts: {labels: {a-b: x}}\n"
         "    expected a label name of letters, digits and underscores; did you mean a_b?"),
        ("alerts: {labels: [a]}",
         "flowwatch.yaml:1: alerts.labels: is not a mapping\n       1 | alerts: {labels: [a]}\n"
         "    expected a mapping from a label name of letters, digits and underscores to text"),
        ("allowlist: {a: b}", "flowwatch.yaml:1: allowlist: is not a list\n       1 | allowlist: {a: b}\n"
         "    expected a list; each item is the path of a file"),
        ("allowlist: [a, [b]]", "flowwatch.yaml:1: allowlist[1]: is a list\n       1 | allowlist: [a, [b]]\n"
         "    expected the path of a file"),
        ("allowlist: ['']", "flowwatch.yaml:1: allowlist[0]: is empty\n       1 | allowlist: ['']\n"
         "    expected the path of a file"),
        ("cluster: ' x'", "flowwatch.yaml:1: cluster: ' x' begins or ends with a space\n       1 | cluster: ' x'\n"
         "    expected text that is not empty"),
        ("cluster:\n", "flowwatch.yaml:1: cluster: has no value\n       1 | cluster:\n"
         "    expected text that is not empty; for the default, leave the key out"),
        ("cluster: [a]", "flowwatch.yaml:1: cluster: is a list\n       1 | cluster: [a]\n"
         "    expected text that is not empty"),
        ('cluster: "a\\nb"', "flowwatch.yaml:1: cluster: 'a�b' holds a control character\n"
         '       1 | cluster: "a\\nb"\n    expected text that is not empty'),
        ("store: fast", "flowwatch.yaml:1: store: is text\n       1 | store: fast\n"
         "    expected the keys path, commit_interval, commit_rows, memory_limit, retention, "
         "retention_minutes, retention_hours, max_size"),
        ("- cluster: x", "flowwatch.yaml:1: is a list\n       1 | - cluster: x\n"
         "    expected the keys cluster, hubble, sources, allowlist, store, policy, kubernetes, judge, alerts, web, "
         "log"),
        ("cluster: a\n---\ncluster: b\n", "flowwatch.yaml:3: a second document: the configuration is one\n"
         "       3 | cluster: b"),
        ("hubble: {reconnect_min: 1m}", "flowwatch.yaml:1: hubble.reconnect_min: reconnect_min (1m) is longer than "
         "reconnect_max (30s)\n       1 | hubble: {reconnect_min: 1m}"),
        ("hubble: {tls: {enabled: true, cert: c}}",
         "flowwatch.yaml:1: hubble.tls.cert: needs hubble.tls.key beside it\n"
         "       1 | hubble: {tls: {enabled: true, cert: c}}"),
        ("web: {tls: {client_ca: c}}", "flowwatch.yaml:1: web.tls.client_ca: needs web.tls.cert beside it\n"
         "       1 | web: {tls: {client_ca: c}}"),
        ("web: {prefix: flow/../watch/}", "flowwatch.yaml:1: web.prefix: 'flow/../watch/' is not a path\n"
         "       1 | web: {prefix: flow/../watch/}\n    expected a path such as /flowwatch, or nothing; "
         "did you mean /flow/watch?"),
        ("hubble: {tls: {ca: c}}", "flowwatch.yaml:1: hubble.tls.ca: has no effect without TLS\n"
         "       1 | hubble: {tls: {ca: c}}\n    set hubble.tls.enabled to true, or to false to say so"),
        ("alerts: {basic_auth: {username: x}}", "flowwatch.yaml:1: alerts.basic_auth.username: needs "
         "alerts.basic_auth.password_file beside it\n       1 | alerts: {basic_auth: {username: x}}"),
        ("alerts: {routes: {shop: checkout}}", "flowwatch.yaml:1: alerts.routes.shop: 'checkout' is not a label and "
         "its value\n       1 | alerts: {routes: {shop: checkout}}\n"
         "    expected labels such as team=checkout pager=night"),
        ("alerts: {tls: {cert: x}}", "flowwatch.yaml:1: alerts.tls.cert: needs alerts.tls.key beside it\n"
         "       1 | alerts: {tls: {cert: x}}"),
        ("alerts: {basic_auth: {password_file: x}}", "flowwatch.yaml:1: alerts.basic_auth.password_file: needs "
         "alerts.basic_auth.username beside it\n       1 | alerts: {basic_auth: {password_file: x}}"),
        ("alerts: {bearer_token_file: t, basic_auth: {username: x, password_file: y}}",
         "flowwatch.yaml:1: alerts.bearer_token_file: cannot be combined with alerts.basic_auth\n"
         "       1 | alerts: {bearer_token_file: t, basic_auth: {username: x, password_file: y}}\n"
         "    choose one of the two"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_where_it_is(tmp_path: Path, text: str, reported: str) -> None:
    """File, line, key, the text, what was expected and what was probably meant."""
    assert problems(tmp_path, text) == reported


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("a: b: c", "flowwatch.yaml:1: this is not valid YAML"),
        ("hubble:\n\tserver: x", "flowwatch.yaml:2: this is not valid YAML"),
        ("log: {level: info", "flowwatch.yaml:1: this is not valid YAML"),
        ("cluster: a\ncluster: b", "flowwatch.yaml:2: cluster: `cluster` is already given on line 1"),
        (
            "log:\n  level: info\n  format: json\n  level: debug",
            "flowwatch.yaml:4: log.level: `level` is already given",
        ),
        ("a: &a [*a]", "flowwatch.yaml:1: a[0]: an alias refers to the very value it is part of"),
        ("[" * 3000, "flowwatch.yaml"),
        ("cluster: !!python/object:os.system x", "flowwatch.yaml:1: cluster: the tag"),
        ("? [a]\n: b", "flowwatch.yaml:1: expected plain text as the key"),
        ("cluster: \x07", "flowwatch.yaml:1: this is not valid YAML"),
        (b"cluster: a\nlog: \xff", "flowwatch.yaml:2: is not UTF-8 text"),
        (b"cluster: " + b"x" * 300_000, "flowwatch.yaml: is larger than 256 KiB"),
    ],
)
def test_what_is_not_yaml_is_an_error_like_any_other(tmp_path: Path, text: str | bytes, begins: str) -> None:
    """Broken syntax, repeated keys, alias tricks and foreign bytes are reported with their line."""
    assert problems(tmp_path, text).startswith(begins)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, or not a file at all."""
    for path, reason in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: cannot be read: {reason}$"):
            load(path, {})


@pytest.mark.parametrize(
    ("env", "reported"),
    [
        (
            {"FLOWWATCH_HUBBLE_SEVER": "x:1"},
            "environment: FLOWWATCH_HUBBLE_SEVER: unknown variable\n    did you mean FLOWWATCH_HUBBLE_SERVER?",
        ),
        ({"FLOWWATCH_QQQ_ZZZ_QQQ_ZZZ": ""}, "environment: FLOWWATCH_QQQ_ZZZ_QQQ_ZZZ: unknown variable"),
        (
            {"FLOWWATCH_ALERTS_FOR": "soon"},
            "environment: FLOWWATCH_ALERTS_FOR: alerts.for: 'soon' is not a duration\n"
            "    expected a duration such as 500ms, 5s, 1h30m or 7d",
        ),
        (
            {"FLOWWATCH_ALERTS_LABELS": "team"},
            "environment: FLOWWATCH_ALERTS_LABELS: alerts.labels: 'team' is not name=value\n    expected text",
        ),
        (
            {"FLOWWATCH_ALLOWLIST": "a,,b"},
            "environment: FLOWWATCH_ALLOWLIST: allowlist: is empty\n    expected the path of a file",
        ),
        (
            {"FLOWWATCH_HUBBLE_TLS_ENABLED": "1"},
            "environment: FLOWWATCH_HUBBLE_TLS_ENABLED: hubble.tls.enabled: '1' is not a switch\n"
            "    expected true or false; did you mean true?",
        ),
        (
            {"FLOWWATCH_CLUSTER": "\udcff"},
            "environment: FLOWWATCH_CLUSTER: cluster: '�' holds a control character\n"
            "    expected text that is not empty",
        ),
        (
            {"FLOWWATCH_HUBBLE_TLS_CA": "ca.pem"},
            "environment: FLOWWATCH_HUBBLE_TLS_CA: hubble.tls.ca: has no effect without TLS\n"
            "    set hubble.tls.enabled to true, or to false to say so",
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(env: dict[str, str], reported: str) -> None:
    """Values are read as those of the file are; a variable that belongs to no key is a mistake."""
    with pytest.raises(ConfigError) as caught:
        load(None, env)
    assert str(caught.value) == reported


@pytest.mark.parametrize("text", ["0_", "_1", "1__0", "12_34", "-1", "1.0", "1e3", "0x10", "１", "9" * 30, ""])
def test_refuses_what_is_not_a_count(text: str) -> None:
    """Digits only, in groups of three if at all."""
    with pytest.raises(ConfigError, match=r"^environment: FLOWWATCH_STORE_COMMIT_ROWS: store\.commit_rows: "):
        load(None, {"FLOWWATCH_STORE_COMMIT_ROWS": text})


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """Those of the file in the order of its lines, then those of the environment."""
    text = "hubble:\n  server: x\n  tls: {cert: c, enabled: true}\nlog: {level: loud}\ncluser: x\n"
    reported = problems(tmp_path, text, {"FLOWWATCH_WEB": "x", "FLOWWATCH_STORE_PATH": ""})
    heads = [line for line in reported.splitlines() if not line.startswith(" ")]
    assert heads == [
        "flowwatch.yaml:2: hubble.server: 'x' has no port",
        "flowwatch.yaml:3: hubble.tls.cert: needs hubble.tls.key beside it",
        "flowwatch.yaml:4: log.level: 'loud' is not known",
        "flowwatch.yaml:5: cluser: unknown key",
        "environment: FLOWWATCH_STORE_PATH: store.path: is empty",
        "environment: FLOWWATCH_WEB: unknown variable",
    ]


def test_tls_files_may_wait_while_tls_is_switched_off(tmp_path: Path) -> None:
    """Who says so may keep the certificates in the file."""
    assert not accepted(tmp_path, "hubble: {tls: {enabled: false, ca: c}}").hubble.tls.enabled


# Secrets


SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"alerts: {{alertmanagers: ['ftp://user:{SECRET}@am:9093']}}",
        f"alerts: {{alertmanagers: ['http://user:{SECRET}@am:99999']}}",
        f"alerts: {{alertmanagers: ['user:{SECRET}@am:9093']}}",
        f"alerts: {{alertmanagers: ['http://{SECRET}@am:0']}}",
        f"alerts: {{alertmanagers: ['http://user:{SECRET}@x@am:0']}}",
        f"alerts: {{alertmanagers: ['http://user:p w{SECRET}@am']}}",
        f"alerts:\n  basic_auth:\n    password: {SECRET}\n",
        f"alerts: {{basic_auth: {{password: {SECRET}}}}}",
        f"alerts: {{bearer_token: {SECRET}}}",
        f"hubble: {{server: 'http://user:{SECRET}@relay:80'}}",
        f"http://user:{SECRET}@am: x",
    ],
)
def test_no_secret_reaches_a_message(tmp_path: Path, text: str) -> None:
    """Not even one that was written where none belongs."""
    assert SECRET not in problems(tmp_path, text)


def test_an_overlong_text_is_not_repeated(tmp_path: Path) -> None:
    """A file put where a word belongs does not fill the log, nor take for ever to be refused."""
    reported = problems(tmp_path, f"judge: {{settle: {'x' * 100_000}}}")
    assert len(reported) < 500
    assert "(100000 characters)" in reported


def test_no_secret_of_the_environment_reaches_a_message() -> None:
    """Unknown variables are named, never quoted; known ones are masked."""
    env = {
        "FLOWWATCH_ALERTS_BASIC_AUTH_PASSWORD": SECRET,
        "FLOWWATCH_ALERTS_ALERTMANAGERS": f"http://a:{SECRET}@x:0",
        "FLOWWATCH_HUBBLE_SERVER": f"https://a:{SECRET}@relay",
    }
    with pytest.raises(ConfigError) as caught:
        load(None, env)
    assert SECRET not in str(caught.value)
    assert "did you mean FLOWWATCH_ALERTS_BASIC_AUTH_PASSWORD_FILE?" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://user:pw@host:1/x", "http://user:***@host:1/x"),
        ("http://user:p@w:x@host", "http://user:***@host"),
        ("http://token@host", "http://***@host"),
        ("http://host:9093/path", "http://host:9093/path"),
        ("user:pw@host", "user:***@host"),
        ("ops@example.org", "ops@example.org"),
        ("password: pw", "password: ***"),
        ('"api-key" = "pw"', '"api-key" = "pw"'),
        ("apiKey=pw", "apiKey=***"),
        ("password_file: /run/pw", "password_file: /run/pw"),
    ],
)
def test_masks_passwords_and_nothing_else(text: str, masked: str) -> None:
    """Enough is left to recognise the value by."""
    assert mask(text) == masked


# Several sources


SEVERAL = """cluster: home
sources:
  - cluster: west
    server: relay.west:443
    tls: {enabled: true, ca: west/ca.crt}
  - source: nodes
    peer: unix:/var/run/cilium/hubble.sock
    reconnect_max: 1m
  - {cluster: logs, source: file, files: ["/logs/*.log", own.log]}
"""


def test_reads_several_sources(tmp_path: Path) -> None:
    """Each has the keys of `hubble` and its own cluster; what it leaves out has its default."""
    west, nodes, logs = accepted(tmp_path, SEVERAL).every_source
    assert (west.cluster, west.hubble.server, west.hubble.tls.ca) == (
        "west",
        "relay.west:443",
        tmp_path / "west" / "ca.crt",
    )
    assert (nodes.cluster, nodes.hubble.source, nodes.hubble.reconnect_max) == ("home", "nodes", 60.0)
    assert logs.hubble.files == (Path("/logs/*.log"), tmp_path / "own.log")
    assert [source.hubble.section for source in (west, nodes, logs)] == ["sources[0]", "sources[1]", "sources[2]"]


def test_the_environment_names_several_sources_as_yaml(tmp_path: Path) -> None:
    """The variable replaces the list of the file."""
    env = {"FLOWWATCH_SOURCES": "[{cluster: a, server: 'a:80'}, {cluster: b, source: nodes}]"}
    config = accepted(tmp_path, SEVERAL, env)
    assert [(source.cluster, source.hubble.source) for source in config.every_source] == [
        ("a", "relay"),
        ("b", "nodes"),
    ]
    assert accepted(tmp_path, SEVERAL, {"FLOWWATCH_SOURCES": ""}).sources == ()


def test_one_source_is_what_hubble_describes() -> None:
    """Without a list there is one."""
    (source,) = load(None, {"FLOWWATCH_CLUSTER": "a", "FLOWWATCH_HUBBLE_SERVER": "x:1"}).every_source
    assert (source.cluster, source.hubble.server, source.hubble.section) == ("a", "x:1", "hubble")


def test_several_sources_are_shown_so_that_they_can_be_loaded_again(tmp_path: Path) -> None:
    """On one line, with what is not a default."""
    config = accepted(tmp_path, SEVERAL)
    again = tmp_path / "again.yaml"
    again.write_text(show(config), encoding="utf-8")
    assert load(again, {}).every_source == config.every_source
    assert "{source: nodes, peer: unix:/var/run/cilium/hubble.sock, reconnect_max: 1m}" in show(config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources:\n  - sever: x:1", "flowwatch.yaml:2: sources[0].sever: unknown key\n       2 | - sever: x:1\n"
         "    did you mean server?"),
        ("sources:\n  - source: node", "sources[0].source: 'node' is not known"),
        ("sources:\n  - tls: {ca: 1, enabled: on}", "sources[0].tls.enabled: 'on' is not a switch"),
        ("sources: x:1", "sources: is not a list"),
        ("sources: [~]", "sources[0]: has no value"),
        ("sources: [{server: 'a:1', tls: {cert: x, enabled: true}}]", "sources[0].tls.cert: needs sources[0].tls.key"),
        ("sources: [{server: 'a:1'}, {server: 'a:1'}]", "sources[1].server: 'a:1' is that of sources[0].server"),
        ("sources: [{source: file}]", "sources[0].source: needs sources[0].files beside it"),
        ("hubble: {server: 'a:1'}\nsources: [{server: 'b:1'}]", "hubble.server: has no effect: sources stands in its"),
        ("hubble: {source: nodes, server: 'a:1'}", "hubble.server: has no effect without hubble.source: relay"),
        ("hubble: {files: [a.log]}", "hubble.files: has no effect without hubble.source: file"),
        ("hubble: {source: file, files: [a.log, a.log]}", " is that of hubble.files as well"),
    ],
)  # fmt: skip
def test_mistakes_in_sources_are_named_where_they_are(tmp_path: Path, text: str, said: str) -> None:
    """With the same care as everywhere else."""
    assert said in problems(tmp_path, text).replace(f"{tmp_path}/", "")


def test_mistakes_in_the_environments_sources_have_a_line() -> None:
    """The variable is read like a file."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"FLOWWATCH_SOURCES": "- server: a:1\n- sauce: nodes\n"})
    assert str(caught.value) == (
        "environment: FLOWWATCH_SOURCES:2: sources[1].sauce: unknown key\n       2 | - sauce: nodes\n"
        "    did you mean source?"
    )


# Showing


def test_shows_values_and_where_each_came_from(tmp_path: Path) -> None:
    """The file and line, the variable, or the default; passwords are masked."""
    text = "cluster: a\nalerts:\n  alertmanagers: http://user:secret@am:9093\n  labels: {team: 'true'}\n"
    shown = show(accepted(tmp_path, text, {"FLOWWATCH_STORE_RETENTION": "36h", "FLOWWATCH_CLUSTER": "b"}))
    file = tmp_path / "flowwatch.yaml"
    expected = {
        "cluster: b": "environment: FLOWWATCH_CLUSTER",
        "  retention: 1d12h": "environment: FLOWWATCH_STORE_RETENTION",
        '  alertmanagers: ["http://user:***@am:9093"]': f"{file}:3",
        '  labels: {team: "true"}': f"{file}:4",
        "  server: hubble-relay.kube-system.svc:80": "default",
        "    enabled: false": "default",
        "  memory_limit: 256MB": "default",
    }
    pairs = [re.split(r" +# ", line, maxsplit=1) for line in shown.splitlines() if "#" in line]
    assert expected.items() <= dict(pairs).items()
    assert len(pairs) == len(KEYS)


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    """The effective configuration is itself a configuration, and means the same."""
    config = accepted(tmp_path, ALL_SET.replace("user:secret@", ""))
    again = tmp_path / "again.yaml"
    again.write_text(show(config), encoding="utf-8")
    assert load(again, {}) == config


@given(st.text(max_size=40))
def test_any_text_is_shown_so_that_it_reads_back(text: str) -> None:
    """Whatever a user name or a path looks like, showing and loading it again gives the same."""
    try:
        name = config_values.TEXT.parse(text)
    except UnreadableValue:
        return
    shown = show(Config(alerts=AlertSettings(labels={"x": name})))
    loaded = yaml.safe_load(shown)["alerts"]["labels"]["x"]
    assert str(loaded) == mask(name)


def test_the_documented_keys_are_the_keys() -> None:
    """The table in the documentation is exactly the one made from the fields, and none of them is undocumented."""
    document = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- generated: configuration -->\n(.*)<!-- /generated -->", document, re.DOTALL)
    assert found is not None
    assert found[1] == reference(), "render it anew: flowwatch.config.reference()"
    assert all(f"| `{key.name}` |" in found[1] for key in KEYS)
    assert not re.search(r"\|\s*\|$", found[1], re.MULTILINE), "a key without a meaning"


def test_the_documented_mistakes_are_what_one_sees(tmp_path: Path) -> None:
    """The example of a report in the documentation is a real one."""
    text = "\nhubble:\n  sever: hubble-relay.kube-system.svc:80\n\n\n\n\njudge:\n  settle: 5\n"
    reported = problems(tmp_path, text, {"FLOWWATCH_STORE_PATHS": "x"})
    document = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    block = "\n".join(f"    {line}" for line in reported.splitlines())
    assert block in document


def test_the_example_is_complete_and_means_the_defaults() -> None:
    """Every key is in the example file with its default; only the database is then beside the file."""
    path = ROOT / "examples" / "flowwatch.yaml"
    config = load(path, {})
    assert set(config.origins) == {key.name for key in KEYS}
    assert config.store.path == path.parent / "flowwatch.duckdb"
    default = Config(store=StoreSettings(path=config.store.path))
    assert config == default


# Kinds of values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("500ms", 0.5),
        ("100ms", 0.1),
        ("5s", 5.0),
        ("0.25s", 0.25),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("7d", 604_800.0),
        ("1h30m", 5400.0),
        ("1d2h3m4s5ms", 93_784.005),
        ("1.5h", 5400.0),
    ],
)
def test_reads_durations(text: str, seconds: float) -> None:
    """Numbers with units, from large to small."""
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        "-5s",
        "1m1h",
        "5s5s",
        "1e3s",
        "٥s",
        "5S",
        "1w",
        "inf",
        "1.5ms",
        "99999999999d",
        "9" * 5000 + "s",
    ],
)
def test_refuses_what_is_not_a_duration(text: str) -> None:
    """No unit, a wrong order, twice the same, nothing at all, or beyond all reason."""
    with pytest.raises(UnreadableValue):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("1500B", 1500),
        ("256MB", 256_000_000),
        ("256mb", 256_000_000),
        ("1 GiB", 1024**3),
        ("1.5KiB", 1536),
        ("2TB", 2 * 10**12),
    ],
)
def test_reads_sizes(text: str, size: int) -> None:
    """KB is 1000, KiB is 1024."""
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=0, max_value=10**14))
def test_durations_and_sizes_survive_being_shown(number: int) -> None:
    """What is written out is read back exactly."""
    seconds = min(number, 10**12) / 1000
    assert parse_duration(format_duration(seconds)) == seconds
    assert parse_size(format_size(number)) == number


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("relay:80", ("relay", 80)),
        ("[::1]:0", ("::1", 0)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("a_b.svc.:1", ("a_b.svc.", 1)),
    ],
)
def test_reads_addresses(text: str, parts: tuple[str, int]) -> None:
    """A host or an address, and a port."""
    assert split_address(text) == parts


@pytest.mark.parametrize(
    "text", ["", ":", "x", "x:", "x:y", "x:65536", "x:-1", "x:１", "a b:1", "::1:1", "[x]:1", "a/b:1"]
)
def test_refuses_what_is_not_an_address(text: str) -> None:
    """No port, no host, or neither."""
    with pytest.raises(UnreadableValue):
        split_address(text)


KINDS = sorted({key.kind.name: key.kind for key in KEYS}.items())


@pytest.mark.parametrize("kind", [kind for _, kind in KINDS], ids=[name for name, _ in KINDS])
@given(text=st.one_of(st.text(max_size=30), st.from_regex(r"[\[\]:/@.%0-9a-zA-Z_ -]{0,25}", fullmatch=True)))
def test_a_kind_reads_a_text_or_says_why_not(kind: config_values.Kind, text: str) -> None:
    """Nothing else ever comes out of it, and what was read can be written and read again."""
    try:
        value = kind.parse(text)
    except UnreadableValue as error:
        said = str(error)
    else:
        said = "read"
        assert kind.parse(kind.write(value)) == value
    assert said


# Anything at all


WORDS = st.sampled_from(sorted({part for key in KEYS for part in key.path} | {"x", "", "5s", "1GiB", "true", "a:1"}))
TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), WORDS, st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)


@given(
    tree=TREES, text=st.one_of(st.none(), st.text(alphabet="abc:{}[]&*!|>-?#'\"%@`\\ \n\t,~=<\x00\x85é", max_size=60))
)
def test_a_file_is_read_or_refused_and_nothing_else(
    tree: object, text: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a file holds, there is a configuration or a list of problems that can be printed."""
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_text(yaml.safe_dump(tree) if text is None else text, encoding="utf-8")
    problems = []
    try:
        show(load(path, {}))
    except ConfigError as error:
        problems = error.problems
        str(error).encode()
    assert all(problem.file == str(path) and problem.message for problem in problems)


@given(st.dictionaries(st.one_of(st.sampled_from([key.variable for key in KEYS]), st.text()), st.text(), max_size=5))
def test_an_environment_is_read_or_refused_and_nothing_else(env: dict[str, str]) -> None:
    """The same holds for the environment."""
    try:
        show(load(None, {name: value for name, value in env.items() if name != "FLOWWATCH_CONFIG"}))
    except ConfigError as error:
        str(error).encode()
