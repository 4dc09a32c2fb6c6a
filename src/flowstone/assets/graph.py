"""Who needs whom, by name."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence

from flowstone.assets.asset import AnyAsset
from flowstone.foundation.errors import NotFoundError, ValidationError, did_you_mean

Edges = Mapping[str, Sequence[str]]
MAX_CYCLES = 20


class Graph:
    """Assets' names with the names each one needs; every name that is needed is a name of the graph.

    ``order`` lists each name after all it needs; among names that could come next, the one declared first comes first.
    Raises ``ValidationError`` for cycles and unknown names.
    """

    def __init__(self, edges: Edges) -> None:
        self._upstream = {name: tuple(dict.fromkeys(needed)) for name, needed in edges.items()}
        self._downstream = _reversed(self._upstream)
        if len(self._downstream) > len(self._upstream):
            unknown = next(name for name in self._downstream if name not in self._upstream)
            raise ValidationError(f"{unknown!r} is needed by {self._downstream[unknown][0]!r} but is not in the graph")
        self.order = tuple(_order(self._upstream, self._downstream))
        if len(self.order) < len(self._upstream):
            raise ValidationError(problems=[f"cycle: {path_text(path)}" for path in find_cycles(self._upstream)])
        self._position = {name: position for position, name in enumerate(self.order)}

    @classmethod
    def of(cls, assets: Iterable[AnyAsset], resources: Collection[str] = ()) -> Graph:
        """Return the graph of *assets*; *resources* are the names that are none."""
        edges = {asset.name: asset.upstream for asset in assets}
        if resources:
            edges = {name: tuple([other for other in needed if other not in resources]) for name, needed in edges.items()}
        return cls(edges)

    def upstream(self, name: str) -> tuple[str, ...]:
        """Return what *name* needs directly."""
        return self._upstream[self._known(name)]

    def downstream(self, name: str) -> tuple[str, ...]:
        """Return what needs *name* directly."""
        return tuple(self._downstream[self._known(name)])

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return all that *name* needs, directly or not, in graph order."""
        return self._reach([name], self._upstream, include=False)

    def descendants(self, name: str) -> tuple[str, ...]:
        """Return all that needs *name*, directly or not, in graph order."""
        return self._reach([name], self._downstream, include=False)

    def select(self, targets: Iterable[str]) -> tuple[str, ...]:
        """Return *targets* and all they need, in graph order."""
        return self._reach(targets, self._upstream, include=True)

    def __len__(self) -> int:
        return len(self._upstream)

    def __contains__(self, name: object) -> bool:
        return name in self._upstream

    def _known(self, name: str) -> str:
        if name not in self._upstream:
            raise NotFoundError(f"there is no asset {name!r}", hint=did_you_mean(name, self._upstream))
        return name

    def _reach(self, start: Iterable[str], edges: Edges, *, include: bool) -> tuple[str, ...]:
        first = [self._known(name) for name in start]
        reached: set[str] = set(first) if include else set()
        pending = list(first)
        while pending:
            for name in edges[pending.pop()]:
                if name not in reached:
                    reached.add(name)
                    pending.append(name)
        return tuple(sorted(reached, key=self._position.__getitem__))


def find_cycles(edges: Edges) -> list[list[str]]:
    """Return cycles that share no name, each as the path that feeds forward and ends where it began; at most 20 of them."""
    left = {name: [needed for needed in upstream if needed in edges] for name, upstream in edges.items()}
    cycles: list[list[str]] = []
    while len(cycles) < MAX_CYCLES:
        sorted_out = set(_order(left, _reversed(left)))
        left = {name: [n for n in needed if n not in sorted_out] for name, needed in left.items() if name not in sorted_out}
        if not left:
            break
        cycle = _one_cycle(left)
        cycles.append(cycle)
        gone = set(cycle)
        left = {name: [n for n in needed if n not in gone] for name, needed in left.items() if name not in gone}
    return cycles


def path_text(path: Sequence[str]) -> str:
    """Return a path as text, ``a -> b -> a``."""
    return " -> ".join(path)


def _one_cycle(left: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the cycle that is met walking up from the first name; every name here needs another one here."""
    walked: dict[str, int] = {}
    name = next(iter(left))
    while name not in walked:
        walked[name] = len(walked)
        name = left[name][0]
    loop = list(walked)[walked[name] :][::-1]
    position = {declared: index for index, declared in enumerate(left)}
    start = min(range(len(loop)), key=lambda index: position[loop[index]])
    turned = loop[start:] + loop[:start]
    return [*turned, turned[0]]


def _reversed(edges: Edges) -> dict[str, list[str]]:
    back: dict[str, list[str]] = {name: [] for name in edges}
    for name, needed in edges.items():
        for other in needed:
            back.setdefault(other, []).append(name)
    return back


def _order(upstream: Edges, downstream: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """Return the names that can be ordered; names on a cycle or after one are left out."""
    seen: set[str] = set()
    for name, needed in upstream.items():
        if needed and not seen.issuperset(needed):
            break
        seen.add(name)
    else:
        return upstream  # the declarations are already in order, and no order is closer to them
    names = list(upstream)
    position = {name: index for index, name in enumerate(names)}
    missing = {name: len(set(needed)) for name, needed in upstream.items()}
    ready = [position[name] for name, count in missing.items() if count == 0]
    order = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for other in dict.fromkeys(downstream[name]):
            missing[other] -= 1
            if missing[other] == 0:
                heapq.heappush(ready, position[other])
    return order
