"""The shape of the project: imports run one way, each library and each kind of text has one place.

Everything here is read from the source; no module is imported. A rule that is broken is reported as
`flowwatch/<module>.py:<line>: <what>`, one line for each place.
"""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]

# From top to bottom. A module may import from the layers below its own, and within its own layer from its own group:
# groups are separated by |. A name stands for the module and for what it was split into (config: config, config_read);
# name.* stands for a package and all that is in it that is not named elsewhere.
LAYERS = (
    ("the command line", "cli __main__"),
    ("what can be done with a declaration", "lint.command | explain"),
    ("what is written for other tools", "export"),
    ("ways to use it", "demo replay | __init__ database"),
    ("the parts put together", "assemble"),
    ("what runs beside the ingest", "service alerting"),
    ("the ingest", "daemon"),
    ("what commits in a thread of its own", "writer"),
    (
        "the edges of the process",
        "web web.* | kube.access kube.client kube.lease kube.watching | remote | terminal screen | notify | store "
        "| declared | receive.* | simulate.*",
    ),
    ("the pipeline as a whole", "engine"),
    ("what arrives, and what is kept of it", "arrivals stream_rows"),
    ("what is kept, reported and counted", "rows | findings sample_lines bypass enforced | counts | exposure"),
    ("edges, judged", "edges quiet | conditions"),
    (
        "the stages",
        "intern parties names | classify shapes noise | judge | coverage | replays | cursors | keys | transport "
        "| pacing",
    ),
    ("what is said about their outcome", "alerts | metrics metric_table tallies | status"),
    ("findings listed, and read back", "listing reread"),
    ("bytes to columns; findings to sentences", "decode.* | render | runbook"),
    ("what is wrong with a declaration", "lint.*"),
    ("what the user declares and asks", "allowlist.* | config | sql report | logql.*"),
    ("what is live in the cluster", "kube kube.*"),
    ("what network policies mean", "policy.*"),
    (
        "tools that know nothing of the pipeline",
        "selectors | memo | receive.backoff | yamlmarks yamlnodes | words | growing | identity",
    ),
    ("the vocabulary", "model codes | errors | receive"),
    ("the messages of Hubble", "hubble.*"),
)

# Libraries that only some modules may know; whatever is not listed is free to all.
OWNERS = {
    "grpc": "receive.channel simulate.*",
    "duckdb": "store store.*",
    "prometheus_client": "metrics web web.*",
    "jinja2": "web.*",
    "aiohttp": "notify web web.* service cli kube.client kube.lease kube.watching",
    "ptars": "decode.*",
    "pandas": "__init__ database store store.*",
}

GENERATED = re.compile(r"hubble\.\w+_pb2(_grpc)?")
LONGEST = 400

STATEMENT = re.compile(
    r"""\s*(
        (SELECT|INSERT|CREATE|UPDATE|ATTACH|DETACH|COPY|DROP|ALTER|PRAGMA|EXPLAIN|TRUNCATE|MERGE|INSTALL|LOAD|WITH|SET)\s
      | (DELETE\s+FROM)\b
      | (BEGIN(\s+TRANSACTION)?|COMMIT|ROLLBACK|CHECKPOINT|VACUUM|DELETE\s+FROM)\s*;?\s*$
      | select\s.+\sfrom\s | insert\s+into\s | delete\s+from\s | update\s+\S+\s+set\s
      | create\s+(or\s+replace\s+)?(temp\s+)?(table|view|index|macro|sequence|schema|type)\s
      | (drop|alter)\s+(table|view)\s | (attach|detach|checkpoint)\s+['"{] | copy\s.+\s(to|from)\s+['"{]
    )""",
    re.VERBOSE | re.DOTALL,
)

