"""Inputs that are nearly right: real samples, changed at random, with some sense of what they are made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

LARGEST = 1 << 16
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
TOKEN = re.compile(rb"[A-Za-z0-9_.:/-]+|\s+|.", re.DOTALL)


def varint(number: int) -> bytes:
    """`number` as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def mutated(seeds: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """One of the seeds after one to eight changes."""
    data = random.choice(seeds)
    for _ in range(random.randint(1, 8)):
        data = random.choice(CHANGES)(data, seeds, words, random)[:LARGEST]
    return data


def _place(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((0, 1, 1, 2, 4, 8, 32, 256)))


def _flip(data: bytes, _seeds: Sequence[bytes], _words: Sequence[bytes], random: Random) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]


def _noise(data: bytes, _seeds: Sequence[bytes], _words: Sequence[bytes], random: Random) -> bytes:
    start, end = _place(data, random)
    return data[:start] + random.randbytes(random.randint(0, 8)) + data[end:]


def _cut(data: bytes, _seeds: Sequence[bytes], _words: Sequence[bytes], random: Random) -> bytes:
    start, end = _place(data, random)
    return data[:start] if random.random() < 0.2 else data[:start] + data[end:]


def _repeat(data: bytes, _seeds: Sequence[bytes], _words: Sequence[bytes], random: Random) -> bytes:
    start, end = _place(data, random)
    return data[:start] + data[start:end] * random.choice((2, 3, 50)) + data[end:]


def _splice(data: bytes, seeds: Sequence[bytes], _words: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(seeds)
    start, end = _place(other, random)
    at = random.randint(0, len(data))
    return data[:at] + (other[start:] if random.random() < 0.3 else other[start:end]) + data[at:]


def _word(data: bytes, _seeds: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """A word of the language in the place of one that is there, or between two."""
    tokens = TOKEN.findall(data)
    if not tokens or not words:
        return data
    at = random.randrange(len(tokens))
    tokens[at : at + random.randint(0, 1)] = [random.choice(words)]
    return b"".join(tokens)


def _swap(data: bytes, _seeds: Sequence[bytes], _words: Sequence[bytes], random: Random) -> bytes:
    """Lines, or halves, in another order."""
    lines = data.splitlines(keepends=True)
    if len(lines) < 2:
        return data[len(data) // 2 :] + data[: len(data) // 2]
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _field(data: bytes, _seeds: Sequence[bytes], _words: Sequence[bytes], random: Random) -> bytes:
    """Another number, or another field, in the place of a protobuf number; sometimes with its length put right."""
    at = random.randint(0, len(data))
    number = random.choice((*NUMBERS, random.randrange(1 << 20)))
    inside = random.randbytes(random.randint(0, 4))
    head = varint(random.choice((1, 2, 6, 13, 15, 26, 100, 1000, 21001)) << 3 | random.choice((0, 2, 2, 5, 7)))
    put = random.choice((varint(number), head + varint(number), head + varint(len(inside)) + inside))
    return data[:at] + put + data[at + random.choice((0, len(put))) :]


def _nest(data: bytes, _seeds: Sequence[bytes], _words: Sequence[bytes], random: Random) -> bytes:
    """Brackets, as deep as nobody writes them."""
    at, depth = random.randint(0, len(data)), random.choice((2, 20, 2_000, 20_000))
    opening = random.choice((b"[", b"{", b'{"a":', b"- ", b"((", b"| ", b"&a [*a,", b"> "))
    return data[:at] + opening * min(depth, LARGEST // 8) + data[at:]


CHANGES = (_flip, _noise, _cut, _repeat, _splice, _word, _word, _swap, _field, _field, _nest)
