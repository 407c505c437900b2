"""One list and watch, as a state machine: what to ask the API server next, and what its answers make of the cache.

It knows no socket, no thread and no clock. Whatever the server does, the cache is either what the server had at one
moment after the last list, with every event since, or it is not called synced. A list replaces the cache by the
difference, so that what was deleted while nobody watched is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flowwatch.kube.resources import Resource, Value

PAGE = 500
"""Objects that a list is asked for at a time."""
EVERYTHING = 0
"""No limit: asked for where the pages of a list outlived what the server remembers."""
_INITIAL_END = "k8s.io/initial-events-end"

Key = tuple[str, str]
"""Namespace (empty where there is none) and name."""


class Want(StrEnum):
    """What is asked of the server."""

    LIST = "list"
    STREAM = "stream"
    """A watch that begins with everything there is, and says where that ends."""
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Ask:
    """The next question: `version` to watch from, `token` of the next page and its `limit`."""

    want: Want
    version: str = ""
    token: str = ""
    limit: int = PAGE


@dataclass(frozen=True, slots=True)
class Item:
    """What is kept of an object, as of a resource version."""

    version: str
    value: Value


class UnreadableAnswerError(ValueError):
    """The server said something that is no list and no event."""


class Reflector:
    """The cache of one resource. One thread at a time uses it."""

    def __init__(self, resource: Resource, *, streaming: bool = True) -> None:
        self.resource = resource
        self.items: dict[Key, Item] = {}
        self.synced = False
        """Whether the cache was complete once."""
        self.generation = 0
        """Grows whenever something that is kept changed."""
        self.proof = 0.0
        """When the server last proved that the cache is what it has: by a list, an event or a bookmark; 0: never."""
        self.error = ""
        """What is wrong now; empty while nothing is."""
        self.absent = False
        """The cluster does not know this kind of object."""
        self.waits = False
        """Whether to pause before the next question."""
        self.lists = 0
        """Lists that were completed."""
        self._streaming = streaming
        self._version = ""
        self._token = ""
        self._limit = PAGE
        self._fresh: dict[Key, Item] = {}
        self._asked = Ask(Want.LIST)
        self._heard = False

    def ask(self) -> Ask:
        """What to ask next. What is answered belongs to this question until the next one."""
        if self._version:
            self._asked = Ask(Want.WATCH, self._version)
        elif self._streaming:
            self._fresh = {}
            self._asked = Ask(Want.STREAM)
        else:
            if not self._token:
                self._fresh = {}
            self._asked = Ask(Want.LIST, token=self._token, limit=self._limit)
        self._heard = self.waits = False
        return self._asked

    # ── what the server answers ──────────────────────────────────────────────────────────────────

    def page(self, body: Mapping[str, Any], now: float) -> None:
        """A page of a list. Raises UnreadableAnswerError."""
        metadata, found = body.get("metadata"), body.get("items")
        if (
            not isinstance(metadata, Mapping)
            or not isinstance(found, list | None)
            or not metadata.get("resourceVersion")
        ):
            raise UnreadableAnswerError("the answer is no list")
        for each in found or ():
            key, item = self._read(each)
            self._fresh[key] = item
        self._token = metadata.get("continue") or ""
        self._prove(now)
        if not self._token:
            self._limit = PAGE
            self._replace(str(metadata["resourceVersion"]))

    def event(self, event: Mapping[str, Any], now: float) -> bool:
        """One event of a watch; whether to go on reading. Raises UnreadableAnswerError."""
        kind, found = event.get("type"), event.get("object")
        if not isinstance(found, Mapping) or not isinstance(kind, str):
            raise UnreadableAnswerError("the answer holds something that is no event")
        if kind == "ERROR":
            code = found.get("code")
            self.refused(
                code if isinstance(code, int) else 0, str(found.get("message") or found.get("reason") or ""), now
            )
            return False
        initial = self._asked.want is Want.STREAM and not self._version
        if kind == "BOOKMARK":
            return self._bookmark(found, now, initial=initial)
        key, item = self._read(found)
        if initial:
            if kind == "DELETED":
                self._fresh.pop(key, None)
            elif key not in self._fresh or not _is_before(item.version, self._fresh[key].version):
                self._fresh[key] = item
            return True
        if _is_before(item.version, self._version):
            return self._late(key, item, now, deleted=kind == "DELETED")
        if kind == "DELETED":
            gone = self.items.pop(key, None)
            self.generation += gone is not None
        else:
            known = self.items.get(key)
            self.items[key] = item
            self.generation += known is None or known.value != item.value
        self._version = item.version
        self._prove(now)
        return True

    def closed(self) -> None:
        """The server ended the answer properly. A watch that never said anything proves nothing, so a list is next."""
        if self._asked.want is Want.STREAM and not self._version:
            self._streaming = False
        elif self._asked.want is Want.WATCH and not self._heard:
            self._version = ""
            self.waits = True

    def broken(self, message: str) -> None:
        """The connection failed, or what came over it could not be read. A list begins again; a watch goes on from
        where it was, unless it was told nothing: then nobody knows that the server still remembers."""
        self.error, self.waits = message, True
        self._token = ""
        if not self._heard:
            self._version = ""

    def refused(self, code: int, message: str, now: float) -> None:
        """An HTTP status other than 200, or an ERROR event with such a code."""
        self.waits = True
        if code in (400, 422) and self._asked.want is Want.STREAM and not self._version:
            self._streaming = self.waits = False
            return
        if code == 404 and self.resource.optional:
            self._fresh, self._token = {}, ""
            self._prove(now)
            self._replace("")
            self.absent = True
            return
        if code == 410:
            if self._token:
                self._limit = EVERYTHING
            self._version = self._token = ""
            return
        self.error = f"{code} {message}".strip()
        if code not in (401, 429):
            self._version = self._token = ""

    # ── the cache ────────────────────────────────────────────────────────────────────────────────

    def _bookmark(self, found: Mapping[str, Any], now: float, *, initial: bool) -> bool:
        metadata = found.get("metadata") or {}
        version = str(metadata.get("resourceVersion") or "")
        if not version:
            raise UnreadableAnswerError("a bookmark names no resource version")
        if initial:
            if (metadata.get("annotations") or {}).get(_INITIAL_END) != "true":
                # A server that bookmarks before it said where the beginning ends does not know how to say it.
                self._streaming = False
                return False
            self._replace(version)
        elif not _is_before(version, self._version):
            self._version = version
        self._prove(now)
        return True

    def _late(self, key: Key, item: Item, now: float, *, deleted: bool) -> bool:
        """An event from before what was heard already: one heard twice, or one that came too late to be put in order.
        Of the second sort nobody can say what else is missing, so a list is next."""
        known = self.items.get(key)
        twice = known is not None and not _is_before(known.version, item.version)
        if twice or (deleted and known is None):
            self._prove(now)
            return True
        self._version = ""
        self.waits = True
        return False

    def _replace(self, version: str) -> None:
        fresh, self._fresh = self._fresh, {}
        before = self.items
        changed = before.keys() != fresh.keys() or any(before[key].value != item.value for key, item in fresh.items())
        self.items = fresh
        self.generation += changed
        self.lists += 1
        self.synced, self.absent, self._version = True, False, version

    def _prove(self, now: float) -> None:
        self.proof, self.error, self._heard = now, "", True

    def _read(self, found: object) -> tuple[Key, Item]:
        if not isinstance(found, Mapping):
            raise UnreadableAnswerError("the answer holds something that is no object")
        metadata = found.get("metadata")
        if not isinstance(metadata, Mapping) or not metadata.get("name") or not metadata.get("resourceVersion"):
            raise UnreadableAnswerError("an object has no name or no resource version")
        try:
            value = self.resource.keep(found)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UnreadableAnswerError(f"{self.resource.kind} {metadata['name']} cannot be read: {error}") from error
        key = (str(metadata.get("namespace") or ""), str(metadata["name"]))
        return key, Item(str(metadata["resourceVersion"]), value)


def _is_before(one: str, other: str) -> bool:
    """Whether a resource version is older than another; versions that are no numbers are not compared."""
    return one.isdecimal() and other.isdecimal() and int(one) < int(other)
