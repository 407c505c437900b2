"""Asking a flowwatch that runs: over its HTTP API, with the token and the certificate it wants.

Whoever runs beside it finds it by the note it leaves next to its database (`store.claim`), which names the files to
show and to trust; elsewhere people name them.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowwatch.errors import QueryError, SourceError

TIMEOUT = 60.0
"""Seconds to wait for an answer."""
LARGEST = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Access:
    """What a flowwatch asks of those who ask it. `certificate` is the very one it serves with, to know it by;
    `ca` are authorities to trust instead; `cert` and `key` are one's own, where it wants to see one."""

    token_file: Path | None = None
    certificate: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Remote:
    """A flowwatch at an address such as `http://127.0.0.1:9950`."""

    def __init__(self, address: str, access: Access | None = None) -> None:
        """Nothing is asked yet. Raises `SourceError` for an address that is none, or a file that cannot be used."""
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise SourceError(f"{address}: not the address of a flowwatch; write one such as http://127.0.0.1:9950")
        self.address = address.rstrip("/")
        self._access = access or Access()
        context = _context(self._access) if parts.scheme == "https" else None
        # The token is for this address and nobody it may send us to.
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Stay)

    def json(self, path: str, **params: object) -> Any:
        """The answer at a path such as `/api/v1/status`, decoded. Raises `SourceError`, and `QueryError` where the
        request was not one it answers."""
        try:
            return json.loads(self.read(path, **params))
        except ValueError as error:
            raise SourceError(f"{self.address}{path}: the answer is not one of flowwatch: {error}") from error

    def read(self, path: str, **params: object) -> bytes:
        """The answer at a path, as it came."""
        given = {name: value for name, value in params.items() if value not in (None, "")}
        query = f"?{urllib.parse.urlencode(given)}" if given else ""
        request = urllib.request.Request(f"{self.address}{path}{query}", headers=self._headers())
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                body: bytes = answer.read(LARGEST)
                return body
        except urllib.error.HTTPError as error:
            told = _told(error.read(4096))
            if error.code in (401, 403):
                raise SourceError(f"{self.address}: {told}") from error
            raise QueryError(f"{self.address}: {told}") from error
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise SourceError(f"the flowwatch at {self.address} does not answer: {reason}") from error

    def _headers(self) -> dict[str, str]:
        if not self._access.token_file:
            return {}
        try:
            token = self._access.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SourceError(f"{self._access.token_file}: {error.strerror}") from error
        return {"Authorization": f"Bearer {token}"}


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _told(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "no reason was given"


def _context(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.ca)
        if access.certificate and not access.ca:
            # The one certificate is trusted, whoever signed it and whatever name it is for.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(access.certificate)
        if access.cert:
            context.load_cert_chain(access.cert, access.key)
    except OSError as error:
        files = ", ".join(str(file) for file in (access.ca, access.certificate, access.cert, access.key) if file)
        raise SourceError(f"{files}: cannot be used for TLS: {error}") from error
    return context
