"""The configuration: what can be set, what it is when nobody sets it, and where it came from.

One dataclass per component; the string under a field is its documentation. Values come from
one YAML file, and from environment variables, which win. Everything wrong with either is
reported at once. Secrets are never values, only paths of files, so that a configuration can
be shown to anyone. Nothing here opens a socket or a file other than the configuration's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from flowwatch.codes import NOISE
from flowwatch.config_keys import Key, build, keys_of
from flowwatch.config_kubernetes import KubernetesSettings
from flowwatch.config_read import CONFIG_VARIABLE, Origin, Reading, read_environment, read_file
from flowwatch.config_show import render_reference, render_values
from flowwatch.config_sources import (
    File,
    HubbleSettings,
    OptionalFile,
    PositiveSeconds,
    SourceSettings,
    Switch,
    Text,
    TLSSettings,
    source_contradictions,
)
from flowwatch.config_values import (
    ADDRESS,
    ALERTMANAGER,
    LABEL,
    NAME,
    OPTIONAL_URL,
    RATIO,
    ROUTE,
    URL_PATH,
    choice,
    count,
    duration,
    format_duration,
    size,
    split_address,
)
from flowwatch.errors import ConfigError, Problem

Name = Annotated[str, NAME]
Address = Annotated[str, ADDRESS]
Alertmanager = Annotated[str, ALERTMANAGER]
Route = Annotated[str, ROUTE]
OptionalUrl = Annotated[str, OPTIONAL_URL]
LabelName = Annotated[str, LABEL]
Ratio = Annotated[float, RATIO]
Seconds = Annotated[float, duration()]


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What is kept on disk."""

    path: File = Path("flowwatch.duckdb")
    """The DuckDB file. It belongs to one process at a time."""
    commit_interval: PositiveSeconds = 1.0
    """Rows are committed at least this often; what is not committed is lost in a crash."""
    commit_rows: Annotated[int, count(minimum=1)] = 122_880
    """Rows are committed at the latest when this many wait. 122880 is one DuckDB row group: fastest and smallest."""
    memory_limit: Annotated[int, size(minimum=64 * 1000**2)] = 256 * 1000**2
    """What DuckDB may use for itself. The process needs some 300MB on top."""
    retention: PositiveSeconds = 7 * 86_400.0
    """Flows older than this are deleted. What was seen of each edge, and how many flows of each kind there
    were, is kept longer: by the minute, then by the hour."""
    retention_minutes: PositiveSeconds = 30 * 86_400.0
    """What is kept by the minute is added up by the hour when it is older than this; coverage is deleted."""
    retention_hours: PositiveSeconds = 400 * 86_400.0
    """What is kept by the hour is deleted when it is older than this, and so are findings that are over."""
    max_size: Annotated[int, size()] = 10 * 1000**3
    """When what is stored takes more than this, the oldest flows go first, however young they are. The file
    itself never shrinks: what is freed in it is used again. 0: no limit."""


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How observed edges are held against the allowlist."""

    settle: Seconds = 5.0
    """How long an observation from the sending side alone waits for the receiving side's before it is judged."""
    active_for: PositiveSeconds = 15 * 60.0
    """A finding that was not seen for this long is over."""
    unused_after: PositiveSeconds = 7 * 86_400.0
    """A declared edge that was not seen for this long is reported as unused."""
    min_coverage: Ratio = 0.99
    """The share of what happened that must have reached us before absence means anything; below it
    nothing is called unused."""
    start_window: Seconds = 30.0
    """How long after a pod was first heard of a drop of declared traffic is taken for an identity race."""
    rollout_window: Seconds = 120.0
    """How long after a workload's newest pod was first heard of the connections to its old ones may still be cut."""
    not_noise: tuple[Annotated[str, choice(*(one.label for one in NOISE))], ...] = ()
    """Classes of noise that are switched off: their flows are judged like any other. `docs/noise.md` explains each."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How declared network policies are meant. It must be as the cluster has it, or verdicts will differ."""

    cilium: Annotated[str, choice("1.17", "1.18", "1.19", "1.20", "1.21")] = "1.20"
    """The version of Cilium: what some policies mean has changed from one to the next."""
    local_cluster: Text = ""
    """Cilium's own name for this cluster, in a mesh of several: pods of the others are then told apart.
    Empty: they are not."""
    enforcement: Annotated[str, choice("default", "always", "never")] = "default"
    """Cilium's `policy-enforcement-mode`."""
    host_firewall: Switch = True
    """Policies with a `nodeSelector` are enforced."""
    node_selectors: Switch = True
    """`fromNodes` and `toNodes` are understood (`enable-node-selector-labels`)."""
    allow_localhost: Switch = True
    """What comes from a pod's own node is always let in, kubelet's probes above all (`allow-localhost`)."""
    cidr_nodes: Switch = False
    """Ranges of addresses also mean nodes (`policy-cidr-match-mode: nodes`)."""
    cidr_pods: Switch = False
    """Ranges of addresses also mean pods (`policy-cidr-match-mode: pods`)."""
    strict_policy_types: Switch = False
    """Rules of a NetworkPolicy for a direction that its `policyTypes` leaves out count for nothing, as the
    Kubernetes API says; Cilium enforces them."""


