"""Spans of a run: who is whose parent, what they say, and which ids they have."""

from __future__ import annotations

import asyncio
import threading

import pytest
from opentelemetry import trace as trace_api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from flowstone import Count, Event, GiveUp, Label, Pipeline, Retry, RetryLater, Static, Text, all_partitions, asset, span
from flowstone.events.catalogue import MaterializationStart
from flowstone.events.trace import run_span_id, span_id_of
from flowstone.observability.otel.names import ATTRIBUTES
from flowstone.testing import isolated_flow

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@span("acme.upload")
class Upload(Event):
    """A file was sent to the archive."""

    region: Label
    note: Text = ""
    rows: Count = 0


@asset
def orders():
    return [1, 2, 3]


@asset
def totals(orders):
    return sum(orders)


SHOP = Pipeline("shop", [orders, totals])


def hexadecimal(span):
    return f"{span.context.span_id:016x}"


def test_run_attempt_and_moves_are_nested(traced):
    """A run's span has the attempts' below it, and these the loads and stores: each with its kind and name."""
    with isolated_flow(SHOP) as flow:
        flow.run()

    assert {(one.name, traced.parent(one), one.kind) for one in traced.spans} == {
        ("RUN shop", None, SpanKind.SERVER),
        ("orders", "RUN shop", SpanKind.INTERNAL),
        ("store orders", "orders", SpanKind.INTERNAL),
        ("totals", "RUN shop", SpanKind.INTERNAL),
        ("load orders", "totals", SpanKind.INTERNAL),
        ("store totals", "totals", SpanKind.INTERNAL),
    }
    assert all(one.status.status_code is StatusCode.UNSET for one in traced.spans)


def test_ids_are_what_every_process_computes(traced):
    """Span ids are functions of what the spans stand for, the trace id is the run's, and so is every event's."""
    with isolated_flow(SHOP) as flow:
        run = flow.run().run_id
        recorded = list(flow.events(run_id=run))

    assert hexadecimal(traced.span("RUN shop")) == run_span_id(run)
    assert hexadecimal(traced.span("orders")) == span_id_of(run, "orders", "", 1)
    assert {one.payload["trace_id"] for one in recorded} == {f"{one.context.trace_id:032x}" for one in traced.spans}


def test_every_attribute_is_in_the_table(traced):
    """Whatever is set on a span of ours stands in the one table of names, for success, failure, retry and skip."""

    @asset(retries=Retry(attempts=2, delay=0.0), partitions=Static(["de"]))
    def flaky(ctx):
        if ctx.attempt == 1:
            raise ValueError("no")
        return 1

    @asset
    def skipping(ctx):
        ctx.skip("nothing to do")

    @asset
    def broken(orders):
        raise GiveUp("never")

    with isolated_flow(Pipeline("shop", [orders, flaky, skipping, broken])) as flow:
        flow.run(partition="de")

    known = {one.name for one in ATTRIBUTES}
    assert {name for one in traced.spans for name in one.attributes} <= known


def test_a_failed_attempt_fails_and_a_cured_run_does_not(traced):
    """A retried error marks its attempt with its class; the attempt that cures it and the run are not marked."""

    @asset(retries=Retry(attempts=2, delay=0.0))
    def flaky(ctx):
        if ctx.attempt == 1:
            raise ValueError("no luck")
        return 1

    with isolated_flow(Pipeline("shop", [flaky])) as flow:
        flow.run()

    first, second, run = traced.span("flaky", 0), traced.span("flaky", 1), traced.span("RUN shop")
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "no luck")
    assert first.attributes["error.type"] == "ValueError"
    assert first.attributes["cicd.pipeline.task.run.result"] == "failure"
    assert first.attributes["flowstone.final"] is False
    assert first.events == ()  # exceptions are log records
    assert (second.status.status_code, run.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)
    assert (second.attributes["flowstone.attempt"], run.attributes["cicd.pipeline.result"]) == (2, "success")
    assert "error.type" not in run.attributes


