"""Whatever is in a record, its line is one physical line of bounded size, and nothing raises."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping

import pytest

from flowstone import Pipeline, asset
from flowstone.events.catalogue import ErrorRecorded
from flowstone.events.context import Scope
from flowstone.foundation.redaction import Redactor
from flowstone.observability.logs.capture import Capture
from flowstone.observability.logs.records import MAX_FIELD, extras_of
from flowstone.observability.logs.shape import MAX_RECORD, ConsoleFormatter, JsonFormatter, encoded, one_json_line
from flowstone.testing import MovableClock, capture_events, isolated_flow

# -- what errors there are -------------------------------------------------------------------------------------------------


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class RudeError(Exception):
    def __str__(self):
        raise SystemExit(3)


def deep(depth):
    if depth:
        deep(depth - 1)
    raise ValueError("at the bottom")


def cyclic():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


def chained():
    error = ValueError("first")
    for number in range(5_000):
        following = ValueError(f"number {number}")
        following.__cause__ = error
        error = following
    raise error


def grouped():
    error = ValueError("innermost")
    for number in range(2_000):
        error = ExceptionGroup(f"group {number}", [error])
    raise error


def noted():
    error = ValueError("noted")
    error.__notes__ = [MuteError(), "a note", 3]
    raise error


def deeply():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        deep(10_000)
    finally:
        sys.setrecursionlimit(limit)


def raising(error):
    def throw():
        raise error

    return throw


CORPUS = {
    "text that raises": raising(MuteError()),
    "text that exits": raising(RudeError()),
    "cyclic cause": cyclic,
    "5,000 causes": chained,
    "2,000 groups": grouped,
    "10,000 frames": deeply,
    "notes that raise": noted,
    "notes that are no list": lambda: (_ for _ in ()).throw(type("Odd", (ValueError,), {"__notes__": 7})("odd")),
    "a megabyte of text": raising(ValueError("x" * 1_000_000)),
    "a megabyte of escapes": raising(ValueError("\x1b\x00" * 500_000)),
    "half a pair": raising(ValueError("a \ud800 b \udfff")),
    "line breaks and escapes": raising(ValueError("a\nb\r\u2028c\u2029d\x1b[2J\x9b\x85\u202e")),
    "a secret": raising(ValueError("password=hunter22")),
}


def caught(throw):
    try:
        throw()
    except BaseException as error:  # noqa: BLE001
        return (type(error), error, error.__traceback__)
    raise AssertionError("it did not raise")


@pytest.mark.parametrize("throw", CORPUS.values(), ids=CORPUS)
@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()], ids=["json", "console"])
def test_a_record_with_any_error_is_one_bounded_line(formatter, throw):
    """Its line is one physical line of at most 64 KiB without control characters or secrets, and names the error's type."""
    info = caught(throw)
    text = formatter.format(logging.LogRecord("acme", logging.ERROR, "f.py", 1, "it failed: %s", (info[1],), info))

    assert len(text.splitlines()) == 1
    assert len(text.encode()) <= MAX_RECORD
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in text)
    assert "hunter22" not in text
    if isinstance(formatter, JsonFormatter):
        line = json.loads(text)
        assert "it failed: " in line["msg"]
        assert all(len(value.encode()) <= MAX_FIELD for value in line.values() if isinstance(value, str))
        assert line.get("truncated", False) is any("[cut]" in str(value) for value in line.values())
        assert info[0].__name__ in line["traceback"]


@pytest.fixture
def unreported(request):
    """Pytest's own report of what was logged is left out: half a surrogate pair in it cannot be sent between its processes."""
    handler = request.config.pluginmanager.get_plugin("logging-plugin").report_handler
    handler.addFilter(nothing := lambda record: False)
    yield
    handler.removeFilter(nothing)


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize("throw", CORPUS.values(), ids=CORPUS)
def test_an_asset_that_raises_any_error_is_recorded(throw):
    """The run goes on, the error is recorded and told once, in at most 64 KiB, and its own lines are kept."""

    @asset
    def bad(ctx):
        try:
            throw()
        except Exception:
            ctx.log.exception("logged")
            raise

    with isolated_flow(Pipeline("p", [bad])) as flow, capture_events(flow, ErrorRecorded) as told:
        result = flow.run()
        (kept,) = flow.errors()
        lines = flow.logs(result.run_id, level="error")

    assert result.status == "failed"
    assert [happened.error for happened in told] == [kept.id]
    assert sum(len(text.encode()) for text in (kept.message, kept.traceback, str(kept.context))) <= MAX_RECORD
    assert [line.message.splitlines()[0] for line in lines] == ["logged"]
    assert "hunter22" not in kept.traceback + kept.message + lines[0].message


