"""One screen that says whether the network does what was declared.

`render` is pure: a snapshot and a size in, lines that fit out. Where they do not fit, the least
needed parts give way first and findings say how many more there are; the conclusion and what we
were blind to always stay. Nothing here decides anything: what a snapshot amounts to is
`status`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.text import Text

from flowwatch.model import Finding, Snapshot, Square
from flowwatch.render import STYLES, paragraph, sentence_text
from flowwatch.status import State, conclude, errors, lost_events, node_share, uptime
from flowwatch.words import age, clock, number, per_second, percent, plural, printable

BARS = "▁▂▃▄▅▆▇█"
LABEL = 11
"""Columns of the names on the left; `unexpected` and a space."""
SQUARE_WIDTH = 13 + 20 + 20 + 24
STATE_STYLES: Mapping[State, str] = {
    State.DRIFT: "bold white on red",
    State.UNKNOWN: "bold black on yellow",
    State.NO_DRIFT: "bold black on green",
}
STREAM_MARKS: Mapping[str, tuple[str, str]] = {
    "streaming": ("●", "green"),
    "connecting": ("○", "yellow"),
    "waiting": ("○", "bold red"),
    "ended": ("■", "dim"),
}


@dataclass(frozen=True, slots=True)
class _Part:
    """Some lines of the screen. The higher `need`, the later it gives way; 0 to 9, 9 never does."""

    lines: list[Text]
    need: int = 9


def render(
    snapshot: Snapshot, addresses: Mapping[str, str], width: int, height: int, rates: Sequence[float] = ()
) -> Group:
    """The whole screen: at most `height` lines of at most `width` columns. `addresses` are what to
    call and where it is (`metrics` → URL), `rates` the last flows per second, oldest first."""
    above = [
        _Part(_header(snapshot, width, rates)),
        _Part([Text()], need=1),
        _Part(_conclusion(snapshot, width)),
        *(_Part(_error(place, text, width), need=8) for place, text in errors(snapshot)),
        _Part([Text()], need=1),
        _Part(_square(snapshot, width), need=5),
        _Part([Text()], need=0),
        _Part(_coverage(snapshot, width), need=7),
        _Part(_counts("verdicts", snapshot.verdicts, width), need=3),
        _Part(_counts("alerts", snapshot.alerts, width), need=3),
        _Part(_conditions(snapshot, width), need=3),
        _Part([Text()], need=2),
    ]
    below = [
        _Part([Text()], need=2),
        _Part(_store(snapshot, width), need=4),
        _Part(_addresses(addresses, width), need=6),
    ]
    # Every finding takes a line at least, so no more than `height` of them can show.
    told = _told(snapshot, width, max(height, 1))
    wanted = min(sum(map(len, told)), max(height // 3, len(told[0]) + 1))
    for need in range(9):
        if _height(above) + _height(below) + wanted <= height:
            break
        above = [part for part in above if part.need > need]
        below = [part for part in below if part.need > need]
    room = height - _height(above) - _height(below)
    lines = [*_lines(above), *_fitting(told, max(len(snapshot.findings), 1), room), *_lines(below)]
    return Group(*lines[: max(height, 1)])


def _height(parts: Sequence[_Part]) -> int:
    return sum(len(part.lines) for part in parts)


def _lines(parts: Sequence[_Part]) -> list[Text]:
    return [line for part in parts for line in part.lines]


def _fitting(blocks: Sequence[list[Text]], total: int, room: int) -> list[Text]:
    """As many whole blocks as fit, and how many of `total` do not."""
    lines: list[Text] = []
    for position, block in enumerate(blocks):
        last = position == total - 1
        if len(lines) + len(block) + (0 if last else 1) > room:
            more = f"… and {number(total - position)} more"
            return [*lines, Text(more, "dim")][: max(room, 0)]
        lines += block
    return lines


def _lead(label: str, style: str = "dim") -> Text:
    return Text(f"{label:<{LABEL - 1}} ", style)


def _packed(items: Sequence[Text], width: int, lead: Text) -> list[Text]:
    """Items on as few lines as hold them, broken only between two of them."""
    room = max(width - lead.cell_len, 1)
    rows: list[Text] = []
    for item in items:
        if rows and rows[-1].cell_len + 3 + item.cell_len <= room:
            rows[-1].append(" · ", "dim").append_text(item)
        else:
            rows.append(Text().append_text(item))
    blank = Text(" " * lead.cell_len)
    return [line for position, row in enumerate(rows) for line in paragraph(row, width, blank if position else lead)]


def _error(place: str, text: str, width: int, most: int = 4) -> list[Text]:
    """The first lines of an error; all of it is in the log."""
    told = [printable(line) for line in text.splitlines()]
    lines = paragraph(Text(told[0]), width, _lead(f"{place} error:", "bold red"))
    for line in told[1:]:
        lines += paragraph(Text(line), width, Text())
    return lines if len(lines) <= most else [*lines[: most - 1], Text("…", "dim")]


def _header(snapshot: Snapshot, width: int, rates: Sequence[float]) -> list[Text]:
    mark, style = STREAM_MARKS.get(snapshot.stream, ("○", "yellow"))
    title = [
        Text.assemble(("flowwatch", "bold"), f" {snapshot.version}"),
        Text(printable(snapshot.cluster or "unnamed cluster")),
        Text(plural(snapshot.rules, "rule")),
        Text(printable(snapshot.source)),
    ]
    since = f"since {clock(snapshot.started)} UTC ({uptime(snapshot)})" if width >= 100 else f"up {uptime(snapshot)}"
    rate = Text(per_second(snapshot.flows_per_second).replace("/s", " flows/s"))
    bars = sparkline(rates)
    state = [
        Text(f"{mark} {printable(snapshot.stream)}", style),
        Text(since),
        rate.append(f" {bars}", "cyan") if bars else rate,
        Text(plural(snapshot.flows, "flow")),
    ]
    return [*_packed(title, width, Text()), *_packed(state, width, Text())]


def sparkline(rates: Sequence[float]) -> str:
    """Rates as bars, the highest of them full; empty where there is nothing to compare."""
    top = max(rates, default=0.0)
    if len(rates) < 2 or not 0 < top < float("inf"):
        return ""
    return "".join(BARS[min(int(max(rate, 0.0) / top * len(BARS)), len(BARS) - 1)] for rate in rates)


def _conclusion(snapshot: Snapshot, width: int) -> list[Text]:
    conclusion = conclude(snapshot)
    lead = Text.assemble((f" {conclusion.state.upper()} ", STATE_STYLES[conclusion.state]), " ")
    lines = paragraph(Text(printable(conclusion.sentence), "bold"), width, lead)
    if conclusion.blind:
        blind = Text(printable("; ".join(conclusion.blind)))
        lines += paragraph(blind, width, Text("we were blind: ", "bold yellow"))
    return lines


def _square(snapshot: Snapshot, width: int) -> list[Text]:
    """The 2×2, declared or not by forwarded or dropped, and what is outside of it."""

    def cell(square: Square, wide: int = 20) -> Text:
        count = snapshot.squares.get(square, 0)
        return Text(f"{number(count):>{wide - 11}} {square:<10}", STYLES[square] if count else "dim")

    if width < SQUARE_WIDTH:
        return _packed([Text(cell(square).plain.strip(), STYLES[square]) for square in Square], width, Text())
    rows = (
        ("", Text(f"{'forwarded':>20}", "dim"), Text(f"{'dropped':>20}", "dim"), Text()),
        ("declared", cell(Square.EXPECTED), cell(Square.BLOCKED), cell(Square.UNUSED, 24)),
        ("not declared", cell(Square.UNEXPECTED), cell(Square.DENIED), cell(Square.UNKNOWN, 24)),
    )
    lines = []
    for name, *cells in rows:
        line = Text().append(f"{name:<13}", "dim")
        for text in cells:
            line.append_text(text)
        lines.append(line)
    return lines


def _coverage(snapshot: Snapshot, width: int) -> list[Text]:
    watched = Text(f"{percent(snapshot.coverage)} watched", "" if snapshot.coverage >= 1 else "yellow")
    lost = Text(printable(lost_events(snapshot)) or "no event lost")
    return _packed([Text(node_share(snapshot)), watched, lost], width, _lead("coverage"))


def _counts(label: str, counts: Mapping[str, int], width: int) -> list[Text]:
    """Counts that are not zero, the highest first; no line at all where there are none."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = [Text(f"{printable(name).lower()} {number(count)}") for name, count in ordered if count]
    return _packed(told, width, _lead(label))


