"""From parsed JSON to protobuf bytes, by the schema alone. The careful way.

Takes what protobuf's JSON mapping allows: either name of a field, enum values by name and
number, integers as numbers and as text, null for absent. Says of everything else which field
it is in and what was found there. Unknown fields and `google.protobuf.Any` are skipped;
enum names that the schema lacks are left out and counted, since newer servers have more.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from flowwatch.receive.jsonwire import ANY, LENGTH, RANGES, TIMESTAMP, VARINT, WRAPPERS, names, tag, timestamp, varint

INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
DISTINCT_UNKNOWN = 256
"""So many different unknown enum values are counted by name; a hostile file has more."""


class LineError(ValueError):
    """A line cannot be read as a message; the text names the field and the offending value."""


@dataclass(frozen=True, slots=True)
class Field:
    """What must be known of a field to encode it; asking its descriptor each time is slow."""

    type: int
    repeated: bool
    oneof: str
    head: bytes
    message: Descriptor | None
    enum: EnumDescriptor | None

    @classmethod
    def of(cls, field: FieldDescriptor) -> Field:
        """The field that `field` describes."""
        holds_text = field.message_type is not None or field.type == FieldDescriptor.TYPE_STRING
        oneof = field.containing_oneof.name if field.containing_oneof is not None else ""
        head = tag(field.number, LENGTH if holds_text else VARINT)
        return cls(field.type, field.is_repeated, oneof, head, field.message_type, field.enum_type)


class CarefulEncoder:
    """Encodes messages of any type, counting what it had to leave out."""

    def __init__(self) -> None:
        self.unknown_enums: Counter[str] = Counter()
        """Enum names that the schema lacks (`flow.Verdict: HELD`), and how often they were left out."""
        self._fields: dict[Descriptor, dict[str, Field]] = {}

    def message(self, descriptor: Descriptor, value: Any, path: str = "") -> bytes:
        """The content of a message. LineError names the field by its path from the top."""
        if type(value) is not dict:
            raise LineError(f"{path}: {show(value)} is not an object")
        fields = self._fields.get(descriptor)
        if fields is None:
            fields = {key: Field.of(field) for field in descriptor.fields for key in names(field)}
            self._fields[descriptor] = fields
        taken: dict[str, str] = {}
        out = []
        for key, item in value.items():
            field = fields.get(key)
            if field is None or item is None:
                continue
            if field.oneof:
                other = taken.setdefault(field.oneof, key)
                if other != key:
                    place = f"{path}: " if path else ""
                    raise LineError(f"{place}{other} and {key} exclude each other")
            out.append(self._field(field, item, f"{path}.{key}" if path else key))
        return b"".join(out)

    def _field(self, field: Field, value: Any, path: str) -> bytes:
        if not field.repeated:
            return self._one(field, value, path, keep_default=False)
        if type(value) is not list:
            raise LineError(f"{path}: {show(value)} is not a list")
        return b"".join(self._one(field, item, f"{path}[{at}]", keep_default=True) for at, item in enumerate(value))

    def _one(self, field: Field, value: Any, path: str, *, keep_default: bool) -> bytes:
        if field.message is not None:
            if field.message.full_name == ANY:
                return b""
            inside = self._inside(field.message, value, path)
            return field.head + varint(len(inside)) + inside
        if field.type == FieldDescriptor.TYPE_STRING:
            inside = text_of(value, path)
            return field.head + varint(len(inside)) + inside if inside or keep_default else b""
        if field.enum is not None:
            number = self._enum_of(field.enum, value, path)
        elif field.type == FieldDescriptor.TYPE_BOOL:
            number = bool_of(value, path)
        else:
            number = integer_of(field.type, value, path)
        if number is None or not (number or keep_default):
            return b""
        return field.head + varint(number)

    def _inside(self, descriptor: Descriptor, value: Any, path: str) -> bytes:
        if descriptor.full_name in WRAPPERS:
            return self._one(Field.of(descriptor.fields_by_name["value"]), value, path, keep_default=False)
        if descriptor.full_name == TIMESTAMP:
            try:
                return timestamp(value)
            except (TypeError, ValueError, OverflowError):
                raise LineError(f"{path}: {show(value)} is not a time such as 2026-01-31T12:00:00.5Z") from None
        return self.message(descriptor, value, path)

    def _enum_of(self, enum: EnumDescriptor, value: Any, path: str) -> int | None:
        if type(value) is str:
            known = enum.values_by_name.get(value)
            if known is not None:
                return known.number
            if not INTEGER.fullmatch(value):
                unknown = f"{enum.full_name}: {value[:64]}"
                counted = unknown in self.unknown_enums or len(self.unknown_enums) < DISTINCT_UNKNOWN
                self.unknown_enums[unknown if counted else "others"] += 1
                return None
            value = int(value)
        if type(value) is not int:
            raise LineError(f"{path}: {show(value)} is neither the name nor the number of a {enum.full_name}")
        return checked(value, FieldDescriptor.TYPE_INT32, path)


def text_of(value: Any, path: str) -> bytes:
    """A string's UTF-8."""
    if type(value) is not str:
        raise LineError(f"{path}: {show(value)} is not text")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise LineError(f"{path}: {show(value)} holds half a surrogate pair") from None


def bool_of(value: Any, path: str) -> bool:
    """A JSON boolean and nothing else."""
    if type(value) is not bool:
        raise LineError(f"{path}: {show(value)} is neither true nor false")
    return value


def integer_of(kind: int, value: Any, path: str) -> int:
    """A number, a number in quotes, or a number written with a fraction of zero."""
    if (type(value) is str and INTEGER.fullmatch(value)) or (type(value) is float and value.is_integer()):
        value = int(value)
    if type(value) is float:
        raise LineError(f"{path}: {show(value)} is not a whole number")
    if type(value) is not int:
        raise LineError(f"{path}: {show(value)} is not a number")
    return checked(value, kind, path)


def checked(value: int, kind: int, path: str) -> int:
    """`value`, if it fits the type."""
    name, low, high = RANGES[kind]
    if not low <= value < high:
        raise LineError(f"{path}: {show(value)} does not fit {name}")
    return value


def show(value: Any) -> str:
    """A JSON value as the user may have written it, cut to a readable length."""
    text = hex(value) if type(value) is int and value.bit_length() > 128 else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
