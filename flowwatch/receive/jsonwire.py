"""From parsed JSON to protobuf bytes, by the schema alone, without building messages. The fast way.

A table of small functions per message takes what Hubble prints and gives up, by any
exception, on everything else: `jsoncare` knows the rest and says in words what is wrong. What
is taken here, both write alike. Neither knows what a flow is.

Fields are known by their name in the .proto file and in camel case. Unknown fields are
skipped. So is `google.protobuf.Any`: what is inside belongs to somebody else's schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Encoder = Callable[[Any], bytes]
"""From a JSON value to a whole field: tag and content, or nothing for a default value."""

UNUSUAL = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What the fast encoder raises for anything that it leaves to the careful one."""

TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RANGES = {
    FieldDescriptor.TYPE_INT32: ("an int32", -(1 << 31), 1 << 31),
    FieldDescriptor.TYPE_INT64: ("an int64", -(1 << 63), 1 << 63),
    FieldDescriptor.TYPE_UINT32: ("a uint32", 0, 1 << 32),
    FieldDescriptor.TYPE_UINT64: ("a uint64", 0, 1 << 64),
}
WRAPPERS = {"google.protobuf.BoolValue", "google.protobuf.Int32Value", "google.protobuf.UInt32Value"}
ANY = "google.protobuf.Any"
TIMESTAMP = "google.protobuf.Timestamp"

VARINT, LENGTH = 0, 2
"""Wire types."""

SHORT = [bytes((number,)) for number in range(0x80)]
SHORT += [bytes((number & 0x7F | 0x80, number >> 7)) for number in range(0x80, 0x4000)]
"""Varints of one and two bytes."""


def varint(number: int) -> bytes:
    """`number` as a base-128 varint; negative ones take ten bytes, as in two's complement."""
    if 0 <= number < 0x4000:
        return SHORT[number]
    if 0 <= number < 1 << 21:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    if 1 << 28 <= number < 1 << 35:
        low = number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14 & 0x7F | 0x80, number >> 21 & 0x7F | 0x80
        return bytes((*low, number >> 28))
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    """What stands in front of a field's content."""
    return varint(number << 3 | wire_type)


def names(field: FieldDescriptor) -> tuple[str, str]:
    """Both keys that a field may have in JSON."""
    return field.name, field.json_name


def timestamp(text: str) -> bytes:
    """The content of a `google.protobuf.Timestamp`; ValueError if `text` is not RFC 3339."""
    match = TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    moment = datetime.fromisoformat(match[1] + ("+00:00" if match[3] == "Z" else match[3]))
    seconds = (moment - EPOCH) // timedelta(seconds=1)
    nanos = int((match[2] or "0").ljust(9, "0"))
    return b"\x08" + varint(seconds) + (b"\x10" + varint(nanos) if nanos else b"")