@dataclass(frozen=True, slots=True)
class BasicAuthSettings:
    """User name and password for every Alertmanager."""

    username: Text = ""
    """The user name; empty: no basic authentication."""
    password_file: OptionalFile = None
    """A file that holds the password and nothing else."""


@dataclass(frozen=True, slots=True)
class AlertmanagerTLSSettings:
    """For Alertmanagers with an https:// address. The files are read again when they change."""

    ca: OptionalFile = None
    """PEM file with the certificate authorities to trust; without it, those of the system."""
    cert: OptionalFile = None
    """PEM file with the certificate to identify with, for an Alertmanager that asks for one (mutual TLS)."""
    key: OptionalFile = None
    """PEM file with the private key of `cert`."""
    server_name: Text = ""
    """The name that the certificate must carry, where it is not the host of the address."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Who is told about findings."""

    alertmanagers: tuple[Alertmanager, ...] = ()
    """The Alertmanagers to push to, each of them by its base URL: all members of a cluster, not a
    load balancer in front of it. `dns+http://alertmanager-operated.monitoring:9093` stands for every address
    that the name has, as that of a headless service. Without any, alerts are only shown."""
    resolve_interval: PositiveSeconds = 30.0
    """How often the names of `dns+` addresses are looked up again."""
    tls: AlertmanagerTLSSettings = field(default_factory=AlertmanagerTLSSettings)
    for_: Seconds = 0.0
    """A finding must last this long before its alert fires."""
    keep_firing_for: Seconds = 0.0
    """An alert keeps firing for this long after its finding is over, so that it does not flap."""
    resend_interval: PositiveSeconds = 60.0
    """Firing alerts are sent again this often; Alertmanager forgets alerts nobody repeats."""
    resolved_retention: Seconds = 15 * 60.0
    """Resolved alerts are repeated for this long, in case the first message was lost."""
    labels: Mapping[LabelName, Text] = field(default_factory=dict)
    """Labels added to every alert, to route them by."""
    routes: Mapping[Name, Route] = field(default_factory=dict)
    """Labels added to the alerts of whoever can do something about them: from the name of a namespace
    (`shop`, `shop-*`), or of the owner of the rule concerned (`owner:payments`), to labels such as
    `team=checkout pager=night`."""
    group_above: Annotated[int, count(minimum=1)] = 5
    """How many alerts of one kind about one source, or one destination, stand alone; all further ones are one."""
    own: Switch = True
    """Alert about flowwatch itself: its stream, coverage, store and allowlist, and failed conditions. Switch it off
    where Prometheus has the rules of `dashboards/alerts.yaml` for the same, or people are told twice."""
    own_for: Seconds = 300.0
    """How long a trouble of flowwatch itself must last before its alert fires."""
    external_url: OptionalUrl = ""
    """Where people reach flowwatch's own page; alerts link to it."""
    runbook_url: OptionalUrl = ""
    """Where people can read the runbook, `dashboards/README.md`; empty: flowwatch serves it, below `external_url`."""
    grafana_url: OptionalUrl = ""
    """Where Grafana has flowwatch's dashboards; alerts link to them."""
    timeout: PositiveSeconds = 10.0
    """How long one push to one Alertmanager may take."""
    basic_auth: BasicAuthSettings = field(default_factory=BasicAuthSettings)
    bearer_token_file: OptionalFile = None
    """A file that holds a bearer token for every Alertmanager; not together with `basic_auth`."""


