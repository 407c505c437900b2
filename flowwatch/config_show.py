"""A configuration written out for people: its values with their origins, its keys as a table.

Both are derived from the keys alone. What is shown never holds a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from flowwatch.config_keys import Key, documentation, entry_keys
from flowwatch.config_values import Kind, mask

_PLAIN = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./:@~+-]*")
_WIDEST = 60
"""Values up to this many columns have their comments aligned."""


class _Settings(Protocol):
    @property
    def origins(self) -> Mapping[str, object]: ...


def render_values(settings: _Settings, keys: Sequence[Key]) -> str:
    """YAML of all values, one key a line, each followed by a comment that says where it was set."""
    lines: list[tuple[str, str]] = []
    open_sections: tuple[str, ...] = ()
    for key in keys:
        sections = key.path[:-1]
        for depth, section in enumerate(sections):
            if sections[: depth + 1] != open_sections[: depth + 1]:
                lines.append((f"{'  ' * depth}{section}:", ""))
        open_sections = sections
        value = write_value(key, key.value_in(settings))
        lines.append((f"{'  ' * len(sections)}{key.path[-1]}: {value}", str(settings.origins.get(key.name, "default"))))
    width = max(len(line) for line, origin in lines if origin and len(line) <= _WIDEST)
    return "".join(f"{line:<{width}}  # {origin}\n" if origin else f"{line}\n" for line, origin in lines)


def render_reference(root: type, keys: Sequence[Key]) -> str:
    """A Markdown table of all keys: name, type, default, environment variable, meaning."""
    described = documentation(root)
    rows = ["| key | type | default | environment | meaning |", "|---|---|---|---|---|"]
    for key in keys:
        default = write_value(key, key.default)
        cells = (f"`{key.name}`", key.type_name, f"`{default}`", f"`{key.variable}`", described[key.name])
        rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def write_value(key: Key, value: Any) -> str:
    """A key's value as YAML on one line, without the passwords it may hold."""
    if key.names is not None:
        return "{" + ", ".join(f"{_quoted(name)}: {_scalar(key.kind, item)}" for name, item in value.items()) + "}"
    if key.entry is not None:
        return "[" + ", ".join(_entry(entry_keys(key.entry), item) for item in value) + "]"
    if key.repeated:
        return "[" + ", ".join(_scalar(key.kind, item) for item in value) + "]"
    return _scalar(key.kind, value)


def _entry(keys: Sequence[Key], item: object) -> str:
    """A section in braces, with the keys that are not at their defaults."""
    written: dict[str, Any] = {}
    for key in keys:
        value = key.value_in(item)
        if value != key.default:
            section = written
            for name in key.path[:-1]:
                section = section.setdefault(name, {})
            section[key.path[-1]] = write_value(key, value)
    return _braces(written)


def _braces(section: Mapping[str, Any]) -> str:
    parts = (f"{name}: {_braces(value) if isinstance(value, dict) else value}" for name, value in section.items())
    return "{" + ", ".join(parts) + "}"


def _scalar(kind: Kind, value: Any) -> str:
    # Only what the user writes as free text can be mistaken for something else by YAML.
    text = kind.write(value)
    return _quoted(mask(text)) if value is None or isinstance(value, str | Path) else text


def _quoted(text: str) -> str:
    # As plain as YAML allows, where it still reads back as this very text.
    if _PLAIN.fullmatch(text) and yaml.safe_load(f"[{text}]") == [text]:
        return text
    written: str = yaml.safe_dump([text], default_style='"', default_flow_style=True, allow_unicode=True, width=10**6)
    return written.strip()[1:-1]
