"""Taking values out of documents: of the right type, or a problem that names the place.

`null` is the same as absent, and an empty list is not: the difference decides what a policy allows. A `Reader` in
`strict` mode also says what the API server would not let in; otherwise unknown fields are dropped as it drops them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from flowwatch.errors import Problem
from flowwatch.policy.nodes import Node
from flowwatch.policy.options import Options
from flowwatch.yamlmarks import clip, did_you_mean


class Reader:
    """Reads one object; `problems` holds everything that is wrong with it."""

    def __init__(self, options: Options, *, strict: bool = True) -> None:
        self.options = options
        self.strict = strict
        self.problems: list[Problem] = []

    def wrong(self, node: Node, message: str, hint: str = "") -> None:
        """Something at this place makes the object unusable."""
        self.problems.append(node.problem(message, hint))

    def fields(
        self, node: Node, known: Collection[str], required: Iterable[str] = (), dropped: Collection[str] = ()
    ) -> dict[str, Node]:
        """The values of known keys that hold something. `dropped` keys are accepted and not read."""
        if not node.is_mapping:
            keys = ", ".join(f"`{key}`" for key in known)
            self.wrong(node, f"expected a mapping with {keys}, not {node.described}")
            return {}
        found: dict[str, Node] = {}
        for key, value in node.items():
            if key.raw in known:
                if not value.is_null:
                    found[key.raw] = value
            elif self.strict and key.raw not in dropped:
                hint = did_you_mean(key.raw, known) or f"known here: {', '.join(f'`{each}`' for each in known)}"
                self.wrong(key, f"there is no field `{clip(key.raw)}` here", hint)
        for name in required:
            if name not in found:
                self.wrong(node, f"`{name}` is missing")
        return found

    def elements(self, node: Node | None) -> Sequence[Node]:
        """The elements of a list; none where nothing was written."""
        if node is None:
            return ()
        if not node.is_list:
            self.wrong(node, f"expected a list, not {node.described}")
        return node.elements()

    def text(self, node: Node | None) -> str:
        """A text; empty where nothing was written."""
        if node is None:
            return ""
        if not isinstance(node.value, str):
            self.wrong(node, f"expected text, not {node.described}", _quotes(node))
            return ""
        return node.value

    def whole(self, node: Node | None, least: int, most: int) -> int | None:
        """A whole number within bounds; None where there is none."""
        if node is None:
            return None
        value = node.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(node, f"expected a number, not {node.described}")
            return None
        if not least <= value <= most:
            self.wrong(node, f"expected a number from {least} to {most}, not `{clip(str(value), 24)}`")
            return None
        return value

    def flag(self, node: Node | None) -> bool | None:
        """`true` or `false`; None where nothing was written."""
        if node is None:
            return None
        if not isinstance(node.value, bool):
            self.wrong(node, f"expected `true` or `false`, not {node.described}")
            return None
        return node.value

    def choice(self, node: Node | None, options: Collection[str]) -> str:
        """One of some words; empty where there is none."""
        word = self.text(node)
        if node is not None and word not in options and isinstance(node.value, str):
            expected = ", ".join(f"`{option}`" for option in options)
            self.wrong(node, f"expected one of {expected}, not {node.described}", did_you_mean(word, options))
            return ""
        return word


def _quotes(node: Node) -> str:
    return f'quote it: "{clip(node.raw)}"' if node.raw else ""
