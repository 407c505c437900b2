"""The store at the start of a daemon, whatever state its file is in.

A damaged file must not keep a watcher from watching: it is set aside with a name that says so, and a
new one is begun. Where only the log is damaged, the log alone is: the file is whole up to its last checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from flowwatch.errors import DamagedError
from flowwatch.store import Store
from flowwatch.store_faults import is_of_the_log, set_aside, set_log_aside
from flowwatch.stream_rows import Restored

log = logging.getLogger("flowwatch.store")


def begin(path: Path, memory_limit: int, clock: Callable[[], float] = time.time) -> tuple[Store, Restored]:
    """Open the file and read back what the engine must know; a damaged file is set aside for a new one, and
    `Store.aside` names it. Raises `StoreError` for whatever is not damage: a file in use, not ours, newer."""
    aside = ""
    for attempt in ("log", "file", "new"):
        store = None
        try:
            store = Store(path, memory_limit=memory_limit, clock=clock)
            restored = store.restore()
        except DamagedError as error:
            if store is not None:
                store.close()
            if attempt == "new":
                raise
            is_log = attempt == "log" and is_of_the_log(error)
            aside = str(set_log_aside(path, clock()) if is_log else set_aside(path, clock()))
            log.error("set aside as %s, %s: %s", aside, "the file goes on" if is_log else "a new one is begun", error)
            continue
        store.aside = aside
        return store, restored
    raise AssertionError("unreachable")
