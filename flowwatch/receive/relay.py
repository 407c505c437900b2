"""One live Hubble server: Hubble Relay, or the server of one node. The simplest of receivers."""

from __future__ import annotations

from typing import Any

from flowwatch.config import HubbleSettings, SourceSettings
from flowwatch.receive import NoResume, Resume
from flowwatch.receive.merged import MergedReceiver


class RelayReceiver(MergedReceiver):
    """A `Receiver` for the one server that `settings` names; see `MergedReceiver` for the options."""

    def __init__(
        self, settings: HubbleSettings, *, cluster: str = "default", resume: Resume | None = None, **options: Any
    ) -> None:
        super().__init__([SourceSettings(cluster, settings)], resume or NoResume(), **options)
