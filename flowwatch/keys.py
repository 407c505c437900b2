"""What identifies a flow: 16 bytes, its uuid, or where it has none a digest of what it says.

Two reports of one packet have two uuids and so two keys; the same report repeated has one.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from flowwatch.decode.columns import Columns

Keys = npt.NDArray[np.void]

KEY = np.dtype("V16")
_LENGTH = 36
_DIGITS = np.array([at for at in range(_LENGTH) if at not in (8, 13, 18, 23)])
_NIBBLES = np.full(256, 255, dtype=np.uint8)
for _digit in "0123456789abcdefABCDEF":
    _NIBBLES[ord(_digit)] = int(_digit, 16)


def keys_of(columns: Columns) -> Keys:
    """The keys of a batch of flows, one each."""
    uuid = columns.uuid
    if uuid.null_count or len(uuid) == 0:
        return _one_by_one(columns)
    offsets = np.frombuffer(uuid.buffers()[1], dtype=np.int32)[uuid.offset : uuid.offset + len(uuid) + 1]
    if not (np.diff(offsets) == _LENGTH).all():
        return _one_by_one(columns)
    text = np.frombuffer(uuid.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]].reshape(-1, _LENGTH)
    nibbles = _NIBBLES[text[:, _DIGITS]]
    if (nibbles == 255).any():
        return _one_by_one(columns)
    return np.ascontiguousarray(nibbles[:, 0::2] << 4 | nibbles[:, 1::2]).view(KEY).ravel()


def _one_by_one(columns: Columns) -> Keys:
    found = np.empty(len(columns), dtype=KEY)
    contents = None
    for at, uuid in enumerate(columns.uuid.to_pylist()):
        plain = (uuid or "").replace("-", "")
        if len(plain) == 32 and all(_NIBBLES[ord(digit)] != 255 for digit in plain if ord(digit) < 256):
            try:
                found[at] = np.void(bytes.fromhex(plain))
                continue
            except ValueError:
                pass
        if plain:
            found[at] = np.void(blake2b(plain.encode(), digest_size=16).digest())
            continue
        contents = contents or _contents(columns)
        found[at] = np.void(blake2b(contents[at], digest_size=16).digest())
    return found


def _contents(columns: Columns) -> list[bytes]:
    """What each flow says of itself, as far as no server would say it differently the second time."""
    numbers = np.stack(
        [
            columns.time, columns.verdict, columns.drop_reason, columns.event, columns.sub_type, columns.direction,
            columns.point, columns.reply, columns.protocol, columns.source_port, columns.destination_port,
            columns.tcp_flags, columns.weight, columns.l7_type, columns.dns_rcode, columns.http_status,
        ],
        axis=1,
    )  # fmt: skip
    texts = [
        column.to_pylist()
        for column in (
            columns.node, columns.source, columns.destination, columns.source_ip, columns.destination_ip,
            columns.dns_query, columns.http_method, columns.http_url,
        )
    ]  # fmt: skip
    joined = []
    for at in range(len(columns)):
        parts = [value.encode() if isinstance(value, str) else value for value in (text[at] for text in texts)]
        joined.append(numbers[at].tobytes() + b"".join(len(part).to_bytes(4, "big") + part for part in parts))
    return joined


def no_keys() -> Keys:
    """Keys of no flow at all."""
    return np.empty(0, dtype=KEY)
