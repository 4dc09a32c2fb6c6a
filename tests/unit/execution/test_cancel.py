"""A run that somebody wants to end: waiting, running, left by a dead process, or already over."""

from __future__ import annotations

import threading

import pytest

from flowstone import Pipeline, Retry, asset
from flowstone.foundation.errors import NotFoundError, RecordError, RunFailedError, UsageError
from flowstone.stores import processes, runs


def faults(made):
    """What the doctor calls a failure."""
    return [finding for finding in made.doctor() if finding.level == "fail"]


def of_materializations(made, run_id):
    """Asset, status, reason and message of what a run began."""
    return [(m.asset, m.status, m.reason, m.message) for m in made.show(run_id).materializations]


class Work:
    """A chain of three assets whose second one does what a test wants."""

    def __init__(self):
        self.act = lambda ctx: None
        self.ran = []

        @asset
        def first():
            self.ran.append("first")

        @asset(retries=Retry(attempts=2, delay=60))
        def second(first, ctx):
            self.ran.append("second")
            self.act(ctx)

        @asset
        def third(second):
            self.ran.append("third")

        self.pipeline = Pipeline("work", [first, second, third])

    def interrupt(self, ctx):
        """Act as Ctrl-C does."""
        raise KeyboardInterrupt


@pytest.fixture
def work():
    """A chain whose second asset does what a test wants."""
    return Work()


def waiting(work, made):
    """Interrupt a run in its second asset and return its id."""
    work.act = work.interrupt
    with pytest.raises(KeyboardInterrupt):
        made.run()
    return made.runs()[0].id


def test_a_waiting_run_is_cancelled_at_once(flow, work):
    """Nobody works on it: one transaction ends the run and what it had not ended; who and why is recorded; it is over."""
    made = flow(work.pipeline, actor="ann")
    run_id = waiting(work, made)
    before = len(made.events(run_id=run_id))
    record = made.cancel(run_id[:9], reason="not needed")
    told = made.events(run_id=run_id)[before:]

    assert (record.id, record.status, record.ended_at is not None) == (run_id, "cancelled", True)
    assert record.outcome == {"success": 1, "reused": 0, "failed": 0, "skipped": 0, "cancelled": 2}
    assert of_materializations(made, run_id) == [
        ("first", "success", "", ""),
        ("second", "cancelled", "cancelled", "cancelled by ann: not needed"),
    ]
    names = ["flowstone.run.cancel_requested", "flowstone.materialization.cancelled", "flowstone.run.stop"]
    assert [event.name for event in told] == names
    assert [told[0].payload[name] for name in ("actor", "identity", "reason")] == ["ann", "asserted", "not needed"]
    assert (told[2].payload["outcome"], told[2].payload["cancelled"]) == ("cancelled", 2)
    assert faults(made) == []
    with pytest.raises(UsageError, match="is cancelled: only a waiting run can be resumed"):
        made.resume(run_id)


def test_an_ended_run_cannot_be_cancelled(flow, work):
    """The refusal names how it ended; a run nobody knows is not found; neither leaves an event."""
    made = flow(work.pipeline)
    run_id = made.run().run_id
    before = len(made.events())

    with pytest.raises(UsageError, match="ended success: there is nothing to cancel"):
        made.cancel(run_id)
    with pytest.raises(NotFoundError, match="there is no run 'run_nobody'"):
        made.cancel("run_nobody")
    assert len(made.events()) == before


def test_a_reason_is_one_line_of_text(flow, work):
    """A reason that could move a terminal's cursor or fill the store is refused, and the run still waits."""
    made = flow(work.pipeline)
    run_id = waiting(work, made)

    for reason in ("a\nb", "x" * 501):
        with pytest.raises(UsageError, match="is no line of text"):
            made.cancel(run_id, reason=reason)
    assert made.runs()[0].status == "waiting"


def test_a_running_run_is_ended_by_its_process(flow, work, tmp_path):
    """The request is recorded once; the process hears it, settles what it finishes, begins nothing more, and ends the run."""
    made, other = flow(work.pipeline, home=tmp_path), flow(home=tmp_path, actor="bob")
    asked = []

    def act(ctx):
        asked.append(other.cancel(ctx.run_id, reason="late"))
        asked.append(other.cancel(ctx.run_id, reason="again"))
        made._deployment._heartbeat.tick()

    work.act = act
    result = made.run()
    names = [event.name for event in made.events(run_id=result.run_id)]
    (run,) = made.runs()

    assert [(record.status, record.cancel_requested_at is not None) for record in asked] == [("running", True)] * 2
    assert work.ran == ["first", "second"]
    assert (result.status, result.ok, [step.asset for step in result.cancelled]) == ("cancelled", False, ["third"])
    assert [step.asset for step in result.materialized] == ["first", "second"]
    assert run.outcome == {"success": 2, "reused": 0, "failed": 0, "skipped": 0, "cancelled": 1}
    assert names.count("flowstone.run.cancel_requested") == 1
    assert names[-1] == "flowstone.run.stop"
    assert faults(made) == []
    with pytest.raises(RunFailedError, match="ended cancelled: 0 failed, 0 skipped, 1 cancelled"):
        result.raise_if_failed()


