"""Spans of runs, attempts and moves of values, opened and closed by events; and what makes a body's code part of them.

An observer: identity comes from events, parents are explicit, so steps that overlap cannot nest wrongly. Imported only where
OpenTelemetry is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from opentelemetry import context as contexts
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Tracer, set_span_in_context

from flowstone.events.catalogue import (
    IoLoadException,
    IoLoadStart,
    IoLoadStop,
    IoStoreException,
    IoStoreStart,
    IoStoreStop,
    MaterializationException,
    MaterializationStart,
    MaterializationStop,
    RunResumed,
    RunStart,
    RunStop,
    RunSuspended,
)
from flowstone.events.event import Event
from flowstone.events.trace import Attempt, RunFacts, Trace, run_span_id, span_id_of
from flowstone.foundation.redaction import Redactor
from flowstone.observability.otel import names
from flowstone.observability.otel.ambient import Ambient
from flowstone.observability.otel.span_ids import ChosenIds, context_of, fail
from flowstone.observability.otel.span_transfer import Carried, accept

MAX_LINKS = 128
_FAILED = ("error", "timeout", "worker_lost")  # kinds of exceptions that are errors
_DIED = ("lost", "error")  # reasons of suspension that are errors
_VERBS: dict[type[Event], str] = {
    **dict.fromkeys((IoLoadStart, IoLoadStop, IoLoadException), names.IO_LOAD_SPAN),
    **dict.fromkeys((IoStoreStart, IoStoreStop, IoStoreException), names.IO_STORE_SPAN),
}


class Spans(Ambient):
    """The observer. *now_ns* is the clock of spans, *facts* reads what the record knows of a run."""

    def __init__(
        self, tracer: Tracer, redactor: Redactor, *, now_ns: Callable[[], int], facts: Callable[[str], RunFacts | None]
    ) -> None:
        super().__init__(tracer, redactor)
        self._now, self._facts = now_ns, facts
        self._sdk = tracer if isinstance(tracer, SdkTracer) else None
        self._runs: dict[str, Span] = {}
        self._attempts: dict[Attempt, Span] = {}
        self._moves: dict[tuple[Attempt, str, str], Span] = {}
        self._producers: dict[Attempt, tuple[Attempt, ...]] = {}
        self._traces: dict[str, str] = {}
        self._told: dict[type[Event], Callable[[Any], None]] = {
            RunStart: self._begin_run, RunResumed: self._begin_run, RunSuspended: self._end_run, RunStop: self._end_run,
            MaterializationStart: self._begin_attempt,
            MaterializationStop: self._end_attempt, MaterializationException: self._end_attempt,
            IoLoadStart: self._begin_move, IoLoadStop: self._end_move, IoLoadException: self._end_move,
            IoStoreStart: self._begin_move, IoStoreStop: self._end_move, IoStoreException: self._end_move,
        }  # fmt: skip

    @property
    def events(self) -> list[type[Event]]:
        """The events it wants to see."""
        return [*self._told]

    # -- what execution says and asks ---------------------------------------------------------------------------------------

    def produced(self, attempt: Attempt, producers: Iterable[Attempt]) -> None:
        self._producers[attempt] = tuple(producers)

    def trace_of(self, attempt: Attempt, trace: Trace) -> Trace:
        span = self._attempts.get(attempt)
        if span is None:
            return trace
        known = span.get_span_context()
        return Trace(f"{known.trace_id:032x}", f"{known.span_id:016x}", known.trace_flags, known.trace_state.to_header())

    def forget(self, run_id: str) -> None:
        self._runs.pop(run_id, None)
        for kept in (self._attempts, self._producers):
            for attempt in [attempt for attempt in [*kept] if attempt.run_id == run_id]:
                kept.pop(attempt, None)
        for key in [key for key in [*self._moves] if key[0].run_id == run_id]:
            self._moves.pop(key, None)

    def accept(self, spans: Sequence[Carried]) -> bool:
        """Take in users' own spans of a child process; ``False`` where a provider of another make cannot."""
        if self._sdk is None:
            return False
        accept(spans, self._sdk.span_processor, self._sdk.resource)
        return True

    def _span_of(self, attempt: Attempt, trace: Trace) -> Span:
        return self._attempts.get(attempt) or super()._span_of(attempt, trace)

    # -- what events say ----------------------------------------------------------------------------------------------------

    def handle(self, happened: Event) -> None:
        """Open or close the span the event is about."""
        told = self._told.get(type(happened))
        if told is not None:
            told(happened)

    def _begin_run(self, happened: RunStart | RunResumed) -> None:
        facts = self._facts(happened.run_id)
        attributes: dict[str, Any] = {}
        links: list[Link] = []
        resumed_at = 0
        if isinstance(happened, RunStart):
            attributes = {
                names.STEPS: happened.steps, names.PARTITION: happened.partition, names.ACTOR: happened.actor,
                names.DEFINITION: happened.definition,
            }  # fmt: skip
        else:
            resumed_at = happened.at
            attributes = {names.RESUMED: True, names.ACTOR: happened.actor}
            links = [Link(context_of(Trace(happened.trace_id, run_span_id(happened.run_id))))]
        parent = facts.parent if facts else None
        self._runs[happened.run_id] = self._run_span(
            happened.pipeline, happened.run_id, happened.trace_id, parent, resumed_at, self._now(), attributes, links
        )

    def _run_span(
        self, pipeline: str, run_id: str, trace_id: str, parent: Trace | None, resumed_at: int, began_at: int,
        attributes: Mapping[str, Any], links: list[Link],
    ) -> Span:  # fmt: skip
        known = {names.PIPELINE: pipeline, names.RUN_ID: run_id, names.ACTION: names.RUN_SPAN, **attributes}
        return self._start(
            f"{names.RUN_SPAN} {pipeline}", trace_id, run_span_id(run_id, resumed_at), context_of(parent) if parent else None,
            began_at, SpanKind.SERVER, known, links,
        )  # fmt: skip

    def _lost_run(self, run_id: str) -> Span | None:
        """The span of a run whose process died, as that process began it."""
        facts = self._facts(run_id)
        if facts is None:
            return None
        more = {names.RESUMED: True} if facts.resumed_at else {}
        links = [Link(context_of(Trace(facts.trace_id, run_span_id(run_id))))] if facts.resumed_at else []
        return self._run_span(facts.pipeline, run_id, facts.trace_id, facts.parent, facts.resumed_at, facts.began_at, more, links)

    def _end_run(self, happened: RunSuspended | RunStop) -> None:
        span = self._runs.pop(happened.run_id, None)
        if span is None:
            facts = self._facts(happened.run_id)
            if facts is None or (facts.suspended and isinstance(happened, RunStop)):
                return  # it waited: its span has ended when it was suspended
            span = self._lost_run(happened.run_id)
            if span is None:
                return
        if isinstance(happened, RunSuspended):
            span.set_attributes({names.OUTCOME: "suspended", names.REASON: happened.reason})
            if happened.reason in _DIED:
                span.set_attribute(names.RESULT, "error")
                fail(span, happened.reason)
        else:
            span.set_attributes({names.OUTCOME: happened.outcome, names.RESULT: names.PIPELINE_RESULT[happened.outcome]})
            span.set_attributes({name: getattr(happened, count) for count, name in names.COUNTS.items()})
            if names.PIPELINE_RESULT[happened.outcome] == "failure":
                fail(span, happened.outcome)
        span.end(self._now())

    def _begin_attempt(self, happened: MaterializationStart) -> None:
        attempt = attempt_of(happened)
        producers = self._producers.pop(attempt, ())
        links = [Link(context_of(trace)) for one in producers[:MAX_LINKS] if (trace := self._trace(one, happened)) is not None]
        attributes = {names.BECAUSE: happened.because} | ({names.INPUTS: len(producers)} if producers else {})
        self._attempts[attempt] = self._attempt_span(attempt, happened.trace_id, self._now(), attributes, links)

    def _attempt_span(self, attempt: Attempt, trace_id: str, at: int, attributes: Mapping[str, Any], links: list[Link]) -> Span:
        run = self._runs.get(attempt.run_id)
        if run is None and (lost := self._lost_run(attempt.run_id)) is not None:
            run = self._runs[attempt.run_id] = lost
        parent = run.get_span_context() if run is not None else context_of(Trace(trace_id, run_span_id(attempt.run_id)))
        unique = ":".join(map(str, attempt[1:]))
        known = {
            names.RUN_ID: attempt.run_id, names.TASK: attempt.asset, names.TASK_RUN_ID: unique, **_place(attempt), **attributes,
        }  # fmt: skip
        return self._start(attempt.asset, trace_id, span_id_of(*attempt), parent, at, SpanKind.INTERNAL, known, links)

    def _end_attempt(self, happened: MaterializationStop | MaterializationException) -> None:
        attempt, now = attempt_of(happened), self._now()
        span = self._attempts.pop(attempt, None)
        ended_at = now
        if span is None:  # its process died, or its beginning was not seen
            ended_at = happened.at
            span = self._attempt_span(attempt, happened.trace_id, happened.at - happened.duration_ns, {}, [])
        left = [key for key in [*self._moves] if key[0] == attempt]
        if isinstance(happened, MaterializationStop):
            self._tell_stop(span, happened)
        else:
            self._tell_exception(span, happened)
        for key in left:
            move = self._moves.pop(key)
            fail(move, getattr(happened, "type", ""))
            move.end(ended_at)
        span.end(ended_at)

    @staticmethod
    def _tell_stop(span: Span, happened: MaterializationStop) -> None:
        span.set_attribute(names.OUTCOME, happened.outcome)
        if happened.outcome in names.TASK_RESULTS:
            span.set_attribute(names.TASK_RESULT, names.TASK_RESULTS[happened.outcome])
        if happened.output:
            span.set_attributes({
                names.OUTPUT: happened.output, names.DIGEST: happened.digest, names.SIZE: happened.size_bytes,
                names.ROWS: happened.rows,
            })  # fmt: skip
        if happened.reason:
            span.set_attribute(names.REASON, happened.reason)

    @staticmethod
    def _tell_exception(span: Span, happened: MaterializationException) -> None:
        span.set_attributes({names.OUTCOME: happened.kind, names.FINAL: happened.final})
        if happened.kind in names.TASK_RESULTS:
            span.set_attribute(names.TASK_RESULT, names.TASK_RESULTS[happened.kind])
        if happened.retry_in_ns:
            span.set_attribute(names.RETRY_IN, happened.retry_in_ns / 1e9)
        if happened.error:
            span.set_attribute(names.ERROR, happened.error)
        if happened.kind in _FAILED:
            fail(span, happened.type, happened.message)

    def _begin_move(self, happened: IoLoadStart | IoStoreStart) -> None:
        attempt, verb = attempt_of(happened), _VERBS[type(happened)]
        around = self._attempts.get(attempt)
        parent = around.get_span_context() if around else context_of(Trace(happened.trace_id, span_id_of(*attempt)))
        attributes = {**_place(attempt), names.MANAGER: happened.manager, names.SUBJECT: happened.subject}
        key = attempt, verb, happened.subject
        self._moves[key] = self._start(
            f"{verb} {happened.subject}", "", "", parent, happened.at, SpanKind.INTERNAL, attributes, []
        )

    def _end_move(self, happened: IoLoadStop | IoStoreStop | IoLoadException | IoStoreException) -> None:
        span = self._moves.pop((attempt_of(happened), _VERBS[type(happened)], happened.subject), None)
        if span is None:
            return
        if isinstance(happened, IoLoadStop | IoStoreStop):
            span.set_attribute(names.SIZE, happened.size_bytes)
        else:
            fail(span, happened.type, happened.message)
        span.end(happened.at)

    def _start(
        self, name: str, trace_id: str, span_id: str, parent: SpanContext | None, at: int, kind: SpanKind,
        attributes: Mapping[str, Any], links: list[Link],
    ) -> Span:  # fmt: skip
        """Start a span below *parent*, or at the root of its trace, with ids that are chosen where a real SDK lets us."""
        context = set_span_in_context(NonRecordingSpan(parent), contexts.Context()) if parent else contexts.Context()
        told = {key: value for key, value in attributes.items() if value != ""}
        ids = self._sdk.id_generator if self._sdk is not None else None
        chosen = ids.choose(trace_id, span_id) if isinstance(ids, ChosenIds) and span_id else nullcontext()
        with chosen:
            return self._tracer.start_span(name, context, kind, told, links, at)

    def _trace(self, attempt: Attempt, below: Event) -> Trace | None:
        """The span of an attempt that made an input, in whatever run that was."""
        if attempt.run_id == below.run_id:
            return Trace(below.trace_id, span_id_of(*attempt))
        if attempt.run_id not in self._traces:
            facts = self._facts(attempt.run_id)
            while len(self._traces) >= 1_000:
                self._traces.pop(next(iter(self._traces)))
            self._traces[attempt.run_id] = facts.trace_id if facts else ""
        trace_id = self._traces[attempt.run_id]
        return Trace(trace_id, span_id_of(*attempt)) if trace_id else None


def attempt_of(happened: Any) -> Attempt:
    """The attempt an event is about."""
    return Attempt(happened.run_id, happened.asset, happened.partition, happened.attempt)


def _place(attempt: Attempt) -> dict[str, Any]:
    return {names.ASSET: attempt.asset, names.PARTITION: attempt.partition, names.ATTEMPT: attempt.attempt}
