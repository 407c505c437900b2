"""What people call peers: the names in tables, found among those that an allowlist defines.

`Grafana (monitoring)`, `PXE sync pods` and `Kubernetes API` stand for what the allowlist names
`monitoring/grafana`, what it gives that alias, and the entity `kube-apiserver`. Case does not
matter, nor whether words are joined by spaces or hyphens. A name that could mean two things, or
none, is never guessed at: it is `Unreadable`, with the names that come close.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from flowwatch.allowlist.notation import read_address, read_inline
from flowwatch.allowlist.rules import ENTITIES, Entity, External, Pods, Same, Selector, listed
from flowwatch.allowlist.vocabulary import RESERVED, normal
from flowwatch.yamlmarks import clip, did_you_mean

OUTSIDE = ("external", "outside")
"""What stands in brackets behind a name where another name has its namespace: it is outside the cluster."""

_Named = TypeVar("_Named", Pods, External, Pods | External)

_NODES = (Entity("host"), Entity("remote-node"))
_API = (Entity("kube-apiserver"),)

SPELLINGS: Mapping[str, tuple[Selector, ...]] = {
    **{name: (Entity(name),) for name in ENTITIES},
    "self": (Same(),),
    "itself": (Same(),),
    **dict.fromkeys(("pods", "all-pods", "every-pod"), (Pods("pods"),)),
    **dict.fromkeys(("kubernetes-api", "kubernetes-api-server", "k8s-api", "api-server", "apiserver"), _API),
    **dict.fromkeys(("kube-api", "kube-api-server", "control-plane-nodes", "cp-nodes"), _API),
    **dict.fromkeys(("nodes", "all-nodes", "every-node"), _NODES),
    **dict.fromkeys(("kubelet", "local-node", "local-host"), (Entity("host"),)),
    **dict.fromkeys(("remote-nodes", "other-nodes"), (Entity("remote-node"),)),
    **dict.fromkeys(("internet", "the-internet"), (Entity("world"),)),
    **dict.fromkeys(("cilium-ingress", "cilium-gateway"), (Entity("ingress"),)),
}
"""What is understood without being defined, besides the entities, in the form of `normal`."""

_CLUSTER_DOMAINS = (".svc", ".cluster.local")
_EVERY_POD = ("pods", "all-pods", "every-pod", "*")


class Unreadable(ValueError):
    """A text in a table that cannot be understood: what is wrong with it, and what may help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def split_place(text: str) -> tuple[str, str]:
    """What stands before a last pair of brackets, and what stands in it; empty where there is none."""
    text = text.strip()
    head, bracket, rest = text.rpartition("(")
    if not bracket or not rest.endswith(")") or ")" in rest[:-1] or not head.strip():
        return text, ""
    return head.strip(), rest[:-1].strip()


