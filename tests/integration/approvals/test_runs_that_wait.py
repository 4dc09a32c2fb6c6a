"""A run that asks people: what goes on meanwhile, what their answer means for it, for what depends on it, and for other runs."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from flowstone import Approval, Pipeline, Static, asset
from flowstone.foundation.errors import AlreadyDecidedError, MissingOutputError, UsageError

ASK = Approval("Publish?")


def pending(flow):
    """The one open request."""
    (asked,) = flow.approvals.requests()
    return asked


def test_an_approved_candidate_is_published_as_it_was_stored(office, told, holds, audited):
    """Independent branches go on; a yes makes the stored bytes current without computing them again, and the run goes on."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    first = ann.run()

    assert (first.status, first.asks) == ("waiting", True)
    assert sorted(office.calls) == ["bom", "raw", "side"]
    assert told(ann, first.run_id) == {"raw": ("success", ""), "side": ("success", ""), "bom": ("waiting", "")}
    with pytest.raises(MissingOutputError):
        bob.get("bom")

    asked = pending(bob)
    done = bob.approvals.approve(asked.id, "fine")
    assert (done.approval.status, done.approval.decided_by) == ("approved", "bob")
    assert bob.get("bom") == {"a": 1}
    assert ann.approvals.runs_to_go_on() == [first.run_id]
    again = ann.resume(first.run_id)
    assert again.status == "success"
    assert sorted(office.calls) == ["bom", "note", "raw", "side"]
    assert ann.get("note") == "note of {'a': 1}"
    assert [audited(ann, action) for action in ("approval.requested", "approval.approved")] == [1, 1]
    holds(ann)


def test_a_no_skips_what_depends_on_it_and_ends_the_run(office, told, holds):
    """Nobody resumes the run: the decision ends it, with the reason in each step that does not run."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    run_id = ann.run().run_id
    bob.approvals.reject(pending(bob).id, "wrong figures")

    found = told(ann, run_id)
    assert (found["bom"], found["note"]) == (("rejected", "rejected"), ("skipped", "rejected"))
    (run,) = ann.runs()
    assert (run.status, run.outcome) == ("partial", {"success": 2, "reused": 0, "failed": 1, "skipped": 1})
    assert next(m.message for m in ann.show(run_id).materializations if m.asset == "note") == "bom was rejected: wrong figures"
    with pytest.raises(MissingOutputError):
        ann.get("bom")
    with pytest.raises(UsageError, match="only a waiting run"):
        ann.resume(run_id)
    holds(ann)


def test_a_run_whose_targets_are_all_refused_has_failed(office):
    """With nothing that was asked for there, the run is failed and not partial."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    ann.run("note")
    bob.approvals.reject(pending(bob).id, "no")

    assert ann.runs()[0].status == "failed"


def test_an_optional_dependency_that_was_refused_gets_its_default(office, told):
    """The step is run with its default when the run is resumed: the refusal alone does not end the run."""

    @asset(approval=ASK)
    def draft() -> int:
        return 1

    @asset
    def report(draft: int = 7) -> int:
        return draft

    ann, bob = office.person("ann", Pipeline("p", [draft, report])), office.person("bob")
    run_id = ann.run().run_id
    bob.approvals.reject(pending(bob).id, "no")
    assert ann.runs()[0].status == "waiting"
    assert ann.resume(run_id).status == "partial"
    assert ann.get("report") == 7


def test_a_run_that_waits_goes_on_in_its_process(tmp_path, office, told):
    """With ``wait`` the process that asked takes in the answer itself; nobody has to resume anything."""
    office.clock = None
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    done: list[Any] = []
    working = threading.Thread(target=lambda: done.append(ann.run(wait=60)))
    working.start()
    while not (bob.runs() if not bob._deployment.is_new() else []) or not bob.approvals.requests():
        working.join(0.02)
        assert working.is_alive()
    bob.approvals.approve(pending(bob).id, "fine")
    working.join(60)

    assert done[0].status == "success"
    assert office.calls.count("bom") == 1
    assert bob.events(names=["flowstone.run.suspended"]) == []


