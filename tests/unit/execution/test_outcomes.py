"""How an attempt can end, by retries, postponements and skips, and what that means for the steps behind it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from flowstone import (
    GiveUp,
    Pipeline,
    Retry,
    RetryLater,
    RunFailedError,
    asset,
)

PASSWORD = "password=correct-horse"


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


def test_a_skip_passes_through_the_users_own_except(flow):
    """``except Exception`` in a body does not swallow ``ctx.skip``."""

    @asset
    def careful(ctx):
        try:
            ctx.skip("nothing to do")
        except Exception:  # noqa: BLE001 - what users write
            return "swallowed"

    result = flow(Pipeline("p", [careful])).run()
    assert [step.message for step in result.skipped] == ["nothing to do"]