class Names:
    """The names one allowlist defines: workloads by full name, externals by name, aliases as written."""

    def __init__(
        self,
        workloads: Mapping[str, Pods],
        externals: Mapping[str, External],
        aliases: Mapping[str, tuple[Selector, ...]],
    ) -> None:
        self._namespaces: dict[str, dict[str, list[Pods]]] = {}
        for full, pods in workloads.items():
            namespace, _, name = full.partition("/")
            self._namespaces.setdefault(namespace, {}).setdefault(normal(name), []).append(pods)
        self._externals: dict[str, list[External]] = {}
        for name, external in externals.items():
            self._externals.setdefault(normal(name), []).append(external)
        self._aliases: dict[tuple[str, str], tuple[Selector, ...]] = {}
        for text, selectors in aliases.items():
            name, place = split_place(text)
            self._aliases[normal(name), normal(place)] = selectors
        self._found: dict[tuple[str, str], tuple[Selector, ...] | None] = {}

    def is_namespace(self, text: str) -> bool:
        """Whether a workload is known in the namespace of that name."""
        return text in self._namespaces

    def find(self, text: str, home: str = "") -> tuple[Selector, ...]:
        """What a name means; in the table of the namespace `home`, its workloads come first.

        Raises Unreadable where nothing or more than one thing has the name.
        """
        found = self.look_up(text, home)
        if found is None:
            raise self._missing(text, home)
        return found

    def look_up(self, text: str, home: str = "") -> tuple[Selector, ...] | None:
        """As `find`, but None where nothing has the name."""
        text = text.strip()
        key = (text, home)
        if key not in self._found:
            name, place = split_place(text)
            self._found[key] = self._placed(name, place) if place else self._unplaced(text, home)
        return self._found[key]

    def _placed(self, name: str, place: str) -> tuple[Selector, ...] | None:
        key, where = normal(name), normal(place)
        if (key, where) in self._aliases:
            return self._aliases[key, where]
        if where in OUTSIDE:
            return self._placed_outside(name)
        if where in self._namespaces:
            return self._placed_within(name, where)
        cidr = read_address(place)
        return None if cidr is None else (External(name, (), (cidr,)),)

    def _placed_outside(self, name: str) -> tuple[Selector, ...] | None:
        alias = self._aliases.get((normal(name), ""), ())
        if found := self._externals.get(normal(name)):
            return (_only(name, found),)
        if alias and all(isinstance(selector, External) or selector == Entity("world") for selector in alias):
            return alias
        inline = read_inline(name)
        return (inline,) if isinstance(inline, External) else None

    def _placed_within(self, name: str, namespace: str) -> tuple[Selector, ...] | None:
        if pods := self._in(namespace, name):
            return (pods,)
        alias = self._aliases.get((normal(name), ""), ())
        if alias and all(isinstance(selector, Pods) and selector.namespace == namespace for selector in alias):
            return alias
        return (Pods(f"{namespace}/*", namespace),) if normal(name) in _EVERY_POD else None

    def _unplaced(self, text: str, home: str) -> tuple[Selector, ...] | None:
        key = normal(text)
        if key in RESERVED:
            return SPELLINGS[key]
        own = self._aliases.get((key, home)) if home else None
        if own is None and home and (pods := self._in(home, text)):
            own = (pods,)
        return own or self._aliases.get((key, "")) or SPELLINGS.get(key) or self._anywhere(text)

    def _anywhere(self, text: str) -> tuple[Selector, ...] | None:
        namespace, slash, rest = text.partition("/")
        if slash and namespace in self._namespaces and (pods := self._in(namespace, rest)):
            return (pods,)
        everywhere: list[Pods | External] = [*self._externals.get(normal(text), ())]
        for other in self._namespaces:
            everywhere.extend([pods] if (pods := self._in(other, text)) else [])
        if everywhere:
            return (_only(text, everywhere),)
        inline = read_inline(text)
        return None if inline is None or self._is_inside(text) else (inline,)

    def _is_inside(self, text: str) -> bool:
        """Whether a name with dots looks like one of the cluster's own: `loki.monitoring`, `loki.monitoring.svc`."""
        return text.rpartition(".")[2] in self._namespaces or text.endswith(_CLUSTER_DOMAINS)

    def _in(self, namespace: str, name: str) -> Pods | None:
        """The workload of a namespace by its name, or by its name with the namespace before it."""
        known, key = self._namespaces.get(namespace, {}), normal(name)
        found = known.get(key) or known.get(key.removeprefix(f"{namespace}-"))
        return _only(name, found) if found else None

    def _missing(self, text: str, home: str) -> Unreadable:
        what = f"nothing is named `{clip(text)}`"
        name, place = split_place(text)
        where = normal(place) if place else home
        key = normal(name)
        if place and where not in (*self._namespaces, *OUTSIDE):
            known = [*self._namespaces, *OUTSIDE]
            hint = did_you_mean(where, known) or "expected a namespace in which a workload is defined, or `external`"
            return Unreadable(f"`{clip(place)}` is no namespace that the allowlist knows", hint)
        elsewhere = [namespace for namespace, known in self._namespaces.items() if key in known]
        if place and (key, "") in self._aliases:
            meant = listed([f"`{selector.name}`" for selector in self._aliases[key, ""]], " and ")
            return Unreadable(what, f"the alias `{clip(name)}` stands for {meant}")
        if place and elsewhere:
            return Unreadable(what, f"`{clip(name)}` is in {listed([f'`{each}`' for each in elsewhere], ' and ')}")
        local = [*self._namespaces.get(where, ()), *(alias for alias, at in self._aliases if at in ("", where))]
        every = (one for known in self._namespaces.values() for one in known)
        outside = () if where in self._namespaces and place else (*self._externals, *SPELLINGS)
        hint = did_you_mean(key, local) or did_you_mean(key, dict.fromkeys((*outside, *(() if place else every))))
        if not hint and where in self._namespaces:
            hint = f"`{where}` has {listed([f'`{each}`' for each in self._namespaces[where]], ', ', most=8)}"
        return Unreadable(what, hint or "define it under `workloads`, `externals` or `aliases`")


def _only(text: str, found: Iterable[_Named]) -> _Named:
    """The one selector of that name; among several, the one spelt exactly so."""
    every = list(found)
    exact = [one for one in every if one.name.rpartition("/")[2] == text or one.name == text]
    if len(every) == 1 or len(exact) == 1:
        return every[0] if len(every) == 1 else exact[0]
    names = [f"the external `{one.name}`" if isinstance(one, External) else f"`{one.name}`" for one in every]
    raise Unreadable(
        f"`{clip(text)}` may mean {listed(names, ' or ', most=8)}", "put the namespace in brackets behind the name"
    )
