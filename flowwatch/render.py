"""Findings and query results as text: for people, for programs, for spreadsheets, for reviews.

Pure: values in, one string out (without a final newline). `finding_json` is the one JSON form of
a finding, wherever it appears. Nothing is left out to make a line fit: evidence is wrapped, never
cut. Text that came from outside is made harmless for the format it is written in.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Literal, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from flowwatch.model import Finding, Kind, Peer, Side, Square
from flowwatch.words import Json, clock, json_text, number, percent, plain, plural, printable, rfc3339

FindingsFormat = Literal["table", "json", "csv", "markdown"]
TableFormat = Literal["table", "json", "csv"]

ORDER = (Square.UNEXPECTED, Square.BLOCKED, Square.DENIED, Square.UNKNOWN, Square.UNUSED, Square.EXPECTED)
"""The order in which squares are told: what needs a person first."""

STYLES: Mapping[Square, str] = {
    Square.UNEXPECTED: "bold red",
    Square.BLOCKED: "bold magenta",
    Square.DENIED: "yellow",
    Square.UNKNOWN: "cyan",
    Square.UNUSED: "dim",
    Square.EXPECTED: "green",
}

FINDING_COLUMNS = (
    *("fingerprint", "square", "sentence", "cluster"),
    *(f"source_{field}" for field in ("name", "kind", "namespace", "workload", "ip", "names", "labels")),
    *(f"destination_{field}" for field in ("name", "kind", "namespace", "workload", "ip", "names", "labels")),
    *("port", "protocol", "direction", "declared", "rule", "nearest_rule", "differs", "reason"),
    *("first_seen", "last_seen", "flows", "connections", "samples", "drop_reasons", "policies", "coverage"),
)
"""Columns of findings as CSV: the fields of `finding_json`, ends flattened, lists joined by `; `."""


FORMULA_STARTS = tuple("=+-@＝＋－＠")
MARKDOWN_SPECIAL = frozenset("\\`*_{}[]<>#|~&!")
MARKDOWN_HEAD = (
    "| finding | flows | connections | first seen (UTC) | last seen (UTC) | watched |",
    "| --- | ---: | ---: | --- | --- | ---: |",
)


def headline(square: Square, edges: int) -> str:
    """What a number of edges in one square means, as a clause: `3 edges are forwarded but not declared`."""
    one = edges == 1
    match square:
        case Square.UNEXPECTED:
            return f"{plural(edges, 'edge')} {'is' if one else 'are'} forwarded but not declared"
        case Square.BLOCKED:
            return f"{plural(edges, 'declared edge')} {'is' if one else 'are'} dropped by policy"
        case Square.DENIED:
            return f"{plural(edges, 'undeclared edge')} {'is' if one else 'are'} dropped by policy"
        case Square.UNUSED:
            return f"{plural(edges, 'declared edge')} {'was' if one else 'were'} never seen"
        case Square.UNKNOWN:
            return f"{plural(edges, 'edge')} cannot be judged"
        case Square.EXPECTED:
            return f"{plural(edges, 'edge')} {'is' if one else 'are'} declared and forwarded"


def finding_json(finding: Finding) -> dict[str, Json]:
    """The one JSON form of a finding.

    `source` and `destination` are `{name, kind, cluster, namespace, workload, labels}`, with `ip`
    and `names` where they are known. `direction` is whose side reported it (`egress`, `ingress`,
    `unknown`), `differs` the parts in which `nearest_rule` differs, `first_seen` and `last_seen`
    are RFC 3339 in UTC, `samples` flow uuids (newest last), `coverage` a share (0…1).
    """
    judgement = finding.judgement
    return {
        "fingerprint": finding.fingerprint,
        "square": str(finding.square),
        "sentence": finding.sentence,
        "edge": str(finding.edge),
        "cluster": finding.cluster,
        "source": _peer_json(finding.edge.source),
        "destination": _peer_json(finding.edge.destination),
        "port": finding.edge.port,
        "protocol": finding.edge.protocol.name,
        "direction": direction(finding.side),
        "declared": str(judgement.declared),
        "rule": judgement.rule,
        "nearest_rule": judgement.nearest,
        "differs": list(judgement.differs),
        "reason": judgement.reason,
        "first_seen": rfc3339(finding.first_seen),
        "last_seen": rfc3339(finding.last_seen),
        "flows": finding.flows,
        "connections": finding.connections,
        "samples": list(finding.samples),
        "drop_reasons": list(finding.drop_reasons),
        "policies": list(finding.policies),
        "coverage": plain(finding.coverage),
    }


def direction(side: Side) -> str:
    """`egress`, `ingress` or `unknown`."""
    return side.name.lower()


def _peer_json(peer: Peer) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "name": str(peer),
        "kind": str(peer.identity.kind),
        "cluster": peer.identity.cluster,
        "namespace": peer.identity.namespace,
        "workload": peer.workload,
    }
    if peer.ip:
        fields["ip"] = peer.ip
    if peer.names:
        fields["names"] = list(peer.names)
    fields["labels"] = list(peer.identity.labels)
    return fields


def findings(
    findings: Sequence[Finding], format: FindingsFormat, width: int | None = None, *, colour: bool = False
) -> str:
    """Findings as text. `table` is for people: grouped by square, a sentence each with its evidence
    beneath, wrapped at `width` columns (None: never). `json` is a list of `finding_json`, `csv` has
    `FINDING_COLUMNS`, `markdown` is a section per square. Only `table` knows colour."""
    match format:
        case "json":
            return json_text([finding_json(finding) for finding in findings], indent=2)
        case "csv":
            return _csv(FINDING_COLUMNS, (_flat(finding) for finding in findings))
        case "markdown":
            return _markdown(findings)
        case "table":
            return _told(findings, width, colour)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], format: TableFormat, width: int | None = None
) -> str:
    """A query's result as text. `table` aligns columns and wraps cells to fit `width` (None: as wide
    as it gets), `json` is `{"columns": […], "rows": [[…], …]}`, `csv` is RFC 4180 but for line ends."""
    match format:
        case "json":
            return json_text({"columns": list(columns), "rows": [[plain(cell) for cell in row] for row in rows]})
        case "csv":
            return _csv(columns, rows)
        case "table":
            return _grid(columns, rows, width)


def colour_wanted(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Colour only where a person looks: a terminal that is not dumb, and no NO_COLOR set."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def sentence_text(finding: Finding) -> Text:
    """The finding's sentence, made printable, with the edge standing out."""
    text = Text(printable(finding.sentence))
    text.stylize("bold", 0, len(printable(str(finding.edge))))
    return text


