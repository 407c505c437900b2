"""Checks of the documents themselves: YAML, types, names of fields, what the cluster said of them."""

from __future__ import annotations

from collections.abc import Iterator

from flowwatch.errors import Problem
from flowwatch.lint.check import Check
from flowwatch.lint.context import Context
from flowwatch.lint.found import Severity
from flowwatch.lint.objects import at as value_at
from flowwatch.lint.objects import elements, fields_of, text_at
from flowwatch.lint.schema import SPEC_FIELDS, Fields
from flowwatch.yamlmarks import Marked, clip, did_you_mean


def invalid_yaml(context: Context) -> Iterator[Problem]:
    """What is not YAML, or not the YAML anybody would write on purpose."""
    for source in context.sources:
        yield from source.problems


def wrong_type(context: Context) -> Iterator[Problem]:
    """A list where a mapping belongs, and the like."""
    yield from context.misread


def unknown_field(context: Context) -> Iterator[Problem]:
    """Fields that no version of the API knows."""
    for spec in context.specs:
        yield from _unknown(spec.at, SPEC_FIELDS[spec.policy.kind])


def _unknown(marked: Marked, known: Fields) -> Iterator[Problem]:
    for element in marked.elements():
        yield from _unknown(element, known)
    for key, value in marked.items():
        if key.raw in known:
            below = known[key.raw]
            if below is not None:
                yield from _unknown(value, below)
        else:
            hint = did_you_mean(key.raw, known) or f"known here: {', '.join(f'`{each}`' for each in known)}"
            yield key.problem(
                f"there is no field `{clip(key.raw)}` here: it is dropped, and the rest means what it means without it",
                hint,
            )


def status_invalid(context: Context) -> Iterator[Problem]:
    """Objects as the cluster gave them out, with its own verdict that they are not valid."""
    for policy in context.policies:
        for condition in elements(value_at(policy.top, "status", "conditions")):
            fields = fields_of(condition)
            if text_at(condition, "type") == "Valid" and text_at(condition, "status").lower() == "false":
                said = clip(text_at(condition, "message"), 160)
                yield fields["status"].problem(
                    f"the cluster says that this policy is not valid, so nothing of it is enforced: {said}",
                    "repair the policy; its namespace is open until then",
                )


def specs_rejected_together(context: Context) -> Iterator[Problem]:
    """Several rules in one object, one of which the cluster rejects."""
    for policy in context.policies:
        if len(policy.specs) < 2:
            continue
        bad = [each for each in context.rejections if each.thing is policy.thing]
        if bad:
            at = value_at(policy.top, "specs") or policy.top
            yield at.problem(
                f"what is wrong on line {bad[0].line} rejects all {len(policy.specs)} rules of this object",
                "give every rule a policy of its own",
            )


def ignore_unknown(context: Context) -> Iterator[Problem]:
    """Comments that ask to ignore a check there is not."""
    for source in context.sources:
        for number, names in source.asked.items():
            line = source.lines[number - 1].strip()
            if not names:
                yield Problem(source.file, number, "", "this comment names no check", line, "write `ignore <check>`")
            for name in names:
                if name not in context.check_names:
                    hint = did_you_mean(name, context.check_names)
                    yield Problem(source.file, number, "", f"there is no check `{clip(name)}`", line, hint)


CHECKS = (
    Check(
        "invalid-yaml",
        Severity.ERROR,
        "What is not YAML, or says a thing twice, cannot be applied as it is meant.",
        invalid_yaml,
    ),
    Check(
        "wrong-type",
        Severity.ERROR,
        "The API server rejects an object that has a list where a mapping belongs, or the like.",
        wrong_type,
        rejects=True,
    ),
    Check(
        "unknown-field",
        Severity.WARNING,
        "Fields the API does not know are dropped; a misspelt peer list turns a rule into one for everyone or no one.",
        unknown_field,
    ),
    Check(
        "status-invalid",
        Severity.ERROR,
        "The exported object says `Valid: False` of itself: nothing of it is enforced.",
        status_invalid,
    ),
    Check(
        "specs-rejected-together",
        Severity.WARNING,
        "One bad rule under `specs` rejects the whole object, good rules and all.",
        specs_rejected_together,
    ),
    Check(
        "ignore-unknown",
        Severity.WARNING,
        "A comment `# flowwatch: ignore` silences nothing unless it names checks that exist.",
        ignore_unknown,
    ),
)
