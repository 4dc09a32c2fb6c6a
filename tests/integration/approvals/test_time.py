"""Deadlines are facts in the store: whoever comes first finds them, though nothing ran when they passed, and each is met once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone import Approval, Pipeline, asset
from flowstone.foundation.errors import AlreadyDecidedError, ApprovalError, MissingOutputError

DAY = timedelta(days=1)


def pending(flow):
    """The one open request."""
    (asked,) = flow.approvals.requests()
    return asked


def waiting(office, **policy):
    """A run that waits for people, who have a day: Ann's FlowStone, Bob's, the run and the request."""
    gate = Approval("Publish?", timeout=DAY, **policy)
    ann, bob = office.person("ann", office.pipeline(gate)), office.person("bob")
    run_id = ann.run("note").run_id
    return ann, bob, run_id, pending(bob).id


def told_of(flow, name):
    """How many events there are of a kind of ``flowstone.checkpoint``."""
    return len(flow.events(names=[f"flowstone.checkpoint.{name}"]))


def too_late(flow, id):
    """Somebody says yes when the time is up."""
    with pytest.raises(AlreadyDecidedError, match="has expired"):
        flow.approvals.approve(id, "fine")


FINDERS = {
    "tick": lambda ann, bob, run_id, id: bob.tick(),
    "another run": lambda ann, bob, run_id, id: ann.run("side"),
    "resume": lambda ann, bob, run_id, id: ann.resume(run_id),
    "a person": lambda ann, bob, run_id, id: too_late(bob, id),
}


@pytest.mark.parametrize("finder", FINDERS)
def test_whoever_comes_first_after_the_deadline_finds_it_passed(office, told, holds, audited, finder):
    """Nothing ran meanwhile: the request expires once, what depends on it is skipped, the run has ended."""
    ann, bob, run_id, id = waiting(office)
    office.clock.advance(2 * DAY)
    FINDERS[finder](ann, bob, run_id, id)
    bob.tick()

    asked = bob.approvals.find(id)
    assert (asked.status, asked.decided_by, asked.reason) == ("expired", "flowstone", "nobody decided in time")
    assert (told_of(ann, "timeout"), told_of(ann, "reminded"), audited(ann, "approval.expired")) == (1, 0, 1)
    assert {name: told(ann, run_id)[name] for name in ("bom", "note")} == {
        "bom": ("expired", "expired"), "note": ("skipped", "expired"),
    }  # fmt: skip
    assert next(run.status for run in ann.runs() if run.id == run_id) == "failed"
    with pytest.raises(MissingOutputError):
        ann.get("bom")
    holds(ann)


def test_a_person_may_decide_until_the_deadline_and_not_after(office, holds):
    """A nanosecond's worth before it they win; at it the deadline does, and says so."""
    ann, bob, _run_id, id = waiting(office)
    office.clock.advance(DAY - timedelta(microseconds=1))
    assert bob.approvals.approve(id, "just in time").approval.status == "approved"

    later = ann.run("note", force=True)
    assert later.status == "success"
    ann.run(["bom"], force=True)
    other = pending(bob).id
    office.clock.advance(DAY)
    with pytest.raises(AlreadyDecidedError, match=r"it has expired \d\d \w{3} \d{4}"):
        bob.approvals.approve(other, "too late")
    assert told_of(ann, "refused") == 1
    holds(ann)


def test_people_are_reminded_once_when_half_the_time_is_over(office):
    """Ticks before and after remind nobody again; the reminder names the deadline."""
    ann, bob, _run_id, id = waiting(office)
    for share, reminded in ((0.4, 0), (0.6, 1), (0.9, 1)):
        office.clock.set(office.clock.now.replace(hour=12) if share == 0.4 else office.clock.now)
        office.clock.advance(DAY * 0.4 if share == 0.4 else DAY * 0.2 if share == 0.6 else DAY * 0.3)
        bob.tick()
        assert told_of(ann, "reminded") == reminded
    assert bob.approvals.find(id).status == "pending"


