"""`peer.Peer`: which nodes the cluster has and where their agents are, told as it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import grpc

from flowwatch.hubble import peer_pb2
from flowwatch.simulate.faults import Mode
from flowwatch.simulate.gate import Gate
from flowwatch.simulate.service import PATIENCE, admit


class PeerBook:
    """The members of a cluster, each with its address and the name in its certificate. Safe from any thread."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._changed = threading.Condition()
        self._members: dict[str, peer_pb2.ChangeNotification] = {}
        self._changes: list[bytes] = []

    def add(self, name: str, address: str, server_name: str) -> None:
        """A node is there, or is there with another address. Without a `server_name` it speaks no TLS."""
        with self._changed:
            kind = peer_pb2.PEER_UPDATED if name in self._members else peer_pb2.PEER_ADDED
            entry = peer_pb2.ChangeNotification(name=name, address=address, type=kind)
            if server_name:
                entry.tls.server_name = server_name
            self._members[name] = entry
            self._change(entry)

    def remove(self, name: str) -> None:
        """A node is gone."""
        with self._changed:
            entry = self._members.pop(name, None)
            if entry is not None:
                entry.type = peer_pb2.PEER_DELETED
                self._change(entry)

    def wake(self) -> None:
        """Let all streams look again at why they wait."""
        with self._changed:
            self._changed.notify_all()

    def handlers(self, gate: Gate) -> grpc.GenericRpcHandler:
        """The handler of the service for one server."""

        def notify(_request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            admit(gate, context)
            return self._notify(gate, context)

        methods: Mapping[str, grpc.RpcMethodHandler] = {"Notify": grpc.unary_stream_rpc_method_handler(notify)}
        return grpc.method_handlers_generic_handler("peer.Peer", methods)

    def _notify(self, gate: Gate, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.wake)
        cuts = gate.cuts
        with self._changed:
            told = len(self._changes)
            known = [
                peer_pb2.ChangeNotification.FromString(each.SerializeToString()) for each in self._members.values()
            ]
        for entry in known:
            entry.type = peer_pb2.PEER_ADDED
            yield entry.SerializeToString()
        while context.is_active():
            with self._changed:
                fresh = self._changes[told:]
                if not fresh:
                    self._changed.wait(PATIENCE)
            if self._stopping() or (gate.cuts != cuts and gate.cut_by is not Mode.EOF):
                context.abort(grpc.StatusCode.UNAVAILABLE, "transport is closing")
            if Mode.EOF in (gate.streams, gate.cut_by if gate.cuts != cuts else None):
                return
            if gate.streams is Mode.STALL:
                continue
            told += len(fresh)
            yield from fresh

    def _change(self, entry: peer_pb2.ChangeNotification) -> None:
        self._changes.append(entry.SerializeToString())
        self._changed.notify_all()
