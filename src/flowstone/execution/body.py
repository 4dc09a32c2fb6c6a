"""The half of a step that runs user code: load inputs, call, store. It has no database and never raises.

It runs inline, in a thread or in a child process; everything it learns is in its report.
"""

from __future__ import annotations

import os
import sys
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from flowstone.assets.asset import AnyAsset
from flowstone.assets.keys import PartitionKey, decode_key
from flowstone.assets.mappings import gathers
from flowstone.events.catalogue import IO_LOAD, IO_STORE
from flowstone.events.context import Scope
from flowstone.events.dispatcher import Dispatcher
from flowstone.events.event import Event, attributes_of
from flowstone.events.spans import Span, SpanKind, message_of
from flowstone.events.trace import Attempt, Trace, Tracing
from flowstone.execution import gate
from flowstone.execution.context import Context, SkipRequest
from flowstone.execution.coroutines import run_coroutine
from flowstone.execution.outcome import Asked, Cancelled, Failed, Outcome, Postponed, Report, Skipped, Stored
from flowstone.execution.resources import OpenResources
from flowstone.foundation.errors import ExecutionError, FormatError, RetryLater
from flowstone.foundation.redaction import Redactor
from flowstone.io_managers import External, IOManagers, Output, Target
from flowstone.io_managers.annotations import value_of
from flowstone.ledger import failures
from flowstone.observability.logs.capture import Capture


@dataclass(frozen=True, slots=True)
class Loading:
    """An input to load: the parameter, the upstream's name, the output, and whether its asset may be pickled."""

    parameter: str
    asset: AnyAsset
    output: Output
    partition: str
    """The upstream's encoded key."""


@dataclass(frozen=True, slots=True)
class Work:
    """Everything the body needs to know of one attempt."""

    asset: AnyAsset
    key: PartitionKey
    target: Target
    manager: str
    inputs: tuple[Loading, ...]
    config: Mapping[str, Any]
    trace: Trace
    """The attempt's span."""
    previous: Output | None
    refused: BaseException | None = None
    """What the source's version function raised; the attempt fails with it."""


