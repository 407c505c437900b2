"""Write the generated tables into docs/*.md: `.venv/bin/python docs/generate.py`.

The text around the markers is written by hand; what stands between them is the code's own account of
itself. `tests/test_docs.py` fails when a table is not current.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flowwatch import alerts_table, classify_table, config, metrics, report  # noqa: E402 - the checkout first
from flowwatch.kube import differences, resources  # noqa: E402
from flowwatch.lint import report as lint  # noqa: E402
from flowwatch.web import openapi  # noqa: E402

SIZES = ROOT / "deploy" / "helm" / "flowwatch" / "files" / "sizing.yaml"


def sizing() -> str:
    """A Markdown table of what each `size` of the chart stands for."""
    rows = [
        "| `size` | flows a second | CPU: request, limit | memory: request, limit | `store.memory_limit` "
        "| `store.max_size` | volume | holds about |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, size in yaml.safe_load(SIZES.read_text(encoding="utf-8")).items():
        cpu, memory = (f"{size['requests'][what]}, {size['limits'][what]}" for what in ("cpu", "memory"))
        rows.append(
            f"| `{name}` | {size['flows']:,} | {cpu} | {memory} | `{size['memory_limit']}` | `{size['max_size']}` "
            f"| {size['volume']} | {size['days']} days of flows |"
        )
    return "\n".join(rows)


TABLES = {
    "configuration": config.reference,
    "metrics": metrics.reference,
    "queries": report.reference,
    "noise": classify_table.reference,
    "alerts": alerts_table.reference,
    "http": openapi.reference,
    "cluster-differences": differences.reference,
    "cluster-rights": resources.reference,
    "lint": lint.reference,
    "lint-unchecked": lint.unchecked,
    "sizing": sizing,
}


def main() -> None:
    """Rewrite every block whose table is known."""
    for path in sorted([*(ROOT / "docs").glob("*.md"), ROOT / "dashboards" / "README.md"]):
        text = path.read_text(encoding="utf-8")
        for name, table in TABLES.items():
            block = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- /generated -->)", re.DOTALL)
            text = block.sub(lambda match, table=table: match[1] + table().strip() + "\n" + match[2], text)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