def paragraph(text: Text, width: int | None, lead: Text) -> list[Text]:
    """The text as lines of at most `width` columns, the first led by `lead` and the others indented
    as far. Words longer than a line are folded; nothing is dropped."""
    if width is None:
        return [Text().append_text(lead).append_text(text)]
    room = max(width - lead.cell_len, 8)
    body = text.wrap(Console(width=room, file=io.StringIO()), room, overflow="fold")
    indent = Text(" " * lead.cell_len)
    return [Text().append_text(indent if position else lead).append_text(line) for position, line in enumerate(body)]


def grouped(findings: Iterable[Finding]) -> dict[Square, list[Finding]]:
    """Findings by square, the squares in the order they are told in."""
    groups: dict[Square, list[Finding]] = {square: [] for square in ORDER}
    for finding in findings:
        groups[finding.square].append(finding)
    return {square: group for square, group in groups.items() if group}


def evidence(finding: Finding) -> Iterable[tuple[str, str]]:
    """What a finding rests on, as pairs of a word and its text, printable; empty ones left out."""
    edge = finding.edge
    seen = f"{clock(finding.first_seen)} to {clock(finding.last_seen)} UTC"
    yield "flows", f"{plural(finding.flows, 'flow')} in {plural(finding.connections, 'connection')}, {seen}"
    side = direction(finding.side)
    share = "all" if finding.coverage >= 1 else percent(finding.coverage)
    yield "seen", f"{'' if side == 'unknown' else f'by the {side} side, '}{share} of the window watched"
    for peer in (edge.source, edge.destination):
        if peer.identity.kind is Kind.WORLD and peer.names:
            shared = " (shared: which of them was meant cannot be told)" if len(peer.names) > 1 else ""
            yield "address", printable(f"{peer.ip or 'unknown'} was looked up as {', '.join(peer.names)}{shared}")
    more = {
        "reason": finding.judgement.reason if finding.square is not Square.UNKNOWN else "",
        "policies": ", ".join(finding.policies),
        "samples": " ".join(finding.samples),
    }
    yield from ((word, printable(text)) for word, text in more.items() if text)


def _told(findings: Sequence[Finding], width: int | None, colour: bool) -> str:
    if not findings:
        return "no findings"
    lines: list[Text] = []
    for square, group in grouped(findings).items():
        lines += [
            Text(),
            *paragraph(Text(headline(square, len(group))), width, Text(f"{square.upper()}  ", STYLES[square])),
        ]
        for finding in group:
            lines += [Text(), *paragraph(sentence_text(finding), width, Text("  "))]
            for word, text in evidence(finding):
                lines += paragraph(Text(text, "dim"), width, Text(f"    {word:<10}", "dim"))
            lines += paragraph(Text(finding.fingerprint, "dim"), width, Text(f"    {'id':<10}", "dim"))
    return _string(lines[1:], colour)