# Split, so that this file does not name them either.
FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.])/wo" r"rk/",
            r"/tmp/f" r"w\b",
            r"(?<![\w.])/ro" r"ot/",
            r"(?<![\w.])/(ho" r"me|Us" r"ers)/[a-z]",
            r"/opt/py" r"pi",
            r"\.libra" r"ry/",
            r"py" r"pi\.org",
            r"python" r"hosted",
            r"deb\.deb" r"ian",
            r"registry\.np" r"mjs",
        ]
    )
)


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module imports: `flowwatch.model`, `flowwatch.__version__` or `grpc.aio`."""

    line: int
    name: str


def modules() -> dict[str, str]:
    """Every module of the package by its dotted name below flowwatch (the package itself is `__init__`)."""
    package = ROOT / "flowwatch"
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"
        found[name] = path.read_text()
    return found


def place(module: str) -> str:
    """Where a module is, as a path from the root of the project."""
    name = "__init__" if module == "__init__" else module.replace(".", "/")
    return f"flowwatch/{name}/__init__.py" if (ROOT / "flowwatch" / name).is_dir() else f"flowwatch/{name}.py"


def matches(module: str, names: str) -> bool:
    """Whether one of the names is the module, what it was split from, or the package that holds it."""
    heads = [name.removesuffix(".*") for name in names.split() if name.endswith(".*")]
    return any(module == name or module.startswith(f"{name}_") for name in names.split()) or any(
        module == head or module.startswith(f"{head}.") for head in heads
    )


def standing(module: str) -> tuple[int, int] | None:
    """The layer (0 is the top) and the group of a module; one that is named comes before one that is covered."""
    groups = [
        (layer, group, names)
        for layer, (_, row) in enumerate(LAYERS)
        for group, names in enumerate(row.replace("\n", " ").split("|"))
    ]
    named = [(layer, group) for layer, group, names in groups if module in names.split()]
    covered = [(layer, group) for layer, group, names in groups if matches(module, names)]
    return next(iter(named or covered), None)


def imports(module: str, source: str) -> Iterator[Import]:
    """Every import of a module, wherever in it, with relative ones resolved."""
    package = ["flowwatch", *module.split(".")]
    if not (ROOT / "flowwatch" / module.replace(".", "/")).is_dir():
        package.pop()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            head = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(node.lineno, f"{head}.{alias.name}") for alias in node.names)


def own(name: str, known: Iterable[str]) -> str | None:
    """The module of this package that an imported name is in; None for the version and for what is not ours."""
    if name == "flowwatch.__version__" or not f"{name}.".startswith("flowwatch."):
        return None
    parts = name.split(".")[1:]
    paths = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((path for path in paths if path in known), "__init__" if len(parts) < 2 else None)


def upward(sources: Mapping[str, str]) -> Iterator[str]:
    """The imports that do not run downward."""
    for module, source in sources.items():
        here = standing(module)
        for each in imports(module, source):
            target = own(each.name, sources)
            there = standing(target) if target else None
            if here is None or there is None or here == there or here[0] < there[0]:
                continue
            way = "beside it" if here[0] == there[0] else "above it"
            yield (
                f"{place(module)}:{each.line}: {module} (layer {here[0] + 1}: {LAYERS[here[0]][0]}) "
                f"imports {target} (layer {there[0] + 1}: {LAYERS[there[0]][0]}), which is {way}"
            )


def circles(sources: Mapping[str, str]) -> Iterator[str]:
    """The ways along imports that come back to where they began, each told once."""
    after = {
        module: sorted({target for each in imports(module, source) if (target := own(each.name, sources))} - {module})
        for module, source in sources.items()
    }
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> Iterator[str]:
        if module in way:
            yield " imports ".join((*way[way.index(module) :], module))
        elif module not in done:
            for target in after[module]:
                yield from follow(target, (*way, module))
            done.add(module)

    for module in after:
        yield from follow(module, ())


def trespasses(sources: Mapping[str, str]) -> Iterator[str]:
    """The imports of a library by a module that is none of its owners."""
    for module, source in sources.items():
        for each in imports(module, source):
            owners = OWNERS.get(each.name.split(".")[0])
            if owners is not None and not matches(module, owners) and not GENERATED.fullmatch(module):
                yield f"{place(module)}:{each.line}: {module} imports {each.name}, which only {owners} may"


def statements(module: str, source: str) -> Iterator[str]:
    """The string literals that are SQL; a string that stands alone is documentation."""
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in prose
            and STATEMENT.match(node.value)
        ):
            first = " ".join(node.value.split())[:60]
            yield f"{place(module)}:{node.lineno}: SQL belongs in a file under queries/: {first}"


def tracked() -> list[Path]:
    """The files that git has, or would take with `git add`."""
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *listing], cwd=ROOT, capture_output=True, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a git checkout")
    paths = (ROOT / name for name in done.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def written() -> dict[str, str]:
    """The modules that people wrote."""
    return {module: source for module, source in modules().items() if not GENERATED.fullmatch(module)}


def nowhere(found: Iterable[str]) -> None:
    """Fails with all the places found, one to a line."""
    places = list(found)
    assert not places, "\n".join(["", *places])


def test_every_module_stands_in_a_layer() -> None:
    """A new module takes its place in LAYERS, so that what it may import is decided and not found out."""
    nowhere(f"{place(module)}: stands in no layer" for module in modules() if standing(module) is None)


def test_imports_run_one_way() -> None:
    """No module imports from a layer above its own, or from beside it."""
    nowhere(upward(modules()))


def test_imports_never_run_in_a_circle() -> None:
    """Within a group as well, one module comes before the other."""
    nowhere(circles(modules()))


def test_each_library_has_its_owners() -> None:
    """What talks gRPC, DuckDB, HTTP or Prometheus is known by the modules named for it alone."""
    nowhere(trespasses(modules()))


def test_sql_is_kept_in_files() -> None:
    """No statement is written in Python, where no editor, linter or reader of queries/ would find it."""
    nowhere(found for module, source in written().items() for found in statements(module, source))


def test_every_module_says_what_it_promises() -> None:
    """Each begins with a docstring."""
    silent = [module for module, source in written().items() if not ast.get_docstring(ast.parse(source))]

    nowhere(f"{place(module)}:1: has no docstring" for module in silent)


def test_no_module_holds_two_ideas() -> None:
    """None is longer than can be read in one go."""
    lengths = {module: len(source.splitlines()) for module, source in written().items()}

    nowhere(f"{place(module)}: {length} lines" for module, length in lengths.items() if length > LONGEST)


def test_the_project_speaks_of_itself_alone() -> None:
    """No file names a folder of somebody's machine or the host of a registry."""
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {match.group()}"
            for number, line in enumerate(lines, start=1)
            if (match := FOREIGN.search(line))
        ]

    nowhere(found)