def test_an_interrupted_attempt_of_a_cancelled_run_is_final(flow, work, tmp_path):
    """An attempt that a cancel interrupts ends as cancelled with its step, and nobody is told that it will be tried again."""
    made, other = flow(work.pipeline, home=tmp_path), flow(home=tmp_path, actor="bob")

    def act(ctx):
        other.cancel(ctx.run_id)
        made._deployment._heartbeat.tick()
        raise KeyboardInterrupt  # as an application's own interrupt does

    work.act = act
    result = made.run()
    (ended,) = made.events(run_id=result.run_id, names=["flowstone.materialization.exception"])

    assert [(a.asset, a.status) for a in made.show(result.run_id).attempts] == [("first", "success"), ("second", "cancelled")]
    assert of_materializations(made, result.run_id)[1] == ("second", "cancelled", "cancelled", "cancelled by bob")
    assert (ended.payload["kind"], ended.payload["final"]) == ("cancelled", True)
    assert [step.asset for step in result.cancelled] == ["second", "third"]
    assert made.errors() == []
    assert faults(made) == []


def test_a_run_that_waits_for_a_retry_is_cancelled_without_waiting_for_it(flow, work, tmp_path):
    """A delay of a minute does not delay the end."""
    made, other = flow(work.pipeline, home=tmp_path), flow(home=tmp_path)
    failing = threading.Event()

    def act(ctx):
        failing.set()
        raise ValueError

    work.act = act
    results = []
    worker = threading.Thread(target=lambda: results.append(made.run()))
    worker.start()
    failing.wait(30)
    record = other.cancel(made.runs()[0].id, wait=30)
    worker.join(30)

    assert record.status == "cancelled"
    assert [result.status for result in results] == ["cancelled"]
    assert [m[:2] for m in of_materializations(made, record.id)] == [("first", "success"), ("second", "cancelled")]
    assert faults(made) == []


def test_a_cancel_that_comes_too_late_changes_nothing(flow, work, tmp_path):
    """The process ends the run before it looks again: one ending, and who asked is told which."""
    made, other = flow(work.pipeline, home=tmp_path), flow(home=tmp_path)
    made._deployment.services()
    made._deployment._heartbeat.stop()
    answers = []
    ended = threading.Event()

    def ask(run_id):
        try:
            answers.append(other.cancel(run_id, wait=30))
        except UsageError as refused:
            answers.append(refused.message)

    def act(ctx):
        asker = threading.Thread(target=ask, args=(ctx.run_id,))
        asker.start()
        while not made.runs()[0].cancel_requested_at:
            ended.wait(0.01)
        askers.append(asker)

    askers = []
    work.act = act
    result = made.run()
    askers[0].join(30)

    assert result.ok
    assert answers == [f"{result.run_id} ended success before it could be cancelled"]
    assert [event.payload["outcome"] for event in made.events(names=["flowstone.run.stop"])] == ["success"]


def test_a_run_of_a_dead_process_is_settled_and_cancelled(flow, work, tmp_path):
    """Its attempt ends as lost, the run ends as cancelled, in one command."""
    made, other = flow(work.pipeline, home=tmp_path), flow(home=tmp_path)
    seen = []

    def act(ctx):
        for lock in (tmp_path / "processes").glob("*.lock"):
            lock.unlink()  # as if the process had died
        seen.append(other.cancel(ctx.run_id))
        raise KeyboardInterrupt

    work.act = act
    with pytest.raises(RecordError, match="no longer this process's"):
        made.run()
    (run,) = made.runs()

    assert [record.status for record in seen] == ["cancelled"]
    assert run.status == "cancelled"
    assert [(a.asset, a.status) for a in made.show(run.id).attempts] == [("first", "success"), ("second", "lost")]
    assert faults(made) == []


def test_a_cancel_outlives_the_process_that_was_asked(flow, work, tmp_path):
    """A process is asked to end its run and is interrupted, or dies, before it looks: the run ends cancelled all the same."""
    made, other = flow(work.pipeline, home=tmp_path), flow(home=tmp_path, actor="bob")

    def interrupted(ctx):
        other.cancel(ctx.run_id)
        raise KeyboardInterrupt

    def dies(ctx):
        other.cancel(ctx.run_id)
        for lock in (tmp_path / "processes").glob("*.lock"):
            lock.unlink()
        other._deployment.services()

    made._deployment.services()
    made._deployment._heartbeat.stop()
    for act in (interrupted, dies):
        work.act = act
        with pytest.raises((KeyboardInterrupt, RecordError)) as stopped:
            made.run(force=True)
        assert not hasattr(stopped.value, "run_id")  # nothing waits to be resumed

    assert [run.status for run in made.runs()] == ["cancelled", "cancelled"]
    assert {of_materializations(made, run.id)[1][3] for run in made.runs()} == {"cancelled by bob"}
    assert faults(made) == []


def test_one_of_many_cancels_wins(flow, work, tmp_path):
    """Two who cancel a waiting run at once: one ending, one request, and no error for the other but a clear one."""
    made = flow(work.pipeline, home=tmp_path)
    run_id = waiting(work, made)
    others = [flow(home=tmp_path, actor=f"actor{n}") for n in range(4)]
    together, answers = threading.Barrier(len(others)), []

    def ask(other):
        together.wait()
        try:
            answers.append(other.cancel(run_id).status)
        except UsageError as refused:
            answers.append(refused.message)

    threads = [threading.Thread(target=ask, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    names = [event.name for event in made.events(run_id=run_id)]

    assert sorted(answers) == ["cancelled"] + [f"{run_id} ended cancelled: there is nothing to cancel"] * 3
    assert (names.count("flowstone.run.cancel_requested"), names.count("flowstone.run.stop")) == (1, 1)


# -- stop ----------------------------------------------------------------------------------------------------------------


def test_a_stopped_flow_begins_nothing_more(flow, work, flowstone_clock):
    """What runs may finish, what has not begun waits with the run, and the result says so."""
    made = flow(work.pipeline, clock=flowstone_clock)
    work.act = lambda ctx: made.stop(grace=10)
    result = made.run()
    (run,) = made.runs()

    assert work.ran == ["first", "second"]
    assert (result.status, result.ok, [step.asset for step in result.waiting]) == ("waiting", False, ["third"])
    assert (run.status, run.outcome) == ("waiting", {"reason": "stopped"})
    assert result.raise_if_failed() is result


def test_a_stop_after_the_last_step_is_no_stop(flow, work):
    """A run whose last step finishes within the grace ends as it would have."""
    made = flow(work.pipeline)
    work.act = lambda ctx: made.stop(grace=10)

    assert made.run(["second"]).status == "success"


# -- if_running ------------------------------------------------------------------------------------------------------------


def test_a_run_of_the_same_targets_can_be_skipped_or_refused(flow, work, tmp_path):
    """``skip`` begins nothing and names the run that works on it, ``fail`` raises with its name; other targets are free."""
    made, other = flow(work.pipeline, home=tmp_path), flow(work.pipeline, home=tmp_path)
    seen = {}

    def act(ctx):
        seen["skipped"] = other.run("third", if_running="skip")
        with pytest.raises(UsageError, match=f"{ctx.run_id} is being worked on and has one of these targets"):
            other.run(if_running="fail")

    work.act = act
    result = made.run()
    after = other.run(if_running="fail")

    assert (seen["skipped"].status, seen["skipped"].run_id, seen["skipped"].ok) == ("skipped", result.run_id, False)
    assert seen["skipped"].raise_if_failed() is seen["skipped"]
    assert after.ok
    assert [run.id for run in made.runs()] == [after.run_id, result.run_id]


def test_other_targets_are_free(flow, work, tmp_path):
    """A run whose plan has none of the targets is not in the way, whatever it works on."""
    aside = Pipeline("aside", [asset(lambda: 1, name="aside")])
    made, other = flow(work.pipeline, home=tmp_path), flow(aside, home=tmp_path)
    seen = []
    work.act = lambda ctx: seen.append(other.run(if_running="fail").status)

    assert made.run().ok
    assert seen == ["success"]


def test_a_dead_process_is_not_in_the_way(flow, work, tmp_path):
    """A run that its process left is not being worked on."""
    made = flow(work.pipeline, home=tmp_path)
    left = waiting(work, made)
    dead = flow(work.pipeline, home=tmp_path)
    services = dead._deployment.services()
    with services.database.transaction() as tx:
        processes.stand(tx, services.process, services.database.now())
        assert runs.move(tx, left, "waiting", "running", process=services.process)
    dead._deployment.locks.release()
    work.act = lambda ctx: None

    assert made.run(if_running="fail").ok
    assert [run.status for run in made.runs()] == ["success", "waiting"]


def test_an_unknown_word_is_refused(flow, work):
    """``if_running`` has three words, and a wrong one begins nothing."""
    made = flow(work.pipeline)

    with pytest.raises(UsageError, match="if_running='never' is not known"):
        made.run(if_running="never")
    assert made.runs() == []