class FastEncoder:
    """Encoders for one message type and those below it, for values just as Hubble prints them."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._tables: dict[str, dict[str, Encoder]] = {}
        self._seconds: dict[str, bytes] = {}
        self._latest: tuple[str | None, bytes] = None, b""
        self.fields = self._table(descriptor)
        """The encoder of each field by either of its names; for messages, see `body`."""

    def body(self, descriptor: Descriptor) -> Encoder:
        """The encoder of a message's content, without tag and length."""
        table = self._table(descriptor)
        oneofs = [frozenset(key for field in oneof.fields for key in names(field)) for oneof in descriptor.oneofs]

        def plain(value: dict[str, Any]) -> bytes:
            return b"".join([table[key](item) for key, item in value.items() if key in table])

        def exclusive(value: dict[str, Any]) -> bytes:
            if len(value) > 1 and any(len(oneof & value.keys()) > 1 for oneof in oneofs):
                raise ValueError(value)
            return plain(value)

        return exclusive if oneofs else plain

    def _table(self, descriptor: Descriptor) -> dict[str, Encoder]:
        table = self._tables.get(descriptor.full_name)
        if table is None:
            table = self._tables[descriptor.full_name] = {}
            for field in descriptor.fields:
                if field.message_type is None or field.message_type.full_name != ANY:
                    table.update(dict.fromkeys(names(field), self._field(field)))
        return table

    def _field(self, field: FieldDescriptor) -> Encoder:
        one = self._one(field, keep_default=field.is_repeated)
        if not field.is_repeated:
            return one

        def many(value: list[Any]) -> bytes:
            if type(value) is not list:
                raise TypeError(value)
            return b"".join([one(item) for item in value])

        return many

    def _one(self, field: FieldDescriptor, *, keep_default: bool) -> Encoder:
        if field.message_type is not None:
            return self._message(field.number, field.message_type)
        if field.enum_type is not None:
            return self._enum(field.number, field.enum_type, keep_default=keep_default)
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._string(field.number, keep_default=keep_default)
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self._boolean(field.number, keep_default=keep_default)
        return self._integer(field, keep_default=keep_default)

    def _message(self, number: int, descriptor: Descriptor) -> Encoder:
        head = tag(number, LENGTH)
        heads = [head + varint(length) for length in range(128)]
        if descriptor.full_name in WRAPPERS:
            content = self._one(descriptor.fields_by_name["value"], keep_default=False)
        elif descriptor.full_name == TIMESTAMP:
            content = self._timestamp
        else:
            content = self.body(descriptor)

        def message(value: Any) -> bytes:
            inside = content(value)
            length = len(inside)
            return (heads[length] if length < 128 else head + varint(length)) + inside

        return message

    def _timestamp(self, text: str) -> bytes:
        """Seconds come from a memo: thousands of flows share one. A flow's time is its response's as well."""
        if text != self._latest[0]:
            self._latest = text, self._moment(text)
        return self._latest[1]

    def _moment(self, text: str) -> bytes:
        seconds = self._seconds.get(text[:19])
        if seconds is None or text[-1] != "Z":
            whole = timestamp(text)
            if len(self._seconds) > 10_000:
                self._seconds.clear()
            if text[-1] == "Z":
                self._seconds[text[:19]] = timestamp(text[:19] + "Z")
            return whole
        if len(text) == 20:
            return seconds
        fraction = text[20:-1]
        if text[19] != "." or not (fraction.isdigit() and fraction.isascii() and len(fraction) <= 9):
            raise ValueError(text)
        nanos = int(fraction) * 10 ** (9 - len(fraction))
        return seconds + b"\x10" + varint(nanos) if nanos else seconds

    @staticmethod
    def _string(number: int, *, keep_default: bool) -> Encoder:
        head = tag(number, LENGTH)
        heads = [head + varint(length) for length in range(128)]
        if not keep_default:
            heads[0] = b""

        def string(value: str) -> bytes:
            inside = value.encode()
            length = len(inside)
            return (heads[length] if length < 128 else head + varint(length)) + inside

        return string

    @staticmethod
    def _boolean(number: int, *, keep_default: bool) -> Encoder:
        true, false = tag(number, VARINT) + b"\1", tag(number, VARINT) + b"\0" if keep_default else b""

        def boolean(value: bool) -> bytes:
            if value is True:
                return true
            if value is False:
                return false
            raise TypeError(value)

        return boolean

    @staticmethod
    def _enum(number: int, enum: EnumDescriptor, *, keep_default: bool) -> Encoder:
        head = tag(number, VARINT)
        known = {value.name: head + varint(value.number) for value in enum.values if value.number or keep_default}
        if not keep_default:
            known[enum.values_by_number[0].name] = b""
        return known.__getitem__

    @staticmethod
    def _integer(field: FieldDescriptor, *, keep_default: bool) -> Encoder:
        head = tag(field.number, VARINT)
        _, low, high = RANGES[field.type]
        small = [head + varint(number) for number in range(256)]
        if not keep_default:
            small[0] = b""

        def integer(value: Any) -> bytes:
            if type(value) is str and value.isdigit() and value.isascii():
                value = int(value)
            if type(value) is not int or not low <= value < high:
                raise ValueError(value)
            return small[value] if 0 <= value < 256 else head + varint(value)

        return integer