# -- what else a record may hold -------------------------------------------------------------------------------------------


class Broken(Mapping):
    def __getitem__(self, name):
        raise KeyError(name)

    def __iter__(self):
        raise RuntimeError("no names")

    def __len__(self):
        return 3


def endless():
    loop = []
    loop.append(loop)
    return loop


EXTRAS = {
    "a broken mapping": Broken(), "a cycle": endless(), "an error": MuteError(), "names": {1: "a", None: "b", (2,): MuteError()},
    "many": {str(number): number for number in range(100_000)}, "a long text": "x" * 10_000_000, "a secret": "token=abcdef",
    "bytes": b"\x00\xff", "escapes": "\x1b[2J\u2028", "deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}},
}  # fmt: skip


@pytest.mark.parametrize("value", EXTRAS.values(), ids=EXTRAS)
def test_any_extra_is_kept_in_bounds(value):
    """What a caller gives beside a message is kept as far as it can be read, in at most 8 KiB, redacted, in one line."""
    record = logging.makeLogRecord({"name": "acme", "msg": "m", "levelname": "INFO", "thing": value, "rows": 3})
    text = JsonFormatter().format(record)
    fields = extras_of(record, Redactor())

    assert len(text.splitlines()) == 1
    assert len(text.encode()) <= MAX_RECORD
    assert "abcdef" not in text
    assert len(json.dumps(fields, ensure_ascii=False).encode()) <= MAX_FIELD * 1.1
    assert {"rows", "unreadable", "truncated"} & set(fields)


def test_extras_are_kept_with_the_attempt():
    """``extra=`` of a captured record is kept with its line, as JSON, without secrets; a print has none."""

    @asset
    def talks(ctx):
        ctx.log.warning("rows %d", 3, extra={"rows": 3, "region": "eu", "api_key": "k-123", "nested": {"a": [1, None]}})
        print("hello")

    with isolated_flow(Pipeline("p", [talks]), echo=lambda text: None) as flow:
        logged, printed = flow.logs(flow.run().run_id)

    assert logged.fields == {"rows": 3, "region": "eu", "api_key": "[redacted]", "nested": {"a": [1, None]}}
    assert printed.fields == {}


def test_a_line_over_the_bound_says_so():
    """Fields are cut to 8 KiB, then all of them until the line has at most 64 KiB; what identifies the line stays."""
    line = json.loads(encoded({"msg": "é" * 5_000, "run_id": "run_1"}))
    assert (len(line["msg"].encode()) <= MAX_FIELD, line["truncated"]) == (True, True)
    assert "truncated" not in json.loads(encoded({"msg": "short"}))

    many = {f"field_{number}": "x" * 8_000 for number in range(2_000)}
    text = encoded({"msg": "m", "run_id": "run_1", "asset": "orders", **many})
    assert len(text.encode()) <= MAX_RECORD
    assert (json.loads(text)["run_id"], json.loads(text)["truncated"]) == ("run_1", True)


def test_json_with_control_characters_stays_the_same_value():
    """What JSON allows in a text and a terminal or a line reader does not is escaped; the value is the same."""
    text = json.dumps("a\x7fb\x9bc\u2028d\u202ee é 🐍", ensure_ascii=False)

    assert one_json_line(text) == '"a\\u007fb\\u009bc\\u2028d\\u202ee é 🐍"'
    assert json.loads(one_json_line(text)) == json.loads(text)


def test_a_malformed_call_keeps_its_line():
    """A message whose arguments do not fit, or whose object raises, is shown as far as it can be."""
    fits_not = logging.LogRecord("acme", 20, "f", 1, "%d orders", ("three",), None)
    mute = logging.LogRecord("acme", 20, "f", 1, MuteError(), (), None)

    assert json.loads(JsonFormatter().format(fits_not))["msg"] == "'%d orders' (could not be formatted: TypeError)"
    assert json.loads(JsonFormatter().format(mute))["msg"] == "<MuteError> (could not be formatted: RuntimeError)"


def test_a_listener_that_raises_loses_its_line_and_nothing_else():
    """Listeners hear prints and children's lines, not log records; one that raises is counted, the line is kept."""
    heard = []
    capture = Capture(MovableClock(), Redactor())
    capture.listen("broken", lambda line: 1 / 0)
    capture.listen("mine", lambda line: heard.append(line.message))
    scope = Scope("run_1", "orders", "", 1)
    capture.add(scope, "info", "stdout", "printed")
    capture.add(scope, "info", "acme", "logged", told=True)

    assert heard == ["printed"]
    assert [line.message for line in capture.take()] == ["printed", "logged"]
    assert capture._losses.totals() == [("broken", "failed", 1)]
