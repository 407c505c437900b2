"""From a configuration to the receiver for everything it names."""

from __future__ import annotations

import time
from collections.abc import Callable

from flowwatch.config import Config, SourceSettings
from flowwatch.receive import Receiver, Resume
from flowwatch.receive.merged import MergedReceiver


def receiver_for(config: Config, resume: Resume, clock: Callable[[], float] = time.time) -> Receiver:
    """The receiver for all sources of a configuration; it opens nothing before it is iterated."""

    def tail(source: SourceSettings) -> Receiver:
        from flowwatch.receive.tail import TailReceiver  # noqa: PLC0415 - only where files are followed

        receiver: Receiver = TailReceiver(
            [str(file) for file in source.hubble.files], cluster=source.cluster, resume=resume, clock=clock
        )
        return receiver

    sources = config.every_source
    if len(sources) == 1 and sources[0].hubble.source == "file":
        return tail(sources[0])
    return MergedReceiver(sources, resume, clock=clock, tail=tail)
