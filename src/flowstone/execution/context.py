"""What user code receives as ``ctx``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flowstone.assets.keys import PartitionKey
from flowstone.events.catalogue import MaterializationProgress
from flowstone.events.dispatcher import Dispatcher
from flowstone.events.event import Event
from flowstone.events.spans import Span, SpanKind
from flowstone.events.trace import Trace, Tracing
from flowstone.foundation.errors import EventError, UsageError
from flowstone.foundation.serialize import to_json
from flowstone.io_managers import External

T = TypeVar("T")
PROGRESS_EVERY_NS = 100_000_000


class SkipRequest(BaseException):
    """User code asked to skip its materialization; no ``Exception``, so that its own ``except Exception`` lets it pass."""


class VersionContext:
    """What a source's ``version=`` function receives as ``ctx``: which asset and which partition."""

    __slots__ = ("asset", "partition")

    def __init__(self, asset: str, partition: PartitionKey) -> None:
        self.asset, self.partition = asset, partition


class Question(NamedTuple):
    """What the function asks people about."""

    value: Any
    message: str
    context: Mapping[str, Any]


class Context:
    """Which attempt this is, and what it can say while it runs."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        told: list[Event],
        *,
        key: PartitionKey,
        where: dict[str, Any],
        trace: Trace | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.asset: str = where["asset"]
        self.partition = key
        self.run_id: str = where["run_id"]
        self.attempt: int = where["attempt"]
        self._dispatcher, self._told, self._where = dispatcher, told, where
        self._trace, self._tracing = trace, tracing
        self._summary = ""
        self._progress_at = 0
        self.question: Question | None = None
        """What :meth:`ask_approval` asks, until the value is returned."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this materialization: with it, an outside effect can happen exactly once."""
        return f"{self.run_id}:{self.asset}:{self._where['partition']}"

    @property
    def trace_id(self) -> str:
        """The W3C trace id of the run, 32 hexadecimal digits: what this run, its events and log lines are found by."""
        return str(self._where["trace_id"])

    @property
    def traceparent(self) -> str:
        """The value of a ``traceparent`` header that makes what is called from here part of this attempt's trace.

        Empty in a test that runs the asset alone.
        """
        return self._trace.header if self._trace is not None else ""

    @property
    def log(self) -> logging.Logger:
        """The logger ``flowstone.asset.<name>``; its lines are kept with the attempt."""
        return logging.getLogger(f"flowstone.asset.{self.asset}")

    def emit(self, cls: type[Event], /, **fields: Any) -> None:
        """Emit an event of your own; it is recorded and shown to observers when the attempt is settled."""
        fields.setdefault("trace_id", self._where["trace_id"])
        for name in ("asset", "partition", "run_id", "attempt"):
            if name in cls.fields:
                fields.setdefault(name, self._where[name])
        happened = self._dispatcher.build(cls, fields)
        try:
            to_json(happened)
        except (TypeError, ValueError, OverflowError) as error:
            raise EventError(
                f"event {cls.name!r} cannot be recorded: {error}", hint="give plain numbers and texts, such as int(rows)"
            ) from error
        self._told.append(happened)

    def monotonic_ns(self) -> int:
        """Return a monotonic reading in nanoseconds."""
        return self._dispatcher.monotonic_ns()

    def span(self, kind: SpanKind, /, **fields: Any) -> Span:
        """A context manager that emits *kind*'s start and exactly one of its stop and exception."""
        inside = self._tracing.span(kind.name, fields, kind.stop.texts) if self._tracing is not None else None
        return Span(self, kind, fields, inside)

    def skip(self, message: str) -> None:
        """End this materialization as skipped, because of *message*; what depends on it is skipped too, or gets its default."""
        raise SkipRequest(message)

    def ask_approval(self, value: T, *, message: str = "", context: Mapping[str, Any] | None = None) -> T:
        """Return *value*, about which people are asked before it becomes current: ``return ctx.ask_approval(value)``.

        *message* is what they are asked, by default that of the asset's gate; *context* is shown beside it: plain names, counts
        and texts. Whom, until when and by which rules says ``@asset(approval=Approval(...))``. Raises :class:`UsageError` for
        a context that is not plain.
        """
        try:
            to_json(dict(context or {}))
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"context= of ctx.ask_approval: {error}", hint="give plain names, numbers and texts") from error
        self.question = Question(value, message, dict(context or {}))
        return value

    def summary(self, text: str) -> None:
        """Say in one line what was made; it is stored with the output and shown beside it."""
        self._summary = str(text)

    def progress(self, done: int, total: int, unit: str = "") -> None:
        """Tell observers how far this attempt is; at most ten times a second reach them."""
        now = self._dispatcher.monotonic_ns()
        if now - self._progress_at >= PROGRESS_EVERY_NS or done == total:
            self._progress_at = now
            self._dispatcher.emit(MaterializationProgress, done=done, total=total, unit=unit, **self._where)

    def track(self, items: Iterable[T], total: int | None = None, unit: str = "") -> Iterator[T]:
        """Yield *items* and report the progress; *total* defaults to ``len(items)`` where it has one, else 0 (unknown)."""
        count = total if total is not None else len(items) if isinstance(items, Sized) else 0
        done = 0
        for done, item in enumerate(items, 1):
            yield item
            self.progress(done, count, unit)
        self.progress(done, count or done, unit)

    def written(
        self,
        location: str | Path,
        *,
        rows: int | None = None,
        digest: str | None = None,
        schema: Mapping[str, str] | None = None,
    ) -> External:
        """What to return for an output the function has written itself; it stays where it is and is never deleted.

        *location* is the path of a file or a folder, or any text with ``://``. *digest* is a text that differs when the content
        does: of a file it is taken when none is given. *schema* says the type of each column.
        """
        return External(location, rows, digest, dict(schema) if schema is not None else None)

    def said(self) -> str:
        """The summary given so far."""
        return self._summary
