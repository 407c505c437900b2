"""What the cells of a table say: peers, ports, and the paths of a component.

Reads the plain text of one cell at a time, in the forms people use: `Loki (monitoring)`,
`53 (UDP/TCP)`, `server, repo-server → 6379; self → 6222/7777`, `github.com + api.github.com:443`.
Whatever cannot be understood for certain is Unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from flowwatch.allowlist.names import Names, Unreadable, split_place
from flowwatch.allowlist.ports import EXPECTED, WITH_PORTS, parse_ports
from flowwatch.allowlist.rules import Pods, PortSet, Same, Selector
from flowwatch.yamlmarks import clip

ANY = PortSet(("any",), (), True)
MOST_ALTERNATIVES = 200
"""How many peers one text may spell out in braces."""

_ARROW = re.compile(r"\s*(?:→|⇒|[-=]{1,2}>)\s*")
_DASH = re.compile(r"\s(?:—|–|--)\s")
_NOTHING = frozenset(("", "-", "—", "–", "none", "nothing", "n/a"))
_DENIAL = re.compile(r"den(?:y|ies|ied)(?=\s|$)", re.IGNORECASE)
_UNTIL = re.compile(r"(?:until|expires) ([0-9]{4}-[0-9]{2}-[0-9]{2})", re.IGNORECASE)
_SPACED_PORTS = re.compile(r"[0-9][-0-9A-Za-z/+]*")
_ICMP = re.compile(r"icmp(?:v6)?(?:/[a-z0-9-]+)?", re.IGNORECASE)
_NUMBERS = re.compile(r"[0-9]+(?:-[0-9]+)?")
_OPENING, _CLOSING = "([{", ")]}"
_PROTOCOLS = (*WITH_PORTS, "ANY")


@dataclass(frozen=True, slots=True)
class Path:
    """What one part of a component's cell declares: its peers, on which ports, and the remark on it."""

    peers: tuple[Selector, ...]
    ports: PortSet
    remark: str = ""
    until: date | None = None


class Reader:
    """Reads the cells of one table, in which the names of the namespace `home` stand alone."""

    def __init__(self, names: Names, home: str = "") -> None:
        self._names = names
        self._home = home

    def peers(self, text: str, component: Pods | None = None) -> tuple[Selector, ...]:
        """Every peer a text names, joined by `,`, `+`, `/`, `;` or `and`. Raises Unreadable."""
        found: dict[Selector, None] = {}
        for part in self._parts(text, component, (",", ";", " + ", " and ", "/")):
            found.update(dict.fromkeys(part))
        if not found:
            raise Unreadable("expected a peer, and there is none")
        return tuple(found)

    def paths(self, text: str, component: Pods) -> list[Path]:
        """What a cell of a component's ingress or egress declares; nothing for `(none)` and for a
        denial alone. Raises Unreadable."""
        said = _DASH.split(text, maxsplit=1)[0].strip()
        bare = said[1:-1].strip() if said.startswith("(") and split_place(f"x {said}")[1] else said
        if normal_word(bare) in _NOTHING or (_DENIAL.match(bare) and not re.search("[,;→]", bare)):
            return []
        paths: list[Path] = []
        for clause in _split(said, (";",)):
            if _DENIAL.match(clause):
                what = f"`{clip(clause)}` denies, and a table declares what is allowed"
                raise Unreadable(what, "leave it out: what is not declared is not allowed")
            paths.extend(self._clause(clause, component))
        return paths

    def _clause(self, clause: str, component: Pods) -> Iterator[Path]:
        """`PEERS → PORTS (remark)`, or peers with their ports behind a colon."""
        sides = _ARROW.split(clause)
        if len(sides) > 2:
            raise Unreadable(f"`{clip(clause)}` has more than one arrow", "separate paths with `;`")
        if len(sides) == 2:
            ports, remark = read_ports(sides[1])
            yield Path(self.peers(sides[0], component), ports, *_until(remark))
            return
        for item in _split(clause, (",",)):
            yield self._item(item, component)

    def _item(self, item: str, component: Pods) -> Path:
        if (whole := self._known(item, component)) is not None:
            return Path(whole, ANY)
        head, remark = split_place(item)
        if remark and (parts := self._with_ports(head)):
            ports, _ = read_ports(f"{parts[1]} ({remark})")
            return Path(self.peers(parts[0], component), ports, *_until(remark))
        if parts := self._with_ports(item):
            return Path(self.peers(parts[0], component), read_ports(parts[1])[0])
        return Path(self.peers(item, component), ANY)

    def _with_ports(self, text: str) -> tuple[str, str] | None:
        """The peers and the ports of a text in which a colon, or a space before digits, parts them."""
        colon = _last_outside(text, ":")
        if colon > 0:
            return text[:colon].strip(), text[colon + 1 :].strip()
        before, space, after = text.rpartition(" ")
        return (before.strip(), after) if space and _SPACED_PORTS.fullmatch(after) else None

    def _parts(self, text: str, component: Pods | None, separators: tuple[str, ...]) -> Iterator[tuple[Selector, ...]]:
        """The peers of a text, taken as a whole before it is taken apart at the first separator that is in it."""
        text = text.strip()
        if (known := self._known(text, component)) is not None:
            yield known
            return
        for at, separator in enumerate(separators):
            parts = _split(text, (separator,))
            if len(parts) != 1 or parts[0] != text:
                for part in parts:
                    yield from self._parts(part, component, separators[at:])
                return
        if "{" in text:
            for alternative in _alternatives(text):
                yield self._names.find(alternative, self._home)
            return
        yield self._names.find(text, self._home)

    def _known(self, text: str, component: Pods | None) -> tuple[Selector, ...] | None:
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        name, place = split_place(text)
        if place.casefold() == "self" and component is not None:
            if self._names.look_up(name, self._home) != (component,):
                raise Unreadable(f"`{clip(name)}` is not `{component.name}`, whose row this is")
            return (Same(),)
        return self._names.look_up(text, self._home)


