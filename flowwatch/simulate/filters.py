"""The filters of `GetFlows` that the simulated server understands; any other is refused, not ignored.

Within one filter the fields must all match, within one field any value; a flow passes if a
whitelist filter matches it (or there is none) and no blacklist filter does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flowwatch.hubble import flow_pb2, observer_pb2
from flowwatch.simulate.messages import Report
from flowwatch.simulate.stage import Event

FIELDS = ("verdict", "event_type", "reply", "node_name", "traffic_direction", "drop_reason_desc")
"""The fields of `flow.FlowFilter` that are understood."""


class UnknownFilterError(ValueError):
    """A filter uses a field that is not understood."""


def wanted(request: observer_pb2.GetFlowsRequest) -> Callable[[Event], bool]:
    """Whether a flow passes the request's filters. Raises UnknownFilterError."""
    whitelist = [_compile(each) for each in request.whitelist]
    blacklist = [_compile(each) for each in request.blacklist]

    def passes(event: Event) -> bool:
        if event.template is None:
            return True
        report = event.template.report
        return (not whitelist or _any(whitelist, report)) and not _any(blacklist, report)

    return passes if whitelist or blacklist else lambda _event: True


def _any(filters: Iterable[Callable[[Report], bool]], report: Report) -> bool:
    return any(matches(report) for matches in filters)


def _compile(each: flow_pb2.FlowFilter) -> Callable[[Report], bool]:
    unknown = [field.name for field, _ in each.ListFields() if field.name not in FIELDS]
    if unknown:
        known = ", ".join(FIELDS)
        raise UnknownFilterError(f"the simulated Hubble does not filter by {', '.join(unknown)}; it does by {known}")

    def matches(report: Report) -> bool:
        dropped = report.verdict == flow_pb2.DROPPED
        reply = False if dropped and report.reply is None else report.reply
        return (
            (not each.verdict or report.verdict in each.verdict)
            and (not each.event_type or any(_is_type(wanted, report) for wanted in each.event_type))
            and (not each.reply or reply in each.reply)
            and (not each.node_name or report.node.known_as in each.node_name)
            and (not each.traffic_direction or report.direction in each.traffic_direction)
            and (not each.drop_reason_desc or (dropped and report.drop in each.drop_reason_desc))
        )

    return matches


def _is_type(wanted: flow_pb2.EventTypeFilter, report: Report) -> bool:
    same = wanted.type in (0, report.event)
    return same and (not wanted.match_sub_type or wanted.sub_type == report.sub_type)
