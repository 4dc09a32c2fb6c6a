"""What happens when the record of a finished step cannot be written, when a run is interrupted, and when it is resumed."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from flowstone import Pipeline, Retry, asset
from flowstone.events.catalogue import MaterializationStop
from flowstone.foundation.errors import NotFoundError, RecordError, UsageError
from flowstone.testing import MovableClock


class Disk:
    """Commits of one FlowStone that fail as often as they are told to."""

    def __init__(self, made):
        self.backend = made._deployment.services().database.backend
        self.failing = self.failed = 0
        self._commit = self.backend.commit
        self.backend.commit = self.commit

    def commit(self, cursor):
        if self.failing:
            self.failing -= 1
            self.failed += 1
            raise sqlite3.OperationalError("disk I/O error")
        self._commit(cursor)


class Shop:
    """A pipeline of two steps, of which the first does to the outside what it is told to."""

    def __init__(self, **options):
        self.ran = []
        self.act = lambda ctx: None

        @asset(**options)
        def first(ctx):
            self.ran.append(f"first {ctx.attempt}")
            self.act(ctx)
            return len(self.ran)

        @asset
        def second(first):
            self.ran.append("second")
            return first

        self.pipeline = Pipeline("shop", [first, second])


def once(act):
    """*act* when it is called first, nothing later."""
    acts = iter([act])
    return lambda ctx: next(acts, lambda _: None)(ctx)


def interrupt(ctx):
    raise KeyboardInterrupt


def attempts(made, id):
    return [(attempt.asset, attempt.number, attempt.status) for attempt in made.show(id).attempts]


def faults(made):
    return [finding for finding in made.doctor() if finding.level == "fail"]


# -- the record cannot be written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_settlement_that_fails_is_written_again(flow, clock, failures, flowstone_events):
    """Up to three failed commits cost nothing: the step is settled alone, its code is not repeated, observers see it once."""
    shop = Shop()
    made = flow(shop.pipeline, clock=clock)
    disk = Disk(made)
    shop.act = lambda ctx: setattr(disk, "failing", failures)

    result = made.run()

    assert result.ok
    assert disk.failed == failures
    assert shop.ran == ["first 1", "second"]
    assert [e.asset for e in flowstone_events.of(MaterializationStop)] == ["first", "second"]
    assert faults(made) == []


def test_a_settlement_that_never_succeeds_stops_the_run(flow, clock):
    """After four failed commits the run stops with ``RecordError`` and waits; resuming repeats the step's code once."""
    shop = Shop()
    made = flow(shop.pipeline, clock=clock)
    disk = Disk(made)
    shop.act = once(lambda ctx: setattr(disk, "failing", 4))

    with pytest.raises(RecordError, match="'first' finished, but its record could not be written") as stopped:
        made.run()
    (waiting,) = made.runs()
    result = made.resume(waiting.id)

    assert stopped.value.run_id == waiting.id
    assert (waiting.status, waiting.outcome) == ("waiting", {"reason": "error"})
    assert result.ok
    assert shop.ran == ["first 1", "first 2", "second"]
    assert attempts(made, waiting.id) == [("first", 1, "lost"), ("first", 2, "success"), ("second", 1, "success")]
    assert faults(made) == []


def test_a_process_that_cannot_record_anything_any_more_counts_as_dead(flow, tmp_path):
    """When not even the suspension can be written, the next process frees the run and settles the attempt."""
    shop = Shop()
    made = flow(shop.pipeline, home=tmp_path, clock=MovableClock())
    disk = Disk(made)
    shop.act = once(lambda ctx: setattr(disk, "failing", 1000))

    with pytest.raises(RecordError) as stopped:
        made.run()
    (stuck,) = made.runs()
    made.close()
    other = flow(shop.pipeline, home=tmp_path)
    result = other.resume(stuck.id)

    assert "could not be marked as waiting" in stopped.value.__notes__[0]
    assert stuck.status == "running"
    assert result.ok
    assert attempts(other, stuck.id)[:2] == [("first", 1, "lost"), ("first", 2, "success")]
    assert faults(other) == []


def test_a_step_whose_record_is_lost_three_times_fails(flow, clock):
    """Three attempts without a recorded ending fail the step, and the run ends."""
    shop = Shop()
    made = flow(shop.pipeline, clock=clock)
    disk = Disk(made)
    shop.act = lambda ctx: setattr(disk, "failing", 4)

    with pytest.raises(RecordError):
        made.run()
    (run,) = made.runs()
    for _ in range(2):
        with pytest.raises(RecordError):
            made.resume(run.id)
    result = made.resume(run.id)

    assert shop.ran == ["first 1", "first 2", "first 3"]
    assert [(step.asset, step.reason) for step in result.failed] == [("first", "worker_lost")]
    assert [(step.asset, step.reason) for step in result.skipped] == [("second", "upstream_failed")]
    assert faults(made) == []


