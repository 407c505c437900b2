"""The certificate files of a TLS connection: read anew each time, watched, and checked before use.

The TLS library itself only says that it could not be set up; here each file is looked at, so
that a missing file, a key that belongs to another certificate or a key with a passphrase is
named as such. No content of any file ever appears in a message.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from flowwatch.config import HubbleSettings, TLSSettings
from flowwatch.errors import Problem

LOOK_EVERY = 2.0
"""Seconds between two looks at the files."""
_LARGEST_FILE = 4 * 1024 * 1024

log = logging.getLogger("flowwatch.receive")


@dataclass(frozen=True, slots=True, repr=False)
class Certificates:
    """PEM contents; None where nothing is configured. Never shown."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None


def read_certificates(tls: TLSSettings) -> Certificates:
    """The contents of the configured files; raises `OSError`."""
    ca, cert, key = (path.read_bytes() if path else None for path in (tls.ca, tls.cert, tls.key))
    return Certificates(ca, cert, key)


def tls_problems(settings: HubbleSettings) -> list[Problem]:
    """Everything that is wrong with the certificate files; empty without TLS."""
    tls = settings.tls
    if not tls.enabled:
        return []
    section = f"{settings.section}.tls"
    given = {f"{section}.{name}": path for name in ("ca", "cert", "key") if (path := getattr(tls, name))}
    problems = [problem for name, path in given.items() if (problem := _unreadable(name, path))]
    if problems:
        return problems
    if tls.ca and not _is_authority(tls.ca):
        problems.append(Problem(str(tls.ca), 0, f"{section}.ca", "holds no certificate in PEM form"))
    if tls.cert and tls.key and (message := _pair_problem(tls.cert, tls.key)):
        problems.append(Problem(str(tls.cert), 0, f"{section}.cert", message))
    return problems


def _unreadable(name: str, path: Path) -> Problem | None:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            reason = "is not a file that could hold certificates" if path.exists() else "does not exist"
            return Problem(str(path), 0, name, reason)
        with path.open("rb"):
            return None
    except OSError as error:
        return Problem(str(path), 0, name, f"cannot be read: {error.strerror or error}")


def _is_authority(path: Path) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        return False
    return True


def _pair_problem(cert: Path, key: Path) -> str:
    def no_passphrase() -> str:
        raise _PassphraseError

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except _PassphraseError:
        return f"its key {key} has a passphrase; only keys without one can be used"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"does not belong to the key {key}"
        return f"and {key} are not a certificate and its key in PEM form"
    except OSError as error:
        return f"and {key} cannot be read: {error.strerror or error}"
    return ""


class _PassphraseError(Exception):
    """Raised instead of asking for a passphrase."""


class CertificateFiles:
    """The certificate files of one source, looked at again and again.

    A mounted secret changes as a whole when a link is moved, other tools write file after file: only
    contents that are the same before and after they were checked, and that fit together, count.
    """

    def __init__(self, settings: HubbleSettings) -> None:
        self.current: Certificates | None = None
        """The newest usable contents; None before there were any."""
        self.read_at = 0.0
        """When they were last seen to be in force."""
        self._settings = settings
        self._look_at = 0.0
        self._problem = ""

    def look(self, now: float) -> None:
        """Read the files if it is time to; `now` is monotonic."""
        if not self._settings.tls.enabled or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        try:
            found = read_certificates(self._settings.tls)
            if found != self.current:
                problems = tls_problems(self._settings)
                self._tell("; ".join(str(problem) for problem in problems))
                if problems or read_certificates(self._settings.tls) != found:
                    return
                self.current = found
            self.read_at = now
        except OSError as error:
            self._tell(str(error))

    def _tell(self, problem: str) -> None:
        """Log what is wrong, once; before there were any usable files the streams say it themselves."""
        if problem and problem != self._problem and self.current is not None:
            log.warning("the renewed certificates cannot be used, streams go on with the old ones: %s", problem)
        self._problem = problem
