"""Makes the plan: which assets, which partitions, where each input comes from. Reads the store, changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from flowstone.assets.asset import AnyAsset
from flowstone.assets.keys import PartitionKey, decode_key, display_key, encode_key
from flowstone.assets.mappings import PartitionMapping, gathers, upstream_keys
from flowstone.assets.pipeline import Pipeline
from flowstone.assets.signature import Parameter
from flowstone.execution.plan import Input, Place, Plan, Step
from flowstone.foundation.errors import DependencyError, FlowStoneError, PartitionError, PlanError, message_of
from flowstone.foundation.texts import cut
from flowstone.stores import outputs
from flowstone.stores.database import Database

LISTED = 20


class Planner:
    """Plans one request against what the store holds now."""

    def __init__(self, pipeline: Pipeline, project: str, database: Database, now: datetime) -> None:
        self._pipeline, self._project, self._database, self._now = pipeline, project, database, now
        self._existing: dict[str, list[PartitionKey]] = {}
        self._at: Place = ("", "")  # what is being planned

    def plan(self, targets: Sequence[str] | None, partition: object = None, *, deps: bool = True) -> Plan:
        """Return the plan for *targets* (default: every asset) and *partition*: a key, its text, or ``None`` for the latest.

        With ``deps=False`` only the targets are steps and their inputs are what is current now. Raises
        :class:`NotFoundError`, :class:`PartitionError`, :class:`DependencyError`, or :class:`PlanError` for what code of the
        pipeline raised.
        """
        try:
            return self._plan(targets, partition, deps=deps)
        except FlowStoneError:
            raise
        except Exception as error:  # users' mappings and partitions
            where = f"{self._at[0]} {display_key(decode_key(self._at[1]))}" if self._at[1] else self._at[0]
            raise PlanError(
                f"{where} could not be planned: {type(error).__name__}: {message_of(error)}",
                hint="a mapping or partitions of the pipeline raised it",
                asset=self._at[0],
                partition=self._at[1],
            ) from error

    def _plan(self, targets: Sequence[str] | None, partition: object, *, deps: bool) -> Plan:
        names = list(targets) if targets else [asset.name for asset in self._pipeline]
        wanted = {(name, encode_key(key)): key for name in names for key in [self.key_of(self._pipeline[name], partition)]}
        if partition not in (None, "latest") and not any(self._pipeline[name].partitions for name in names):
            raise PartitionError(
                f"partition {cut(str(partition))!r} was given, but {', '.join(names[:LISTED])} have no partitions",
                hint="leave it out",
            )
        keys: dict[str, dict[str, PartitionKey]] = {}
        for (name, encoded), key in wanted.items():
            keys.setdefault(name, {})[encoded] = key
        steps: dict[Place, Step] = {}
        for name in reversed(self._order(names, deps=deps)):
            asset = self._pipeline[name]
            for encoded, key in keys.get(name, {}).items():
                self._at = (name, encoded)
                steps[(name, encoded)] = self._step(asset, encoded, key, keys, deps=deps)
        ordered = tuple(reversed(steps.values()))
        return Plan(self._pin(ordered, {step.place for step in ordered}, refuse_missing=not deps), tuple(wanted))

    def key_of(self, asset: AnyAsset, partition: object) -> PartitionKey:
        """The partition key *asset* has for a request: validated, ``None`` when it is not partitioned."""
        if asset.partitions is None:
            return None
        self._at = (asset.name, "")
        if partition is None or partition == "latest":
            return asset.partitions.latest(self._now)
        key = asset.partitions.parse(partition) if isinstance(partition, str) else partition
        asset.partitions.validate(key, self._now)  # type: ignore[arg-type]
        return key  # type: ignore[return-value]

    def _order(self, names: Iterable[str], *, deps: bool) -> list[str]:
        graph = self._pipeline.graph
        if deps:
            return list(graph.select(names))
        chosen = set(names)
        return [name for name in graph.order if name in chosen]

    def _step(
        self, asset: AnyAsset, encoded: str, key: PartitionKey, keys: dict[str, dict[str, PartitionKey]], *, deps: bool
    ) -> Step:
        inputs = tuple(self._inputs(asset, key, keys, deps=deps))
        after: list[Place] = []
        for name in asset.after:
            upstream = self._pipeline[name]
            same = key if upstream.partitions is not None else None
            if deps and self._may_make(asset, upstream, same):
                keys.setdefault(name, {}).setdefault(encode_key(same), same)
            after.append((name, encode_key(same)))
        return Step(asset.name, encoded, inputs, tuple(after))

    def _inputs(
        self, asset: AnyAsset, key: PartitionKey, keys: dict[str, dict[str, PartitionKey]], *, deps: bool
    ) -> Iterator[Input]:
        resources = self._pipeline.resources
        for parameter in asset.parameters:
            name = parameter.upstream
            if name is None or name in resources:
                continue
            upstream, mapping = self._pipeline[name], asset.mapping.get(parameter.name)
            if mapping is not None:
                yield from self._mapped(asset, parameter, mapping, key, keys, deps=deps)
                continue
            other = key if upstream.partitions is not None else None
            text = encode_key(other)
            if deps and self._may_make(asset, upstream, other):
                keys.setdefault(name, {}).setdefault(text, other)
            yield Input(parameter.name, name, text, parameter.optional, planned=True)

    def _mapped(
        self,
        asset: AnyAsset,
        parameter: Parameter,
        mapping: PartitionMapping,
        key: PartitionKey,
        keys: dict[str, dict[str, PartitionKey]],
        *,
        deps: bool,
    ) -> Iterator[Input]:
        assert parameter.upstream is not None
        upstream = self._pipeline[parameter.upstream]
        takes_what_exists = mapping.needs_existing and not gathers(mapping)
        others = self._upstream(asset, parameter.name, mapping, key, upstream)
        for other in others:
            text = encode_key(other)
            if deps and not takes_what_exists and self._may_make(asset, upstream, other, mapped=True):
                keys.setdefault(upstream.name, {}).setdefault(text, other)
            yield Input(parameter.name, upstream.name, text, parameter.optional, planned=True)
        if not others:
            yield Input(parameter.name, upstream.name, "", parameter.optional, planned=False)

    def _may_make(self, asset: AnyAsset, upstream: AnyAsset, key: PartitionKey, *, mapped: bool = False) -> bool:
        """Whether *upstream* may be computed for a key *asset* needs: not for a day that is over where the past is refused."""
        if upstream.partitions is None or (upstream.partitions is asset.partitions and not mapped):
            return True
        try:
            upstream.partitions.validate(key, self._now)
        except PartitionError:
            return False
        return True

    def _upstream(
        self, asset: AnyAsset, parameter: str, mapping: PartitionMapping, key: PartitionKey, upstream: AnyAsset
    ) -> list[PartitionKey]:
        existing: Sequence[PartitionKey] = ()
        if mapping.needs_existing:
            existing = self._known(upstream) if gathers(mapping) else self._existing_of(upstream.name)
        keys = upstream_keys(mapping, key, upstream.partitions, existing)
        if len(keys) > 1 and not gathers(mapping):
            raise PartitionError(
                f"asset {asset.name!r}: the mapping of {parameter!r} names {len(keys)} keys for {display_key(key)}",
                hint="a mapping that names several keys says so: give it the attribute several = True",
            )
        return keys

    def _existing_of(self, name: str) -> list[PartitionKey]:
        """The keys the asset has outputs for."""
        if name not in self._existing:
            with self._database.reading() as connection:
                found = outputs.partitions_of(connection, self._project, name)
            self._existing[name] = [decode_key(text) for text in found]
        return self._existing[name]

    def _known(self, asset: AnyAsset) -> list[PartitionKey]:
        """The keys of the asset that are due now, and after them others it has outputs for."""
        due = list(asset.partitions.keys(self._now)) if asset.partitions is not None else []
        known = {encode_key(key): key for key in [*due, *self._existing_of(asset.name)]}
        return list(known.values())

    def _pin(self, steps: tuple[Step, ...], planned: set[Place], *, refuse_missing: bool) -> tuple[Step, ...]:
        """Give inputs from outside the plan the output that is current now."""
        outside = {i.asset for step in steps for i in step.inputs if (i.asset, i.partition) not in planned}
        if not outside and all(set(step.after) <= planned for step in steps):
            return steps
        with self._database.reading() as connection:
            current = outputs.current_of(connection, self._project, outside)
        pinned, missing = [], []
        for step in steps:
            inputs = []
            for item in step.inputs:
                place = (item.asset, item.partition)
                if item.planned and place not in planned:
                    found = current.get(place)
                    item = Input(
                        item.parameter, item.asset, item.partition, item.optional, planned=False, output=found.id if found else ""
                    )
                if not item.planned and not item.output and not item.optional:
                    missing.append(f"{item.asset} {display_key(decode_key(item.partition))}" if item.partition else item.asset)
                inputs.append(item)
            pinned.append(
                Step(step.asset, step.partition, tuple(inputs), tuple(place for place in step.after if place in planned))
            )
        if missing and refuse_missing:
            listed = ", ".join(
                dict.fromkeys(missing).keys()
                if len(missing) <= LISTED
                else [*missing[:LISTED], f"... {len(missing) - LISTED} more"]
            )
            raise DependencyError(f"required inputs have no value: {listed}", hint="run without --no-deps to compute them")
        return tuple(pinned)