def _conditions(snapshot: Snapshot, width: int) -> list[Text]:
    """Status conditions, where the allowlist has any."""
    told = [Text(f"{printable(condition['type'])} {condition['status']}") for condition in snapshot.conditions]
    return _packed(told, width, _lead("conditions")) if told else []


def _store(snapshot: Snapshot, width: int) -> list[Text]:
    rows = Text(f"{plural(snapshot.rows_stored, 'row')} stored")
    pending = Text(f"{number(snapshot.pending_rows)} pending")
    return _packed([rows, pending, Text(printable(snapshot.store_path) or "no file")], width, _lead("store"))


def _addresses(addresses: Mapping[str, str], width: int) -> list[Text]:
    items = addresses.items()
    return [line for name, at in items for line in paragraph(Text(printable(at)), width, _lead(printable(name)))]


def _told(snapshot: Snapshot, width: int, most: int) -> list[list[Text]]:
    if not snapshot.findings:
        return [[Text("no active findings", "dim")]]
    blocks = []
    for finding in snapshot.findings[:most]:
        lead = _lead(finding.square, STYLES[finding.square])
        lines = paragraph(sentence_text(finding), width, lead)
        lines += paragraph(Text(counted(finding, snapshot.now), "dim"), width, Text(" " * lead.cell_len))
        blocks.append(lines)
    return blocks


def counted(finding: Finding, now: float) -> str:
    """How much and since when: `42 flows in 12 connections, since 16 min, last 3 s ago`."""
    flows = f"{plural(finding.flows, 'flow')} in {plural(finding.connections, 'connection')}"
    return f"{flows}, for {age(now - finding.first_seen)}, last {age(now - finding.last_seen)} ago"