def _string(lines: Iterable[Text], colour: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=10_000, force_terminal=colour, color_system="standard" if colour else None)
    for line in lines:
        line.rstrip()
        console.print(line, soft_wrap=True, highlight=False)
    return out.getvalue().rstrip("\n")


def _flat(finding: Finding) -> list[object]:
    fields = finding_json(finding)
    for end in ("source", "destination"):
        peer = fields.pop(end)
        if isinstance(peer, dict):
            fields |= {f"{end}_{key}": value for key, value in peer.items()}
    cells: list[object] = [fields.get(column, "") for column in FINDING_COLUMNS]
    return ["; ".join(map(str, cell)) if isinstance(cell, list) else cell for cell in cells]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_csv_cell(column) for column in columns])
    writer.writerows([_csv_cell(cell) for cell in row] for row in rows)
    return out.getvalue().rstrip("\n")


def _csv_cell(cell: object) -> object:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return cell
    # A line break is data and quoted; every other control character is shown, as everywhere.
    text = "\n".join(map(printable, _cell(cell).split("\n")))
    # A spreadsheet runs what starts like a formula, even after white space and in full-width forms.
    return f"'{text}" if text.startswith("\n") or text.lstrip().startswith(FORMULA_STARTS) else text


def _cell(cell: object) -> str:
    value = plain(cell)
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list() | dict():
            return json_text(value)
        case _:
            return str(value)


def _markdown(findings: Sequence[Finding]) -> str:
    if not findings:
        return "No findings."
    sections = []
    for square, group in grouped(findings).items():
        rows = [
            f"| {_markdown_cell(finding.sentence)} | {number(finding.flows)} | {number(finding.connections)} "
            f"| {clock(finding.first_seen)} | {clock(finding.last_seen)} | {percent(finding.coverage)} |"
            for finding in group
        ]
        sections.append(
            "\n".join([f"### {square.capitalize()}: {headline(square, len(group))}", "", *MARKDOWN_HEAD, *rows])
        )
    return "\n\n".join(sections)


def _markdown_cell(text: str) -> str:
    """Text for one cell: what stands between a pair of backticks stays code, the rest is escaped."""
    text = printable(text)
    parts = text.split("`")
    # Runs of backticks pair by their length, and a backslash before `|` ends the cell: no code then.
    if len(parts) % 2 == 0 or "``" in text or "\\" in text:
        return _markdown_escape(text)
    return "`".join(
        part.replace("|", "\\|") if position % 2 else _markdown_escape(part) for position, part in enumerate(parts)
    )


def _markdown_escape(text: str) -> str:
    return "".join(f"\\{char}" if char in MARKDOWN_SPECIAL else char for char in text)


def _grid(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> str:
    head = [printable(column) for column in columns]
    body = [[printable(_cell(cell)) for cell in row] for row in rows]
    natural = [max(map(cell_len, column), default=0) for column in zip(head, *body, strict=True)]
    limits = natural if width is None else _shrunk(natural, width)
    right = [bool(rows) and all(_is_number(row[position]) for row in rows) for position in range(len(columns))]
    lines = [*_row(head, limits, right), "  ".join("─" * limit for limit in limits)]
    for row in body:
        lines += _row(row, limits, right)
    return "\n".join([*lines, "", plural(len(rows), "row")])


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool))


def _shrunk(natural: list[int], width: int) -> list[int]:
    """Widths that fit: the widest columns give way first, none below 8."""
    room = width - 2 * (len(natural) - 1)
    widest = max(natural, default=0)
    cap = next((cap for cap in range(min(widest, room), 8, -1) if sum(min(n, cap) for n in natural) <= room), 8)
    return [min(n, cap) for n in natural]


def _row(cells: Sequence[str], limits: Sequence[int], right: Sequence[bool]) -> list[str]:
    wrapped = [_folded(cell, limit) for cell, limit in zip(cells, limits, strict=True)]
    lines = []
    for parts in zip_longest(*wrapped, fillvalue=""):
        padded = []
        for part, limit, end in zip(parts, limits, right, strict=True):
            gap = " " * (limit - cell_len(part))
            padded.append(gap + part if end else part + gap)
        lines.append("  ".join(padded).rstrip())
    return lines


def _folded(cell: str, limit: int) -> list[str]:
    if cell_len(cell) <= limit:
        return [cell]
    return [line.plain.rstrip() for line in paragraph(Text(cell), limit, Text())]
