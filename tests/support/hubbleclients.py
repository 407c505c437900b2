"""Clients of simulated servers that reconnect for ever and note every uuid they receive."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc

from flowwatch.hubble import observer_pb2, peer_pb2

DEADLINE = 60.0


def until(condition: Callable[[], Any], what: str = "it") -> Any:
    """Wait for a condition, however slow the machine; return what it said."""
    end = time.monotonic() + DEADLINE
    while not (answer := condition()):
        assert time.monotonic() < end, f"{what} did not come about in time"
        time.sleep(0.02)
    return answer


class Follower:
    """Follows one server in a thread of its own. `again`: connects again when the stream ends."""

    def __init__(self, address: Callable[[], str] | str, *, again: bool = False, **request: Any) -> None:
        self.uuids: Counter[str] = Counter()
        self.messages: list[observer_pb2.GetFlowsResponse] = []
        """What was received, but for what could not be decoded."""
        self.broken = 0
        """Messages that could not be decoded."""
        self.ends: list[tuple[str, str]] = []
        """How each stream ended: the name of the code, and its details."""
        self._address = address if callable(address) else lambda: address
        self._request = observer_pb2.GetFlowsRequest(follow=True, **request).SerializeToString()
        self._again = again
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def received(self) -> set[str]:
        """The uuids received by now."""
        with self._lock:
            return set(self.uuids)

    @property
    def flows(self) -> int:
        """How many flows were received, repeated ones counted again."""
        with self._lock:
            return sum(self.uuids.values())

    def stop(self) -> None:
        """Go away."""
        self._stopping.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join(DEADLINE)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(self._address(), options) as channel:
                try:
                    self._call = channel.unary_stream("/observer.Observer/GetFlows")(self._request)
                    if self._stopping.is_set():
                        return
                    for message in self._call:
                        self._take(message)
                    self.ends.append(("OK", ""))
                except grpc.RpcError as error:
                    self.ends.append((error.code().name, error.details() or ""))
            if not self._again:
                return
            self._stopping.wait(0.05)

    def _take(self, message: bytes) -> None:
        try:
            response = observer_pb2.GetFlowsResponse.FromString(message)
        except Exception:  # protobuf's implementations raise different ones
            self.broken += 1
            return
        self.messages.append(response)
        if response.HasField("flow"):
            with self._lock:
                self.uuids[response.flow.uuid] += 1


class Notified:
    """Listens to `peer.Peer/Notify` in a thread of its own."""

    def __init__(self, address: str) -> None:
        self.changes: list[peer_pb2.ChangeNotification] = []
        self._channel = grpc.insecure_channel(address)
        self._call = self._channel.unary_stream("/peer.Peer/Notify")(b"")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def said(self) -> list[tuple[str, str, str]]:
        """Kind, name and address of each change."""
        return [
            (peer_pb2.ChangeNotificationType.Name(each.type), each.name, each.address) for each in list(self.changes)
        ]

    def __enter__(self) -> Notified:
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()
        self._thread.join(DEADLINE)
        self._channel.close()

    def _run(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for message in self._call:
                self.changes.append(peer_pb2.ChangeNotification.FromString(message))
