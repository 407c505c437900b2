"""What can be told of a regular expression of an HTTP rule without running it.

Cilium and Envoy take RE2's syntax. Here a pattern is only read, once from left to right, so that
no pattern can be slow: for a lower bound of the size of its program, and for the dots in it that
stand for any character where a dot was most likely meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PROGRAM_LIMIT = 100
"""How many instructions Envoy lets a pattern have."""

_HUGE = 10_000
_NOT_READ = ("\\Q", "\\x", "\\p", "\\P")


@dataclass(slots=True)
class _Group:
    """The sizes of the alternatives read so far, and of the one being read."""

    alternatives: list[int] = field(default_factory=list)
    size: int = 0
    last: int = 0

    def add(self, size: int) -> None:
        self.size = min(self.size + size, _HUGE)
        self.last = size

    def repeat(self, times: int) -> None:
        self.size = min(self.size + self.last * (times - 1), _HUGE)
        self.last = min(self.last * times, _HUGE)

    def least(self) -> int:
        # Alternatives may share what they begin with.
        return max([*self.alternatives, self.size])


def least_instructions(pattern: str) -> int:
    """At least how many instructions the pattern's program has: one for each character that must be
    matched. 0 for what is written in ways that need not be read to the letter."""
    if pattern.startswith("^") or any(each in pattern for each in _NOT_READ):
        return 0
    stack = [_Group()]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        group = stack[-1]
        if character == "\\":
            group.add(1)
            position += 1
        elif character == "[":
            position = _end_of_class(pattern, position)
            group.add(1)
        elif character == "(":
            stack.append(_Group())
            position = _after_flags(pattern, position)
        elif character == ")" and len(stack) > 1:
            size = stack.pop().least()
            stack[-1].add(size)
        elif character == "|":
            group.alternatives.append(group.size)
            group.size = group.last = 0
        elif character == "{":
            end, times = _times(pattern, position)
            if times:
                group.repeat(times)
                position = end
            else:
                group.add(1)
        elif character not in "*+?^$":
            group.add(1)
        position += 1
    while len(stack) > 1:
        size = stack.pop().least()
        stack[-1].add(size)
    return stack[0].least()


def loose_dots(pattern: str) -> int:
    """How many dots stand between literal characters, unescaped and not repeated: `example.com`."""
    found = 0
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 1
        elif character == "[":
            position = _end_of_class(pattern, position)
        elif character == "." and 0 < position < len(pattern) - 1:
            before, after = pattern[position - 1], pattern[position + 1]
            found += _is_word(before) and _is_word(after)
        position += 1
    return found


def is_plain(pattern: str) -> bool:
    """Whether it means nothing but itself, dots aside."""
    return not any(character in "\\[](){}|*+?^$" for character in pattern)


def _is_word(character: str) -> bool:
    return character.isalnum() or character in "-_"


def _end_of_class(pattern: str, start: int) -> int:
    """The position of the bracket that ends a class, or the last one."""
    position = start + 1
    if pattern[position : position + 1] == "^":
        position += 1
    if pattern[position : position + 1] == "]":
        position += 1
    while position < len(pattern) and pattern[position] != "]":
        position += 2 if pattern[position] == "\\" else 1
    return min(position, len(pattern) - 1)


def _after_flags(pattern: str, start: int) -> int:
    """The position of the last character of `(`, `(?:`, `(?i:` or `(?P<name>`."""
    if pattern[start + 1 : start + 2] != "?":
        return start
    position = start + 1
    while position < len(pattern) and pattern[position] not in ":>)":
        position += 1
    return position if position < len(pattern) and pattern[position] != ")" else position - 1


def _times(pattern: str, start: int) -> tuple[int, int]:
    """Where `{2,5}` ends, and how often it repeats at most (at least, where that is open); 0 where
    it is no such thing."""
    end = pattern.find("}", start, start + 12)
    low, comma, high = pattern[start + 1 : max(end, start + 1)].partition(",")
    if end < 0 or not low.isascii() or not low.isdigit() or (high and not (high.isascii() and high.isdigit())):
        return start, 0
    return end, max(int(high) if high else int(low), 1) if comma else max(int(low), 1)
