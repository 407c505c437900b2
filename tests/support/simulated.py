"""Runs of the simulated Hubble for tests: played once, decoded once."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import grpc

from flowwatch.hubble import flow_pb2, observer_pb2
from flowwatch.simulate import SimulatedHubble
from flowwatch.simulate.cluster import Cluster, make_cluster
from flowwatch.simulate.stage import Event
from flowwatch.simulate.traffic import Scenes, Script, plan, traffic
from tests.support.patience import PATIENCE

START = 1_790_812_800_000_000_000
"""2026-10-01T00:00:00Z in nanoseconds."""
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Played:
    """A run: its plan, its messages, and these decoded."""

    cluster: Cluster
    scenes: Scenes
    events: list[Event]
    responses: list[observer_pb2.GetFlowsResponse]

    @property
    def flows(self) -> list[flow_pb2.Flow]:
        """The flows in the order of their times."""
        return [response.flow for response in self.responses if response.HasField("flow")]

    def told(self, class_and_kind: str) -> list[flow_pb2.Flow]:
        """The flows of all cases of a kind, such as `trap/late_reply`."""
        return [
            response.flow
            for event, response in zip(self.events, self.responses, strict=True)
            if event.case is not None and f"{event.case.case_class}/{event.case.kind}" == class_and_kind
        ]


@lru_cache(maxsize=4)
def played(seconds: float = 75.0, rate: float = 200.0, seed: int = 1, script: Script | None = None) -> Played:
    """The first seconds of a run."""
    cluster = make_cluster()
    scenes = plan(cluster)
    end = START + int(seconds * SECOND)
    run = traffic(cluster, seed, START, rate, script, scenes=scenes)
    events = list(itertools.takewhile(lambda event: event.time < end, run))
    return Played(cluster, scenes, events, [decode(event.message) for event in events])


def decode(message: bytes) -> observer_pb2.GetFlowsResponse:
    """A message as sent."""
    return observer_pb2.GetFlowsResponse.FromString(message)


@contextlib.contextmanager
def client(hubble: SimulatedHubble) -> Iterator[grpc.Channel]:
    """A channel to a simulated Hubble that is started and stopped with it."""
    with hubble as address, grpc.insecure_channel(address) as channel:
        yield channel


def get_flows(channel: grpc.Channel, **request: Any) -> Any:
    """Call `GetFlows`; yields decoded responses and can be cancelled."""
    call = channel.unary_stream(
        "/observer.Observer/GetFlows",
        request_serializer=observer_pb2.GetFlowsRequest.SerializeToString,
        response_deserializer=decode,
    )
    return call(observer_pb2.GetFlowsRequest(**request), timeout=PATIENCE)


def ask(channel: grpc.Channel, method: str, request: Any, response: Any) -> Any:
    """Call a method of `observer.Observer` that answers once."""
    call = channel.unary_unary(
        f"/observer.Observer/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=response.FromString,
    )
    return call(request, timeout=PATIENCE)


def make_certificate(directory: Path, name: str, signer: str | None = None) -> None:
    """Make `name.crt` and `name.key`, for 127.0.0.1, signed by itself or by an earlier one."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    key, request, certificate = (directory / f"{name}.{suffix}" for suffix in ("key", "csr", "crt"))
    _run(openssl, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    _run(openssl, "req", "-new", "-key", str(key), "-subj", f"/CN={name}", "-out", str(request))
    extensions = directory / f"{name}.ext"
    extensions.write_text(f"subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:{'FALSE' if signer else 'TRUE'}\n")
    ca = (
        ["-CA", str(directory / f"{signer}.crt"), "-CAkey", str(directory / f"{signer}.key"), "-CAcreateserial"]
        if signer
        else ["-signkey", str(key)]
    )
    _run(openssl, "x509", "-req", "-in", str(request), "-days", "2", "-extfile", str(extensions), "-out",
         str(certificate), *ca)  # fmt: skip


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
