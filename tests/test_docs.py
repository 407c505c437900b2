"""Documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from flowwatch import alerts_table, allowlist, classify_table, config, metrics, report, runbook, sql
from flowwatch.cli import cli
from flowwatch.codes import FlowClass
from flowwatch.kube import differences, resources
from flowwatch.model import Deviation
from flowwatch.web import openapi

ROOT = Path(__file__).parents[1]
DOCS = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "dashboards").glob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)


def block(path: str, name: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    return text.split(f"<!-- generated: {name} -->")[1].split("<!-- /generated -->")[0].strip()


def test_the_query_table_is_what_the_files_say() -> None:
    """docs/queries.md lists every named query with its own header."""
    assert block("docs/queries.md", "queries") == report.reference().strip()


def test_the_configuration_table_is_what_the_code_says() -> None:
    """docs/configuration.md lists every key."""
    assert block("docs/configuration.md", "configuration") == config.reference().strip()


def test_the_api_table_is_what_the_code_says() -> None:
    """docs/http.md lists every address of the JSON API."""
    assert block("docs/http.md", "http") == openapi.reference().strip()


def test_the_metrics_table_is_what_the_code_says() -> None:
    """docs/metrics.md lists every metric."""
    assert block("docs/metrics.md", "metrics") == metrics.reference().strip()


def test_the_cluster_tables_are_what_the_code_says() -> None:
    """docs/cluster.md lists every difference and every right."""
    assert block("docs/cluster.md", "cluster-differences") == differences.reference().strip()
    assert block("docs/cluster.md", "cluster-rights") == resources.reference().strip()
    assert set(differences.EXPLAINED) == set(Deviation)


def test_every_alert_has_a_runbook_heading() -> None:
    """dashboards/README.md has a heading for every alert name."""
    runbook = (ROOT / "dashboards" / "README.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^#+ (Flowwatch\w+)", runbook, re.MULTILINE))
    rules = yaml.safe_load((ROOT / "dashboards" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    ruled = {rule["alert"] for group in rules for rule in group["rules"] if "alert" in rule}
    assert {*alerts_table.NAMES, *ruled} == headings


def test_the_alert_table_is_what_the_code_says() -> None:
    """The runbook lists every alert that is pushed, with its severity."""
    assert block("dashboards/README.md", "alerts") == alerts_table.reference().strip()


def test_every_class_of_flow_is_explained() -> None:
    """docs/noise.md lists every class, and no class goes without its words."""
    assert block("docs/noise.md", "noise") == classify_table.reference().strip()
    assert set(classify_table.EXPLAINED) == set(FlowClass)


def test_the_runbook_is_a_page_with_an_anchor_for_every_alert() -> None:
    """What flowwatch serves at /runbook is made from the same file, escaped, with the anchors that alerts link to."""
    shown = runbook.page()
    anchors = set(re.findall(r' id="([^"]*)"', shown))
    assert {name.lower() for name in alerts_table.NAMES} <= anchors
    assert set(re.findall(r'href="#([^"]*)"', shown)) <= anchors
    assert not re.search(r"\*\*|```|<(script|img|link)", shown)


def test_links_between_documents_lead_somewhere() -> None:
    """Relative links in documents name files that exist."""
    for document in DOCS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"


def test_commands_in_the_readme_exist() -> None:
    """Every `flowwatch …` the README shows is a command, and every script a file."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for shell in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL):
        for command in re.findall(r"^(?:\.venv/bin/)?flowwatch (\w+)", shell, re.MULTILINE):
            assert command in cli.commands, command
    for script in re.findall(r"\b(?:sh|bash) (\S+/\S+)", readme):
        assert (ROOT / script.rstrip("`")).exists(), script
    for name in re.findall(r"flowwatch query (\w+)", readme):
        assert name in sql.queries("report"), name


def test_yaml_in_the_readme_is_accepted(tmp_path: Path) -> None:
    """The README's allowlist and configuration can be used as they stand."""
    snippets = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    declared, configured, several, *_ = snippets
    assert len(allowlist.parse(declared, "README.md", 0.0).rules) == 1
    (tmp_path / "flowwatch.yaml").write_text(configured, encoding="utf-8")
    loaded = config.load(tmp_path / "flowwatch.yaml", {})
    assert loaded.cluster == yaml.safe_load(configured)["cluster"]
    (tmp_path / "several.yaml").write_text(several, encoding="utf-8")
    sources = config.load(tmp_path / "several.yaml", {}).every_source
    assert [(source.cluster, source.hubble.source) for source in sources] == [
        ("east", "relay"), ("west", "nodes"), ("lab", "file"),
    ]  # fmt: skip