@dataclass(frozen=True, slots=True)
class WebTLSSettings:
    """Encryption of the page, the HTTP API and `/metrics`. Renewed files are taken up within a minute."""

    cert: OptionalFile = None
    """PEM file with the server's certificate and those between it and its authority; with it, only TLS is spoken."""
    key: OptionalFile = None
    """PEM file with the private key of `cert`."""
    client_ca: OptionalFile = None
    """PEM file with the authorities of client certificates; with it, only who shows one is answered (mutual TLS).
    `/healthz` and `/readyz` answer anyone."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The page, the HTTP API and `/metrics`."""

    listen: Address = "127.0.0.1:9950"
    """The address to listen on. Beyond this machine (`0.0.0.0:9950`, as in a pod) everyone who reaches the port
    sees all flows, unless `web.token_file` or `web.tls.client_ca` is set."""
    prefix: Annotated[str, URL_PATH] = ""
    """The path below which everything is served, such as `/flowwatch`, for a proxy that hands paths on unchanged;
    `/metrics` and health are at the root as well. A proxy that takes the path away says so with
    `X-Forwarded-Prefix` and needs none."""
    token_file: OptionalFile = None
    """A file with a token that every request must show, as `Authorization: Bearer` or as the password of basic
    authentication (with any user name), which browsers ask for. It is read at each request, so that it can be
    changed. `/healthz` and `/readyz` answer anyone; `/metrics` asks for it too."""
    ready_grace: Seconds = 120.0
    """How long after the start `/readyz` waits for the first stream. It is ready then without one, so that no rollout
    hangs on a Hubble that is down, and stays ready when a stream breaks; a store that takes no rows is never ready."""
    tls: WebTLSSettings = field(default_factory=WebTLSSettings)

    @property
    def host(self) -> str:
        """The host part of `listen`, an IPv6 address without its brackets."""
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        """The port of `listen`; 0 lets the system choose."""
        return split_address(self.listen)[1]


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to standard error."""

    level: Annotated[str, choice("debug", "info", "warning", "error")] = "info"
    """The least important message that is written."""
    format: Annotated[str, choice("text", "json")] = "text"
    """For people, or one JSON object per line."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set."""

    cluster: Name = "default"
    """The name under which this cluster appears everywhere."""
    hubble: HubbleSettings = field(default_factory=HubbleSettings)
    sources: tuple[SourceSettings, ...] = ()
    """Several sources, or several clusters, in place of `hubble`: a list whose items have the keys of `hubble` and
    their own `cluster`; what an item leaves out has its default. In the environment it is written as in the
    file."""
    allowlist: tuple[File, ...] = ()
    """The files that declare which traffic is expected."""
    store: StoreSettings = field(default_factory=StoreSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    web: WebSettings = field(default_factory=WebSettings)
    log: LogSettings = field(default_factory=LogSettings)
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False, repr=False)
    """Where each key that somebody set was set, by dotted name. Not a key."""

    @property
    def every_source(self) -> tuple[SourceSettings, ...]:
        """All sources of flows, at least one: `sources`, or the one that `hubble` describes."""
        if not self.sources:
            return (SourceSettings(self.cluster, self.hubble),)
        return tuple(
            SourceSettings(source.cluster or self.cluster, replace(source.hubble, section=f"sources[{index}]"))
            for index, source in enumerate(self.sources)
        )


