"""How the cluster's API server is asked what is live; a part of the configuration, see `config`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flowwatch.config_sources import OptionalFile, Switch, Text
from flowwatch.config_values import NAME, OPTIONAL_URL, duration

Name = Annotated[str, NAME]
OptionalUrl = Annotated[str, OPTIONAL_URL]
Seconds = Annotated[float, duration()]


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """What is asked of the API server, by `flowwatch cluster check` and while the daemon runs. Nothing is ever changed
    but the Lease that `lease` names."""

    watch: Switch = False
    """Follow the policies, namespaces and pods of the cluster, to say where they are otherwise than declared and what
    passes although live policies deny it."""
    api: OptionalUrl = ""
    """The API server; empty: that of the cluster flowwatch runs in, with the account of its pod."""
    token_file: OptionalFile = None
    """A file that holds a bearer token for `kubernetes.api`. It is read again every minute and when it is refused."""
    ca_file: OptionalFile = None
    """PEM file with the certificate authorities of `kubernetes.api`, taken up when it changes; without it, those of the
    system."""
    lease: Text = ""
    """The name of a Lease by which several replicas, each with a database of its own, agree on the one that pushes
    alerts; empty: this one always does."""
    namespace: Text = ""
    """The namespace of that Lease; empty: that of the pod."""
    stale_after: Annotated[float, duration(minimum=120.0)] = 300.0
    """How long nothing may be heard of a kind of object (changes, bookmarks, lists) before what follows from it is
    unknown. The server gives a sign of life about every minute."""
    gap_grace: Seconds = 60.0
    """How long a live policy has to reach every node before what it denies and still passes is a gap in enforcement."""
    exempt: tuple[Name, ...] = ("kube-system",)
    """Namespaces in which neither default deny nor a policy for every workload is expected. Policies in them are
    compared all the same."""
