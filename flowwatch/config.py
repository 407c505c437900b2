"""The configuration: what can be set, what it is when nobody sets it, and where it came from.

One dataclass per component; the string under a field is its documentation. Values come from
one YAML file, and from environment variables, which win. Everything wrong with either is
reported at once. Secrets are never values, only paths of files, so that a configuration can
be shown to anyone. Nothing here opens a socket or a file other than the configuration's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from flowwatch.config_keys import Key, build, keys_of
from flowwatch.config_read import CONFIG_VARIABLE, Origin, Reading, read_environment, read_file
from flowwatch.config_show import render_reference, render_values
from flowwatch.config_values import (
    ADDRESS,
    LABEL,
    NAME,
    OPTIONAL_PATH,
    OPTIONAL_URL,
    PATH,
    RATIO,
    SERVER,
    SWITCH,
    TEXT,
    URL,
    URL_PATH,
    choice,
    count,
    duration,
    format_duration,
    size,
    split_address,
)
from flowwatch.errors import ConfigError, Problem

Switch = Annotated[bool, SWITCH]
Text = Annotated[str, TEXT]
Name = Annotated[str, NAME]
Address = Annotated[str, ADDRESS]
Server = Annotated[str, SERVER]
Url = Annotated[str, URL]
OptionalUrl = Annotated[str, OPTIONAL_URL]
File = Annotated[Path, PATH]
OptionalFile = Annotated[Path | None, OPTIONAL_PATH]
LabelName = Annotated[str, LABEL]
Ratio = Annotated[float, RATIO]
Seconds = Annotated[float, duration()]
PositiveSeconds = Annotated[float, duration(minimum=0.001)]


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """Encryption of the connection to Hubble. The files are read again at every connection,
    so that renewed certificates are taken up."""

    enabled: Switch = False
    """Speak TLS. Hubble Relay speaks plain gRPC unless Cilium was installed with `hubble.relay.tls.server.enabled`."""
    ca: OptionalFile = None
    """PEM file with the certificate authorities to trust; without it, the ones that gRPC ships with."""
    cert: OptionalFile = None
    """PEM file with the certificate to identify with, for a server that asks for one (mutual TLS)."""
    key: OptionalFile = None
    """PEM file with the private key of `cert`."""
    server_name: Text = ""
    """The name that the server's certificate must carry, where it is not the host of `hubble.server`.
    Relay's certificates are usually valid for names such as `instance.hubble-relay.cilium.io`."""


@dataclass(frozen=True, slots=True)
class HubbleSettings:
    """Where flows come from."""

    server: Server = "hubble-relay.kube-system.svc:80"
    """Hubble Relay, or the Hubble server of one node, as `host:port` or `unix:/path`."""
    tls: TLSSettings = field(default_factory=TLSSettings)
    quiet_timeout: PositiveSeconds = 120.0
    """After this long without any flow the server is asked whether it is alive and still sees flows;
    if it does not answer, or sees flows that do not reach us, we connect anew."""
    reconnect_min: PositiveSeconds = 0.5
    """The shortest pause before connecting again; it grows with every failure."""
    reconnect_max: PositiveSeconds = 30.0
    """The longest pause before connecting again."""
    dial_timeout: PositiveSeconds = 5.0
    """How long to wait for a connection, and for the answer to a question about the server's state."""


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
    """Flows older than this are deleted."""


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
class AlertSettings:
    """Who is told about findings."""

    alertmanagers: tuple[Url, ...] = ()
    """The Alertmanagers to push to, each of them by its base URL: all members of a cluster, not a
    load balancer in front of it. Without any, alerts are only shown."""
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
    external_url: OptionalUrl = ""
    """Where people reach flowwatch's own page; alerts link to it."""
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
    allowlist: tuple[File, ...] = ()
    """The files that declare which traffic is expected."""
    store: StoreSettings = field(default_factory=StoreSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    web: WebSettings = field(default_factory=WebSettings)
    log: LogSettings = field(default_factory=LogSettings)
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False, repr=False)
    """Where each key that somebody set was set, by dotted name. Not a key."""


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

    hubble, tls, alerts, served = config.hubble, config.hubble.tls, config.alerts, config.web.tls
    if hubble.reconnect_min > hubble.reconnect_max:
        names = ("hubble.reconnect_min", "hubble.reconnect_max")
        blamed = next((name for name in names if name in config.origins), names[0])
        least, most = format_duration(hubble.reconnect_min), format_duration(hubble.reconnect_max)
        yield problem(blamed, f"reconnect_min ({least}) is longer than reconnect_max ({most})"), names
    for given, missing in (("cert", "key"), ("key", "cert")):
        if getattr(tls, given) and not getattr(tls, missing):
            names = (f"hubble.tls.{given}", f"hubble.tls.{missing}")
            yield problem(names[0], f"needs {names[1]} beside it"), names
    for name in ("ca", "cert", "key", "server_name"):
        names = (f"hubble.tls.{name}", "hubble.tls.enabled")
        if getattr(tls, name) and not tls.enabled and names[1] not in config.origins:
            yield (
                problem(names[0], "has no effect without TLS", f"set {names[1]} to true, or to false to say so"),
                names,
            )
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