def test_a_zombie_settles_nothing(flow, tmp_path):
    """A process that was taken for dead cannot settle its attempt, publish its value, or touch the run somebody resumed."""
    shop = Shop()
    made = flow(shop.pipeline, home=tmp_path)

    def die(ctx):
        for lock in (tmp_path / "processes").glob("*.lock"):
            lock.unlink()
        other = flow(shop.pipeline, home=tmp_path)
        shop.ran.append("resumed")
        assert other.resume(ctx.run_id).ok

    shop.act = once(die)
    with pytest.raises(RecordError, match="no longer this process's"):
        made.run()

    (run,) = made.runs()
    assert shop.ran == ["first 1", "resumed", "first 2", "second"]
    assert run.status == "success"
    assert made.get("first") == 3
    assert attempts(made, run.id) == [("first", 1, "lost"), ("first", 2, "success"), ("second", 1, "success")]
    assert faults(made) == []


def test_a_zombie_does_not_suspend_what_another_process_works_on(flow, tmp_path):
    """A process that was taken for dead stops while another one is in the middle of the run: that one goes on undisturbed."""
    shop = Shop()
    made, other = flow(shop.pipeline, home=tmp_path), flow(shop.pipeline, home=tmp_path)
    in_the_middle, go_on = threading.Event(), threading.Event()
    results = []

    def act(ctx):
        if ctx.attempt == 2:
            in_the_middle.set()
            go_on.wait(30)
            return
        for lock in (tmp_path / "processes").glob("*.lock"):
            lock.unlink()
        worker = threading.Thread(target=lambda: results.append(other.resume(ctx.run_id)))
        worker.start()
        workers.append(worker)
        in_the_middle.wait(30)

    workers = []
    shop.act = act
    with pytest.raises(RecordError):
        made.run()
    (while_working,) = made.runs()
    go_on.set()
    workers[0].join()

    assert while_working.status == "running"
    assert [result.status for result in results] == ["success"]
    assert [e.payload["reason"] for e in made.events(names=["flowstone.run.suspended"])] == ["lost"]
    assert faults(made) == []


# -- interruptions -----------------------------------------------------------------------------------------------------------


def test_an_interrupted_run_waits_and_is_resumed(flow):
    """Ctrl-C in a body cancels the attempt and suspends the run; resuming keeps what was finished and spends no attempt."""
    ran = []

    @asset
    def before():
        ran.append("before")
        return 1

    @asset(retries=Retry(attempts=2, delay=0))
    def middle(before, ctx):
        ran.append(f"middle {ctx.attempt}")
        if ctx.attempt == 1:
            raise KeyboardInterrupt
        if ctx.attempt == 2:
            raise TimeoutError
        return before

    made = flow(Pipeline("p", [before, middle]))
    with pytest.raises(KeyboardInterrupt) as stopped:
        made.run()
    (waiting,) = made.runs()
    result = made.resume(waiting.id[:12])

    assert stopped.value.run_id == waiting.id
    assert (waiting.status, waiting.outcome) == ("waiting", {"reason": "interrupted"})
    assert result.ok
    assert ran == ["before", "middle 1", "middle 2", "middle 3"]
    assert attempts(made, waiting.id)[1:] == [("middle", 1, "cancelled"), ("middle", 2, "failed"), ("middle", 3, "success")]
    assert [e.name for e in made.events(names=["flowstone.run.*"])] == [
        "flowstone.run.start",
        "flowstone.run.suspended",
        "flowstone.run.resumed",
        "flowstone.run.stop",
    ]
    assert faults(made) == []


def test_a_resumed_step_still_waits_for_its_time(flow):
    """Ctrl-C while a step waits for its retry: the resumed run does not begin it earlier than the policy said."""

    class Impatient(MovableClock):
        def sleep(self, seconds):
            if not interrupted:
                interrupted.append(seconds)
                raise KeyboardInterrupt
            super().sleep(seconds)

    interrupted, clock = [], Impatient()

    @asset(retries=Retry(attempts=2, delay=300))
    def flaky(ctx):
        if ctx.attempt == 1:
            raise TimeoutError
        return clock.now_ns()

    made = flow(Pipeline("p", [flaky]), clock=clock)
    began = clock.now_ns()
    with pytest.raises(KeyboardInterrupt):
        made.run()
    clock.advance(100)
    made.resume(made.runs()[0].id)

    assert interrupted == [300]
    assert made.get("flaky") - began == 300 * 10**9