__all__ = [
    "KEYS",
    "AlertSettings",
    "BasicAuthSettings",
    "Config",
    "HubbleSettings",
    "JudgeSettings",
    "KubernetesSettings",
    "LogSettings",
    "PolicySettings",
    "SourceSettings",
    "StoreSettings",
    "TLSSettings",
    "WebSettings",
    "load",
    "reference",
    "show",
]

KEYS: tuple[Key, ...] = tuple(keys_of(Config))
"""Every key, in the order of the fields."""


def load(path: Path | None, env: Mapping[str, str]) -> Config:
    """Read a configuration file and the environment; without a path, the file that the
    environment names with `FLOWWATCH_CONFIG`, or none.

    Relative paths in the file are relative to the file's directory. Raises `ConfigError` with
    every problem of both, in the order of the lines.
    """
    reading = Reading()
    if path is None and env.get(CONFIG_VARIABLE):
        path = Path(env[CONFIG_VARIABLE])
    if path is not None:
        read_file(path, KEYS, reading)
    read_environment(env, KEYS, reading)
    config = build(Config, {**reading.values, ("origins",): reading.origins})
    wrong = {problem.field for problem in reading.problems}
    reading.problems += [problem for problem, names in _contradictions(config) if not wrong.intersection(names)]
    if reading.problems:
        raise ConfigError(sorted(reading.problems, key=lambda problem: (not problem.line, problem.line)))
    return config


def show(config: Config) -> str:
    """The effective values as YAML that can be loaded again, each with where it came from.

    Passwords inside URLs are masked.
    """
    return render_values(config, KEYS)


def reference() -> str:
    """A Markdown table of every key: name, type, default, environment variable, meaning."""
    return render_reference(Config, KEYS)


def _contradictions(config: Config) -> Iterator[tuple[Problem, tuple[str, ...]]]:
    """Values that are fine one by one but not together, with the keys concerned."""

    def problem(name: str, message: str, hint: str = "") -> Problem:
        origin = config.origins.get(name, Origin("defaults"))
        return Problem(origin.file, origin.line, name, message, origin.text, hint)

    alerts = config.alerts
    if config.kubernetes.watch and len({source.cluster for source in config.every_source}) > 1:
        names = ("kubernetes.watch", "sources")
        yield problem(names[0], "live policies are those of one cluster, and sources names several"), names
    if config.sources:
        for key in KEYS:
            if key.path[0] == "hubble" and key.value_in(config) != key.default:
                yield problem(key.name, "has no effect: sources stands in its place"), (key.name, "sources")
    yield from source_contradictions(config.every_source, config.origins, problem)
    store = config.store
    if store.retention_hours < store.retention_minutes:
        names = ("store.retention_hours", "store.retention_minutes")
        blamed = next((name for name in names if name in config.origins), names[0])
        hours, minutes = format_duration(store.retention_hours), format_duration(store.retention_minutes)
        yield problem(blamed, f"retention_hours ({hours}) is shorter than retention_minutes ({minutes})"), names
    for given, missing in (("cert", "key"), ("key", "cert")):
        if getattr(alerts.tls, given) and not getattr(alerts.tls, missing):
            names = (f"alerts.tls.{given}", f"alerts.tls.{missing}")
            yield problem(names[0], f"needs {names[1]} beside it"), names
    served = config.web.tls
    for given, missing in (("cert", "key"), ("key", "cert"), ("client_ca", "cert")):
        if getattr(served, given) and not getattr(served, missing):
            names = (f"web.tls.{given}", f"web.tls.{missing}")
            yield problem(names[0], f"needs {names[1]} beside it"), names
    basic, password = "alerts.basic_auth.username", "alerts.basic_auth.password_file"
    if alerts.basic_auth.username and not alerts.basic_auth.password_file:
        yield problem(basic, f"needs {password} beside it"), (basic, password)
    if alerts.basic_auth.password_file and not alerts.basic_auth.username:
        yield problem(password, f"needs {basic} beside it"), (basic, password)
    if alerts.basic_auth.username and alerts.bearer_token_file:
        bearer = "alerts.bearer_token_file"
        yield problem(bearer, "cannot be combined with alerts.basic_auth", "choose one of the two"), (basic, bearer)
