"""A bounded buffer between the thread that receives and the thread that works.

It promises order, that nothing is lost, and that it never holds more than its bounds: the
receiving thread waits instead, so that the sender feels it and counts what it loses. It is
made for one thread on either side, and costs the receiving one an append per message.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable


class Buffer:
    """Messages in the order received, at most `max_messages` and `max_bytes` of them.

    A single message larger than `max_bytes` passes when the buffer is empty.
    """

    def __init__(self, *, batch_size: int, max_messages: int, max_bytes: int) -> None:
        self._batch_size = batch_size
        self._max_messages = max(batch_size, max_messages)
        self._max_bytes = max_bytes
        self._messages: list[bytes] = []
        self._put_bytes = 0
        self._taken_bytes = 0
        self._full_batch = threading.Event()
        self._room = threading.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def size(self) -> int:
        """Bytes of the messages held."""
        return self._put_bytes - self._taken_bytes

    def fill(self, messages: Iterable[bytes]) -> None:
        """Put every message, waiting for room where there is none; the receiving thread's side.

        After `close` it takes one more message, wherever that leads, and returns.
        """
        # Appending to a list, and cutting its head off, are each one step that no other thread can see half done.
        held, batch_size, max_messages = self._messages, self._batch_size, self._max_messages
        append = held.append
        put = self._put_bytes
        for message in messages:
            put += len(message)
            if len(held) >= max_messages or (put - self._taken_bytes > self._max_bytes and held):
                self._wait_for_room(put)
            self._put_bytes = put
            append(message)
            if len(held) == batch_size:
                self._full_batch.set()
            if self._closed:
                return

    def take(self, timeout: float) -> list[bytes]:
        """The oldest messages, at most a batch; after `timeout` seconds whatever is there, even nothing."""
        if len(self._messages) < self._batch_size and timeout > 0:
            self._full_batch.clear()
            # Asked anew: what `close` or `fill` set just before must not be waited for.
            if len(self._messages) < self._batch_size and not self._closed:
                self._full_batch.wait(timeout)
        batch = self._messages[: self._batch_size]
        del self._messages[: len(batch)]
        self._taken_bytes += sum(map(len, batch))
        self._room.set()
        return batch

    def close(self) -> None:
        """Let nobody wait any more. What is held can still be taken."""
        self._closed = True
        self._room.set()
        self._full_batch.set()

    def _wait_for_room(self, put: int) -> None:
        while not self._closed:
            self._room.clear()
            held = len(self._messages)
            if self._closed or (held < self._max_messages and (put - self._taken_bytes <= self._max_bytes or not held)):
                return
            # A batch can also be full of bytes.
            self._full_batch.set()
            self._room.wait()