@pytest.mark.parametrize(
    ("module", "line", "verdict"),
    [
        ("judge", "import flowwatch.store", "which is above it"),
        ("judge", "from flowwatch import classify", "which is beside it"),
        ("judge", "from flowwatch.classify import Evidence", "which is beside it"),
        ("receive.relay", "from flowwatch.store import Store", "which is beside it"),
        ("model", "def late():\n    from flowwatch.words import plural", "which is above it"),
        ("allowlist.document", "from ..config import Config", "which is beside it"),
        ("alerts", "from flowwatch import open", "which is above it"),
        ("judge", "from flowwatch.model import Edge", None),
        ("judge", "from flowwatch import __version__", None),
        ("config", "from flowwatch.config_read import read_file", None),
        ("allowlist.document", "from flowwatch.allowlist.rules import Rule", None),
        ("metrics", "from flowwatch.receive import ReceiverStatus", None),
        ("cli", "from flowwatch import daemon, model", None),
    ],
)
def test_an_import_that_breaks_the_order_is_told(module: str, line: str, verdict: str | None) -> None:
    """The message names the file, the line, both modules and their layers."""
    names = ["__init__", "store", "classify", "words", "config", "config_read", "model", "daemon", "receive"]
    sources = dict.fromkeys([*names, "allowlist.rules"], "") | {module: line}

    told = list(upward(sources))

    assert [message.split(", ")[-1] for message in told] == ([verdict] if verdict else [])
    assert all(message.startswith(f"{place(module)}:") and f" {module} (layer " in message for message in told)


def test_a_circle_is_told_as_a_way() -> None:
    """The message follows the imports until they come back."""
    sources = {
        "config": "import flowwatch.config_read",
        "config_read": "import flowwatch.config_keys",
        "config_keys": "import flowwatch.config",
    }

    assert list(circles(sources)) == ["config imports config_read imports config_keys imports config"]


@pytest.mark.parametrize(
    ("module", "line", "allowed"),
    [
        ("web", "import duckdb", False),
        ("receive.capture", "from grpc import aio", False),
        ("engine", "import pandas as pd", False),
        ("store", "import duckdb", True),
        ("store.rows", "import duckdb", True),
        ("receive.channel", "import grpc.aio", True),
        ("simulate.server", "import grpc", True),
        ("engine", "import pyarrow", True),
    ],
)
def test_a_library_in_the_wrong_place_is_told(module: str, line: str, allowed: bool) -> None:
    """Only what OWNERS names may import it."""
    assert (list(trespasses({module: line})) == []) is allowed


@pytest.mark.parametrize(
    ("line", "sql"),
    [
        ('rows = run("SELECT 1")', True),
        ('run(f"INSERT INTO {table} VALUES (1)")', True),
        ('run("""\n  select a from b """)', True),
        ('run("attach \'" + path)', True),
        ('run("CHECKPOINT")', True),
        ('run("DELETE FROM flows")', True),
        ('"""SELECT a FROM b"""', False),
        ('request("DELETE", url)', False),
        ('say("Select the flows from a capture")', False),
        ('say("update of the allowlist")', False),
        ('run(query("edges"))', False),
    ],
)
def test_sql_in_python_is_told(line: str, sql: bool) -> None:
    """Statements are found in any literal; documentation, prose and HTTP methods are not taken for one."""
    assert bool(list(statements("store", line))) is sql
