"""Which Alertmanagers there are to tell: addresses as configured, and those a name stands for at the moment.

`http://…` is one Alertmanager, whatever its name resolves to. `dns+http://…` is every address its name has:
the members of a cluster behind a headless service, each of which must be told.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

DISCOVERED = "dns+"
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host (and port), in any order. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Target:
    """One configured address. `base` is it without credentials; `login` are those, if any."""

    base: str
    discovered: bool
    login: tuple[str, str] | None = None

    @property
    def parts(self) -> SplitResult:
        """The parts of `base`."""
        return urlsplit(self.base)

    @property
    def host(self) -> str:
        """The host that the address names."""
        return self.parts.hostname or ""

    @property
    def port(self) -> int:
        """The port, or the scheme's own."""
        return self.parts.port or (443 if self.parts.scheme == "https" else 80)

    def at(self, address: str) -> str:
        """The base URL of the member that has this address."""
        authority = f"[{address}]" if ":" in address else address
        return f"{self.parts.scheme}://{authority}:{self.port}{self.parts.path}"


def target(url: str) -> Target:
    """Read an address as it is configured."""
    discovered = url.startswith(DISCOVERED)
    parts = urlsplit(url.removeprefix(DISCOVERED))
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
    return Target(base, discovered, login)


async def resolve(host: str, port: int) -> list[str]:
    """Every address, of either family, that a name has right now."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(ipaddress.ip_address(str(entry[4][0]).partition("%")[0])) for entry in found})


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """Whom to trust and how to identify; None: what the system trusts, and not at all. `server_name` is the name
    that the certificate must carry, where it is not the host that was configured."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""


class Contexts:
    """TLS contexts from files, made anew when one of them changed."""

    def __init__(self, files: TLSFiles) -> None:
        self._files = files
        self._made: tuple[tuple[tuple[int, int], ...], ssl.SSLContext] | None = None

    def current(self) -> ssl.SSLContext:
        """The context for a connection that is opened now. Raises OSError (of which SSLError is one)."""
        given = [file for file in (self._files.ca, self._files.cert, self._files.key) if file]
        state = tuple((status.st_mtime_ns, status.st_ino) for status in (file.stat() for file in given))
        if self._made is None or self._made[0] != state:
            context = ssl.create_default_context(cafile=str(self._files.ca) if self._files.ca else None)
            if self._files.cert:
                # A key with a passphrase is refused rather than asked for on a terminal.
                context.load_cert_chain(self._files.cert, self._files.key, password=lambda: "")
            self._made = (state, context)
        return self._made[1]
