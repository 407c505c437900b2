"""The declaration on disk: read it, notice that it changed, read it again.

A changed file that cannot be read leaves the last good declaration in force and says what is wrong
until it can. Changes are found by looking, not by events: mounted ConfigMaps are swapped by symbolic
links, and editors replace files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flowwatch import allowlist as allowlists
from flowwatch.allowlist import Allowlist
from flowwatch.config import PolicySettings
from flowwatch.errors import AllowlistError
from flowwatch.policy.objects import Objects
from flowwatch.policy.options import Enforcement, Options, for_cilium

DEFAULTS = PolicySettings()
Signature = tuple[tuple[str, int, int, int], ...]


class DeclaredFiles:
    """The files and directories that `allowlist:` names; none at all is a declaration too."""

    def __init__(self, paths: Sequence[Path], policy: PolicySettings = DEFAULTS) -> None:
        self._paths = tuple(paths)
        self._policy = policy
        self._seen: Signature = ()
        self.error = ""
        """Why what is on disk now is not in force; empty when it is."""
        self.objects: Objects | None = None
        """The network policies among what is in force; None where nothing is declared."""

    def load(self, now: float) -> Allowlist | None:
        """Read everything. Raises `AllowlistError`."""
        self._seen = self._signature()
        allowlist = read(self._paths, now, self._policy)
        self.objects = allowlist.objects if allowlist else None
        return allowlist

    def reload(self, now: float) -> Allowlist | None:
        """The declaration anew if anything changed and can be read; None otherwise (see `error`)."""
        signature = self._signature()
        if signature == self._seen:
            return None
        try:
            allowlist = self.load(now)
        except AllowlistError as error:
            self._seen = signature
            self.error = str(error)
            return None
        self.error = ""
        return allowlist

    def _signature(self) -> Signature:
        files = [file for path in self._paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        return tuple(_stamp(file) for file in files)


def read(paths: Sequence[Path], now: float, policy: PolicySettings = DEFAULTS) -> Allowlist | None:
    """Read a declaration once; no paths declare nothing. Raises `AllowlistError`."""
    if not paths:
        return None
    return allowlists.load(paths, now, cluster=policy.local_cluster, options=options_of(policy))


def options_of(policy: PolicySettings) -> Options:
    """How network policies are meant, from the configuration."""
    return replace(
        for_cilium(policy.cilium),
        enforcement=Enforcement(policy.enforcement),
        host_firewall=policy.host_firewall,
        node_selector_labels=policy.node_selectors,
        allow_localhost=policy.allow_localhost,
        cidr_nodes=policy.cidr_nodes,
        cidr_pods=policy.cidr_pods,
        strict_policy_types=policy.strict_policy_types,
    )


def _stamp(file: Path) -> tuple[str, int, int, int]:
    try:
        stat = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino
