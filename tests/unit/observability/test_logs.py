"""A log record is one physical line, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.events.catalogue import (
    CheckpointEscalated,
    CheckpointRefused,
    CheckpointRejected,
    CheckpointTimeout,
    ErrorRecorded,
    HandlerFailed,
    MaterializationException,
    RunStart,
    RunStop,
    RunSuspended,
)
from flowstone.events.context import Scope, current
from flowstone.events.trace import span_id_of
from flowstone.foundation.texts import storable
from flowstone.observability.logs.lines import Line
from flowstone.observability.logs.shape import (
    ConsoleFormatter,
    JsonFormatter,
    configure,
    log_event,
    log_events,
    one_line,
    relay,
)


def record(message="text", *args, name="acme.log", level=logging.INFO, **extra):
    made = logging.LogRecord(name, level, "file.py", 1, message, args, None)
    made.created = 1_767_225_600.25
    made.__dict__.update(extra)
    return made


def error_info(error):
    return (type(error), error, None)


@pytest.fixture
def scope():
    token = current.set(Scope("run_1", "orders", "eu", 2, "f" * 32))
    yield
    current.reset(token)


@given(st.text())
def test_one_line_is_one_line(text):
    """No line break and no control character is left, however they are written."""
    clean = one_line(text)

    assert len(clean.splitlines()) <= 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in clean)


def test_a_message_cannot_forge_a_line_or_move_the_cursor():
    """Line breaks of every kind and terminal commands are written as escapes; other characters stay."""
    assert one_line("a\nb\r\nc\td\x1b[2Je\x00f\x85g\u2028h\u2029") == "a\\nb\\r\\nc\\td\\x1b[2Je\\x00f\\x85g\\u2028h\\u2029"
    assert one_line("grün 🐍 \\n") == "grün 🐍 \\n"


def test_a_console_line_has_time_level_logger_and_message():
    """A console line is readable, and one line even with a traceback or a strange logger name."""
    assert ConsoleFormatter().format(record("%d orders", 3)) == "00:00:00 info    acme.log  3 orders"

    text = ConsoleFormatter().format(record("bad\nnews", name="a\nb", exc_info=error_info(ValueError("x\ny"))))
    assert text == "00:00:00 info    a\\nb  bad\\nnews\\nValueError: x\\ny"


def test_a_json_line_has_the_record():
    """A JSON line has time, level, logger and message; the traceback is a field."""
    text = JsonFormatter().format(record("a\n%s", "b", exc_info=error_info(ValueError("x"))))

    assert "\n" not in text
    assert json.loads(text) == {
        "ts": "2026-01-01T00:00:00.250000Z", "level": "info", "logger": "acme.log", "msg": "a\nb", "traceback": "ValueError: x",
        "pid": os.getpid(),
    }  # fmt: skip


def test_a_json_line_has_the_context(scope):
    """Within an attempt every line says which, and what the caller gave as ``extra`` stands apart."""
    line = json.loads(JsonFormatter().format(record(number=3, run_id="forged", ts="forged")))

    assert line | {"ts": "", "pid": 0} == {
        "ts": "", "level": "info", "logger": "acme.log", "msg": "text", "run_id": "run_1", "asset": "orders", "partition": "eu",
        "attempt": 2, "trace_id": "f" * 32, "span_id": span_id_of("run_1", "orders", "eu", 2), "pid": 0,
        "fields": {"number": 3, "run_id": "forged", "ts": "forged"},
    }  # fmt: skip


def test_every_line_says_where_it_comes_from():
    """What holds for the whole process is in each line, behind what happened, in the documented order."""
    about = {"version": "1", "worker": "proc_1", "host": "h", "environment": "prod", "pipeline": "shop"}
    line = json.loads(JsonFormatter(about=about).format(record()))

    assert list(line) == [
        "ts", "level", "logger", "msg", "pipeline", "environment", "host", "pid", "worker", "version",
    ]  # fmt: skip
    assert about.items() <= line.items()


def test_what_json_cannot_hold_does_not_cost_the_line():
    """Half a surrogate pair, a number no reader has and a value without a JSON form are written as text."""
    line = json.loads(JsonFormatter().format(record("a \ud800", thing={1, 2}.__class__, big=10**5000, none=float("nan"))))

    assert line["msg"] == "a \\ud800"
    assert line["fields"] == {"thing": "<class 'set'>", "big": "a number of 16610 bits", "none": "nan"}


@given(st.text(), st.text())
def test_a_json_line_is_one_line(message, name):
    """Whatever the message and the logger's name, the line is one line and can be read back."""
    text = JsonFormatter().format(record("%s", message, name=name))

    assert len(text.split("\n")) == 1
    assert json.loads(text)["msg"] == storable(message)


