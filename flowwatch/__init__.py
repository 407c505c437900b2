"""flowwatch: does the network do what we declared, and where does it not?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowwatch.database import Database

__version__ = "0.1.0"


def open(path: str | Path) -> Database:
    """Open a flowwatch database: `flowwatch.open("flowwatch.duckdb").query("findings", since="1d")`.

    While a daemon owns the file, the daemon is asked. Raises `flowwatch.errors.StoreError`.
    """
    from flowwatch.database import Database  # noqa: PLC0415 - importing the version must stay cheap

    return Database(path)
