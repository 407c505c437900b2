"""What a failed connection means, in words for the person who has to mend it.

From a gRPC status (its code's name and its details) to what happened and what to check,
naming the settings concerned. It only reads texts; it decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowwatch.config_values import UnreadableValue, format_duration, split_address
from flowwatch.receive.channel import Target

LASTING = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "INVALID_ARGUMENT"})
"""Codes that trying again soon will not change."""

_EXPECTED = {"relay": "hubble-relay", "nodes": "the Hubble server of a node", "file": "hubble-relay"}
_HUNG_UP = ("socket closed", "connection reset", "broken pipe")
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class _Sign:
    """A status of one of `codes` whose details hold one of `words` (any, if empty) says `meaning`."""

    codes: str
    words: tuple[str, ...]
    meaning: str
    tls: bool | None = None
    """With or without TLS; None: either."""


# The first that fits counts. The words are those of gRPC's C core.
_SIGNS = (
    _Sign("OK", (), "{server} ended the stream; a relay does so when it has no reachable node"),
    _Sign("UNIMPLEMENTED", ("http2 header with status",), "{server} speaks HTTP but not gRPC: {relay}"),
    _Sign("UNIMPLEMENTED", (), "{server} does not offer Hubble's observer service: {relay}"),
    _Sign("INVALID_ARGUMENT", (), "{server} does not accept our request: {details}"),
    _Sign("UNAUTHENTICATED PERMISSION_DENIED", (), "{server} does not let us in ({code}): {details}"),
    _Sign("RESOURCE_EXHAUSTED", ("larger than max",), "{server} sent a message beyond any reasonable size: {details}"),
    _Sign(
        "UNAVAILABLE",
        ("connection refused",),
        "connection refused at {server}: is hubble-relay reachable, is a port-forward running?",
    ),
    _Sign("UNAVAILABLE", ("no such file",), "there is no socket at {server}: is the agent's socket mounted here?"),
    _Sign("UNAVAILABLE", ("resolv", "lookup"), "the name in {server} cannot be resolved: {details}"),
    _Sign("UNAVAILABLE", ("http1", "failed parsing http"), "{server} does not speak gRPC: {relay}"),
    _Sign("UNAVAILABLE", ("wrong_version_number",), "{server} does not speak TLS, but {tls}.enabled is true"),
    _Sign(
        "UNAVAILABLE",
        ("hostname verification",),
        "the certificate of {server} is not valid for the name {name}: set {tls}.server_name to a name "
        "that it carries, such as instance.hubble-relay.cilium.io",
    ),
    _Sign(
        "UNAVAILABLE",
        ("unsupported_protocol", "tlsv1_alert_protocol_version", "unknown_protocol"),
        "{server} does not speak TLS 1.2 or newer, and nothing older is spoken here: update the server",
    ),
    _Sign(
        "UNAVAILABLE",
        ("certificate has expired",),
        "the certificate of {server}, or of who signed it, has expired: renew it, or is this machine's clock wrong?",
    ),
    _Sign(
        "UNAVAILABLE",
        ("not yet valid",),
        "the certificate of {server}, or of who signed it, is not valid yet: is this machine's clock wrong?",
    ),
    _Sign(
        "UNAVAILABLE", ("certificate_verify_failed",), "the certificate of {server} is not one that {authority} signed"
    ),
    _Sign(
        "UNAVAILABLE",
        ("security handshaker",),
        "the certificate files for {server} ({tls}.ca, cert and key) cannot be used",
    ),
    _Sign(
        "UNAVAILABLE DEADLINE_EXCEEDED",
        ("timed out", "timeout", "before receiving settings", "deadline"),
        "no answer from {server} within {waited}: does a network policy drop it, is the port right?",
    ),
)
_SIGNS_AT_CONNECTING = (
    _Sign(
        "UNAVAILABLE",
        _HUNG_UP,
        "{server} hung up at once: it may speak TLS, and {tls}.enabled is false",
        tls=False,
    ),
    _Sign("UNAVAILABLE", _HUNG_UP, "{server} hung up during the TLS handshake: {own}", tls=True),
    _Sign("UNAVAILABLE", (), "cannot connect to {server}: {details}"),
)
_SIGNS_LATER = (
    _Sign("UNAVAILABLE CANCELLED INTERNAL", (), "the stream from {server} broke off: {details}"),
    _Sign("", (), "{server} answered {code}: {details}"),
)


def explain(code: str, details: str, target: Target) -> str:
    """One sentence without a final full stop: what happened to the stream, and what to check."""
    text, settings, tls = details.lower(), target.settings, target.settings.tls
    section = f"{settings.section}.tls"
    connecting = "failed to connect" in text
    signs = _SIGNS + (_SIGNS_AT_CONNECTING if connecting else ()) + _SIGNS_LATER
    meaning = next(sign.meaning for sign in signs if _fits(sign, code, text, target.encrypted))
    flat = " ".join(details.split())
    return meaning.format(
        server=target.address,
        code=code,
        details=flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…",
        waited=format_duration(settings.dial_timeout),
        name=target.server_name or _host(target.address),
        tls=section,
        relay=f"is this the address of {_EXPECTED[settings.source]}?",
        authority=f"{section}.ca ({tls.ca})" if tls.ca else f"a public authority ({section}.ca is not set)",
        own=f"does it trust {section}.cert, and is that valid now?"
        if tls.cert
        else f"does it ask for {section}.cert and {section}.key?",
    )


def _fits(sign: _Sign, code: str, text: str, tls: bool) -> bool:
    return (
        (not sign.codes or code in sign.codes.split())
        and (not sign.words or any(word in text for word in sign.words))
        and sign.tls in (None, tls)
    )


def _host(server: str) -> str:
    try:
        return split_address(server)[0]
    except UnreadableValue:
        return server