class Body:
    """Runs attempts with one set of tools; *ends_now* tells whether a run's bodies are to end, as far as they can be ended."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        io: IOManagers,
        capture: Capture,
        resources: OpenResources,
        ends_now: Callable[[str], bool] = lambda run_id: False,  # noqa: ARG005 - a child is killed instead
        tracing: Tracing | None = None,
    ) -> None:
        self._dispatcher, self._io, self._capture, self._resources = dispatcher, io, capture, resources
        self._ends_now, self._tracing = ends_now, tracing
        self._process = os.getpid()

    def run(self, work: Work) -> Report:
        """Run one attempt and report how it ended, whatever user code raises."""
        target, tracing = work.target, self._tracing
        attempt = Attempt(target.run_id, target.asset, target.partition, target.attempt)
        scope = Scope(*attempt, work.trace.trace_id)
        told: list[Event] = []
        where = {
            "asset": target.asset,
            "partition": target.partition,
            "run_id": target.run_id,
            "attempt": target.attempt,
            "trace_id": work.trace.trace_id,
        }
        shown = _Shown(self._dispatcher, where)
        ctx = Context(self._dispatcher, told, key=work.key, where=where, trace=work.trace, tracing=tracing)
        begun, outside = self._capture.begin(scope), sys.exception()
        started = self._dispatcher.monotonic_ns()
        try:
            with tracing.around(attempt, work.trace) if tracing is not None else nullcontext():
                outcome = self._attempt(work, ctx, shown)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is this attempt's ending
            self._leave_if_forked(error)
            outcome = self._ending(error, work.asset, outside)
            shown.end(error)
        duration = self._dispatcher.monotonic_ns() - started
        self._capture.end(scope, begun)
        return Report(outcome, duration, shown.events, told)

    def _attempt(self, work: Work, ctx: Context, shown: _Shown) -> Outcome:
        if work.refused is not None:
            raise work.refused
        declared = self._resources.declared
        if not declared:
            return self._produce(work, ctx, shown, {})
        needed = {p.name: p.upstream for p in work.asset.parameters if p.upstream is not None and p.upstream in declared}
        with self._resources.hold(needed.values(), work.target.run_id) as opened:
            return self._produce(work, ctx, shown, {parameter: opened[name] for parameter, name in needed.items()})

    def _produce(self, work: Work, ctx: Context, shown: _Shown, arguments: dict[str, Any]) -> Outcome:
        """Load the inputs, call the function, store what it gives; *arguments* are the open resources by parameter."""
        asset = work.asset
        loading: dict[str, list[Loading]] = {}
        for item in work.inputs:
            loading.setdefault(item.parameter, []).append(item)
        for parameter in asset.parameters:
            if parameter.kind != "asset":
                arguments[parameter.name] = ctx if parameter.kind == "ctx" else work.config
            elif parameter.name in loading:
                annotation, items = asset.annotation_of(parameter), loading[parameter.name]
                if gathers(asset.mapping.get(parameter.name)):
                    each = value_of(annotation)
                    arguments[parameter.name] = {decode_key(item.partition): self._load(each, item, shown) for item in items}
                else:
                    arguments[parameter.name] = self._load(annotation, items[0], shown)
        value = asset(**arguments)
        self._leave_if_forked()
        if isinstance(value, CoroutineType):
            value = run_coroutine(value, lambda: self._ends_now(work.target.run_id))
        elif isinstance(value, AsyncGeneratorType):
            raise FormatError(
                f"asset {asset.name!r}: an async generator cannot be stored", hint="yield from def, or return a list"
            )
        try:
            question = self._asked(value, work, ctx) if asset.approval is not None or ctx.question is not None else None
            return Stored(self._store(value, work, shown), ctx.said(), question)
        except BaseException as error:
            if isinstance(value, GeneratorType):
                _close(value, error)
            raise

    def _ending(self, error: BaseException, asset: AnyAsset, outside: BaseException | None) -> Outcome:
        """What the error means for the attempt; one whose class raises when it is looked at is an error like any other."""
        try:
            return _outcome(error, asset, self._dispatcher.redactor, outside)
        except BaseException as again:  # noqa: BLE001 - users' classes may do anything
            text = f"asset {asset.name!r} raised {type(error).__qualname__}, which cannot be looked at: {message_of(again)}"
            return _outcome(ExecutionError(text), asset, self._dispatcher.redactor, outside)

    def _leave_if_forked(self, error: BaseException | None = None) -> None:
        """End this process at once if it is a copy user code made of the one that works: attempt and records are not its own."""
        if os.getpid() != self._process:
            code = error.code if isinstance(error, SystemExit) else error and 1
            os._exit(code if isinstance(code, int) else int(code is not None))

    def _store(self, value: Any, work: Work, shown: _Shown) -> Output:
        asset = work.asset
        manager = "external" if isinstance(value, External) else work.manager
        with shown.span(IO_STORE, manager=manager, subject=asset.name) as span:
            output = self._io.get(manager).store(
                value, work.target, format=asset.format, annotation=asset.return_annotation(), previous=work.previous
            )
            span.set(size_bytes=output.size)
        return output

    def _asked(self, value: Any, work: Work, ctx: Context) -> Asked | None:
        previous, asset, in_place = work.previous, work.asset, not self._io.get(work.manager).versioned
        mask = self._dispatcher.redactor.text
        if previous is None or isinstance(value, Iterator):
            return gate.asked(asset, value, ctx, None, mask, in_place=in_place)
        manager, pickled = self._io.get(previous.manager), asset.format == "pickle"
        load = partial(manager.load, previous, produced=asset.return_annotation(), allow_pickle=pickled)
        return gate.asked(asset, value, ctx, load, mask, in_place=in_place)

    def _load(self, annotation: Any, item: Loading, shown: _Shown) -> Any:
        output = item.output
        if item.asset.observed:
            return output.location  # an observed source's value is its version
        with shown.span(IO_LOAD, manager=output.manager, subject=item.asset.name) as span:
            value = self._io.get(output.manager).load(
                output,
                annotation,
                produced=item.asset.return_annotation(),
                allow_pickle=item.asset.format == "pickle",
            )
            span.set(size_bytes=output.size)
        return value


class _Shown:
    """Emits io events to observers at once and keeps them for the attempt's record."""

    def __init__(self, dispatcher: Dispatcher, where: dict[str, Any]) -> None:
        self._dispatcher, self._where = dispatcher, where
        self.monotonic_ns = dispatcher.monotonic_ns
        self.events: list[Event] = []

    def emit(self, cls: type[Event], /, **fields: Any) -> None:
        happened = self._dispatcher.build(cls, {**self._where, **fields})
        self.events.append(happened)
        self._dispatcher.deliver(happened)

    def span(self, kind: SpanKind, **fields: Any) -> Span:
        return Span(self, kind, fields)

    def end(self, error: BaseException) -> None:
        """End the move that has no ending: an interrupt may come between its start and the span, or before the span's end."""
        last = self.events[-1] if self.events else None
        for kind in (IO_LOAD, IO_STORE):
            if isinstance(last, kind.start):
                ending = {"duration_ns": max(0, self._dispatcher.now_ns() - last.at), "message": message_of(error)}
                self.emit(kind.exception, **attributes_of(last), **ending, type=type(error).__name__)


def _close(generator: GeneratorType[Any, Any, Any], error: BaseException) -> None:
    """Let the generator clean up what it has open while its attempt still runs."""
    try:
        generator.close()
    except Exception as again:  # noqa: BLE001 - users' code; the first error is the one to raise
        error.add_note(f"and closing the generator raised {type(again).__name__}: {message_of(again)}")


def _outcome(error: BaseException, asset: AnyAsset, redactor: Redactor, outside: BaseException | None) -> Outcome:
    describe = partial(failures.describe, redactor=redactor, asset=asset.name, outside=outside)
    match error:
        case SkipRequest():
            return Skipped(message_of(error))
        case RetryLater():
            return Postponed(describe(error, retryable=True), error.after)
        case KeyboardInterrupt():
            return Cancelled(describe(error, retryable=True))
        case SystemExit() | GeneratorExit() | CancelledError():
            hint = "raise GiveUp to fail for good" if not isinstance(error, CancelledError) else "what cancels must also catch it"
            called = ExecutionError(f"asset {asset.name!r} raised {type(error).__name__}({message_of(error)})", hint=hint)
            called.__traceback__ = error.__traceback__
            return Failed(describe(called, retryable=False), retry=False)
    retry = asset.retries.attempts > 1 and asset.retries.should_retry(error)
    return Failed(describe(error, retryable=retry), retry)
