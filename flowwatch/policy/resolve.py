"""Peers that name other objects, replaced by what those objects say.

Groups of ranges become their ranges, services become the pods they select or the addresses they have. Where not all
objects of the cluster were given, one that is missing cannot be decided; where all were, it is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowwatch.model import Identity, Kind
from flowwatch.policy.entries import Addresses, Entry, Group, Peers, Service, Undecidable
from flowwatch.policy.labels import in_namespace, local
from flowwatch.policy.objects import KubernetesService, Objects
from flowwatch.policy.options import Options
from flowwatch.selectors import LabelTest, Operator, Requirement, label_facts, parse_address, parse_network

_API_SERVER = ("default", "kubernetes")


class Resolver:
    """Knows the objects that policies refer to. `complete`: there are no others in the cluster."""

    def __init__(self, objects: Objects, options: Options, *, complete: bool) -> None:
        self._groups = objects.groups
        self._services = objects.services
        self._addresses = objects.addresses
        self._options = options
        self._complete = complete

    def peers(self, entry: Entry) -> tuple[Peers, ...] | None:
        """The peers of an entry without any that names another object; None: everyone."""
        if entry.peers is None:
            return None
        found: list[Peers] = []
        services = False
        for peer in entry.peers:
            if isinstance(peer, Group):
                found.extend(self._group(peer))
            elif isinstance(peer, Service):
                services = True
                found.extend(self._service(peer))
            else:
                found.append(peer)
        return None if services and not found and entry.wild_if_unresolved else tuple(found)

    def _group(self, peer: Group) -> Iterable[Peers]:
        test = LabelTest(peer.requirements)
        if peer.name:
            groups = [group for group in self._groups if group.name == peer.name]
            what = f"there is no CiliumCIDRGroup `{peer.name}` among the files"
        else:
            groups = [group for group in self._groups if test.holds(_facts(group.labels))]
            what = "no CiliumCIDRGroup among the files has these labels"
        if not groups and not self._complete:
            yield Undecidable(what)
        for group in groups:
            for cidr in group.cidrs:
                yield Addresses(cidr, peer.exceptions)

    def _service(self, peer: Service) -> Iterable[Peers]:
        test = LabelTest(peer.requirements)
        services = [
            service
            for service in self._services
            if (not peer.namespace or service.namespace == peer.namespace)
            and (service.name == peer.name if peer.name else test.holds(_facts(service.labels)))
        ]
        if not services and not self._complete:
            yield Undecidable(
                f"there is no Service `{peer.namespace}/{peer.name or '*'}` among the files", by_address=False
            )
        for service in services:
            yield from self._meant(service)

    def _meant(self, service: KubernetesService) -> Iterable[Peers]:
        if service.selector:
            if self._options.services_with_selectors:
                asked = (Requirement(key, Operator.IN, (value,), "k8s") for key, value in service.selector)
                yield local((*asked, in_namespace(service.namespace)))
            return
        if (service.namespace, service.name) == _API_SERVER:
            return
        known = self._addresses.get((service.namespace, service.name))
        addresses = (*service.addresses, *(known or ()))
        if not addresses and not self._complete:
            yield Undecidable(f"the addresses of Service {service.namespace}/{service.name} are not among the files")
        for address in addresses:
            if (cidr := _host_range(address)) is not None:
                yield Addresses(cidr)


def _host_range(address: str) -> str | None:
    parsed = parse_address(address.partition("/")[0])
    if parsed is None:
        return None
    text = f"{address.partition('/')[0]}/{32 if parsed[0] == 4 else 128}"
    parse_network(text)
    return text


def _facts(labels: tuple[tuple[str, str], ...]) -> frozenset[str]:
    return label_facts(Identity(Kind.UNKNOWN, "", "", tuple(f"k8s:{key}={value}" for key, value in labels)))
