"""Log records: events by their name, lines of users and of FlowStone, each with the ids of its span, none twice."""

from __future__ import annotations

import logging

import pytest
from opentelemetry._logs import SeverityNumber

from flowstone import GiveUp, Pipeline, asset
from flowstone.events.catalogue import CATALOGUE
from flowstone.events.trace import run_span_id, span_id_of
from flowstone.observability.otel.names import ATTRIBUTES
from flowstone.testing import isolated_flow


@asset
def talking(ctx):
    print("hello from stdout")
    ctx.log.warning("disk %s", "low", extra={"free": 3})
    try:
        raise KeyError("password=hunter2")
    except KeyError:
        ctx.log.exception("went wrong")
    ctx.progress(1, 2)
    return 1


@asset
def broken():
    raise GiveUp("token=hunter2 never")


def hexadecimal(record):
    return f"{record.span_id:016x}"


def test_events_are_records_with_their_names(everything):
    """Each recorded event is one record, named, with its span; progress is not sent, and moves of values are spans alone."""
    with isolated_flow(Pipeline("shop", [talking])) as flow:
        run = flow.run().run_id
        recorded = [one.name for one in flow.events()]

    named = [one for one in everything.records if one.event_name]
    assert sorted(one.event_name for one in named) == sorted(name for name in recorded if not name.startswith("flowstone.io."))
    by_name = {one.event_name: one for one in named}
    assert hexadecimal(by_name["flowstone.run.start"]) == run_span_id(run)
    assert hexadecimal(by_name["flowstone.materialization.start"]) == span_id_of(run, "talking", "", 1)
    assert by_name["flowstone.materialization.stop"].attributes["flowstone.outcome"] == "success"
    assert by_name["flowstone.run.start"].attributes["cicd.pipeline.name"] == "shop"


def test_an_error_is_an_exception_record(everything):
    """The one record of a failure has the type and the message, redacted, and is as loud as an error."""
    with isolated_flow(Pipeline("shop", [broken])) as flow:
        flow.run()

    (found,) = [one for one in everything.records if one.event_name == "flowstone.error"]
    assert found.severity_number is SeverityNumber.ERROR
    assert found.attributes["exception.type"] == "GiveUp"
    assert "never" in found.attributes["exception.message"]
    assert not [one for one in everything.records if "hunter2" in f"{one.body}{dict(one.attributes)}"]


def test_every_attribute_is_in_the_table(everything):
    """Whatever is set on a log record of ours stands in the one table of names, is a field of its event, or the caller's own."""
    with isolated_flow(Pipeline("shop", [talking, broken]), echo=str) as flow:
        flow.run()

    known = {one.name for one in ATTRIBUTES} | {"free"}
    fields = {f"flowstone.{field}" for cls in CATALOGUE.values() for field in cls.fields}
    assert {name for one in everything.records for name in one.attributes} <= known | fields


def test_lines_are_records_of_their_attempt(everything):
    """What user code prints and logs is sent once a line, redacted, with level, logger, own fields and the attempt's span."""
    with isolated_flow(Pipeline("shop", [talking]), echo=str) as flow:
        run = flow.run().run_id

    lines = [one for one in everything.records if not one.event_name]
    assert [(one.body, one.severity_number) for one in lines] == [
        ("hello from stdout", SeverityNumber.INFO), ("disk low", SeverityNumber.WARN), ("went wrong", SeverityNumber.ERROR),
    ]  # fmt: skip
    assert {hexadecimal(one) for one in lines} == {span_id_of(run, "talking", "", 1)}
    assert [one.attributes["flowstone.logger"] for one in lines] == ["stdout", *["flowstone.asset.talking"] * 2]
    assert lines[1].attributes["free"] == 3
    assert lines[2].attributes["exception.type"] == "KeyError"
    assert "hunter2" not in lines[2].attributes["exception.stacktrace"]


@pytest.mark.parametrize("name", ["opentelemetry.exporter", "flowstone.losses", "flowstone.events"])
def test_what_is_about_sending_is_not_sent(everything, name):
    """A failing export that logs cannot feed itself."""
    with isolated_flow(Pipeline("shop", [talking]), echo=str) as flow:
        flow._deployment.services()
        logging.getLogger(name).warning("it could not be sent")

    assert not [one for one in everything.records if one.body == "it could not be sent"]


def test_a_closed_flow_sends_nothing_more(everything):
    """What is attached to Python's logging is gone when the FlowStone is closed."""
    with isolated_flow(Pipeline("shop", [talking]), echo=str) as flow:
        flow.run()
    before = len(everything.records)
    logging.getLogger("flowstone.stores").warning("late")

    assert len(everything.records) == before
