"""Spans of users' own in child processes reach the provider of the program that started them."""

from __future__ import annotations

import pytest
from opentelemetry import trace as trace_api
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from flowstone.app.pipelines import load_pipeline
from flowstone.observability.otel.span_transfer import BATCH, Shipper, pack, unpack
from flowstone.testing import isolated_flow

PIPELINE = """
import os
from opentelemetry import trace
from flowstone import Count, Event, Label, Pipeline, asset, span

@span("acme.upload")
class Upload(Event):
    "A file was sent to the archive."
    region: Label
    rows: Count = 0

@asset
def report(ctx):
    with ctx.span(Upload, region="eu") as upload:
        for number in range(200):
            with trace.get_tracer("users").start_as_current_span("part") as part:
                part.add_event("half", {"number": number})
        upload.set(rows=3)
    return 1

@asset
def dying(ctx, report):
    with trace.get_tracer("users").start_as_current_span("last words"):
        for _ in range(100):
            with trace.get_tracer("users").start_as_current_span("word"):
                pass
        os._exit(7)

pipeline = Pipeline("shop", [report, dying])
"""

OWN = """
from opentelemetry.sdk.trace import TracerProvider
if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
    trace.set_tracer_provider(TracerProvider())
"""


def test_spans_of_a_child_arrive_whole(traced, tmp_path):
    """In a program with a provider of its own, a child's spans are exported by it, below the attempt; a death loses no batch."""
    (tmp_path / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    with isolated_flow(load_pipeline("pipeline.py", tmp_path), home=tmp_path / "home") as flow:
        flow.run(executor="process")

    upload, parts = traced.span("acme.upload"), [one for one in traced.spans if one.name == "part"]
    assert traced.parent(upload) == "report"
    assert (upload.attributes["acme.upload.rows"], upload.instrumentation_scope.name) == (3, "flowstone")
    assert len(parts) == 200
    assert {one.parent.span_id for one in parts} == {upload.context.span_id}
    assert [one.events[0].attributes["number"] for one in parts] == list(range(200))
    assert {one.resource for one in traced.spans} == {traced.tracers.resource}
    words = [one for one in traced.spans if one.name == "word"]
    assert len(words) >= 3 * BATCH  # one batch of each of three attempts that were lost
    lost = [one for one in traced.spans if one.name == "dying"]
    assert [one.attributes["cicd.pipeline.task.run.result"] for one in lost] == ["error"] * 3
    assert "last words" not in {one.name for one in traced.spans}


def test_a_span_survives_its_journey():
    """Every part of a span is the same on the other side."""
    sent = []
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(shipper := Shipper(sent.extend))
    other = SpanContext(5, 6, True, TraceFlags(1), TraceState([("congo", "1")]))
    tracer = provider.get_tracer("users", "1.2", "https://example.org/schema")
    with (
        tracer.start_as_current_span("outer"),
        tracer.start_as_current_span(
            "inner", kind=SpanKind.CLIENT, attributes={"n": 1, "list": ["a", "b"]}, links=[Link(other, {"why": "test"})]
        ) as span,
    ):
        span.add_event("half", {"x": 1.5})
        span.set_status(Status(StatusCode.ERROR, "no"))
    shipper.flush()
    found = unpack(sent[0], Resource({"service.name": "test"}))

    assert pack(found) == pack(span)
    assert (found.kind, found.status.description, found.resource.attributes["service.name"]) == (SpanKind.CLIENT, "no", "test")
    assert found.links[0].context.trace_state.get("congo") == "1"
    assert [carried.name for carried in sent] == ["inner", "outer"]


def test_a_pipe_that_is_gone_breaks_no_users_code():
    """A span that ends when nobody listens any more is lost, and the code around it goes on."""

    def gone(_spans):
        raise BrokenPipeError

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Shipper(gone))
    for _ in range(BATCH):
        with provider.get_tracer("users").start_as_current_span("late"):
            pass

    assert trace_api.get_current_span() is trace_api.INVALID_SPAN


def test_what_users_code_has_forked_ships_nothing(monkeypatch):
    """A span that ends in a copy of the process stays there: two processes would garble the pipe."""
    sent = []
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(shipper := Shipper(sent.extend))
    with monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: -1)
        with provider.get_tracer("users").start_as_current_span("theirs"):
            pass
    shipper.flush()

    assert sent == []


@pytest.mark.parametrize("theirs", [True, False])
def test_a_child_keeps_a_provider_of_the_pipelines_own(traced, tmp_path, theirs):
    """A pipeline file that sets up a provider wherever it is imported keeps it: nothing is shipped beside it."""
    text = PIPELINE.replace("from flowstone", f"{OWN if theirs else ''}from flowstone", 1)
    (tmp_path / "pipeline.py").write_text(text, encoding="utf-8")
    with isolated_flow(load_pipeline("pipeline.py", tmp_path), home=tmp_path / "home") as flow:
        flow.run("report", executor="process")

    assert ("part" in {one.name for one in traced.spans}) is not theirs
    assert traced.span("report").status.status_code is StatusCode.UNSET
