"""The same targets under atheris: libFuzzer chooses inputs by the branches of our code that they reach."""

from __future__ import annotations

import sys


def run(name: str) -> None:
    """Fuzz one target with the options of libFuzzer in `sys.argv`; ends the process."""
    import atheris  # noqa: PLC0415 - optional

    with atheris.instrument_imports(include=["flowwatch"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - instrumented while it is imported
    target = TARGETS[name]
    atheris.Setup(["fuzz", *sys.argv[1:]], target.run)
    atheris.Fuzz()