def test_remind_goes_on_for_as_long_as_nobody_decides(office, audited, holds):
    """Each time the time is up there is as much of it again; a person can decide at any time, though nothing has ticked."""
    ann, bob, run_id, id = waiting(office, on_timeout="remind")
    for _ in range(3):
        office.clock.advance(1.1 * DAY)
        bob.tick()
        assert bob.approvals.find(id).status == "pending"
    assert (bob.approvals.find(id).reminders, audited(ann, "approval.reminded")) == (3, 3)

    office.clock.advance(5 * DAY)
    assert bob.approvals.approve(id, "at last").approval.status == "approved"
    assert ann.resume(run_id).status == "success"
    holds(ann)


def test_others_are_asked_when_the_first_have_not_decided(office, audited, holds):
    """Who was not asked at first may decide after the deadline; when it passes again, the request expires."""
    ann, bob, _run_id, id = waiting(office, approvers=["bob"], on_timeout="escalate", escalate_to=["carol"])
    carol = office.person("carol")
    with pytest.raises(ApprovalError, match="carol is not asked"):
        carol.approvals.approve(id, "let me")
    office.clock.advance(1.5 * DAY)
    bob.tick()
    assert (told_of(ann, "escalated"), audited(ann, "approval.escalated")) == (1, 1)
    assert carol.approvals.approve(id, "for bob").approval.status == "approved"

    ann.run(["bom"], force=True)
    other = pending(bob).id
    for _ in range(3):
        office.clock.advance(1.5 * DAY)
        bob.tick()
    assert bob.approvals.find(other).status == "expired"
    assert told_of(ann, "escalated") == 2
    holds(ann)


def test_everybody_who_was_asked_may_still_decide_when_others_are_asked_too(office):
    """Without approvers anybody may decide; asking others as well takes that from nobody."""
    ann, bob, _run_id, id = waiting(office, on_timeout="escalate", escalate_to=["carol"])
    office.clock.advance(1.5 * DAY)
    bob.tick()
    assert told_of(ann, "escalated") == 1
    assert bob.approvals.approve(id, "I may still").approval.status == "approved"


def test_approval_by_silence_is_said_to_be_that(office, holds, audited):
    """Where the policy takes silence for a yes, the act says so: no vote, by the clock, and the value is published once."""
    ann, bob, run_id, id = waiting(office, on_timeout="approve")
    office.clock.advance(2 * DAY)
    bob.tick()

    asked = bob.approvals.find(id)
    assert (asked.status, asked.decided_by, bob.approvals.votes(id)) == ("approved", "flowstone", [])
    (event,) = ann.events(names=["flowstone.checkpoint.approved"])
    assert (event.payload["by_timeout"], event.payload["votes"]) == (True, 0)
    assert (ann.get("bom"), ann.resume(run_id).status) == ({"a": 1}, "success")
    assert audited(ann, "approval.approved") == 1
    holds(ann)


def test_silence_publishes_no_bytes_that_have_changed(office):
    """What was tampered with is void at the deadline, though nobody has to look at it for a yes."""
    ann, bob, _run_id, id = waiting(office, on_timeout="approve")
    (file,) = (office.home / "outputs").rglob("*bom*/**/*.json")
    file.write_text('{"a": 666}')
    office.clock.advance(2 * DAY)
    bob.tick()

    assert bob.approvals.find(id).status == "invalidated"
    assert not ann.exists("bom")


def test_one_request_that_cannot_be_settled_holds_up_no_other(office, caplog):
    """Bytes that are there and cannot be read now are told of; the next request is settled all the same."""
    gate = Approval("Publish?", timeout=DAY, on_timeout="approve")

    @asset(approval=gate)
    def broken() -> int:
        return 1

    @asset(approval=gate)
    def sound() -> int:
        return 2

    ann = office.person("ann", Pipeline("p", [broken, sound]))
    ann.run()
    (file,) = (office.home / "outputs").rglob("*broken*/**/*.json")
    file.unlink()
    file.mkdir()  # reading it fails, and it is not gone
    office.clock.advance(2 * DAY)
    with caplog.at_level("WARNING"):
        assert all(duty.ok for duty in ann.tick().duties if duty.name == "approvals")

    assert "could not be settled" in caplog.text
    assert pending(ann).asset == "broken"
    assert ann.get("sound") == 2
