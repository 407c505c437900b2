"""Findings written in one line: who, to whom, what became of it."""

from __future__ import annotations

import ipaddress

from flowwatch.model import Declared, Edge, Finding, Identity, Judgement, Kind, Peer, Protocol, Side, Square

NOON = 1_790_000_000.0
"""When the stories begin: 2026-09-21 13:33:20 UTC."""


def peer(text: str) -> Peer:
    """`ns/workload` is a pod, `203.0.113.7` an address, `a.example.com=203.0.113.7` one known by a
    name, `host` an entity."""
    name, _, ip = text.rpartition("=")
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        namespace, slash, workload = text.partition("/")
        if not slash:
            return Peer(Identity(Kind(text), "homelab", "", (f"reserved:{text}",)))
        labels = (f"k8s:app={workload}", f"k8s:io.kubernetes.pod.namespace={namespace}")
        return Peer(Identity(Kind.POD, "homelab", namespace, labels), workload)
    return Peer(Identity(Kind.WORLD, "homelab", "", ("reserved:world",)), ip=ip, names=(name,) if name else ())


def finding(
    source: str = "monitoring/loki",
    destination: str = "203.0.113.7",
    square: Square = Square.UNEXPECTED,
    *,
    side: Side = Side.EGRESS,
    port: int = 443,
    protocol: Protocol = Protocol.TCP,
    flows: int = 12,
    connections: int = 3,
    coverage: float = 1.0,
    samples: tuple[str, ...] = ("0b0e1f6e-0001", "0b0e1f6e-0002"),
) -> Finding:
    """A finding with everything a person would want to read in it."""
    blocked = square is Square.BLOCKED
    title = "monitoring/loki → seaweedfs/filer:8333/TCP"
    judgement = (
        Judgement(Declared.YES, rule=title, rule_id=3)
        if blocked
        else Judgement(Declared.NO, "no rule names it", nearest=title, differs=("destination", "port"))
    )
    return Finding(
        square=square,
        cluster="homelab",
        edge=Edge(peer(source), peer(destination), protocol, port),
        side=side,
        judgement=judgement,
        first_seen=NOON - 600,
        last_seen=NOON - 5,
        flows=flows,
        connections=connections,
        samples=samples,
        drop_reasons=("POLICY_DENIED",) if square in (Square.BLOCKED, Square.DENIED) else (),
        policies=("shop/allow-web",) if blocked else (),
        coverage=coverage,
    )
