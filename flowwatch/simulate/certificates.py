"""Certificates for a simulated cluster, made with the `openssl` command: those Cilium would have, and bad ones.

Each is a pair of PEM files `<name>.crt` and `<name>.key`:

    ca          the authority of the cluster
    relay       the relay's server: *.hubble-relay.cilium.io, localhost and 127.0.0.1
    <node>      the server of a node's agent: <node>.<cluster>.hubble-grpc.cilium.io
    client      for clients of relay and agents
    expired     valid for every server and client above, until yesterday
    stranger    valid for every server and client above, but signed by another authority
    stranger-ca that other authority
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from flowwatch.errors import FlowwatchError
from flowwatch.simulate.cluster import Cluster
from flowwatch.simulate.endpoint import Tls

_RELAY = ("DNS:*.hubble-relay.cilium.io", "DNS:localhost", "IP:127.0.0.1", "IP:::1")
_DAYS = 365


def make_certificates(directory: Path, cluster: Cluster) -> None:
    """Make all of them, anew if they are there. Raises FlowwatchError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlowwatchError(f"cannot make {directory}: {error.strerror or error}") from error
    everyone = (*_RELAY, *(f"DNS:{node.server_name}" for node in cluster.nodes))
    make_certificate(directory, "ca")
    make_certificate(directory, "stranger-ca")
    make_certificate(directory, "relay", _RELAY, "ca")
    for node in cluster.nodes:
        make_certificate(directory, node.name, (f"DNS:{node.server_name}",), "ca")
    make_certificate(directory, "client", ("DNS:*.hubble-relay.cilium.io",), "ca")
    make_certificate(directory, "expired", everyone, "ca", days=-1)
    make_certificate(directory, "stranger", everyone, "stranger-ca")


def make_certificate(
    directory: Path, name: str, subjects: Sequence[str] = (), signer: str = "", days: int = _DAYS
) -> None:
    """Make one, signed by an earlier one; without a signer an authority. `days` may be negative: it has expired.

    `subjects` are alternative names as openssl writes them. Raises FlowwatchError.
    """
    key, request, extensions = (directory / f"{name}.{suffix}" for suffix in ("key", "csr", "ext"))
    lines = [f"basicConstraints=critical,CA:{'FALSE' if signer else 'TRUE'}"]
    if subjects:
        lines += [f"subjectAltName={','.join(subjects)}", "extendedKeyUsage=serverAuth,clientAuth"]
    extensions.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    _openssl(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
        "-keyout", str(key), "-out", str(request),
    )  # fmt: skip
    by = ["-signkey", str(key)]
    if signer:
        by = ["-CA", str(directory / f"{signer}.crt"), "-CAkey", str(directory / f"{signer}.key"), "-CAcreateserial"]
    _openssl(
        "x509", "-req", "-in", str(request), "-days", str(days), "-extfile", str(extensions), "-out",
        str(directory / f"{name}.crt"), *by,
    )  # fmt: skip
    request.unlink()
    extensions.unlink()


def served_with(directory: Path, cluster: Cluster) -> tuple[Tls, dict[str, Tls]]:
    """What the relay and each node serve with; all demand a client's certificate."""
    authority = directory / "ca.crt"

    def tls(name: str) -> Tls:
        return Tls(directory / f"{name}.crt", directory / f"{name}.key", authority)

    return tls("relay"), {node.name: tls(node.name) for node in cluster.nodes}


def _openssl(*arguments: str) -> None:
    command = shutil.which("openssl")
    if command is None:
        raise FlowwatchError("cannot make certificates: the openssl command is not installed")
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FlowwatchError(f"cannot make certificates: {done.stderr.strip() or done.returncode}")
