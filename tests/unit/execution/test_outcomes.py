"""How an attempt can end, whatever user code does, and what that means for the steps behind it."""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime, timedelta

import pytest

from flowstone import (
    Attribute,
    Count,
    Daily,
    Event,
    FlowStoneError,
    GiveUp,
    Pipeline,
    Retry,
    RetryLater,
    RunFailedError,
    asset,
    event,
    latest_before,
    source,
)

PASSWORD = "password=correct-horse"


@event("tests.outcomes.counted")
class Counted(Event, frozen=True, kw_only=True):
    """Something was counted."""

    rows: Count
    place: Attribute = ""


class MuteError(Exception):
    """An exception that cannot be shown."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class CarelessError(FlowStoneError):
    """A subclass that does not call its parent."""

    def __init__(self, code):
        self.code = code


def raising(error):
    @asset(retries=1)
    def broken():
        raise error

    return broken


def endings(result):
    groups = (result.materialized, result.reused, result.failed, result.waiting, result.skipped)
    return {step.asset: (step.status, step.reason) for group in groups for step in group}


def attempts(made, result):
    return [(attempt.number, attempt.status) for attempt in made.show(result.run_id).attempts]


# -- retries -----------------------------------------------------------------------------------------------------------


def test_retries_wait_longer_each_time_and_then_succeed(flow, clock):
    """A failing step is tried again after its delays; its last attempt decides, and each failed one is recorded."""
    began = []

    @asset(retries=Retry(attempts=4, delay=10, factor=3))
    def flaky(ctx):
        began.append(clock.now)
        if ctx.attempt < 3:
            raise TimeoutError("slow")
        return ctx.attempt

    made = flow(Pipeline("p", [flaky]), clock=clock)
    result = made.run()

    assert [later - earlier for earlier, later in itertools.pairwise(began)] == [
        timedelta(seconds=10),
        timedelta(seconds=30),
    ]
    assert attempts(made, result) == [(1, "failed"), (2, "failed"), (3, "success")]
    assert [(e.attempt, e.cured) for e in reversed(made.errors())] == [(1, 3), (2, 3)]


def test_a_delayed_step_holds_nothing_and_its_row_says_until_when(flow, clock):
    """While a step waits for its retry the others run; the row tells when it may begin."""
    order = []

    @asset(retries=Retry(attempts=2, delay=60))
    def flaky(ctx):
        order.append(f"flaky {ctx.attempt}")
        if ctx.attempt == 1:
            raise TimeoutError
        return 1

    @asset
    def steady(ctx):
        (row,) = [row for row in made.show(ctx.run_id).materializations if row.asset == "flaky"]
        order.append(("steady", row.status, row.not_before - clock.now_ns()))
        return 2

    made = flow(Pipeline("p", [flaky, steady]), clock=clock)
    made.run()

    assert order == ["flaky 1", ("steady", "retrying", 60_000_000_000), "flaky 2"]


def test_only_the_named_exceptions_are_tried_again(flow):
    """An error the policy does not name fails the step at once."""

    @asset(retries=Retry(attempts=3, delay=0, on=(TimeoutError,)))
    def picky():
        raise ValueError("wrong for ever")

    made = flow(Pipeline("p", [picky]))

    assert attempts(made, made.run()) == [(1, "failed")]


def test_giving_up_ends_the_retries(flow):
    """``GiveUp`` fails the step although attempts are left."""

    @asset(retries=Retry(attempts=3, delay=0))
    def hopeless():
        raise GiveUp("the order was cancelled")

    made = flow(Pipeline("p", [hopeless]))
    result = made.run()

    assert attempts(made, result) == [(1, "failed")]
    assert [(step.reason, step.message) for step in result.failed] == [("GiveUp", "the order was cancelled")]


def test_asking_for_later_spends_no_attempt(flow, clock):
    """``RetryLater`` waits as long as it says and leaves the attempts of the policy untouched."""

    @asset(retries=Retry(attempts=2, delay=0))
    def patient(ctx):
        if ctx.attempt <= 3:
            raise RetryLater(600)
        if ctx.attempt == 4:
            raise TimeoutError
        return "there"

    made = flow(Pipeline("p", [patient]), clock=clock)
    before = clock.now
    result = made.run()

    assert result.ok
    assert len(attempts(made, result)) == 5
    assert clock.now - before == timedelta(seconds=1800)
    assert [e.payload["kind"] for e in made.events(names=["flowstone.materialization.exception"])] == ["postponed"] * 3 + [
        "error"
    ]


def test_asking_for_later_has_a_cap_and_its_message_is_redacted(flow, clock):
    """After ``later_limit`` postponements the step fails and says so, without the secret in the message."""

    @asset(retries=Retry(later_limit=2))
    def never():
        raise RetryLater(60, f"login refused: {PASSWORD}")

    made = flow(Pipeline("p", [never]), clock=clock)
    result = made.run()

    assert len(attempts(made, result)) == 3
    assert [(step.reason, step.message) for step in result.failed] == [
        ("gave_up", "RetryLater 3 times: login refused: password=[redacted]")
    ]
    assert "correct-horse" not in repr(made.show(result.run_id))


@pytest.mark.parametrize("after", [float("inf"), 1e30])
def test_later_may_be_very_much_later(flow, clock, after):
    """A delay beyond every calendar is a long one, not a fault of the record."""

    @asset
    def comet(ctx):
        if ctx.attempt == 1:
            raise RetryLater(after)
        return "back"

    made = flow(Pipeline("p", [comet]), clock=clock)

    assert made.run().ok
    assert clock.now > datetime(2030, 1, 1, tzinfo=UTC)


# -- skips -------------------------------------------------------------------------------------------------------------


def test_a_failure_skips_what_needs_it_and_optional_inputs_get_their_default(flow):
    """What needs a failed value is skipped as ``upstream_failed``, transitively; what can do without it runs."""

    @asset
    def bad():
        raise ValueError("no")

    @asset
    def needs(bad):
        return bad

    @asset
    def further(needs):
        return needs

    @asset
    def copes(bad="nothing"):
        return bad

    @asset(after=["bad"])
    def later():
        return 1

    made = flow(Pipeline("p", [bad, needs, further, copes, later]))
    result = made.run()

    assert endings(result) == {
        "bad": ("failed", "ValueError"),
        "needs": ("skipped", "upstream_failed"),
        "further": ("skipped", "upstream_failed"),
        "copes": ("success", ""),
        "later": ("skipped", "upstream_failed"),
    }
    assert {step.message for step in result.skipped} == {"upstream bad failed"}
    assert made.get("copes") == "nothing"
    assert result.status == "partial"
    with pytest.raises(RunFailedError, match="bad: ValueError: no"):
        result.raise_if_failed()


def test_a_chosen_skip_is_passed_on_and_does_not_fail_the_run(flow):
    """``ctx.skip`` skips what needs the value for the same reason; what only comes after it runs; the run succeeds."""

    @asset
    def quiet(ctx):
        ctx.skip("no orders today")

    @asset
    def needs(quiet):
        return quiet

    @asset
    def copes(quiet=0):
        return quiet

    @asset(after=["quiet"])
    def later():
        return 1

    result = flow(Pipeline("p", [quiet, needs, copes, later])).run()

    assert endings(result) == {
        "quiet": ("skipped", "by_code"),
        "needs": ("skipped", "by_code"),
        "copes": ("success", ""),
        "later": ("success", ""),
    }
    assert [step.message for step in result.skipped] == ["no orders today", "quiet was skipped: no orders today"]
    assert result.status == "success"


def test_a_skip_keeps_the_current_value(flow):
    """A skipped materialization leaves what was there before as the current value."""
    today = {"orders": 3}

    @asset(source=True)
    def orders(ctx):
        if not today["orders"]:
            ctx.skip("none")
        return today["orders"]

    made = flow(Pipeline("p", [orders]))
    made.run()
    today["orders"] = 0
    made.run()

    assert made.get("orders") == 3


# -- what user code may do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (SystemExit(4), "execution_failed", "SystemExit(4)"),
        (GeneratorExit(), "execution_failed", "GeneratorExit"),
        (MuteError(), "MuteError", "its __str__ raised RuntimeError"),
        (CarelessError(7), "flowstone_error", "its __str__ raised AttributeError"),
        (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "ExceptionGroup", "two (2 sub-exceptions)"),
        (MemoryError("full"), "MemoryError", "full"),
        (ValueError("half a pair: \udcff"), "ValueError", "half a pair: \\udcff"),
        (ValueError(PASSWORD), "ValueError", "password=[redacted]"),
        (ValueError("x" * 100_000), "ValueError", "more characters]"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_whatever_is_raised_fails_the_step_and_nothing_else(flow, error, reason, says):
    """Exits, errors that cannot be shown, groups, texts no database holds: the step fails with its record, the run goes on."""

    @asset
    def fine():
        return 1

    made = flow(Pipeline("p", [raising(error), fine]))
    result = made.run()
    (recorded,) = made.errors()

    assert endings(result) == {"broken": ("failed", reason), "fine": ("success", "")}
    assert says in result.failed[0].message
    assert says in recorded.message
    assert "correct-horse" not in repr(recorded)
    assert len(recorded.traceback) < 40_000


def test_a_deep_traceback_is_cut_to_its_end(flow):
    """An error 5,000 frames deep is recorded with its innermost frames."""

    def fall(depth):
        if depth:
            fall(depth - 1)
        raise ValueError("the bottom")

    @asset
    def well():
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(9_000)
        try:
            fall(5_000)
        finally:
            sys.setrecursionlimit(limit)

    made = flow(Pipeline("p", [well]))
    made.run()
    (recorded,) = made.errors()

    assert recorded.message == "the bottom"
    assert recorded.traceback.rstrip().endswith("ValueError: the bottom")
    assert len(recorded.traceback) < 40_000


def test_a_long_chain_of_causes_is_recorded(flow):
    """An error that was raised from 3,000 others is recorded, cut in the middle."""

    @asset
    def chained():
        error = None
        for number in range(3_000):
            following = ValueError(number)
            following.__cause__ = error
            error = following
        raise error

    made = flow(Pipeline("p", [chained]))
    made.run()

    assert "[...]" in made.errors()[0].traceback


def test_a_value_no_format_holds_fails_the_step_and_leaves_no_file(flow, tmp_path):
    """What cannot be stored is an io failure of that step; the outputs folder stays as it was."""

    @asset
    def odd():
        return [1, object()]

    made = flow(Pipeline("p", [odd]), home=tmp_path)
    result = made.run()

    assert endings(result)["odd"] == ("failed", "format_unsupported")
    assert [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()] == []
    assert [e.name for e in made.events(names=["flowstone.io.*"])] == ["flowstone.io.store.start", "flowstone.io.store.exception"]
    assert not made.exists("odd")


def test_none_is_a_value(flow, tmp_path):
    """An asset may return nothing: it is stored, loaded and reused like any other value."""

    @asset
    def empty():
        return None

    @asset
    def seen(empty):
        return [empty]

    made = flow(Pipeline("p", [empty, seen]), home=tmp_path)
    made.run()

    assert made.exists("empty")
    assert (made.get("empty"), made.get("seen")) == (None, [None])
    assert len(made.run().reused) == 2


def test_a_corrupt_input_fails_the_reader_and_names_the_output(flow, tmp_path):
    """Bytes that are not those recorded are never handed to user code."""

    @asset
    def one():
        return 1

    @asset
    def two(one):
        return one

    made = flow(Pipeline("p", [one, two]), home=tmp_path)
    made.run("one")
    (stored,) = (tmp_path / "outputs" / "one").rglob("*.json")
    stored.chmod(0o644)
    stored.write_bytes(b"9")

    assert endings(made.run("two"))["two"] == ("failed", "output_corrupt")


def test_a_telemetry_field_of_the_wrong_kind_fails_where_it_is_given(flow):
    """An event that cannot be recorded is refused at ``ctx.emit``, inside user code, and not when the step is settled."""

    @asset
    def counts(ctx):
        ctx.emit(Counted, rows=object())

    @asset
    def pairs(ctx):
        ctx.emit(Counted, rows=1, place="\udcff")

    made = flow(Pipeline("p", [counts, pairs]))
    result = made.run()

    assert {reason for _, reason in endings(result).values()} == {"event_invalid"}
    assert "int(rows)" in result.failed[0].message


def test_what_code_says_may_be_anything(flow):
    """A summary that is a number and a print of half a surrogate pair are stored as text."""

    @asset
    def talks(ctx):
        print("file \udcff")
        ctx.summary(3)
        return 1

    made = flow(Pipeline("p", [talks]))
    result = made.run()

    assert made.explain("talks").output.summary == "3"
    assert [line.message for line in made.logs(result.run_id)] == ["file \\udcff"]


# -- sources, config, missing inputs --------------------------------------------------------------------------------------


def leave():
    raise SystemExit(3)


def refuse():
    raise ConnectionError("no answer")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (refuse, "ConnectionError"),
        (leave, "execution_failed"),
        (lambda: 7, "usage_error"),
        (lambda: "", "usage_error"),
        (lambda: "x" * 201, "usage_error"),
    ],
    ids=["raises", "exits", "number", "empty", "long"],
)
def test_a_version_that_cannot_be_had_fails_the_source(flow, version, reason):
    """A version function that raises, exits or returns anything but a short text fails its source, with the error recorded."""
    ran = []

    @asset(source=True, version=version)
    def feed():
        ran.append(1)

    watched = source("watched", version=version)

    @asset
    def reader(watched):
        return watched

    @asset
    def fine():
        return 1

    made = flow(Pipeline("p", [feed, watched, reader, fine]))
    result = made.run()

    assert endings(result) == {
        "feed": ("failed", reason),
        "watched": ("failed", reason),
        "reader": ("skipped", "upstream_failed"),
        "fine": ("success", ""),
    }
    assert ran == []
    assert len(made.errors()) == 2


def test_a_retry_asks_the_source_again(flow, clock):
    """A version function that failed is asked anew by each retry."""
    asked = []

    def version():
        asked.append(1)
        if len(asked) < 3:
            raise ConnectionError
        return "v3"

    @asset(source=True, version=version, retries=Retry(attempts=3, delay=1))
    def feed():
        return 1

    made = flow(Pipeline("p", [feed]), clock=clock)

    assert made.run().ok
    assert made.explain("feed").output.source_version == "v3"


def test_an_observed_source_may_ask_for_later(flow, clock):
    """A version that is there at the second asking ends the materialization that had begun."""
    asked = []

    def version():
        asked.append(1)
        if len(asked) == 1:
            raise RetryLater(30)
        return "v2"

    made = flow(Pipeline("p", [source("watched", version=version)]), clock=clock)
    result = made.run()

    assert endings(result) == {"watched": ("success", "")}
    assert [row.status for row in made.show(result.run_id).materializations] == ["success"]


def test_a_secret_that_is_not_there_fails_the_step_that_needs_it(flow):
    """A missing secret is that step's failure, named; other steps run."""

    @asset(config={"login": "secret:FLOWSTONE_TEST_LOGIN"})
    def private(config):
        return 1

    @asset
    def public():
        return 1

    result = flow(Pipeline("p", [private, public])).run()

    assert endings(result) == {"private": ("failed", "settings_error"), "public": ("success", "")}


def test_a_required_input_that_nothing_makes_fails_the_step(flow, clock):
    """A required ``latest_before`` without an earlier value fails as ``dependency_not_ready`` and is not tried again."""
    days = Daily("2026-11-01")

    @asset(partitions=days)
    def sales():
        return 1

    @asset(partitions=days, deps={"previous": "sales"}, mapping={"previous": latest_before()}, retries=Retry(attempts=3))
    def change(previous):
        return previous

    made = flow(Pipeline("p", [sales, change]), clock=clock)
    result = made.run("change")

    assert endings(result) == {"change": ("failed", "dependency_not_ready")}
    assert "sales" in result.failed[0].message
    assert len(attempts(made, result)) == 1