def test_a_tick_goes_on_with_what_was_decided_once(office):
    """A tick with the code at hand resumes the run, and the next tick finds nothing to do."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    run_id = ann.run().run_id
    assert "none waits" in next(duty.text for duty in ann.tick().duties if duty.name == "runs")
    bob.approvals.approve(pending(bob).id, "fine")
    (did,) = [duty.text for duty in ann.tick().duties if duty.name == "runs"]
    (again,) = [duty.text for duty in ann.tick().duties if duty.name == "runs"]

    assert did == f"{run_id} success"
    assert "none waits" in again
    assert len(ann.events(names=["flowstone.run.resumed"])) == 1


def test_a_tick_tells_of_what_cannot_go_on_here(office):
    """A run that is refused here is told of and stays to be resumed; what else the tick has to do is done."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    run_id = ann.run().run_id
    bob.approvals.approve(pending(bob).id, "fine")
    strict = office.person("cron", office.pipeline(), approvals={"allow_asserted": False})
    (did,) = [duty for duty in strict.tick().duties if duty.name == "runs"]

    assert (did.ok, did.text.partition(" wants four eyes")[0]) == (True, f"{run_id}: asset 'bom'")
    assert ann.resume(run_id).status == "success"


def test_cancelling_a_run_takes_its_question_back(office, told, holds, audited):
    """The request is cancelled with the run; a late answer is told so."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    run_id = ann.run().run_id
    asked = pending(bob)
    ann.cancel(run_id, reason="not today")

    assert bob.approvals.find(asked.id).status == "cancelled"
    assert told(ann, run_id)["bom"] == ("cancelled", "cancelled")
    with pytest.raises(AlreadyDecidedError, match="cancelled"):
        bob.approvals.approve(asked.id, "fine")
    assert audited(ann, "approval.cancelled") == 1
    holds(ann)


def test_a_question_that_is_taken_back_ends_its_step(office, told, holds):
    """Who requested the run may cancel the request: the step is cancelled, what depends on it skipped, the run ended."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    run_id = ann.run().run_id
    ann.approvals.cancel(pending(bob).id, "a mistake")

    found = told(ann, run_id)
    assert (found["bom"], found["note"]) == (("cancelled", "cancelled"), ("skipped", "upstream_failed"))
    assert ann.runs()[0].status == "partial"
    holds(ann)


# -- other runs ------------------------------------------------------------------------------------------------------------


def test_another_run_waits_for_the_same_candidate_and_takes_it(office, told, holds):
    """It computes nothing; once people agree, both runs go on with the one value that was asked about."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    first, second = ann.run().run_id, ann.run().run_id
    assert office.calls.count("bom") == 1
    assert told(ann, second)["bom"] == ("waiting", "candidate")
    bob.approvals.approve(pending(bob).id, "fine")

    assert told(ann, second)["bom"] == ("reused", "")
    assert [ann.resume(run).status for run in (second, first)] == ["success", "success"]
    assert office.calls.count("bom") == 1
    holds(ann)


def test_a_refusal_is_one_for_every_run_that_waits_for_it(office, told):
    """The other run ends as the first one does, without computing what was refused."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    first, second = ann.run("note").run_id, ann.run("note").run_id
    bob.approvals.reject(pending(bob).id, "no")

    assert [run.status for run in ann.runs()] == ["failed", "failed"]
    assert told(ann, second)["bom"] == told(ann, first)["bom"] == ("rejected", "rejected")


