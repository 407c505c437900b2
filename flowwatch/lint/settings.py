"""The configuration of Cilium's agent, where its ConfigMap `cilium-config` is among the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flowwatch.lint.objects import Object, at, fields_of
from flowwatch.lint.peers import Network, parse_network
from flowwatch.yamlmarks import Marked

CONFIG_MAP = "cilium-config"

_POD_RANGES = ("cluster-pool-ipv4-cidr", "cluster-pool-ipv6-cidr")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the ConfigMap says; `known` is false where there is none, and then nothing can be said."""

    known: bool = False
    values: Mapping[str, Marked] = field(default_factory=dict)

    def text(self, key: str) -> str:
        """A value as written; empty where there is none."""
        return self.values[key].raw if key in self.values else ""

    def is_on(self, key: str) -> bool:
        """Whether something is switched on."""
        return self.text(key).lower() == "true"

    @property
    def pod_ranges(self) -> tuple[Network, ...]:
        """The addresses pods get."""
        written = [part for key in _POD_RANGES for part in self.text(key).replace(",", " ").split()]
        found = (parse_network(part) for part in written)
        return tuple(network for network in found if network is not None)


def settings_of(objects: Iterable[Object]) -> Settings:
    """The agent's configuration among some objects."""
    for thing in objects:
        if thing.kind == "ConfigMap" and thing.name == CONFIG_MAP:
            return Settings(True, fields_of(at(thing.root, "data")))
    return Settings()
