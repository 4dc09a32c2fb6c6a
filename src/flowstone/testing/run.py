"""One asset's function, run as an attempt would run it, without a pipeline or a database."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, NoReturn

from flowstone.assets.asset import AnyAsset, Asset
from flowstone.assets.keys import PartitionKey, encode_key
from flowstone.events.context import Scope
from flowstone.events.dispatcher import Dispatcher
from flowstone.execution.context import Context, SkipRequest
from flowstone.execution.coroutines import run_coroutine
from flowstone.execution.decision import declared_config
from flowstone.foundation.clock import Clock, SystemClock
from flowstone.foundation.errors import PartitionError, UsageError, ValidationError, did_you_mean
from flowstone.observability.logs.capture import Capture, Line
from flowstone.testing.capture import CapturedEvents

RUN_ID = "run_test"


@dataclass(frozen=True, slots=True)
class AssetRun:
    """What one call of an asset's function gave: its value, what it said, and why it skipped (``None`` when it did not)."""

    value: Any
    summary: str
    skipped: str | None
    events: CapturedEvents
    lines: list[Line]


def run_asset(
    asset: AnyAsset,
    *,
    inputs: Mapping[str, Any] | None = None,
    partition: Any = None,
    config: Mapping[str, Any] | None = None,
    attempt: int = 1,
    clock: Clock | None = None,
    resources: Mapping[str, Any] | None = None,
) -> AssetRun:
    """Call *asset*'s function with *inputs* (by parameter) and a real ``ctx``; what the function raises passes through.

    *partition* is a key or its text; *config* replaces declared defaults; *resources* are values by resource name. An ``async
    def`` is run to its end; a returned generator is handed back unread. Raises :class:`UsageError` for an input, a config value
    or a resource the asset does not take and for a required input that is not given.
    """
    if not isinstance(asset, Asset):
        raise UsageError(f"run_asset({asset!r}): an asset is needed", hint="decorate the function with @asset")
    if asset.problems:
        raise ValidationError(problems=(f"asset {asset.name!r}: {problem}" for problem in asset.problems))
    clock = clock or SystemClock()
    key = _key(asset, partition)
    encoded = encode_key(key)
    dispatcher = Dispatcher(clock)
    events = CapturedEvents()
    dispatcher.attach("flowstone.testing", "*", events.append)
    where = {"asset": asset.name, "partition": encoded, "run_id": RUN_ID, "attempt": attempt, "trace_id": ""}
    ctx = Context(dispatcher, events, key=key, where=where)
    arguments = _arguments(asset, ctx, {**(inputs or {}), **_received(asset, resources or {})}, config or {})
    shown, value, skipped = sys.stdout, None, None
    with Capture(clock, dispatcher.redactor, echo=lambda text: print(text, end="", file=shown)) as capture:
        scope = Scope(RUN_ID, asset.name, encoded, attempt)
        begun = capture.begin(scope)
        try:
            value = asset(**arguments)
            if isinstance(value, CoroutineType):
                value = run_coroutine(value)
        except SkipRequest as request:
            skipped = str(request)
        finally:
            capture.end(scope, begun)
    return AssetRun(value, ctx.said(), skipped, events, capture.take())


def _received(asset: AnyAsset, resources: Mapping[str, Any]) -> dict[str, Any]:
    """The values of *resources* by the parameters that receive them."""
    parameters = {p.upstream: p.name for p in asset.parameters if p.upstream is not None}
    for name in resources:
        if name not in parameters:
            _refuse(asset, f"takes no resource {name!r}", did_you_mean(name, parameters) or "name it as the pipeline does")
    return {parameters[name]: value for name, value in resources.items()}


def _arguments(asset: AnyAsset, ctx: Context, inputs: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in asset.parameters if parameter.kind == "asset"}
    for name in inputs:
        if name not in known:
            _refuse(asset, f"takes no input {name!r}", did_you_mean(name, known) or f"its inputs: {', '.join(known) or 'none'}")
    for name in config:
        if name not in asset.config:
            hint = did_you_mean(name, asset.config) or f"declared: {', '.join(asset.config) or 'none'}"
            _refuse(asset, f"declares no config {name!r}", hint)
    missing = [name for name, parameter in known.items() if not parameter.optional and name not in inputs]
    if missing:
        _refuse(asset, f"needs the inputs {', '.join(missing)}", f"run_asset({asset.name}, inputs={{{missing[0]!r}: ...}})")
    own: dict[str, Any] = {"ctx": ctx, "config": declared_config(asset, config)}
    return {**{p.name: own[p.kind] for p in asset.parameters if p.kind in own}, **inputs}


def _key(asset: AnyAsset, partition: Any) -> PartitionKey:
    if asset.partitions is None:
        if partition is not None:
            raise PartitionError(f"asset {asset.name!r} has no partitions, but {partition!r} was given", hint="leave it out")
        return None
    if partition is None:
        raise PartitionError(f"asset {asset.name!r} has partitions and none was given", hint="run_asset(..., partition=...)")
    key: PartitionKey = asset.partitions.parse(partition) if isinstance(partition, str) else partition
    asset.partitions.require_type(key)
    return key


def _refuse(asset: AnyAsset, what: str, hint: str) -> NoReturn:
    raise UsageError(f"asset {asset.name!r} {what}", hint=hint)