def test_an_interrupted_version_function_suspends_the_run(flow):
    """Ctrl-C while a source is asked for its version leaves a run that can be resumed."""
    asked = []

    def version():
        asked.append(1)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return "v"

    @asset(source=True, version=version)
    def feed():
        return 1

    made = flow(Pipeline("p", [feed]))
    with pytest.raises(KeyboardInterrupt):
        made.run()

    assert made.resume(made.runs()[0].id).ok
    assert faults(made) == []


def test_an_interruption_between_two_steps_loses_nothing(flow):
    """Ctrl-C in an observer, right after a commit: the run is resumed and no step is repeated."""
    shop = Shop()
    made = flow(shop.pipeline)

    def stop(happened):
        made.detach("tests.stop")
        raise KeyboardInterrupt

    made.attach("tests.stop", MaterializationStop, stop)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    result = made.resume(made.runs()[0].id)

    assert result.ok
    assert shop.ran.count("first 1") == 1
    assert shop.ran.count("second") == 1
    assert faults(made) == []


def test_a_step_that_was_made_elsewhere_meanwhile_is_reused(flow):
    """Resuming after another run has made the value takes it; the interrupted materialization ends as reused."""
    shop = Shop()
    made = flow(shop.pipeline)
    shop.act = once(interrupt)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    waiting = made.runs()[0].id
    made.run()
    result = made.resume(waiting)

    assert shop.ran == ["first 1", "first 1", "second"]
    assert [step.asset for step in result.reused] == ["first", "second"]
    assert [row.status for row in made.show(waiting).materializations] == ["reused", "reused"]
    assert faults(made) == []


def test_a_forced_run_stays_forced_when_it_is_resumed(flow):
    """What was asked to be computed anew is computed after an interruption as well."""
    shop = Shop()
    made = flow(shop.pipeline)
    made.run()
    shop.act = once(interrupt)
    with pytest.raises(KeyboardInterrupt):
        made.run(["first"], force=True)

    assert [step.asset for step in made.resume(made.runs()[0].id).materialized] == ["first"]


# -- refusals ------------------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_not_resumed(flow):
    """Resuming a run that has ended is refused, with what to do instead."""
    made = flow(Shop().pipeline)
    result = made.run()

    with pytest.raises(UsageError, match="is success: only a waiting run can be resumed") as refused:
        made.resume(result.run_id)
    assert "flowstone run" in refused.value.hint


def test_a_run_of_another_definition_is_not_resumed(flow, tmp_path):
    """When the pipeline has changed since, its old plan is not followed; both digests are named."""
    shop = Shop()
    shop.act = interrupt
    made = flow(shop.pipeline, home=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    waiting = made.runs()[0]
    changed = Pipeline("shop", [*shop.pipeline, asset(name="third")(lambda: 3)])
    other = flow(changed, home=tmp_path)

    with pytest.raises(UsageError, match="another definition") as refused:
        other.resume(waiting.id)
    assert waiting.definition[:8] in refused.value.message
    assert changed.digest()[:8] in refused.value.message
    assert other.runs()[0].status == "waiting"


def test_a_run_that_is_worked_on_is_not_resumed_or_taken_for_dead(flow, tmp_path):
    """While its process lives, another one sees the run as running, settles nothing of it and cannot resume it."""
    shop = Shop()
    made, other = flow(shop.pipeline, home=tmp_path), flow(shop.pipeline, home=tmp_path)
    seen = []

    def look(ctx):
        with pytest.raises(UsageError, match="is running") as refused:
            other.resume(ctx.run_id)
        seen.append((other.runs()[0].status, attempts(other, ctx.run_id), refused.value.hint, faults(other)))

    shop.act = look
    result = made.run()

    assert seen == [("running", [("first", 1, "running")], "it is being worked on", [])]
    assert result.ok


def test_the_beginning_of_an_id_must_say_which(flow):
    """A prefix of several runs is ambiguous and lists them; one of none is not found."""
    made = flow(Shop().pipeline)
    ids = {made.run().run_id, made.run().run_id}

    with pytest.raises(NotFoundError, match="ambiguous") as ambiguous:
        made.resume("run_")
    with pytest.raises(NotFoundError, match="there is no run 'run_none'"):
        made.resume("run_none")
    assert all(id in ambiguous.value.message for id in ids)
