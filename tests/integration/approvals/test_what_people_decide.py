"""A decision is about exactly what was asked: other bytes void it, policies say who and how many, the same one counts once."""

from __future__ import annotations

import dataclasses
import getpass
import shutil

import pytest

from flowstone import Approval, FlowStone, Pipeline, asset
from flowstone.foundation.errors import AlreadyDecidedError, ApprovalError, CandidateChangedError, CorruptOutputError, UsageError
from flowstone.stores import outputs


def pending(flow):
    """The one open request."""
    (asked,) = flow.approvals.requests()
    return asked


def waiting(office, targets=None, **policy):
    """A run that waits: Ann's FlowStone, Bob's, the run and the request."""
    gate = Approval("Publish?", **policy)
    ann, bob = office.person("ann", office.pipeline(gate)), office.person("bob")
    run_id = ann.run(targets).run_id
    return ann, bob, run_id, pending(bob).id


def file_of(office):
    """The candidate's file."""
    (found,) = (office.home / "outputs").rglob("*bom*/**/*.json")
    return found


def test_changed_bytes_are_never_approved(office, told, holds, audited):
    """The attempt voids the request and says so; the step is computed and asked about again."""
    ann, bob, run_id, id = waiting(office)
    file_of(office).write_text('{"a": 666}')
    with pytest.raises(CandidateChangedError, match="not those that people were asked about"):
        bob.approvals.approve(id, "fine")

    assert (bob.approvals.find(id).status, bob.approvals.votes(id)) == ("invalidated", [])
    assert not ann.exists("bom")
    assert ann.resume(run_id).status == "waiting"
    assert office.calls.count("bom") == 2
    bob.approvals.approve(pending(bob).id, "fine")
    assert ann.get("bom") == {"a": 1}
    assert [audited(ann, f"approval.{status}") for status in ("invalidated", "approved")] == [1, 1]
    holds(ann)


def test_somebody_who_may_not_decide_voids_nothing(office):
    """Who is not asked is refused, whatever has become of the bytes."""
    _ann, bob, _run_id, id = waiting(office, approvers=["bob"])
    file_of(office).unlink()
    with pytest.raises(ApprovalError, match="carol is not asked"):
        office.person("carol").approvals.approve(id, "fine")
    assert pending(bob).id == id


@pytest.mark.parametrize("gone", ["file", "folder"])
def test_bytes_that_are_gone_are_not_approved(office, gone):
    """Where the candidate was stored, its absence is seen, though its whole folder went."""
    _ann, bob, _run_id, id = waiting(office)
    file_of(office).unlink() if gone == "file" else shutil.rmtree(office.home / "outputs")
    with pytest.raises(CandidateChangedError, match="gone"):
        bob.approvals.approve(id, "fine")


