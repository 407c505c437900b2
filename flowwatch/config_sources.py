"""Where flows come from: the settings of one source, and what contradicts itself in several.

A part of the configuration; see `config`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from flowwatch.config_read import Origin
from flowwatch.config_values import (
    OPTIONAL_PATH,
    PATH,
    SERVER,
    SWITCH,
    TEXT,
    choice,
    duration,
    format_duration,
    quote,
)
from flowwatch.errors import Problem

Switch = Annotated[bool, SWITCH]
Text = Annotated[str, TEXT]
Server = Annotated[str, SERVER]
File = Annotated[Path, PATH]
OptionalFile = Annotated[Path | None, OPTIONAL_PATH]
PositiveSeconds = Annotated[float, duration(minimum=0.001)]


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """Encryption of the connection to Hubble, TLS 1.2 or newer. The files are watched: streams move to renewed
    certificates without a restart and without a gap."""

    enabled: Switch = False
    """Speak TLS. Hubble Relay speaks plain gRPC unless Cilium was installed with `hubble.relay.tls.server.enabled`."""
    ca: OptionalFile = None
    """PEM file with the certificate authorities to trust; without it, the ones that gRPC ships with."""
    cert: OptionalFile = None
    """PEM file with the certificate to identify with, for a server that asks for one (mutual TLS)."""
    key: OptionalFile = None
    """PEM file with the private key of `cert`."""
    server_name: Text = ""
    """The name that the certificate of `hubble.server` or `hubble.peer` must carry, where it is not its host. Relay's
    are usually valid for names such as `instance.hubble-relay.cilium.io`, the Peer service's for
    `hubble-peer.default.hubble-grpc.cilium.io`; what nodes are called, the Peer service says."""


@dataclass(frozen=True, slots=True)
class HubbleSettings:
    """Where flows come from."""

    source: Annotated[str, choice("relay", "nodes", "file")] = "relay"
    """`relay`: one stream, of Hubble Relay or of the Hubble server of one node. `nodes`: a stream from every node,
    found through the Peer service; nothing is sorted or held back on the way. `file`: what exporters write."""
    server: Server = "hubble-relay.kube-system.svc:80"
    """With `relay`: Hubble Relay, or the Hubble server of one node, as `host:port` or `unix:/path`."""
    peer: Server = "hubble-peer.kube-system.svc:443"
    """With `nodes`: the Peer service that names the nodes, as `host:port` or `unix:/path`. Any agent offers it,
    also through its socket (`unix:/var/run/cilium/hubble.sock`), which is always plain text."""
    files: tuple[File, ...] = ()
    """With `file`: the files to follow, as paths or patterns (`/var/run/cilium/hubble/*.log`)."""
    tls: TLSSettings = field(default_factory=TLSSettings)
    quiet_timeout: PositiveSeconds = 120.0
    """The server is asked every 15 seconds how it is. After this long without a flow and without an answer, or
    without a flow although it sees some, we connect anew."""
    reconnect_min: PositiveSeconds = 0.5
    """The shortest pause before connecting again; it grows with every failure."""
    reconnect_max: PositiveSeconds = 30.0
    """The longest pause before connecting again."""
    dial_timeout: PositiveSeconds = 5.0
    """How long to wait for a connection, and for the answer to a question about the server's state."""
    section: str = field(default="hubble", compare=False, repr=False)
    """Where these settings stand in the configuration, to name them by. Not a key."""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One of several sources of flows. Its keys are `cluster` and those of `hubble`."""

    cluster: Text = ""
    hubble: HubbleSettings = field(default_factory=HubbleSettings)


Blame = Callable[..., Problem]
"""Makes the problem of a key, from its name, a message and a hint."""
Contradiction = tuple[Problem, tuple[str, ...]]
"""What is wrong, and the keys concerned."""


def source_contradictions(
    sources: Sequence[SourceSettings], origins: Mapping[str, Origin], problem: Blame
) -> Iterator[Contradiction]:
    """Values that are fine one by one but not together."""
    for source in sources:
        yield from _contradictions(source.hubble, origins, problem)
    yield from _same_twice(sources, problem)


def _contradictions(hubble: HubbleSettings, origins: Mapping[str, Origin], problem: Blame) -> Iterator[Contradiction]:
    section, tls = hubble.section, hubble.tls
    if hubble.reconnect_min > hubble.reconnect_max:
        names = (f"{section}.reconnect_min", f"{section}.reconnect_max")
        blamed = next((name for name in names if name in origins), names[0])
        least, most = format_duration(hubble.reconnect_min), format_duration(hubble.reconnect_max)
        yield problem(blamed, f"reconnect_min ({least}) is longer than reconnect_max ({most})"), names
    for given, missing in (("cert", "key"), ("key", "cert")):
        if getattr(tls, given) and not getattr(tls, missing):
            names = (f"{section}.tls.{given}", f"{section}.tls.{missing}")
            yield problem(names[0], f"needs {names[1]} beside it"), names
    for name in ("ca", "cert", "key", "server_name"):
        names = (f"{section}.tls.{name}", f"{section}.tls.enabled")
        if getattr(tls, name) and not tls.enabled and names[1] not in origins:
            yield (
                problem(names[0], "has no effect without TLS", f"set {names[1]} to true, or to false to say so"),
                names,
            )
    default = HubbleSettings()
    for kind, name in (("relay", "server"), ("nodes", "peer"), ("file", "files")):
        names = (f"{section}.{name}", f"{section}.source")
        if hubble.source != kind and getattr(hubble, name) != getattr(default, name):
            hint = f"{names[1]} is {hubble.source}; set it to {kind}, or leave {name} out"
            yield problem(names[0], f"has no effect without {names[1]}: {kind}", hint), names
    if hubble.source == "file" and not hubble.files:
        names = (f"{section}.source", f"{section}.files")
        yield problem(names[0], f"needs {names[1]} beside it"), names


def _same_twice(sources: Sequence[SourceSettings], problem: Blame) -> Iterator[Contradiction]:
    """One stream under two names would have its flows counted twice."""
    first: dict[str, str] = {}
    for source in sources:
        hubble = source.hubble
        name = {"relay": "server", "nodes": "peer", "file": "files"}[hubble.source]
        value = getattr(hubble, name)
        for each in map(str, value) if isinstance(value, tuple) else (value,):
            here = f"{hubble.section}.{name}"
            if each in first:
                yield problem(here, f"{quote(each)} is that of {first[each]} as well"), (here, first[each])
            first.setdefault(each, here)
