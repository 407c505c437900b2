"""The configuration's keys, derived from the dataclasses that hold their values.

A field's annotation names the kind of its value, its default is the key's default and the
string under it is the key's documentation, so that a key is written down exactly once. The
dotted name (`hubble.tls.server_name`) and the environment variable follow from where the
field stands.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from flowwatch.config_values import Kind, UnreadableValue, quote

T = TypeVar("T")

PREFIX = "FLOWWATCH_"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: where it stands, what it holds and what it is when nobody says anything."""

    attributes: tuple[str, ...]
    """Attribute names from the root, such as `("alerts", "for_")`."""
    kind: Kind
    """Of the value, of each item of a list, of each value of a map."""
    default: Any
    repeated: bool = False
    """The key holds a list; its value is a tuple."""
    names: Kind | None = None
    """The kind of a map's own keys; None when the key does not hold a map."""
    entry: type | None = None
    """The dataclass of each item of a list of sections; None when the items are values."""
    dissolved: int = 0
    """How many sections it stands in without their being written."""

    @property
    def path(self) -> tuple[str, ...]:
        """The parts of the name; a final underscore only keeps Python's own words apart."""
        return tuple(attribute.rstrip("_") for attribute in self.attributes[self.dissolved :])

    @property
    def name(self) -> str:
        """`hubble.tls.server_name`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """`FLOWWATCH_HUBBLE_TLS_SERVER_NAME`."""
        return PREFIX + "_".join(self.path).upper()

    @property
    def type_name(self) -> str:
        """The type as the documentation calls it."""
        if self.names:
            return f"map of {self.names.name} to {self.kind.name}"
        return f"list of {self.kind.name}s" if self.repeated else self.kind.name

    def value_in(self, settings: object) -> Any:
        """The value of this key in an instance of the root dataclass."""
        for attribute in self.attributes:
            settings = getattr(settings, attribute)
        return settings


def keys_of(settings: type, above: tuple[str, ...] = ()) -> Iterator[Key]:
    """Every key of a settings dataclass, in the order of its fields, sections opened up.

    Fields that take no part in comparison are not keys.
    """
    hints = get_type_hints(settings, include_extras=True)
    for field in dataclasses.fields(settings):
        hint, attributes = hints[field.name], (*above, field.name)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from keys_of(hint, attributes)
        elif field.compare:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            item = get_args(hint)[0] if get_origin(hint) is tuple else None
            if get_origin(item) is None and dataclasses.is_dataclass(item):
                yield Key(attributes, _section_kind(field.name), default, repeated=True, entry=cast(type, item))
            elif get_origin(hint) is tuple:
                yield Key(attributes, _kind(get_args(hint)[0]), default, repeated=True)
            elif get_origin(hint) is Mapping:
                names, values = get_args(hint)
                yield Key(attributes, _kind(values), default, names=_kind(names))
            else:
                yield Key(attributes, _kind(hint), default)


def entry_keys(entry: type) -> tuple[Key, ...]:
    """The keys of one item of a list of sections; the sections within it are not written."""
    return tuple(dataclasses.replace(key, dissolved=min(1, len(key.attributes) - 1)) for key in keys_of(entry))


def documentation(settings: type) -> dict[str, str]:
    """The documentation of every key and of every section, by dotted name.

    Read from the source: the string under a field, on one line. A section's own field need
    not have one; the section's docstring speaks for it.
    """
    described: dict[str, str] = {}
    hints = get_type_hints(settings)
    for attribute, text in _field_strings(settings).items():
        described[attribute.rstrip("_")] = text
    for field in dataclasses.fields(settings):
        hint, name = hints[field.name], field.name.rstrip("_")
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            described[name] = inspect.cleandoc(hint.__doc__ or "")
            described |= {f"{name}.{below}": text for below, text in documentation(hint).items()}
    return described


def build(settings: type[T], values: Mapping[tuple[str, ...], Any], above: tuple[str, ...] = ()) -> T:
    """An instance with the given values, by attribute names from the root, and defaults elsewhere."""
    hints = get_type_hints(settings)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, settings)):
        hint, attributes = hints[field.name], (*above, field.name)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            arguments[field.name] = build(hint, values, attributes)
        elif attributes in values:
            arguments[field.name] = values[attributes]
    return settings(**arguments)


def _section_kind(name: str) -> Kind:
    def parse(text: str) -> Any:
        raise UnreadableValue(f"{quote(text)} is not a mapping")

    return Kind(name.removesuffix("s"), "a mapping", parse)


def _kind(hint: Any) -> Kind:
    return next(part for part in get_args(hint) if isinstance(part, Kind))


def _field_strings(settings: type) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(settings))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    strings = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                strings[name] = " ".join(text.split())
    return strings