def test_a_failed_run_is_marked(traced):
    """A run none of whose targets is there failed, with its outcome as the class of its error."""

    @asset
    def broken():
        raise GiveUp("never")

    with isolated_flow(Pipeline("shop", [broken])) as flow:
        flow.run()

    run = traced.span("RUN shop")
    assert run.status.status_code is StatusCode.ERROR
    assert (run.attributes["cicd.pipeline.result"], run.attributes["error.type"]) == ("failure", "failed")


@pytest.mark.parametrize(("end", "outcome"), [("skip", "skipped"), ("later", "postponed")])
def test_what_is_no_error_is_not_marked(traced, end, outcome):
    """An attempt that skips itself or is postponed ends without an error status."""

    @asset(retries=Retry(later_limit=1))
    def patient(ctx):
        if ctx.attempt == 1:
            if end == "skip":
                ctx.skip("nothing to do")
            raise RetryLater(after=0.001)
        return 1

    with isolated_flow(Pipeline("shop", [patient])) as flow:
        flow.run()

    found = traced.span("patient")
    assert found.status.status_code is StatusCode.UNSET
    assert found.attributes["flowstone.outcome"] == outcome
    assert "error.type" not in found.attributes


def test_a_load_that_fails_is_marked(traced, tmp_path):
    """The span of an input that cannot be read fails with the class of its error, and its attempt with it."""
    with isolated_flow(SHOP, home=tmp_path) as flow:
        flow.run("orders")
        next((tmp_path / "outputs").rglob("*.json")).write_text("[1, 2", encoding="utf-8")
        flow.run("totals", deps=False)

    load, attempt = traced.span("load orders"), traced.span("totals")
    assert load.status.status_code is attempt.status.status_code is StatusCode.ERROR
    assert (load.attributes["error.type"], attempt.attributes["error.type"]) == ("CorruptOutputError", "output_corrupt")


def test_users_spans_nest_both_ways(traced):
    """A user's OpenTelemetry span inside ``ctx.span`` inside one of the user's: each below the other, all below the attempt."""

    @asset
    def report(ctx):
        tracer = trace_api.get_tracer("users")
        with tracer.start_as_current_span("outer"), ctx.span(Upload, region="eu") as upload:
            with tracer.start_as_current_span("inner"):
                pass
            upload.set(rows=3, note="password=hunter2")
        return 1

    with isolated_flow(Pipeline("shop", [report])) as flow:
        flow.run()
        recorded = [one.name for one in flow.events(names=("acme.*",))]

    found = traced.span("acme.upload")
    assert [traced.parent(traced.span(name)) for name in ("inner", "acme.upload", "outer")] == ["acme.upload", "outer", "report"]
    assert (found.attributes["acme.upload.region"], found.attributes["acme.upload.rows"]) == ("eu", 3)
    assert "hunter2" not in found.attributes["acme.upload.note"]
    assert recorded == ["acme.upload.start", "acme.upload.stop"]


def test_a_users_span_fails_with_its_code(traced):
    """What is raised inside ``ctx.span`` marks that span, and the code around it sees the exception."""

    @asset
    def report(ctx):
        with pytest.raises(KeyError), ctx.span(Upload, region="eu"):
            raise KeyError("gone")
        return 1

    with isolated_flow(Pipeline("shop", [report])) as flow:
        assert flow.run().ok

    assert traced.span("acme.upload").attributes["error.type"] == "KeyError"
    assert traced.span("report").status.status_code is StatusCode.UNSET


def test_an_asynchronous_body_is_inside_its_attempt(traced):
    """What a coroutine records is below its attempt, although it runs in a thread of its own."""

    @asset
    async def fetched():
        with trace_api.get_tracer("users").start_as_current_span("request"):
            await asyncio.sleep(0)
        return 1

    with isolated_flow(Pipeline("shop", [fetched])) as flow:
        flow.run()

    assert traced.parent(traced.span("request")) == "fetched"