def test_a_machine_without_the_bytes_can_decide(office, tmp_path, monkeypatch):
    """Another machine, whose own folder has nothing of the asset, decides upon what was stored with the request."""
    ann, bob, _run_id, id = waiting(office)
    settings = bob.settings
    elsewhere = dataclasses.replace(settings, outputs=dataclasses.replace(settings.outputs, path=tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    with FlowStone(settings=elsewhere, actor="carol", clock=office.clock) as carol:
        assert carol.approvals.approve(id, "from afar").approval.status == "approved"
    assert ann.get("bom") == {"a": 1}


def test_bytes_that_change_after_the_decision_are_not_handed_out(office):
    """The digest that was approved is checked when the value is loaded."""
    ann, bob, _run_id, id = waiting(office)
    bob.approvals.approve(id, "fine")
    file_of(office).write_text('{"a": 666}')
    with pytest.raises(CorruptOutputError):
        ann.get("bom")


def test_a_candidate_older_than_the_current_output_needs_a_word_more(office, told):
    """Approving it would put back the clock: it is refused, and done with ``older``."""
    ann, bob, _run_id, id = waiting(office, ["bom"])
    (candidate,) = [o.output for o in ann.outputs("bom", which="all")]
    services = ann._deployment.services()
    newer = another(candidate)
    with services.database.transaction() as tx:  # as a run of code without the gate leaves it
        outputs.add(tx, {**newer, "project": "test"})
        outputs.point(tx, "test", "bom", "", newer["id"])
    with pytest.raises(ApprovalError, match="a newer version of bom"):
        bob.approvals.approve(id, "fine")
    assert bob.approvals.approve(id, "all the same", older=True).approval.status == "approved"


def another(record):
    """The columns of another version of an output."""
    return {**{name: getattr(record, name) for name in record.__struct_fields__}, "id": "out_newer"}


# -- invalidate_on ---------------------------------------------------------------------------------------------------------


def changing(office, watched):
    """A gate that watches *watched*, a run that waits at it, and what changes code, config or inputs."""
    world = {"version": "1"}

    def pipeline(code):
        @asset(source=True, version=lambda: world["version"])
        def feed() -> str:
            return world["version"]

        @asset(approval=Approval("Publish?", invalidate_on=watched), code_version=code, config={"rate": 1})
        def bill(feed: str, config) -> str:
            return f"{feed} {config['rate']}"

        return Pipeline("p", [feed, bill])

    ann = office.person("ann", pipeline("1"))
    ann.run()
    return ann, world, pipeline


def change(office, what, world, pipeline):
    """Change the code, the config or the inputs, as the next run sees it; return who decides then."""
    if what == "inputs":
        world["version"] = "2"
        office.person("ann", pipeline("1")).run("feed")
    if what == "code":
        office.person("ann", pipeline("2")).run("feed")
    return office.person("bob", config={"rate": 2} if what == "config" else {})


@pytest.mark.parametrize("what", ["code", "config", "inputs"])
def test_what_the_policy_watches_voids_the_request(office, what):
    """A change of what is named in ``invalidate_on`` makes the request void when it is approved."""
    ann, world, pipeline = changing(office, [what])
    id = pending(ann).id
    bob = change(office, what, world, pipeline)
    with pytest.raises(CandidateChangedError, match=r"has changed|another current value"):
        bob.approvals.approve(id, "fine")


@pytest.mark.parametrize("what", ["code", "config", "inputs"])
def test_what_it_does_not_watch_leaves_the_candidate_as_good_as_it_was(office, what):
    """Without ``invalidate_on`` the bytes that were asked about are published."""
    ann, world, pipeline = changing(office, [])
    id = pending(ann).id
    bob = change(office, what, world, pipeline)
    assert bob.approvals.approve(id, "fine").approval.status == "approved"
    assert ann.get("bill") == "1 1"


# -- who, and how many -----------------------------------------------------------------------------------------------------


def test_the_same_decision_counts_once(office, audited):
    """Repeated under its id it answers what was stored, also after the end; another id, or another verdict, is too late."""
    ann, bob, _run_id, id = waiting(office)
    first = bob.approvals.approve(id, "fine", decision="d1")
    again = bob.approvals.approve(id, "fine", decision="d1")

    assert (again.again, again.vote, again.approval.status) == (True, first.vote, "approved")
    assert (audited(ann, "approval.approved"), len(bob.approvals.votes(id))) == (1, 1)
    for decide, decision in ((bob.approvals.approve, "d2"), (bob.approvals.reject, "d1")):
        with pytest.raises(AlreadyDecidedError):
            decide(id, "fine", decision=decision)
    assert audited(ann, "approval.refused") == 2


def test_a_quorum_counts_people_and_not_votes(office, holds, audited):
    """One person cannot say yes twice; with the second one the value is published."""
    ann, bob, _run_id, id = waiting(office, quorum=2)
    assert bob.approvals.approve(id, "one").approval.status == "pending"
    with pytest.raises(ApprovalError, match="bob has voted already"):
        bob.approvals.approve(id, "and again")
    assert not ann.exists("bom")
    done = office.person("carol").approvals.approve(id, "two")

    assert (done.approval.status, [vote.voter for vote in ann.approvals.votes(id)]) == ("approved", ["bob", "carol"])
    assert (audited(ann, "approval.voted"), audited(ann, "approval.approved")) == (1, 1)
    holds(ann)


def test_one_no_decides(office):
    """After a yes of two, a no refuses the value."""
    _ann, bob, _run_id, id = waiting(office, quorum=2)
    bob.approvals.approve(id, "one")
    assert office.person("carol").approvals.reject(id, "no").approval.status == "rejected"


def test_who_requested_the_run_may_not_approve_it(office, audited):
    """Four eyes: the attempt is refused and audited, and nothing has changed."""
    ann, bob, _run_id, id = waiting(office)
    with pytest.raises(ApprovalError, match="ann requested this run") as refused:
        ann.approvals.approve(id, "mine")
    assert (refused.value.context["reason"], audited(ann, "approval.refused")) == ("four_eyes", 1)
    assert len(ann.events(names=["flowstone.checkpoint.refused"])) == 1
    assert pending(bob).version == 1


def test_a_machine_decides_nothing(office):
    """A name that is set to be no person may not say yes or no, not even where nobody is named who may."""
    _ann, bob, _run_id, id = waiting(office)
    robot = office.person("cron")
    for decide in (robot.approvals.approve, robot.approvals.reject):
        with pytest.raises(ApprovalError, match="cron is no person here") as refused:
            decide(id, "fine")
        assert refused.value.context["reason"] == "machine"
    assert pending(bob).version == 1
    with pytest.raises(UsageError, match="2 must approve, and 1 can: bob"):
        office.person("ann", office.pipeline(Approval("Publish?", ["bob", "cron"], quorum=2))).run()


def test_an_asserted_name_is_no_proof_of_who_decides(office):
    """Where words are not enough for the deployment, who only says who they are is refused."""
    _ann, _bob, _run_id, id = waiting(office)
    with pytest.raises(ApprovalError, match=r"bob .asserted. is not known well enough"):
        office.person("bob", approvals={"allow_asserted": False}).approvals.approve(id, "fine")


def test_a_question_is_not_taken_back_by_somebody_who_only_says_they_asked(office):
    """Who requested the run as the system's user is not believed in a mere word."""
    gate = Approval("Publish?", approvers=["bob"])
    owner = office.person(None, office.pipeline(gate))
    owner.run()
    liar = office.person(getpass.getuser(), approvals={"allow_asserted": False})
    with pytest.raises(ApprovalError):
        liar.approvals.cancel(pending(owner).id, "never mind")
    assert owner.approvals.cancel(pending(owner).id, "never mind").approval.status == "cancelled"
