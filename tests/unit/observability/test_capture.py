"""What an attempt logs and prints is kept with it, and nobody else's."""

from __future__ import annotations

import contextvars
import io
import logging
import sys
import threading
from contextlib import contextmanager

import pytest

from flowstone.events.context import Scope
from flowstone.foundation.redaction import Redactor
from flowstone.observability.logs.capture import MAX_LINE, Capture, Line
from flowstone.testing import MovableClock

SCOPE = Scope("run_1", "orders", "", 1)
OTHER = Scope("run_1", "totals", "", 1)
log = logging.getLogger("acme.orders")


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def echoed():
    return []


@pytest.fixture
def capture(clock, echoed):
    return Capture(clock, Redactor(), limit=5, echo=echoed.append)


@pytest.fixture
def attempt(capture):
    """Switch the capture on for a block that belongs to an attempt; within the test, for pytest replaces streams before it."""

    @contextmanager
    def during(scope=SCOPE):
        with capture, within(scope, capture):
            yield

    return during


@contextmanager
def within(scope, capture):
    begun = capture.begin(scope)
    try:
        yield
    finally:
        capture.end(scope, begun)


def messages(capture):
    return [line.message for line in capture.take()]


def test_log_lines_are_kept_with_their_attempt(capture, attempt, clock):
    """A log line is kept with scope, time, level, logger and formatted message; taking hands each line over once."""
    clock.advance(1)
    with attempt():
        log.warning("%d orders", 3)

    assert capture.take() == [(SCOPE, clock.now_ns(), "warning", "acme.orders", "3 orders", "")]
    assert capture.take() == []


def test_prints_are_kept_line_by_line(capture, attempt, echoed):
    """Each printed line is one line, those to standard error too; all of it is passed on as it was printed."""
    with attempt():
        print("one\ntwo")
        print("to error", file=sys.stderr)

    assert [(line.logger, line.level, line.message) for line in capture.take()] == [
        ("stdout", "info", "one"), ("stdout", "info", "two"), ("stderr", "info", "to error"),
    ]  # fmt: skip
    assert "".join(echoed) == "one\ntwo\nto error\n"


def test_a_line_is_kept_when_it_ends(capture, attempt):
    """Pieces of a line are put together; the last one without a line break is kept when the attempt ends, once."""
    with attempt():
        print("a", end="")
        print("b", end="", file=sys.stderr)
        assert messages(capture) == []
        print("c\nd", end="")
        assert messages(capture) == ["ac"]

        capture.finish(SCOPE)
        assert messages(capture) == ["d", "b"]
        capture.finish(SCOPE)
        assert messages(capture) == []


def test_each_attempts_pieces_are_its_own(capture):
    """Two attempts that print in turns do not get into each other's lines."""
    one, two = contextvars.Context(), contextvars.Context()
    one.run(capture.begin, SCOPE)
    two.run(capture.begin, OTHER)
    with capture:
        for context, text in ((one, "a"), (two, "x"), (one, "b\n"), (two, "y\n")):
            context.run(sys.stdout.write, text)

    assert [(line.scope.asset, line.message) for line in capture.take()] == [("orders", "ab"), ("totals", "xy")]


def test_code_outside_attempts_is_left_alone(capture, capsys, echoed):
    """Without a scope nothing is kept, and prints go where they always went."""
    with capture:
        print("mine")
        log.warning("mine too")

    assert messages(capture) == []
    assert echoed == []
    assert capsys.readouterr().out == "mine\n"


def test_threads_are_left_alone_unless_they_carry_the_scope(capture, attempt, capsys):
    """A plain thread of the user's is not captured; one that runs in a copy of the attempt's context is."""

    def work(text):
        print(text)
        log.warning("logged: %s", text)

    with attempt():
        context = contextvars.copy_context()
        for target, arguments in ((work, ("plain",)), (context.run, (work, "carried"))):
            thread = threading.Thread(target=target, args=arguments)
            thread.start()
            thread.join(10)

    assert messages(capture) == ["carried", "logged: carried"]
    assert capsys.readouterr().out == "plain\n"


