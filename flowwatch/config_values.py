"""The kinds of value a configuration key can hold: how each is written, read and shown.

A kind turns one piece of text into one value or says what is wrong with it. It knows nothing
of YAML, of the environment or of which key it serves, so the file and a variable accept
exactly the same spelling. Secrets that a text might carry never reach a message.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_DURATION = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?(ms|s|m|h|d)")
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_LONGEST = 100 * 365 * 86_400.0
_WORDS = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "hr": "h", "day": "d", "millisecond": "ms"}
_SIZE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,3}))?\s?([kmgt]?i?b)", re.IGNORECASE)
_BYTES = {"TiB": 1024**4, "TB": 1000**4, "GiB": 1024**3, "GB": 1000**3, "MiB": 1024**2, "MB": 1000**2}
_BYTES |= {"KiB": 1024, "KB": 1000, "B": 1}
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_LONGEST_TEXT = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_URL_LOGIN = re.compile(r"://([^:@]*)(.*)@", re.DOTALL)
_BARE_LOGIN = re.compile(r"""([^\s:@"'=,\[{]+):(?!//)\S*@""")
_SECRET = re.compile(
    r"(?i)([\w.-]*(?:password|passwd|secret|token|credential|authorization|api_?key)[\w.-]*)(?<!_file)"
    r"(\s*[\"']?\s*[:=]\s*)\S.*"
)


class UnreadableValue(ValueError):
    """A text that is not a value of the kind asked for: what is wrong, and what may help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. `parse` raises `UnreadableValue`; `parse(write(v)) == v` for every
    value `v` that `parse` can return."""

    name: str
    expected: str
    """What a reader should write, after the word "expected"."""
    parse: Callable[[str], Any]
    write: Callable[[Any], str] = str


def mask(text: str) -> str:
    """The text without the passwords it may hold: those of URLs and of anything named like one.
    Of an overlong text only the length is told."""
    if len(text) > _LONGEST_TEXT:
        return f"({len(text)} characters)"
    text = _URL_LOGIN.sub(lambda login: f"://{login[1]}:***@" if login[2][:1] == ":" else "://***@", text)
    text = _BARE_LOGIN.sub(r"\1:***@", text)
    return _SECRET.sub(r"\1\2***", text)


def quote(text: str) -> str:
    """The text as it may appear in a message: masked, shortened, on one line, in quotes."""
    shown = _CONTROL.sub("�", mask(text))
    return f"'{shown[:77]}…'" if len(shown) > 78 else f"'{shown}'"


def closest(word: str, words: list[str]) -> str:
    """The one of `words` that `word` was probably meant to be, or an empty string."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return near[0] if near else ""


def parse_duration(text: str) -> float:
    """Read `500ms`, `5s`, `1h30m`, `7d` as seconds, to the millisecond; the units run from
    large to small, each at most once."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    units = [unit for _, _, unit in parts]
    ordered = units == [unit for unit in _MILLISECONDS if unit in units]
    thousandths = sum(_thousandths(whole, rest) * _MILLISECONDS[unit] for whole, rest, unit in parts)
    if not parts or not ordered or thousandths % 1000 or _DURATION.sub("", text):
        raise UnreadableValue(f"{quote(text)} is not a duration", _meant_duration(text))
    # Whole milliseconds until the last step: 100ms is exactly 0.1, not 100 times 0.001.
    seconds = thousandths // 1000 / 1000
    if seconds > _LONGEST:
        raise UnreadableValue(f"{quote(text)} is longer than 100 years")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds the way `parse_duration` reads them, with the fewest parts: `1h30m`."""
    rest = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _MILLISECONDS[unit])
        parts += [f"{count}{unit}"] if count else []
    if 0 < rest < 1000:
        parts.append(f"{rest}ms")
    elif rest or not parts:
        parts.append(f"{rest / 1000:g}s")
    return "".join(parts)


def parse_size(text: str) -> int:
    """Read `256MB` or `1GiB` as bytes; KB is 1000, KiB is 1024."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise UnreadableValue(f"{quote(text)} is not a size", _meant_size(text))
    whole, rest, unit = found.groups()
    scale = next(scale for name, scale in _BYTES.items() if name.lower() == unit.lower())
    size = _thousandths(whole, rest or "") * scale // 1000
    if size >= 2**63:
        raise UnreadableValue(f"{quote(text)} is larger than any memory or disk")
    return size


def format_size(size: int) -> str:
    """Write bytes the way `parse_size` reads them, exactly: `256MB`, `1GiB`, `1500B`."""
    counts = [(size // scale, name) for name, scale in _BYTES.items() if size and size % scale == 0]
    count, name = min(counts, default=(0, "B"))
    return f"{count}{name}"


def split_address(text: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`; raises `UnreadableValue`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65_535:
        raise UnreadableValue(f"{quote(text)} has no port", f"did you mean {text}:80?" if _is_host(text) else "")
    if not host:
        raise UnreadableValue(f"{quote(text)} has no host", f"did you mean 0.0.0.0:{port}?")
    if host.startswith("[") and host.endswith("]") and re.fullmatch(r"[0-9A-Fa-f:.]{2,45}(%\w+)?", host[1:-1]):
        return host[1:-1], int(port)
    if not _is_host(host):
        hint = f"did you mean [{host}]:{port}?" if re.fullmatch(r"[0-9A-Fa-f:]+", host) else ""
        raise UnreadableValue(f"{quote(text)} is not an address", hint)
    return host, int(port)


def duration(minimum: float = 0.0) -> Kind:
    """A length of time of at least `minimum` seconds."""

    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if seconds < minimum:
            raise UnreadableValue(f"{quote(text)} is too short", f"at least {format_duration(minimum)}")
        return seconds

    return Kind("duration", "a duration such as 500ms, 5s, 1h30m or 7d", parse, format_duration)


def size(minimum: int = 0) -> Kind:
    """A number of bytes, at least `minimum`."""

    def parse(text: str) -> int:
        count = parse_size(text)
        if count < minimum:
            raise UnreadableValue(f"{quote(text)} is too small", f"at least {format_size(minimum)}")
        return count

    return Kind("size", "a size such as 256MB or 1GiB", parse, format_size)


def count(minimum: int = 0) -> Kind:
    """A whole number, at least `minimum`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}|-?[0-9]{1,3}(_[0-9]{3}){1,5}", text):
            raise UnreadableValue(f"{quote(text)} is not a whole number")
        if int(text) < minimum:
            raise UnreadableValue(f"{quote(text)} is too small", f"at least {minimum}")
        return int(text)

    return Kind("number", f"a whole number of at least {minimum}", parse)


def choice(*names: str) -> Kind:
    """One of a few words."""
    words = ", ".join(names[:-1]) + f" or {names[-1]}"

    def parse(text: str) -> str:
        if text not in names:
            near = closest(text.lower(), list(names))
            raise UnreadableValue(f"{quote(text)} is not known", f"did you mean {near}?" if near else "")
        return text

    return Kind(" | ".join(names), words, parse)


def _parse_ratio(text: str) -> float:
    if not re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,18}|[0-9]{1,9}\.", text):
        percent = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)\s?%", text)
        hint = f"did you mean {float(percent[1]) / 100:g}?" if percent and float(percent[1]) <= 100 else ""
        raise UnreadableValue(f"{quote(text)} is not a ratio", hint)
    if float(text) > 1:
        raise UnreadableValue(f"{quote(text)} is more than 1")
    return float(text)


def _parse_switch(text: str) -> bool:
    if text not in ("true", "false"):
        meant = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
        near = meant.get(text.lower()) or closest(text.lower(), ["true", "false"])
        raise UnreadableValue(f"{quote(text)} is not a switch", f"did you mean {near}?" if near else "")
    return text == "true"


def _parse_text(text: str) -> str:
    if _CONTROL.search(text):
        raise UnreadableValue(f"{quote(text)} holds a control character")
    return text


def _parse_name(text: str) -> str:
    if not _parse_text(text).strip():
        raise UnreadableValue("is empty")
    if text != text.strip():
        raise UnreadableValue(f"{quote(text)} begins or ends with a space")
    return text


def _parse_url_path(text: str) -> str:
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]{1,64}){0,8}", text) or re.search(r"/\.{1,2}(?:/|$)", text):
        parts = [part for part in re.sub(r"[^A-Za-z0-9._~/-]", "", text).split("/") if part.strip(".")]
        raise UnreadableValue(f"{quote(text)} is not a path", f"did you mean /{'/'.join(parts)}?" if parts else "")
    return text


def _parse_label(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", text):
        hint = re.sub(r"[^a-zA-Z0-9_]", "_", text)
        raise UnreadableValue(
            f"{quote(text)} is not a label name", f"did you mean {hint}?" if hint[:1].isalpha() else ""
        )
    return text


def _parse_path(text: str) -> Path:
    if not _parse_text(text).strip():
        raise UnreadableValue("is empty")
    return Path(text)


def _parse_optional_path(text: str) -> Path | None:
    return _parse_path(text) if text else None


def _parse_address(text: str) -> str:
    split_address(text)
    return text


def _parse_server(text: str) -> str:
    if text.startswith("unix:") and _parse_path(text.removeprefix("unix:")):
        return text
    scheme, separator, _ = text.partition("://")
    if separator:
        tls = " and set hubble.tls.enabled" if scheme in ("tls", "https", "grpcs") else ""
        hint = f"leave out {scheme}://{tls}" if _is_host(scheme) else ""
        raise UnreadableValue(f"{quote(text)} is not an address", hint)
    if split_address(text)[1] == 0:
        raise UnreadableValue(f"{quote(text)} has no usable port")
    return text


def _parse_url(text: str) -> str:
    if not text.lower().startswith(("http://", "https://")):
        hint = f"did you mean http://{text}?" if "://" not in text and _is_host(text.partition(":")[0]) else ""
        raise UnreadableValue(f"{quote(text)} is not a URL", mask(hint))
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", text) or _CONTROL.search(text):
        raise UnreadableValue(f"{quote(text)} is not a URL")
    if parts.query or parts.fragment:
        raise UnreadableValue(f"{quote(text)} has a part after the path", "leave out everything from ? or # on")
    return text.rstrip("/")


def _parse_alertmanager(text: str) -> str:
    discovered = text.startswith("dns+")
    return f"{'dns+' if discovered else ''}{_parse_url(text.removeprefix('dns+'))}"


def _parse_route(text: str) -> str:
    for part in _parse_name(text).split():
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise UnreadableValue(f"{quote(part)} is not a label and its value")
        _parse_label(name)
    return text


def _parse_optional_url(text: str) -> str:
    return _parse_url(text) if text else ""


def _thousandths(whole: str, rest: str) -> int:
    return int(whole) * 1000 + int(rest.ljust(3, "0"))


def _is_host(text: str) -> bool:
    return bool(_HOST.fullmatch(text))


def _meant_duration(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return f"did you mean {text}s?"
    worded = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)", text)
    if not worded:
        return ""
    unit = worded[2].lower()
    unit = _WORDS.get(unit.removesuffix("s"), unit)
    return f"did you mean {worded[1]}{unit}?" if unit in _MILLISECONDS else ""


def _meant_size(text: str) -> str:
    bare = re.fullmatch(r"([0-9]{1,18})\s*([kmgtKMGT]?i?)", text)
    if not bare:
        return ""
    return f"did you mean {bare[1]}{bare[2].upper().replace('I', 'i') or 'M'}B?"


def _optional_path_text(path: Path | None) -> str:
    return str(path) if path else ""


TEXT = Kind("text", "text", _parse_text)
NAME = Kind("text", "text that is not empty", _parse_name)
LABEL = Kind("label", "a label name of letters, digits and underscores", _parse_label)
SWITCH = Kind("true | false", "true or false", _parse_switch, lambda value: "true" if value else "false")
RATIO = Kind("ratio", "a number from 0 to 1 such as 0.99", _parse_ratio, lambda value: f"{value:.15g}")
PATH = Kind("path", "the path of a file", _parse_path)
OPTIONAL_PATH = Kind("path", "the path of a file, or nothing", _parse_optional_path, _optional_path_text)
ADDRESS = Kind("host:port", "an address such as 127.0.0.1:9950 or [::1]:9950", _parse_address)
SERVER = Kind("host:port", "an address such as hubble-relay.kube-system.svc:80 or unix:/path", _parse_server)
URL = Kind("URL", "a URL such as http://alertmanager:9093", _parse_url)
ALERTMANAGER = Kind("URL", "a URL such as http://alertmanager:9093", _parse_alertmanager)
ROUTE = Kind("labels", "labels such as team=checkout pager=night", _parse_route)
OPTIONAL_URL = Kind("URL", "a URL such as https://flowwatch.example.org, or nothing", _parse_optional_url)
URL_PATH = Kind("URL path", "a path such as /flowwatch, or nothing", _parse_url_path)