def test_attempts_that_overlap_do_not_nest(traced):
    """Two bodies that run at once in threads are siblings, and what each records is its own."""
    meeting = threading.Barrier(2, timeout=20)

    def body(ctx):
        with trace_api.get_tracer("users").start_as_current_span(f"in {ctx.asset}"):
            meeting.wait()
        return 1

    left, right = asset(name="left")(body), asset(name="right")(body)
    with isolated_flow(Pipeline("shop", [left, right])) as flow:
        flow.run(executor="thread", jobs=2)

    for name in ("left", "right"):
        assert traced.parent(traced.span(name)) == "RUN shop"
        assert traced.parent(traced.span(f"in {name}")) == name
    assert traced.span("left").start_time < traced.span("right").end_time
    assert traced.span("right").start_time < traced.span("left").end_time


def test_nothing_is_ambient_outside_a_body(traced):
    """Before, between and after bodies the caller's own span is the current one."""
    seen = []
    with isolated_flow(SHOP) as flow, trace_api.get_tracer("users").start_as_current_span("mine"):
        flow.attach("probe", "flowstone.materialization.*", lambda _: seen.append(trace_api.get_current_span().name))
        flow.run()
        assert trace_api.get_current_span().name == "mine"

    assert set(seen) == {"mine"}


def test_inputs_are_linked_to_what_made_them(traced, database_url, tmp_path):
    """An attempt has links to the attempts that made its inputs: in this run, and in an earlier run with its own trace."""
    with isolated_flow(SHOP, home=tmp_path, database_url=database_url) as flow:
        flow.run()
        flow.run("totals", force=True)

    same, other = traced.span("totals", 0), traced.span("totals", 1)
    made = traced.span("orders")
    assert {link.context.span_id for link in (*same.links, *other.links)} == {made.context.span_id}
    assert len(same.links) == len(other.links) == 1
    assert same.links[0].context.trace_id == same.context.trace_id
    assert other.links[0].context.trace_id == made.context.trace_id != other.context.trace_id


def test_many_inputs_are_counted_and_the_first_linked(traced):
    """An attempt with more producers than a span has links for says how many there were."""
    keys = [f"k{number:03}" for number in range(130)]

    @asset(partitions=Static(keys))
    def parts():
        return 1

    @asset(mapping={"parts": all_partitions()})
    def whole(parts):
        return len(parts)

    with isolated_flow(Pipeline("shop", [parts, whole])) as flow:
        flow.run("whole")

    found = traced.span("whole")
    assert (found.attributes["flowstone.inputs"], len(found.links)) == (130, 128)


@pytest.mark.parametrize("way", ["argument", "environment", "ambient"])
def test_a_run_joins_the_trace_of_who_asks(traced, monkeypatch, way):
    """An incoming context, however it comes, is the parent of the run's span and names the trace of its record."""
    header = f"00-{TRACE}-{SPAN}-01"
    with isolated_flow(SHOP) as flow:
        if way == "argument":
            monkeypatch.setenv("TRACEPARENT", f"00-{'1' * 32}-{SPAN}-01")
            flow.run(traceparent=header, tracestate="congo=1")
        elif way == "environment":
            monkeypatch.setenv("TRACEPARENT", header)
            monkeypatch.setenv("TRACESTATE", "congo=1")
            flow.run()
        else:
            with trace_api.get_tracer("users").start_as_current_span("mine"):
                flow.run()
        events = list(flow.events())

    run = traced.span("RUN shop")
    mine = traced.span("mine").context if way == "ambient" else None
    trace_id, span_id = (f"{mine.trace_id:032x}", mine.span_id) if mine else (TRACE, int(SPAN, 16))
    assert (f"{run.context.trace_id:032x}", run.parent.span_id) == (trace_id, span_id)
    assert run.context.trace_state.to_header() == ("" if mine else "congo=1")
    assert {event.payload["trace_id"] for event in events} == {trace_id}


def test_an_invalid_context_begins_a_new_trace(traced):
    """A header that is not valid is ignored: the run is the root of a trace of its own."""
    with isolated_flow(SHOP) as flow:
        flow.run(traceparent=f"00-{'0' * 32}-{SPAN}-01")

    assert traced.span("RUN shop").parent is None