def test_lines_over_the_limit_are_dropped_and_said(capture, attempt):
    """The limit is that of one attempt; the first line over it says that the rest were dropped."""
    with attempt():
        for number in range(20):
            log.warning("line %d", number)
        with within(OTHER, capture):
            log.warning("of another attempt")
        lines = capture.take()

        assert [line.message for line in lines[:5]] == [f"line {number}" for number in range(5)]
        assert (lines[5].logger, lines[5].message) == (
            "flowstone", "more than 5 lines: the rest of this attempt's lines are dropped",
        )  # fmt: skip
        assert [line.message for line in lines[6:]] == ["of another attempt"]

        capture.finish(SCOPE)
        log.warning("of the next attempt of that name")
        assert messages(capture) == ["of the next attempt of that name"]


def test_lines_of_a_run_over_its_limit_are_dropped_and_said_once(clock):
    """The limit of a run counts the lines of all its attempts, those that children captured too, until the run is over."""
    capture = Capture(clock, Redactor(), limit=100, run_limit=4)
    with capture:
        for scope, count in ((SCOPE, 3), (OTHER, 3)):
            for number in range(count):
                capture.add(scope, "info", "x", f"line {number}")
        capture.accept([Line(SCOPE, 1, "info", "x", "from a child")])
        capture.add(Scope("run_2", "orders", "", 1), "info", "x", "of another run")
        kept = capture.take()
    with capture:
        capture.add(SCOPE, "info", "x", "later")
        later = capture.take()

    dropped = "more than 4 lines: the rest of this run's lines are dropped"
    assert [line.message for line in kept] == ["line 0", "line 1", "line 2", "line 0", dropped, "of another run"]
    assert (kept[4].logger, kept[4].level) == ("flowstone", "warning")
    assert [line.message for line in later] == ["later"]


def test_lines_are_redacted_and_cut(capture, attempt):
    """Secrets are masked in log lines and prints, and a line has at most 16,384 characters."""
    with attempt():
        log.warning("token=abc")
        print("password: abc")
        print("x" * (MAX_LINE + 7))

    assert messages(capture) == ["token=[redacted]", "password: [redacted]", "x" * MAX_LINE + "... [7 more characters]"]


def test_an_exception_is_kept_with_its_traceback(capture, attempt):
    """``log.exception`` keeps the traceback below the message."""
    with attempt():
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("it failed")
    (line,) = capture.take()

    assert (line.level, line.message.splitlines()[0], line.message.splitlines()[-1]) == ("error", "it failed", "ValueError: no")


def test_a_malformed_log_call_does_not_fail_the_attempt(capture, attempt, monkeypatch):
    """A log call whose arguments do not fit is kept as it was written."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # pytest's own would raise
    with attempt():
        log.warning("%d orders", "three")

    assert messages(capture) == ["'%d orders' (could not be formatted: TypeError)"]


def test_rendered_events_are_not_captured(capture, attempt):
    """Log lines made of events do not become lines of the attempt they tell of."""
    with attempt():
        logging.getLogger("flowstone.events").warning("An event")

    assert messages(capture) == []


def test_an_echo_that_cannot_write_is_no_error(clock):
    """A reader that has gone away does not fail the asset that prints, and the line is kept."""

    def gone(text):
        raise BrokenPipeError

    capture = Capture(clock, Redactor(), echo=gone)
    with capture, within(SCOPE, capture):
        print("anyway")

    assert messages(capture) == ["anyway"]


def test_everything_is_put_back(capture):
    """After the run the streams are the old ones and the root logger has its handlers, also after an error."""

    def state():
        return sys.stdout, sys.stderr, list(logging.getLogger().handlers), logging.getLogger().level

    before = state()

    def work():
        with capture:
            assert sys.stdout is not before[0]
            assert len(logging.getLogger().handlers) == len(before[2]) + 1
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        work()
    assert state() == before


def test_two_runs_can_share_a_capture(capture):
    """A capture that is on twice is switched off by the second of its users."""
    before = sys.stdout
    with capture:
        with capture:
            pass
        assert sys.stdout is not before
    assert sys.stdout is before


def test_somebody_elses_stream_is_not_undone(capture, monkeypatch):
    """A stream that other code put in place meanwhile stays."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    theirs = io.StringIO()
    with capture:
        sys.stdout = theirs

    assert sys.stdout is theirs


