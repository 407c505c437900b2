"""What panels ask, in the forms that come again: one number, a rate, the busiest edges."""

from __future__ import annotations

from panels import GREEN, RED, Panel

UP = {
    "type": "value",
    "options": {"0": {"text": "down", "color": RED, "index": 0}, "1": {"text": "up", "color": GREEN, "index": 1}},
}
EDGE = "namespace, workload, direction, peer, service"
HALF = 12
"""Columns of a panel that has one neighbour."""


def stat(title: str, ask: str, description: str, unit: str = "short", **more: object) -> Panel:
    """One number."""
    return Panel(title, description, [(ask, "")], "stat", unit, **{"width": 4, "height": 4, "decimals": 0, **more})  # type: ignore[arg-type]


def absence(title: str, ask: str, description: str, **more: object) -> Panel:
    """One number whose 0 says that there is nothing: only where enough was seen to say so, else `unknown`."""
    enough = "min(flowwatch_coverage_ratio{*}) >= on () max(flowwatch_coverage_required_ratio{*})"
    said = f"{description} Unknown where it is none and less was seen than judge.min_coverage asks."
    return stat(title, f"({ask} > 0) or ({ask} and on () ({enough}))", said, nothing="unknown", **more)


def rate(metric: str, by: str, matchers: str = "{*}") -> list[tuple[str, str]]:
    """The rate of a counter, by its labels."""
    legend = " ".join(f"{{{{{name}}}}}" for name in by.split(", "))
    return [(f"sum by ({by}) (rate({metric}{matchers}[$__rate_interval]))", legend)]


def busiest(title: str, square: str, description: str, more: str = "", width: int = 24) -> Panel:
    """The busiest edges of a square as a table."""
    matchers = f'{{*n,square=~"{square}"{more}}}'
    ask = f"topk(25, sum by ({EDGE}) (increase(flowwatch_edge_flows_total{matchers}[$__range]))) > 0"
    return Panel(title, description, [(ask, "flows")], "table", width=width, height=9, decimals=0, to_flows=True)


def quantiles(metric: str, by: str = "le") -> list[tuple[str, str]]:
    """Median and 99th percentile of a histogram."""
    buckets = f"sum by ({by}) (rate({metric}_bucket{{*}}[$__rate_interval]))"
    return [(f"histogram_quantile(0.5, {buckets})", "median"), (f"histogram_quantile(0.99, {buckets})", "99 %")]


def each(*asks: tuple[str, str]) -> list[tuple[str, str]]:
    """Several sums of counters, each under its name."""
    return [(f"sum(rate({metric}{{*}}[$__rate_interval]))", legend) for metric, legend in asks]
