"""Where the API server is, and who asks: the address, the token and the authorities to trust.

In a pod all three are where Kubernetes puts them. Tokens and certificates are renewed in place, so both files are
looked at again: the token at least every minute and whenever it was refused, the authorities when they change.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowwatch.errors import ClusterError

_MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REREAD = 60.0
"""Seconds for which a token is used before its file is read again."""


@dataclass(frozen=True, slots=True)
class Place:
    """The API server: its URL, and the files with a token and with the authorities (None: those of the system)."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None


def place(url: str, token_file: Path | None, ca_file: Path | None, env: Mapping[str, str] = os.environ) -> Place:
    """The API server that is meant: at `url`, or if that is empty the one of the cluster we run in. Raises
    ClusterError where we run in none."""
    if url:
        return Place(url.rstrip("/"), token_file, ca_file)
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ClusterError(
            "kubernetes.api: this does not run in a cluster (KUBERNETES_SERVICE_HOST is not set); "
            "name the API server, e.g. http://127.0.0.1:8001 of `kubectl proxy`"
        )
    authority = f"[{host}]" if ":" in host else host
    return Place(f"https://{authority}:{port}", token_file or _MOUNTED / "token", ca_file or _MOUNTED / "ca.crt")


class Access:
    """The credentials of one place, as they are on disk. Errors are OSError, or ValueError with the file's name."""

    def __init__(self, place: Place, clock: Callable[[], float]) -> None:
        self.place = place
        self._clock = clock
        self._token = ""
        self._token_until = float("-inf")
        self._context: ssl.SSLContext | None = None
        self._trusted: tuple[int, int, int] | None = None

    def headers(self) -> dict[str, str]:
        """What a request shows, the token above all."""
        headers = {"Accept": "application/json"}
        if self.place.token_file is None:
            return headers
        now = self._clock()
        if not self._token_until - REREAD <= now < self._token_until:
            token = self.place.token_file.read_text(encoding="utf-8").strip()
            if not token or any(character.isspace() or not character.isprintable() for character in token):
                raise ValueError(f"{self.place.token_file} holds no token")
            self._token, self._token_until = token, now + REREAD
        return {**headers, "Authorization": f"Bearer {self._token}"}

    def refused(self) -> None:
        """The token was not accepted: the next request reads it anew."""
        self._token_until = float("-inf")

    def context(self) -> ssl.SSLContext | bool:
        """How to speak TLS; True: as the system does. A new one where the file of authorities changed."""
        if self.place.ca_file is None:
            return True
        stat = self.place.ca_file.stat()
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._context is None or stamp != self._trusted:
            try:
                self._context = ssl.create_default_context(cafile=str(self.place.ca_file))
            except ssl.SSLError as error:
                raise ValueError(f"{self.place.ca_file} holds no certificate authority: {error}") from error
            self._trusted = stamp
        return self._context
