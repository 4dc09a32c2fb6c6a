"""A span is a start and exactly one ending, whatever happens in between."""

from __future__ import annotations

import pytest

from flowstone import Count, Event, Label, Text, event, span
from flowstone.events.event import Role
from flowstone.events.spans import SpanKind
from flowstone.foundation.errors import EventError
from flowstone.testing import capture_events


class OfUpload(Event, frozen=True, kw_only=True):
    """What every upload says."""

    region: Label


@span("acme.upload")
class Upload(OfUpload, frozen=True, kw_only=True):
    """A file was sent to the archive.

    Not part of the first line.
    """

    path: Text
    rows: Count = 0


@pytest.fixture
def events(dispatcher):
    with capture_events(dispatcher, "acme.*") as caught:
        yield caught


def test_a_declared_span_is_three_events():
    """The start has the fields without a default, inherited ones too; the stop all of them; the exception what was raised."""
    assert isinstance(Upload, SpanKind)
    assert Upload.name == "acme.upload"
    assert [cls.name for cls in Upload] == ["acme.upload.start", "acme.upload.stop", "acme.upload.exception"]
    assert list(Upload.start.fields) == ["run_id", "region", "path"]
    assert list(Upload.stop.fields) == ["run_id", "region", "path", "rows", "duration_ns"]
    assert list(Upload.exception.fields) == ["run_id", "region", "path", "duration_ns", "type", "message"]
    assert [cls.__doc__ for cls in Upload] == [
        f"A file was sent to the archive. ({part})" for part in ("start", "stop", "exception")
    ]
    assert Upload.stop.fields["region"] == Role("label")
    assert Upload.stop.fields["duration_ns"] == Role("measurement", "ns")


def test_a_span_is_recorded_or_not_as_a_whole():
    """``recorded`` is that of all three events."""

    @span("acme.quiet", recorded=False)
    class Quiet(Event, frozen=True):
        """Nothing to keep."""

    assert [cls.recorded for cls in (*Quiet, *Upload)] == [False] * 3 + [True] * 3


@pytest.mark.parametrize("field", ["type", "message", "duration_ns"])
def test_a_field_of_the_endings_cannot_be_declared(field):
    """A field that the endings bring themselves is refused where the span is declared."""
    cls = type(Event)("Wrong", (Event,), {"__annotations__": {field: str}, "__doc__": "Wrong.", "__module__": __name__})

    with pytest.raises(EventError, match=f"cannot be called {field}"):
        span("acme.wrong")(cls)


def test_a_normal_end_is_a_stop(dispatcher, clock, events):
    """The stop has the start's fields, those set meanwhile and the time that passed on the monotonic clock."""
    clock.advance(7)
    with dispatcher.span(Upload, region="eu", path="a") as opened:
        clock.advance(2)
        opened.set(rows=3)

    assert events.names() == ["acme.upload.start", "acme.upload.stop"]
    stop = events[1]
    assert (stop.region, stop.path, stop.rows, stop.duration_ns) == ("eu", "a", 3, 2_000_000_000)


def test_durations_do_not_follow_a_corrected_wall_clock(dispatcher, clock, events):
    """Setting the wall clock back within a span does not change its duration."""
    with dispatcher.span(Upload, region="eu", path="a"):
        clock.advance(1)
        clock.set(clock.now.replace(year=2020))

    assert events[1].duration_ns == 1_000_000_000
    assert events[1].at < events[0].at


class Odd(BaseException):
    """No Exception, and it cannot be shown."""

    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    "error", [ValueError("token=abc"), KeyboardInterrupt(), SystemExit(2), Odd()], ids=lambda e: type(e).__name__
)
def test_whatever_is_raised_is_an_exception_and_passes(dispatcher, clock, events, error):
    """Anything raised gives exactly one exception event, redacted, and reaches the caller unchanged."""

    def work():
        with dispatcher.span(Upload, region="eu", path="a") as opened:
            opened.set(rows=1)
            clock.advance(1)
            raise error

    with pytest.raises(type(error)) as caught:
        work()

    assert caught.value is error
    assert events.names() == ["acme.upload.start", "acme.upload.exception"]
    ending = events[1]
    assert (ending.region, ending.type, ending.duration_ns) == ("eu", type(error).__name__, 1_000_000_000)
    assert "abc" not in ending.message


def test_a_generator_that_is_closed_ends_its_span(dispatcher, events):
    """A span inside a generator that is dropped half-way ends with ``GeneratorExit``."""

    def rows():
        with dispatcher.span(Upload, region="eu", path="a"):
            yield 1
            yield 2

    started = rows()
    next(started)
    started.close()

    assert events.names() == ["acme.upload.start", "acme.upload.exception"]
    assert events[1].type == "GeneratorExit"


def test_a_wrong_field_still_ends_the_span(dispatcher, events):
    """``set`` refuses a field the stop does not have, there and then, so that the span has its ending."""
    with pytest.raises(EventError, match="has no field 'row'"), dispatcher.span(Upload, region="eu", path="a") as opened:
        opened.set(row=3)

    assert events.names() == ["acme.upload.start", "acme.upload.exception"]


def test_spans_nest(dispatcher, events):
    """Inner spans end before outer ones, and an error that is caught between them ends only the inner one badly."""
    outer, inner = dispatcher.span(Upload, region="outer", path="a"), dispatcher.span(Upload, region="inner", path="b")
    with outer, pytest.raises(ValueError, match="mine"), inner:
        raise ValueError("mine")

    assert [(happened.name.rpartition(".")[2], happened.region) for happened in events] == [
        ("start", "outer"), ("start", "inner"), ("exception", "inner"), ("stop", "outer"),
    ]  # fmt: skip


def test_a_span_kind_can_be_made_of_declared_events(dispatcher, events):
    """Three events declared one by one are a span kind as well."""

    @event("acme.copy.start")
    class Start(Event, frozen=True):
        """Copying began."""

    @event("acme.copy.stop")
    class Stop(Event, frozen=True, kw_only=True):
        """Copying ended."""

        duration_ns: Count

    @event("acme.copy.exception")
    class Raised(Event, frozen=True, kw_only=True):
        """Copying failed."""

        duration_ns: Count
        type: Label
        message: Text

    with dispatcher.span(SpanKind(Start, Stop, Raised)):
        pass

    assert events.names() == ["acme.copy.start", "acme.copy.stop"]
