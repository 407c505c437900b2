"""Findings as text: for people, for programs, for code review; and the reference of all checks.

Pure: values in, one string out. Text from the files is made printable before it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from flowwatch.errors import Problem
from flowwatch.lint.found import Lint, Severity
from flowwatch.lint.table import CHECKS, Checked
from flowwatch.lint.unchecked import UNCHECKED
from flowwatch.words import Json, json_text, plural, printable

Format = Literal["table", "json", "sarif"]

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def rendered(checked: Checked, form: Format, threshold: Severity, version: str) -> str:
    """What was found at or above a threshold. `table` is for people, with a summary at the end;
    `json` is `{"findings": […], "summary": {…}}`; `sarif` is SARIF 2.1.0."""
    shown = checked.worse(threshold)
    match form:
        case "json":
            return json_text({"findings": [each.json() for each in shown], "summary": _summary_json(checked)}, indent=2)
        case "sarif":
            return json_text(_sarif(shown, version), indent=2)
        case "table":
            return "\n\n".join([*map(_told, shown), summary(checked, threshold)])


def summary(checked: Checked, threshold: Severity) -> str:
    """What was found and what was looked at, in one line."""
    counts = [(severity, checked.count(severity)) for severity in Severity]
    nouns = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}
    shown = [plural(count, nouns[severity]) for severity, count in counts if count and severity.rank <= threshold.rank]
    parts = [", ".join(shown) or "nothing found"]
    hidden = [plural(count, nouns[severity]) for severity, count in counts if count and severity.rank > threshold.rank]
    if hidden:
        parts.append(f"{', '.join(hidden)} not shown (--severity info)")
    if checked.ignored:
        parts.append(f"{checked.ignored} ignored")
    looked = [plural(checked.policies, "policy", "policies")]
    looked += [f"an allowlist of {plural(checked.rules, 'rule')}"] if checked.rules else []
    parts.append(f"{' and '.join(looked)} in {plural(checked.files, 'file')} checked")
    if checked.blind:
        parts.append("nothing was observed in that time, so nothing was held against it")
    if checked.left_out:
        parts.append(f"{plural(checked.left_out, 'document')} left out, for tables hold no policies")
    return "; ".join(parts)


def reference() -> str:
    """A Markdown table of every check, and one of what no check looks for."""
    lines = ["| check | severity | what | needs |", "|---|---|---|---|"]
    for check in CHECKS:
        lines.append(f"| `{check.name}` | {check.severity} | {_cell(check.says)} | {check.needs} |")
    return "\n".join(lines)


def unchecked() -> str:
    """A Markdown table of what no check looks for, and why."""
    lines = ["| not checked | why |", "|---|---|"]
    lines += [f"| {_cell(each.what)} | {_cell(each.why)} |" for each in UNCHECKED]
    return "\n".join(lines)


def _told(each: Lint) -> str:
    place = each.problem
    where = f"{place.file}:{place.line}" if place.line else place.file
    lines = [f"{printable(where)}: {each.severity}: {printable(place.message)} [{each.check}]"]
    inside = ", ".join(part for part in (each.thing, place.field) if part)
    lines += [f"    in {printable(inside)}"] if inside else []
    lines += [f"    {place.line:>4} | {printable(place.text.strip())}"] if place.text.strip() and place.line else []
    lines += [f"    {printable(place.hint)}"] if place.hint else []
    return "\n".join(lines)


def _summary_json(checked: Checked) -> dict[str, Json]:
    return {
        **{str(severity): checked.count(severity) for severity in Severity},
        "ignored": checked.ignored,
        "files": checked.files,
        "left_out": checked.left_out,
        "policies": checked.policies,
        "rules": checked.rules,
        "observed": checked.observed,
    }


def _sarif(shown: Iterable[Lint], version: str) -> dict[str, Json]:
    rules: list[Json] = [
        {
            "id": check.name,
            "shortDescription": {"text": check.says},
            "defaultConfiguration": {"level": _LEVELS[check.severity]},
        }
        for check in CHECKS
    ]
    results: list[Json] = [
        {
            "ruleId": each.check,
            "level": _LEVELS[each.severity],
            "message": {"text": _sentence(each.problem)},
            "locations": [{"physicalLocation": _location(each.problem)}],
        }
        for each in shown
    ]
    driver: Json = {"name": "flowwatch", "version": version, "rules": rules}
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _location(place: Problem) -> dict[str, Json]:
    location: dict[str, Json] = {"artifactLocation": {"uri": place.file}}
    return {**location, "region": {"startLine": place.line}} if place.line else location


def _sentence(place: Problem) -> str:
    return f"{place.message}; {place.hint}" if place.hint else place.message


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
