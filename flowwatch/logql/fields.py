"""What a flow is when it is looked at as a log line: its labels, and the fields in the line.

Labels tell streams apart and so have few values. Everything else is a field of the JSON line, which
a query reaches after `| json`. The names are the columns of the view `log_fields`.
"""

from __future__ import annotations

LABELS = ("cluster", "namespace", "direction", "verdict", "class", "drop_reason", "level")
"""The labels of a stream. `level` follows from the verdict, for those who colour lines by it."""

TEXTS = (
    "source",
    "destination",
    "service",
    "source_namespace",
    "destination_namespace",
    "protocol",
    "event",
    "node",
    "client_pod",
    "server_pod",
    "client_ip",
    "server_ip",
    "names",
    "l7",
    "dns_query",
    "http_method",
    "http_url",
    "allowed_by",
    "denied_by",
)
"""The fields that are text."""

NUMBERS = ("client_port", "server_port", "http_status", "latency_us", "weight", "edge")
"""The fields that are numbers."""

FIELDS = (*TEXTS, *NUMBERS)
NOTHING = ("__error__", "__error_details__", "detected_level")
"""Labels that Grafana asks about and that no flow has: every line can be parsed."""
