"""The pipeline: assets that have been checked together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from flowstone.assets.asset import AnyAsset
from flowstone.assets.definition import describe, describe_resource
from flowstone.assets.graph import Graph
from flowstone.assets.metrics import MetricDefinition, metric_problems
from flowstone.assets.resources import Resource
from flowstone.assets.validation import find_problems
from flowstone.foundation.errors import NotFoundError, ValidationError, did_you_mean
from flowstone.foundation.serialize import digest_of

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}", re.ASCII)
_PLACES = ("file", "line", "unseen")


class Pipeline:
    """A named, valid set of assets, the resources they need and metrics of users' events, in the order they were listed; it
    never changes.

    Raises ``ValidationError`` whose ``problems`` are everything that is wrong with them.
    """

    def __init__(
        self,
        name: str,
        assets: Iterable[AnyAsset],
        *,
        resources: Iterable[Resource] = (),
        metrics: Iterable[MetricDefinition] = (),
        description: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValidationError(f"{name!r} cannot name a pipeline", hint="use letters, digits, _, - and ., at most 200")
        listed, opened, counted = tuple(assets), tuple(resources), tuple(metrics)
        problems = [*find_problems(listed, opened), *metric_problems(counted)]
        if problems:
            raise ValidationError(problems=problems, pipeline=name)
        self.name = name
        self.description = description
        self.assets = listed
        self.resources: Mapping[str, Resource] = MappingProxyType({resource.name: resource for resource in opened})
        self.metrics: tuple[MetricDefinition, ...] = counted
        self.graph = Graph.of(listed, self.resources)
        self._by_name = {asset.name: asset for asset in listed}
        self._needed: dict[str, tuple[str, ...]] = {}
        self._definition: dict[str, Any] | None = None
        self._digest: str | None = None

    def __getitem__(self, name: str) -> AnyAsset:
        """Return the asset *name*; raises ``NotFoundError`` with the closest name."""
        try:
            return self._by_name[name]
        except KeyError:
            hint = did_you_mean(name, self._by_name) or f"it has: {', '.join(list(self._by_name)[:20]) or 'no assets'}"
            raise NotFoundError(f"pipeline {self.name!r} has no asset {name!r}", hint=hint, asset=name) from None

    def resources_of(self, asset: str) -> tuple[str, ...]:
        """Return the resources *asset* needs, also those its resources need, in the order in which they are opened."""
        found = self._needed.get(asset)
        if found is None:
            needed: dict[str, None] = {}
            for name in self[asset].upstream:
                if name in self.resources:
                    self._open_after(name, needed)
            found = self._needed[asset] = tuple(needed)
        return found

    def _open_after(self, resource: str, needed: dict[str, None]) -> None:
        if resource not in needed:
            for other in self.resources[resource].needs.values():
                self._open_after(other, needed)
            needed[resource] = None

    def __iter__(self) -> Iterator[AnyAsset]:
        return iter(self.assets)

    def __len__(self) -> int:
        return len(self.assets)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __repr__(self) -> str:
        return f"<pipeline {self.name!r} of {len(self.assets)} assets>"

    def definition(self) -> dict[str, Any]:
        """Return the whole pipeline as plain values, as it is stored with a run."""
        if self._definition is None:
            assets = [describe(asset, self.resources) for asset in self.assets]
            resources = [describe_resource(resource) for resource in self.resources.values()]
            self._definition = {
                "name": self.name, "description": self.description, "assets": assets, "resources": resources,
            }  # fmt: skip
            if self.metrics:  # without any, the digest is what it was before there were metrics
                self._definition["metrics"] = [metric.described() for metric in self.metrics]
        return self._definition

    def digest(self) -> str:
        """Return the SHA-256 of the definition without files, lines and remarks: moving an asset is no change to it."""
        if self._digest is None:
            whole = self.definition()
            unplaced = {kind: [_without_place(item) for item in whole[kind]] for kind in ("assets", "resources")}
            self._digest = digest_of({**whole, **unplaced})
        return self._digest


def _without_place(described: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key not in _PLACES}
