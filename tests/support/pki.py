"""Certificates for tests, made with the openssl command: an authority and whatever it signs, or does not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

NAME = "instance.hubble-relay.cilium.io"
_SETTINGS = """[ca]
default_ca = here
[here]
new_certs_dir = .
database = index.txt
serial = serial
rand_serial = yes
unique_subject = no
policy = any
default_md = sha256
copy_extensions = copy
[any]
commonName = supplied
"""


class Authority:
    """An authority with its files in `directory`: `ca.crt`, and `NAME.crt` with `NAME.key` for each made."""

    def __init__(self, directory: Path) -> None:
        self._command = shutil.which("openssl") or ""
        if not self._command:
            pytest.skip("the openssl command is not installed")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        (directory / "ca.cnf").write_text(_SETTINGS, encoding="utf-8")
        (directory / "index.txt").touch()
        self._run("req", "-x509", *self._key("ca"), "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2")

    def make(self, name: str, *, dns: str = NAME, begin: str = "", end: str = "") -> None:
        """Sign a certificate for `dns`, valid now, or from `begin` to `end` (`20200101000000Z`)."""
        self._run("req", "-new", *self._key(name), "-out", "request", "-subj", f"/CN={name}", "-addext",
                  f"subjectAltName=DNS:{dns}")  # fmt: skip
        validity = ("-startdate", begin, "-enddate", end) if begin else ("-days", "2")
        self._run("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key",
                  "-in", "request", "-out", f"{name}.crt", *validity)  # fmt: skip

    def credentials(self, name: str = "server", *, clients: Authority | None = None) -> grpc.ServerCredentials:
        """A server's, with one of the certificates; with `clients`, it asks for one that they signed."""
        pair = (self.read(f"{name}.key"), self.read(f"{name}.crt"))
        return grpc.ssl_server_credentials([pair], clients.read("ca.crt") if clients else None, clients is not None)

    def read(self, name: str) -> bytes:
        """A file's content."""
        return (self.directory / name).read_bytes()

    def _key(self, name: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._command, *arguments], cwd=self.directory, check=True, capture_output=True)