def test_events_are_rendered_with_their_level_and_fields(caplog):
    """An event becomes a record: its documentation and fields as text, the fields beside it, empty ones left out."""
    caplog.set_level(logging.INFO)
    place = {"asset": "orders", "partition": "", "run_id": "run_1", "attempt": 1}
    log_event(RunStart(at=1, pipeline="shop", run_id="run_1", steps=2, partition="", actor="ann", identity="os", definition="d"))
    log_event(RunSuspended(at=1, pipeline="shop", run_id="run_1", reason="interrupted"))
    log_event(MaterializationException(at=1, kind="error", final=False, duration_ns=5, type="ValueError", message="m", **place))
    log_event(ErrorRecorded(at=1, type="ValueError", retryable=False, error="err_1", fingerprint="f", message="m", **place))

    assert [entry.levelname for entry in caplog.records] == ["INFO", "WARNING", "WARNING", "ERROR"]
    assert {entry.name for entry in caplog.records} == {"flowstone.events"}
    assert caplog.messages[1] == "A run stopped before its end and can be resumed run_id=run_1 pipeline=shop reason=interrupted"
    assert caplog.records[1].flowstone_event == (
        "flowstone.run.suspended", {"pipeline": "shop", "run_id": "run_1", "reason": "interrupted"}, {},
    )  # fmt: skip
    assert "partition" not in caplog.records[2].flowstone_event.fields


def test_what_waits_for_people_is_no_warning_and_what_is_refused_is(caplog):
    """A run that is put aside until people approve is told like any event; a refused attempt to decide stands out."""
    caplog.set_level(logging.INFO)
    place = {"approval": "apr_1", "kind": "after", "asset": "orders", "partition": "", "run_id": "run_1"}
    by = {"actor": "eve", "identity": "os"}
    log_event(RunSuspended(at=1, pipeline="shop", run_id="run_1", reason="approval"))
    log_event(CheckpointRejected(at=1, digest="d", waited_ns=5, **place, **by))
    log_event(CheckpointRefused(at=1, reason="not_approver", message="eve is not asked", **place, **by))
    log_event(CheckpointTimeout(at=1, deadline=1, waited_ns=5, **place, **by))
    log_event(CheckpointEscalated(at=1, deadline=1, approvers="chief", **place))

    assert [entry.levelname for entry in caplog.records] == ["INFO", "INFO", "WARNING", "WARNING", "WARNING"]
    assert caplog.records[2].flowstone_event.fields["reason"] == "not_approver"


def told(happened, observer=log_event):
    """The JSON line of an event."""
    records = []
    collecting = logging.Handler()
    collecting.emit = records.append
    logger = logging.getLogger("flowstone.events")
    level = logger.level
    logger.addHandler(collecting)
    logger.setLevel(logging.INFO)
    try:
        observer(happened)
    finally:
        logger.removeHandler(collecting)
        logger.setLevel(level)
    return json.loads(JsonFormatter().format(records[0]))