def test_a_captured_stream_is_still_a_stream(capture, attempt):
    """What programs ask of standard output beside writing is answered by the real one."""
    real = sys.stdout
    with attempt():
        seen = (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno(), sys.stdout.write("three\n"))
        sys.stdout.flush()

    assert seen == (real.encoding, real.isatty(), real.fileno(), 6)


def test_a_line_that_never_ends_is_kept_in_pieces(capture, attempt):
    """Text printed without a line break is kept once it is a million characters, and does not pile up."""
    with attempt():
        for _ in range(3):
            sys.stdout.write("x" * 400_000)

        assert len(messages(capture)) == 1


# -- several captures in one process ---------------------------------------------------------------------------------------


@pytest.fixture
def second(clock, echoed):
    return Capture(clock, Redactor(), echo=echoed.append)


def test_each_capture_keeps_its_own_attempts_alone(capture, second):
    """Of two runs of different stores at the same time each keeps what its own attempts say, once, prints and log lines."""
    theirs = Scope("run_2", "orders", "", 1)
    with capture, second:
        for each, scope in ((capture, SCOPE), (second, theirs)):
            with within(scope, each):
                print("printed by", scope.run_id)
                log.warning("logged by %s", scope.run_id)

    assert messages(capture) == ["printed by run_1", "logged by run_1"]
    assert messages(second) == ["printed by run_2", "logged by run_2"]


@pytest.mark.parametrize("first_out", [0, 1])
def test_captures_that_overlap_put_everything_back(capture, second, first_out):
    """Whichever of two overlapping runs ends first, the process has its own streams, handlers and levels again at the end."""
    root, assets = logging.getLogger(), logging.getLogger("flowstone.asset")
    before = (sys.stdout, sys.stderr, list(root.handlers), root.level, assets.level)
    both = [capture, second]
    for each in both:
        each.__enter__()
    both.pop(first_out).__exit__(None, None, None)
    with within(SCOPE, both[0]):
        print("still kept")
    assert messages(both[0]) == ["still kept"]
    both.pop().__exit__(None, None, None)

    assert (sys.stdout, sys.stderr, list(root.handlers), root.level, assets.level) == before


def test_captures_that_come_and_go_in_threads_put_everything_back(clock):
    """Runs that begin and end in eight threads at once leave the streams as they were."""
    before = (sys.stdout, sys.stderr, list(logging.getLogger().handlers))
    start = threading.Barrier(8)

    def work():
        start.wait(10)
        for _ in range(200):
            with Capture(clock, Redactor()):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert (sys.stdout, sys.stderr, list(logging.getLogger().handlers)) == before


def test_what_an_attempt_says_after_its_run_is_nobodys(capture, capsys):
    """Code that outlives its run prints where it always printed, and nothing is kept of it."""
    with capture, within(SCOPE, capture):
        late = contextvars.copy_context()
        stream = sys.stdout
    late.run(stream.write, "late\n")

    assert messages(capture) == []
    assert capsys.readouterr().out == "late\n"


def test_a_stream_that_was_kept_and_put_back_is_not_wrapped_again(capture, monkeypatch):
    """Code that puts our stream back after the run costs nothing: the next run wraps the real one."""
    real = sys.stdout
    monkeypatch.setattr(sys, "stdout", real)
    with capture:
        kept = sys.stdout
    sys.stdout = kept
    with capture:
        assert sys.stdout.original is real
    assert sys.stdout is real


def test_a_process_without_standard_output_has_none_after_it(capture, monkeypatch):
    """Where there is no standard output, prints outside attempts go nowhere as before, those of attempts are kept."""
    monkeypatch.setattr(sys, "stdout", None)
    with capture:
        print("nowhere", flush=True)
        with within(SCOPE, capture):
            print("kept", flush=True)

    assert messages(capture) == ["kept"]
    assert sys.stdout is None