def test_who_asks_decides_about_sampling(traced):
    """A run asked for by an unsampled span records no span, and says so to what it calls."""
    said = []

    @asset
    def calling(ctx):
        said.append(ctx.traceparent)
        return 1

    with isolated_flow(Pipeline("shop", [calling])) as flow:
        run = flow.run(traceparent=f"00-{TRACE}-{SPAN}-00").run_id

    assert traced.spans == []
    assert said == [f"00-{TRACE}-{span_id_of(run, 'calling', '', 1)}-00"]


def test_a_sampler_that_wants_nothing_gets_nothing(traced, monkeypatch):
    """Where the program samples nothing away from us, bodies run as ever and say it downstream."""
    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    said = []

    @asset
    def calling(ctx):
        said.append((ctx.trace_id, ctx.traceparent))
        return 1

    with isolated_flow(Pipeline("shop", [calling])) as flow:
        assert flow.run().ok

    trace_id, header = said[0]
    assert header.startswith(f"00-{trace_id}-")
    assert int(header[-2:], 16) & 1 == 0


def test_the_context_of_a_body_is_that_of_its_span(traced):
    """``ctx.traceparent`` names the very span that is recorded for the attempt."""
    said = []

    @asset
    def calling(ctx):
        said.append((ctx.trace_id, ctx.traceparent))
        return 1

    with isolated_flow(Pipeline("shop", [calling])) as flow:
        flow.run()

    found = traced.span("calling").context
    assert said == [(f"{found.trace_id:032x}", f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}")]


def test_a_provider_of_the_users_own_keeps_its_ids(traced):
    """Only FlowStone's tracer takes chosen ids: spans of others in the same provider have random ones."""
    with isolated_flow(SHOP) as flow:
        flow.run()
        with trace_api.get_tracer("users").start_as_current_span("theirs"):
            pass
        flow.run(force=True)

    ids = [one.context.span_id for one in traced.spans]
    assert len(set(ids)) == len(ids)
    assert traced.tracers.get_tracer("users").id_generator is traced.tracers.id_generator


def test_with_telemetry_off_nothing_is_recorded(traced, monkeypatch):
    """The setting ``off`` and OpenTelemetry's own switch keep FlowStone from recording, whatever is set up."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with isolated_flow(SHOP) as flow:
        flow.run()
        assert "flowstone.otel.traces" not in {handler.id for handler in flow.list_handlers()}

    assert traced.spans == []


def test_a_resumed_run_goes_on_in_linked_spans_of_one_trace(traced, database_url, tmp_path):
    """What was interrupted has ended as suspended; the run that goes on has a span of its own, linked to the first one."""
    interrupted = []

    @asset
    def slow(orders):
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return 1

    with isolated_flow(Pipeline("shop", [orders, slow]), home=tmp_path, database_url=database_url) as flow:
        with pytest.raises(KeyboardInterrupt):
            flow.run(traceparent=f"00-{TRACE}-{SPAN}-01")
        flow.resume(flow.runs()[0].id)

    first, second = traced.span("RUN shop", 0), traced.span("RUN shop", 1)
    assert (first.attributes["flowstone.outcome"], first.attributes["flowstone.reason"]) == ("suspended", "interrupted")
    assert first.status.status_code is StatusCode.UNSET
    assert first.context.trace_id == second.context.trace_id == int(TRACE, 16)
    assert first.parent == second.parent
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert (second.attributes["flowstone.resumed"], second.attributes["cicd.pipeline.result"]) == (True, "success")
    assert [traced.span("slow", number).parent.span_id for number in (0, 1)] == [first.context.span_id, second.context.span_id]


def test_a_cancelled_run_that_waited_is_not_ended_twice(traced):
    """The span of a run ends when it is suspended; a cancel while it waits records no other."""

    @asset
    def slow():
        raise KeyboardInterrupt

    with isolated_flow(Pipeline("shop", [slow])) as flow:
        with pytest.raises(KeyboardInterrupt):
            flow.run()
        flow.cancel(flow.runs()[0].id)

    assert [one.name for one in traced.spans if one.kind is SpanKind.SERVER] == ["RUN shop"]


def test_nothing_is_held_when_runs_are_over(traced):
    """However runs end, the observer keeps no span, no input and no move of them."""

    @asset
    def broken(orders):
        raise GiveUp("never")

    with isolated_flow(Pipeline("shop", [orders, broken])) as flow:
        flow.run()
        flow.run(force=True, executor="thread")
        observer = flow._deployment.telemetry.tracing
        assert [observer._runs, observer._attempts, observer._moves, observer._producers] == [{}, {}, {}, {}]


def test_an_ending_whose_beginning_was_not_seen_is_recorded(traced):
    """An observer that missed the start of an attempt records it all the same, as long as it took, below its run."""
    with isolated_flow(SHOP) as flow:
        flow._deployment.services()
        observer = flow._deployment.telemetry.tracing
        seen = observer._told[MaterializationStart]
        observer._told[MaterializationStart] = lambda happened: None if happened.asset == "orders" else seen(happened)
        run = flow.run().run_id
        recorded = next(one.payload for one in flow.events(names=("flowstone.materialization.stop",)))

    found = traced.span("orders")
    assert (hexadecimal(found), traced.parent(found)) == (span_id_of(run, "orders", "", 1), "RUN shop")
    assert found.end_time - found.start_time == recorded["duration_ns"]


class OtherTracer(trace_api.Tracer):
    """A tracer that is not the SDK's, as other makers' are; *broken* ones raise."""

    def __init__(self, inner, *, broken):
        self._inner, self._broken = inner, broken

    def start_span(self, *arguments, **options):
        if self._broken:
            raise RuntimeError("the agent is not there")
        return self._inner.start_span(*arguments, **options)

    def start_as_current_span(self, *arguments, **options):
        return self._inner.start_as_current_span(*arguments, **options)


class OtherProvider(trace_api.TracerProvider):
    """A provider of another make."""

    def __init__(self, inner, *, broken=False):
        self._inner, self._broken = inner, broken

    def get_tracer(self, *arguments, **options):
        return OtherTracer(self._inner.get_tracer(*arguments, **options), broken=self._broken)


def test_a_provider_of_another_make_has_its_own_ids(traced, monkeypatch):
    """Where ids cannot be chosen spans nest all the same, and bodies hear the ids that are recorded."""
    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER", OtherProvider(traced.tracers))
    said = []

    @asset
    def calling(ctx):
        said.append(ctx.traceparent)
        with ctx.span(Upload, region="eu"):
            return 1

    with isolated_flow(Pipeline("shop", [calling])) as flow:
        run = flow.run().run_id

    found = traced.span("calling")
    assert {(one.name, traced.parent(one)) for one in traced.spans} == {
        ("RUN shop", None), ("calling", "RUN shop"), ("acme.upload", "calling"), ("store calling", "calling"),
    }  # fmt: skip
    assert said[0].split("-")[2] == hexadecimal(found) != span_id_of(run, "calling", "", 1)


def test_a_broken_provider_breaks_nothing(traced, monkeypatch, caplog):
    """A tracer that raises costs its spans; bodies, their events and ``ctx.span`` go on, and the failures are counted."""
    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER", OtherProvider(traced.tracers, broken=True))

    @asset
    def calling(ctx):
        with ctx.span(Upload, region="eu") as upload:
            upload.set(rows=1)
        return 1

    with isolated_flow(Pipeline("shop", [calling])) as flow:
        assert flow.run().ok
        assert [one.name for one in flow.events(names=("acme.*",))] == ["acme.upload.start", "acme.upload.stop"]
        (handler,) = flow.list_handlers("flowstone.io.load")[1:]

    assert (handler.id, handler.failures > 0) == ("flowstone.otel.traces", True)
    assert "span acme.upload could not be recorded: RuntimeError" in caplog.text