def test_an_events_line_has_its_name_fields_and_span():
    """The fields stand in the line by their names, with the attempt's span; one that would pass for another is set apart."""
    place = {"asset": "orders", "partition": "eu", "run_id": "run_1", "attempt": 2, "trace_id": "f" * 32}
    line = told(ErrorRecorded(at=1, type="E", retryable=True, error="err_1", fingerprint="f1", message="m", **place))
    failed = told(HandlerFailed(
        at=1, handler="h", event="acme.tick", kind="slow", duration_ns=1, quarantine_ns=2, type="", message="m",
    ))  # fmt: skip

    assert list(line)[:13] == [
        "ts", "level", "logger", "event", "msg", "run_id", "asset", "partition", "attempt", "type", "fingerprint", "retryable",
        "trace_id",
    ]  # fmt: skip
    assert (line["event"], line["level"], line["span_id"]) == (
        "flowstone.error", "error", span_id_of("run_1", "orders", "eu", 2),
    )  # fmt: skip
    assert (failed["event"], failed["fields"]) == ("flowstone.handler.failure", {"event": "acme.tick"})


def test_a_run_says_where_its_state_is_and_how_it_ended():
    """The line of the start has what the observer was told of the place; that of the end the counts and an exit code."""
    run = {"at": 1, "pipeline": "shop", "run_id": "run_1"}
    start = RunStart(steps=2, partition="", actor="ann", identity="os", definition="d1", **run)
    begun = told(start, log_events({"state": "/srv/shop", "database": "postgresql://db1/fin", "environment": "prod"}))
    ended = [
        told(RunStop(outcome=outcome, duration_ns=5, success=1, reused=2, failed=3, skipped=0, **run))
        for outcome in ("success", "partial")
    ]

    assert (begun["definition"], begun["actor"], begun["state"], begun["database"], begun["environment"]) == (
        "d1", "ann", "/srv/shop", "postgresql://db1/fin", "prod",
    )  # fmt: skip
    assert "fields" not in told(start, log_events({"state": "/srv/shop", "environment": ""}))
    counts = [(line["success"], line["reused"], line["failed"], line["exit_code"]) for line in ended]
    assert counts == [(1, 2, 3, 0), (1, 2, 3, 1)]


def test_captured_lines_without_a_record_are_shown_in_the_same_shape():
    """A print, or a child's line, is shown as a record of its logger is: with its own time, attempt and fields; by level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.setLevel("INFO")
    scope = Scope("run_1", "orders", "eu", 2, "f" * 32)
    show = relay(handler, prints=True)
    show(Line(scope, 1_767_225_600_250_000_000, "info", "stdout", "a\u2028b", ""))
    show(Line(scope, 1, "debug", "acme", "quiet", ""))
    show(Line(scope, 1, "warning", "acme", "loud", '{"rows":3}'))
    relay(handler, prints=False)(Line(scope, 1, "info", "stderr", "printed", ""))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert [(line["logger"], line["level"], line["msg"]) for line in lines] == [
        ("stdout", "info", "a\u2028b"), ("acme", "warning", "loud"),
    ]  # fmt: skip
    assert (lines[0]["ts"], lines[0]["asset"], lines[0]["attempt"]) == ("2026-01-01T00:00:00.250000Z", "orders", 2)
    assert lines[1]["fields"] == {"rows": 3}


@pytest.mark.parametrize(("form", "begins"), [("json", '{"ts":'), ("console", "")])
def test_only_configure_touches_the_root_logger(form, begins):
    """``configure`` sends records of the level and above to the stream in the chosen shape."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = list(root.handlers), root.level
    handler = configure("warning", form, stream)
    try:
        assert root.handlers == [*handlers, handler]
        logging.getLogger("acme").info("quiet")
        logging.getLogger("acme").warning("loud\nand clear")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(begins)
    assert "loud\\nand clear" in lines[0]


@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_do_not_reach_the_stream(form):
    """A user's own log line is redacted on standard error as it is in the store, its traceback included."""
    stream = io.StringIO()
    handler = configure("warning", form, stream)
    try:
        try:
            raise ValueError("token=abc123secret")
        except ValueError:
            logging.getLogger("users.own").exception("login failed, password=hunter22")
    finally:
        logging.getLogger().removeHandler(handler)
    assert "[redacted]" in stream.getvalue()
    assert "hunter22" not in stream.getvalue()
    assert "abc123secret" not in stream.getvalue()