def test_a_forced_run_asks_anew_and_the_older_one_waits_for_its_candidate(office, told, holds):
    """The newer candidate makes the older request void; the older run does not compute again and void the newer one."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    office.clock.advance(1)
    first = ann.run("note", force=True).run_id
    older = pending(bob)
    office.clock.advance(1)
    office.value = {"a": 2}
    second = ann.run(["bom", "note"], force=True).run_id
    newer = pending(bob)

    assert bob.approvals.find(older.id).status == "invalidated"
    assert "took its place" in bob.approvals.find(older.id).reason
    assert ann.resume(first).status == "waiting"
    assert [pending(bob).id, office.calls.count("bom")] == [newer.id, 2]
    bob.approvals.approve(newer.id, "fine")
    assert {ann.resume(run).status for run in (first, second)} == {"success"}
    assert office.calls.count("bom") == 2
    assert ann.get("bom") == {"a": 2}
    holds(ann)


def test_an_approval_that_came_too_early_for_a_reuse_is_found_when_it_is_there(office):
    """A run that begins after the approval reuses what was approved, without asking."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    run_id = ann.run().run_id
    bob.approvals.approve(pending(bob).id, "fine")
    ann.resume(run_id)

    assert {step.action for step in ann.preview()} == {"reuse"}
    assert ann.run().status == "success"
    assert office.calls.count("bom") == 1


# -- before ----------------------------------------------------------------------------------------------------------------


def test_a_gate_before_computes_only_what_was_allowed(office, told, holds):
    """Nothing is computed before the yes; afterwards it is, once, and a failure is retried without asking again."""
    tries: list[int] = []

    @asset(approval=Approval("Compute?", when="before"), retries=2)
    def bill() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError("the first time")
        return 3

    ann, bob = office.person("ann", Pipeline("p", [bill])), office.person("bob")
    first = ann.run()
    assert (first.status, tries) == ("waiting", [])
    asked = pending(bob)
    assert (asked.kind, asked.output, ann.show(first.run_id).attempts) == ("before", "", [])
    bob.approvals.approve(asked.id, "go")
    assert ann.resume(first.run_id).status == "success"
    assert (ann.get("bill"), len(tries), bob.approvals.requests()) == (3, 2, [])
    holds(ann)


def test_a_gate_before_asks_again_for_other_inputs(office):
    """The yes is about what would go in: a computation from other inputs is another question."""
    version = ["1"]

    @asset(source=True, version=lambda: version[0])
    def feed() -> str:
        return version[0]

    @asset(approval=Approval("Compute?", when="before"))
    def bill(feed: str) -> str:
        return f"bill of {feed}"

    ann, bob = office.person("ann", Pipeline("p", [feed, bill])), office.person("bob")
    run_id = ann.run().run_id
    bob.approvals.approve(pending(bob).id, "go")
    assert ann.resume(run_id).status == "success"
    version[0] = "2"
    assert ann.run().status == "waiting"
    assert ann.get("bill") == "bill of 1"


def test_a_second_run_waits_for_the_same_permission(office):
    """Two runs that would compute the same ask once; the yes is one for both, and it is computed once."""
    made: list[int] = []

    @asset(approval=Approval("Compute?", when="before"))
    def bill() -> int:
        made.append(1)
        return 3

    ann, bob = office.person("ann", Pipeline("p", [bill])), office.person("bob")
    first, second = ann.run().run_id, ann.run().run_id
    bob.approvals.approve(pending(bob).id, "go")

    assert ann.resume(second).status == "success"
    assert ann.resume(first).status == "success"
    assert (len(made), bob.approvals.requests()) == (1, [])


# -- partitions ------------------------------------------------------------------------------------------------------------


def test_each_partition_is_a_question_of_its_own(office):
    """Deciding about one partition leaves the other one waiting."""

    @asset(partitions=Static(["a", "b"]), approval=ASK)
    def part(ctx) -> str:
        return f"of {ctx.partition}"

    ann, bob = office.person("ann", Pipeline("p", [part])), office.person("bob")
    runs = {key: ann.run(partition=key).run_id for key in ("a", "b")}
    asked = {one.run_id: one.id for one in bob.approvals.requests()}
    bob.approvals.approve(asked[runs["a"]], "fine")
    bob.approvals.reject(asked[runs["b"]], "no")

    assert ann.get("part", partition="a") == "of a"
    assert not ann.exists("part", partition="b")
    assert {run.id: run.status for run in ann.runs()} == {runs["a"]: "success", runs["b"]: "failed"}
