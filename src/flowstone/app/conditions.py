"""What state each asset is in, told from the store alone: user code is not asked, so a source's version is not known here."""

from __future__ import annotations

from typing import Any, NamedTuple

from flowstone.app.wiring import Deployment
from flowstone.assets.keys import decode_key, display_key
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.decision import short
from flowstone.execution.schedule import GOOD
from flowstone.execution.session import as_output
from flowstone.stores import materializations, outputs, pipelines
from flowstone.stores.lineage import edges_into
from flowstone.stores.records import EdgeRecord, MaterializationRecord, OutputRecord

Place = tuple[str, str]


class Condition(NamedTuple):
    """One asset's partition: ``up to date``, ``outdated``, ``missing``, or ``gone`` (recorded, but its bytes are not there)."""

    asset: str
    partition: str
    state: str
    because: tuple[str, ...]
    output: OutputRecord | None
    last: MaterializationRecord | None


class Conditions:
    """The conditions of a project's assets against the pipeline, or against the newest stored definition."""

    def __init__(self, deployment: Deployment, pipeline: Pipeline | None) -> None:
        self._io = deployment.io
        project = deployment.settings.project
        with deployment.planning().reading() as connection:
            if pipeline is not None:
                definitions = [pipeline.definition()]
            else:
                definitions = [record.definition for record in pipelines.newest(connection, project)]
            self.defined: dict[str, dict[str, Any]] = {item["name"]: item for found in definitions for item in found["assets"]}
            self._current = outputs.current_of(connection, project)
            self._last = materializations.newest_by_asset(connection, project)
            edges = edges_into(connection, [record.id for record in self._current.values()])
            self._made = outputs.find(connection, {edge.upstream for edge in edges})
        self._edges: dict[str, list[EdgeRecord]] = {}
        for edge in edges:
            self._edges.setdefault(edge.downstream, []).append(edge)
        self._known: dict[Place, tuple[str, ...]] = {}

    def all(self) -> list[Condition]:
        """Every asset in order of declaration, each with its partitions, newest first; an asset without a value has one entry."""
        places = set(self._current) | set(self._last)
        found = []
        for name in self.defined:
            partitions = sorted((p for a, p in places if a == name), key=lambda p: display_key(decode_key(p)), reverse=True)
            found += [self.of(name, partition) for partition in partitions or [""]]
        return found

    def of(self, asset: str, partition: str) -> Condition:
        """The condition of one asset's partition."""
        place = (asset, partition)
        output, last = self._current.get(place), self._last.get(place)
        if output is None:
            because: tuple[str, ...] = (f"the last run ended {last.status}: {last.message}",) if last and last.message else ()
            if last is not None and last.status in GOOD:
                because = ("it was invalidated",)
            return Condition(asset, partition, "missing", because, None, last)
        if self.defined.get(asset, {}).get("kind") != "observed" and not self._io.get(output.manager).exists(as_output(output)):
            return Condition(asset, partition, "gone", ("its stored bytes are gone",), output, last)
        because = self._outdated(place)
        return Condition(asset, partition, "outdated" if because else "up to date", because, output, last)

    def _outdated(self, place: Place) -> tuple[str, ...]:
        """Why the current output of *place* is outdated; an upstream that is outdated itself makes it so."""
        if place in self._known:
            return self._known[place]
        self._known[place] = ()
        output = self._current[place]
        because = []
        digest = self.defined.get(place[0], {}).get("digest")
        if digest is not None and digest != output.definition:
            because.append(f"definition {short(output.definition)} -> {short(digest)}")
        for edge in self._edges.get(output.id, ()):
            used = self._made.get(edge.upstream)
            if used is None:
                continue
            now = self._current.get((used.asset, used.partition))
            label = f"{used.asset} {display_key(decode_key(used.partition))}" if used.partition else used.asset
            if now is None:
                because.append(f"upstream {label} was invalidated")
            elif now.digest != used.digest:
                because.append(f"upstream {label} was recomputed (sha256 {short(used.digest)} -> {short(now.digest)})")
            elif self._outdated((used.asset, used.partition)):
                because.append(f"upstream {label} is outdated")
        self._known[place] = tuple(because)
        return self._known[place]