def read_ports(text: str) -> tuple[PortSet, str]:
    """The ports a text stands for, and what else its brackets say. A number alone means TCP. Raises Unreadable."""
    texts: list[str] = []
    remarks: list[str] = []
    for part in _split(text, (",", ";", " and ")):
        body, remark = split_place(part)
        protocols = _protocols(remark)
        if remark and not protocols:
            remarks.append(remark)
        texts.extend(_read_ports(body.replace("–", "-"), protocols))
    if not texts:
        raise Unreadable(f"{EXPECTED}, and there is nothing")
    try:
        return parse_ports(dict.fromkeys(texts)), ", ".join(remarks)
    except ValueError as error:
        raise Unreadable(str(error)) from error


def normal_word(text: str) -> str:
    """A word as fixed words are compared."""
    return " ".join(text.casefold().split())


def _read_ports(text: str, protocols: list[str]) -> list[str]:
    """Ports joined by `/` or `+`, each with the protocols behind it, as the native format writes them."""
    found: list[str] = []
    numbers: list[str] = []
    following: list[str] = []

    def flush() -> None:
        found.extend(f"{number}/{protocol}" for number in numbers for protocol in following or protocols or ["TCP"])
        numbers.clear()
        following.clear()

    for group in text.split("+"):
        if group.strip().lower() == "any" and not numbers:
            found.extend([f"1-65535/{protocol}" for protocol in protocols] or ["any"])
            continue
        if _ICMP.fullmatch(group.strip()):
            flush()
            found.append(group.strip())
            continue
        for token in re.split(r"\s*/\s*|\s+", group.strip()):
            if token.upper() in _PROTOCOLS and numbers:
                following.append(token.upper())
            elif _NUMBERS.fullmatch(token):
                if following:
                    flush()
                numbers.append(token)
            else:
                raise Unreadable(f"{EXPECTED}, not `{clip(text)}`")
    flush()
    return found


def _protocols(remark: str) -> list[str]:
    words = [word.upper() for word in re.split(r"[/+,\s]+", remark) if word and word.lower() != "and"]
    return words if words and all(word in _PROTOCOLS for word in words) else []


def _until(remark: str) -> tuple[str, date | None]:
    """A remark, and the last day it gives the path, if it does."""
    matched = _UNTIL.fullmatch(remark.strip())
    if matched is None:
        return remark, None
    try:
        return remark, date.fromisoformat(matched[1])
    except ValueError as error:
        raise Unreadable(f"`{matched[1]}` is no day of the calendar") from error


def _split(text: str, separators: tuple[str, ...]) -> list[str]:
    """The parts of a text between separators that stand in no brackets; empty parts are left out."""
    parts: list[str] = []
    depth = start = at = 0
    while at < len(text):
        if text[at] in _OPENING:
            depth += 1
        elif text[at] in _CLOSING:
            depth = max(depth - 1, 0)
        elif depth == 0 and (found := next((each for each in separators if text.startswith(each, at)), None)):
            parts.append(text[start:at])
            start = at = at + len(found)
            continue
        at += 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def _last_outside(text: str, wanted: str) -> int:
    """Where a character last stands in no brackets; -1 where it does not."""
    depth, last = 0, -1
    for at, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(depth - 1, 0)
        elif character == wanted and depth == 0:
            last = at
    return last


def _alternatives(text: str) -> list[str]:
    """What `{a,b}.github.io` stands for: one text for each alternative."""
    found = [text]
    while any("{" in one for one in found):
        expanded: list[str] = []
        for one in found:
            matched = re.search(r"\{([^{}]*)\}", one)
            if matched is None:
                if "{" in one:
                    raise Unreadable(f"the braces of `{clip(text)}` do not match")
                expanded.append(one)
                continue
            head, tail = one[: matched.start()], one[matched.end() :]
            expanded.extend(f"{head}{each.strip()}{tail}" for each in matched[1].split(","))
            if len(expanded) > MOST_ALTERNATIVES:
                raise Unreadable(f"`{clip(text)}` stands for more than {MOST_ALTERNATIVES} peers")
        found = expanded
    return found
