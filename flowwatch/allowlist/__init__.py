"""What is declared to be allowed: read from files, and asked about edges.

`load` and `parse` read allowlists in the native format and network policies, in any mix, and `load`
the tables of Markdown files with them; the `Allowlist` they return judges.
Either everything in the files is understood, or an `AllowlistError` names all that is not.
Nothing here watches files or keeps a clock: whoever wants a newer allowlist loads it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from flowwatch.allowlist import native
from flowwatch.allowlist.compiled import Allowlist
from flowwatch.allowlist.markdown import SUFFIXES as MARKDOWN
from flowwatch.allowlist.markdown import read_markdown
from flowwatch.allowlist.names import Names
from flowwatch.allowlist.policies import read_policies, split
from flowwatch.allowlist.rules import Declaration, Rule
from flowwatch.allowlist.vocabulary import Vocabulary
from flowwatch.errors import AllowlistError, Problem
from flowwatch.policy.options import DECLARED, Options
from flowwatch.yamlmarks import Documents, load_documents
from flowwatch.yamlnodes import MAX_CHARACTERS

__all__ = ["Allowlist", "Declaration", "Rule", "load", "parse", "read", "read_text"]

_SUFFIXES = (".yaml", ".yml", ".json")


def load(paths: Iterable[str | Path], now: float, *, cluster: str = "", options: Options = DECLARED) -> Allowlist:
    """Load the allowlist that files and directories make together.

    Of a directory, every `*.yaml`, `*.yml` and `*.json` right in it is read, sorted by name;
    Markdown is read where a file is named itself. `now` is the time in seconds since the epoch,
    `cluster` the name of the cluster the flows come from (empty: clusters are not told apart),
    `options` how Cilium is set up, for the meaning of network policies. Raises AllowlistError with
    every problem found.
    """
    return Allowlist(read(paths, options), now, cluster=cluster)


def parse(text: str, file: str, now: float, *, cluster: str = "", options: Options = DECLARED) -> Allowlist:
    """Load an allowlist from text; `file` is how errors and answers name its origin."""
    return Allowlist(read_text(text, file, options), now, cluster=cluster)


def read(paths: Iterable[str | Path], options: Options = DECLARED) -> Declaration:
    """Read what files and directories declare together, without compiling it. Raises AllowlistError."""
    problems: list[Problem] = []
    files: dict[Path, Path] = {}
    given = [Path(path) for path in paths]
    if not given:
        problems.append(Problem("allowlist", 0, "", "no file was given; expected at least one"))
    for path in given:
        for resolved, found in _files_of(path, problems):
            files.setdefault(resolved, found)
    texts: dict[str, str] = {}
    pages: dict[str, str] = {}
    for file in files.values():
        text = _read_file(file, problems)
        if text is not None:
            (pages if file.suffix.lower() in MARKDOWN else texts)[str(file)] = text
    return _declare({name: load_documents(text, name) for name, text in texts.items()}, problems, pages, options)


def read_text(text: str, file: str, options: Options = DECLARED) -> Declaration:
    """Read what a text declares, without compiling it. Raises AllowlistError."""
    return _declare({file: load_documents(text, file)}, [], {}, options)


def _declare(
    loaded: Mapping[str, Documents], problems: list[Problem], pages: Mapping[str, str], options: Options
) -> Declaration:
    """What documents declare, and then the tables of Markdown pages, which use the names the documents define."""
    written = [problem for each in loaded.values() for problem in each.problems]
    documents = [document for each in loaded.values() for document in each.documents]
    if problems or not all(each.readable for each in loaded.values()):
        raise AllowlistError(problems + written)
    if not documents and not pages:
        expected = f"this holds no allowlist; expected a document with `kind: {native.KIND}`"
        raise AllowlistError(written + [Problem(file, 0, "", expected) for file in loaded])
    meant: list[Problem] = []
    own, objects = split(documents)
    policies = read_policies(objects, meant, options)
    vocabulary = Vocabulary(meant)
    declaration = replace(native.read(own, meant, vocabulary), policies=policies, speaks=bool(own or pages))
    # A value that is bad YAML is also bad for whoever expected something of it: once is enough.
    reported = {(problem.file, problem.line, problem.field) for problem in written}
    written += [problem for problem in meant if (problem.file, problem.line, problem.field) not in reported]
    if written:
        order = list(loaded)
        raise AllowlistError(sorted(written, key=lambda problem: (order.index(problem.file), problem.line)))
    if not own and not pages and not policies.policies:
        others = ", ".join(f"{count} {kind}" for kind, count in policies.ignored.items())
        nothing = "this holds no allowlist and no policy" + (f", only {others}" if others else "")
        raise AllowlistError([Problem(file, 0, "", nothing) for file in loaded])
    return _with_tables(declaration, vocabulary, pages) if pages else declaration


def _with_tables(declaration: Declaration, vocabulary: Vocabulary, pages: Mapping[str, str]) -> Declaration:
    names = Names(vocabulary.workloads, vocabulary.externals, vocabulary.aliases)
    read = [read_markdown(text, file, names) for file, text in pages.items()]
    if problems := [problem for page in read for problem in page.problems]:
        raise AllowlistError(problems)
    every = (*declaration.rules, *(rule for page in read for rule in page.rules))
    rules = tuple(replace(rule, id=number) for number, rule in enumerate(every))
    return replace(declaration, rules=rules, ignored_tables=tuple(table for page in read for table in page.ignored))


def _files_of(path: Path, problems: list[Problem]) -> list[tuple[Path, Path]]:
    """The files a path stands for, each with what it really is, so that none is read twice."""
    try:
        if not path.is_dir():
            return [(path.resolve(), path)]
        entries = sorted(path.iterdir())
        found = [
            (entry.resolve(), entry)
            for entry in entries
            if entry.suffix in _SUFFIXES and not entry.name.startswith(".")
        ]
    except (OSError, ValueError) as error:
        problems.append(Problem(str(path), 0, "", _cannot_read(error)))
        return []
    if not found:
        problems.append(Problem(str(path), 0, "", "no `*.yaml` or `*.yml` is in this directory"))
    return found


def _read_file(path: Path, problems: list[Problem]) -> str | None:
    try:
        with path.open("rb") as file:
            # One byte more than the most a text of that many characters can take.
            content = file.read(4 * MAX_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        problems.append(Problem(str(path), 0, "", _cannot_read(error)))
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(Problem(str(path), line, "", f"byte {content[error.start]:#04x} is not UTF-8"))
        return None


def _cannot_read(error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot be read: {reason}"
