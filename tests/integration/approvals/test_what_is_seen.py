"""What waits for people is handed out by nothing and kept by everything, in every executor and wherever values are stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowstone import Approval, Pipeline, asset
from flowstone.app.backups import restore
from flowstone.app.repository import Commit
from flowstone.execution.run import Actor
from flowstone.foundation.errors import ApprovalError, MissingOutputError, UsageError, ValidationError
from flowstone.foundation.settings import RetentionSettings
from flowstone.testing import isolated_flow

ASK = Approval("Publish?")


def pending(flow):
    """The one open request."""
    (asked,) = flow.approvals.requests()
    return asked


def test_nothing_hands_out_a_candidate(office, tmp_path):
    """Beside an approved value a newer candidate waits: every question is answered with the approved one."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    first = ann.run().run_id
    bob.approvals.approve(pending(bob).id, "fine")
    ann.resume(first)
    office.value = {"a": 2}
    second = ann.run("bom", force=True).run_id

    assert (ann.get("bom"), ann.get("bom", run_id=first), bob.get("note")) == ({"a": 1}, {"a": 1}, "note of {'a': 1}")
    for ask in (ann.get, ann.get_bytes):
        with pytest.raises(MissingOutputError) as missing:
            ask("bom", run_id=second)
        assert "flowstone approvals show apr_" in missing.value.hint
    assert [version.current for version in ann.outputs("bom")] == [False, True]
    assert all(edge.run_id == first for edge in ann.lineage("note").outputs.values() if edge.asset == "bom")
    assert {condition.state for condition in ann.status()} == {"up to date"}
    third = ann.run(["side", "note"])
    assert (third.status, office.calls.count("note")) == ("success", 1)


def test_invalidating_the_current_value_leaves_the_question_open(office):
    """A withdrawn value is gone for now; approving the candidate makes that the current one."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    first = ann.run().run_id
    bob.approvals.approve(pending(bob).id, "fine")
    ann.resume(first)
    office.value = {"a": 2}
    ann.run("bom", force=True)
    assert ann.invalidate("bom")
    assert not ann.exists("bom")
    bob.approvals.approve(pending(bob).id, "fine")
    assert ann.get("bom") == {"a": 2}


def test_erasing_a_candidate_ends_the_question(office, told, holds, audited):
    """Nothing is left that people could approve: the request is void with the erasure, and the step is made again."""
    ann, bob = office.person("ann", office.pipeline()), office.person("bob")
    run_id = ann.run().run_id
    asked = pending(bob)
    ann.erase("bom", output=asked.output, reason="it names somebody")

    assert (bob.approvals.find(asked.id).status, bob.approvals.find(asked.id).reason) == (
        "invalidated", "the candidate was erased",
    )  # fmt: skip
    assert audited(ann, "approval.invalidated") == 1
    assert ann.resume(run_id).status == "waiting"
    assert pending(bob).output != asked.output
    holds(ann)


def test_approved_and_pending_versions_outlive_the_retention(office):
    """With one version kept, what was approved stays and can be read as of its run; refused candidates go."""
    keep = {"retention": RetentionSettings(outputs=1)}
    ann, bob = office.person("ann", office.pipeline(), replaced=keep), office.person("bob")
    approved = []
    for number, verdict in enumerate(["approve", "reject", "approve", "reject"]):
        office.value = {"a": number}
        run_id = ann.run("bom", force=True).run_id
        getattr(bob.approvals, verdict)(pending(bob).id, "said")
        if verdict == "approve":
            approved.append((run_id, number))
            assert next(run.status for run in ann.runs() if run.id == run_id) == "success"  # nothing was left to do
    office.value = {"a": 9}
    ann.run("bom", force=True)
    ann.prune()

    assert [version.output.gone for version in ann.outputs("bom", which="all")] == ["", "collected", "", "collected", ""]
    assert [ann.get("bom", run_id=run_id) for run_id, _ in approved] == [{"a": number} for _, number in approved]
    bob.approvals.approve(pending(bob).id, "fine")
    assert ann.get("bom") == {"a": 9}


def test_a_prune_keeps_what_open_requests_need(office, holds):
    """However old it is, an open request keeps its events, and can be decided afterwards."""
    keep = {"retention": RetentionSettings(outputs=1, events=1, logs=1, errors=1)}
    ann, bob = office.person("ann", office.pipeline(Approval("Publish?", timeout="90d")), replaced=keep), office.person("bob")
    run_id = ann.run().run_id
    office.clock.advance(40 * 86_400)
    ann.prune()

    assert len(ann.events(run_id=run_id, names=["flowstone.checkpoint.requested"])) == 1
    bob.approvals.approve(pending(bob).id, "fine")
    assert ann.resume(run_id).status == "success"
    holds(ann)


def test_requests_and_votes_come_back_with_a_backup(office, tmp_path, database_url):
    """A restored store has the open request and its votes; who voted cannot vote again, and the next yes decides."""
    ann, bob = office.person("ann", office.pipeline(Approval("Publish?", quorum=2))), office.person("bob")
    ann.run()
    asked = pending(bob)
    bob.approvals.approve(asked.id, "one")
    ann.backup(tmp_path / "copy.db", outputs=tmp_path / "outputs")
    with isolated_flow(home=tmp_path / "new", actor="carol", approvals={"allow_asserted": True}, clock=office.clock) as carol:
        how = {"folder": tmp_path / "outputs", "replace": False, "verify": True, "actor": Actor("carol", "asserted")}
        assert restore(carol._deployment, tmp_path / "copy.db", **how).ok
        with pytest.raises(ApprovalError, match="bob has voted already"):
            office.person("bob", home=tmp_path / "new", database_url=None).approvals.approve(asked.id, "again")
        assert [vote.voter for vote in carol.approvals.votes(asked.id)] == ["bob"]
        assert carol.approvals.approve(asked.id, "two").approval.status == "approved"
        assert carol.get("bom") == {"a": 1}


# -- what is computed where ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["inline", "thread"])
def test_a_gate_asks_in_whatever_lane_the_body_runs(tmp_path, executor):
    """Inline and in a thread, the value is held back and published as it was; in children see the killing tests."""

    @asset(approval=ASK)
    def value() -> str:
        return "made"

    @asset
    def after(value: str) -> str:
        return value

    allowed = {"approvals": {"allow_asserted": True}, "home": tmp_path}
    with (
        isolated_flow(Pipeline("p", [value, after]), actor="ann", **allowed) as ann,
        isolated_flow(actor="bob", **allowed) as bob,
    ):
        run_id = ann.run(executor=executor).run_id
        bob.approvals.approve(pending(bob).id, "fine")
        assert ann.resume(run_id).status == "success"


def one(tmp_path, *assets, **options):
    """A FlowStone of these assets that is asked by Ann."""
    given = {"home": tmp_path, "approvals": {"allow_asserted": True}, "actor": "ann", **options}
    return isolated_flow(Pipeline("p", list(assets)), **given)


def failure(flow):
    """How the one run's one step failed."""
    (error,) = flow.run().failed
    return f"{error.reason}: {error.message}"


def test_a_predicate_decides_whether_people_are_asked(tmp_path):
    """Only the value it is true of waits."""
    amount = [10]

    @asset(source=True, approval=Approval("So much?", when=lambda value: value > 100))
    def bill() -> int:
        return amount[0]

    with one(tmp_path, bill) as flow:
        assert flow.run().status == "success"
        amount[0] = 1_000
        assert flow.run().status == "waiting"
        assert flow.get("bill") == 10


def raising(value: int) -> bool:
    raise KeyError("no such column")


@pytest.mark.parametrize(("when", "told"), [(raising, "no such column"), (lambda value: "yes", "returned 'yes'")])
def test_a_predicate_that_cannot_say_fails_the_step(tmp_path, when, told):
    """What is in doubt is not published: the step fails with what the predicate raised, or with what it returned."""

    @asset(approval=Approval(when=when))
    def bill() -> int:
        return 1

    with one(tmp_path, bill) as flow:
        assert told in failure(flow)
        assert not flow.exists("bill")


def test_a_stream_is_not_used_up_by_a_predicate(tmp_path):
    """A generator can be looked at once: a predicate of it is refused, a gate without one holds it back whole."""

    @asset(approval=Approval(when=lambda value: True))
    def streamed() -> Iterator[str]:
        yield "a"

    @asset(approval=ASK)
    def held() -> Iterator[str]:
        yield "a"
        yield "b"

    with one(tmp_path / "1", streamed) as flow:
        assert "would use up" in failure(flow)
    with one(tmp_path / "2", held) as flow, one(tmp_path / "2", held, actor="bob") as bob:
        flow.run()
        bob.approvals.approve(pending(bob).id, "fine")
        assert flow.get("held") == "ab"


def test_a_function_asks_about_what_it_returns(tmp_path):
    """``ctx.ask_approval`` holds the value back with its own words; another value than was asked about fails the step."""

    @asset
    def honest(ctx) -> list[int]:
        return ctx.ask_approval([1], message="one?", context={"why": "it is new"})

    @asset
    def wrong(ctx) -> list[int]:
        ctx.ask_approval([1])
        return [2]

    with one(tmp_path, honest) as flow:
        assert flow.run().status == "waiting"
        assert (pending(flow).facts["message"], pending(flow).facts["context"]) == ("one?", {"why": "it is new"})
        assert flow.run().status == "waiting"  # another run waits for the same answer, though the asset declares no gate
        assert len(flow.approvals.requests(status=None)) == 1
    with one(tmp_path / "2", wrong) as flow:
        assert "returned another one" in failure(flow)


def test_what_a_function_wrote_itself_cannot_be_held_back(tmp_path):
    """It is in place already: the step fails and says what to do."""
    file = tmp_path / "report.txt"

    @asset(approval=ASK)
    def report(ctx):
        file.write_text("x")
        return ctx.written(file)

    with one(tmp_path / "home", report) as flow:
        assert "nothing could be held back" in failure(flow)


# -- refused before anything begins ----------------------------------------------------------------------------------------


def refused(flow, **options):
    """What a run is refused with; nothing has begun."""
    with pytest.raises(UsageError) as error:
        flow.run(**options)
    assert flow._deployment.is_new() or flow.runs() == []
    return f"{error.value.message} / {error.value.hint}"


def gated(**policy):
    """An asset with this gate."""

    @asset(approval=Approval("Publish?", **policy))
    def bill() -> int:
        return 1

    return bill


REFUSED = {
    "an asserted requester": ({}, {"allow_asserted": False}, "ann", "is only asserted"),
    "a machine": ({}, {"machines": ("ci",)}, "ci", "is no person"),
    "a machine whose author is unknown": ({"not_author": True}, {"machines": ("ci",)}, "ci", "is not known"),
    "an unknown group": (
        {"approvers": ["group:reviewrs"]}, {"groups": {"reviewers": ("bob",)}}, "ann", "did you mean 'reviewers'",
    ),
    "a group too small": (
        {"approvers": ["group:g"], "quorum": 2}, {"groups": {"g": ("bob",)}}, "ann", "2 must approve, and 1 can",
    ),
    "only the requester": ({"approvers": ["ann"]}, {}, "ann", "0 can without ann"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_gate_that_nobody_could_pass_is_refused(tmp_path, monkeypatch, case):
    """The run is refused with what is wrong and how to mend it, before anything is computed."""
    monkeypatch.setattr("flowstone.app.identity.commit_of", lambda *_: Commit(None, None, "the folder is in no git repository"))
    policy, approvals, actor, told = REFUSED[case]
    with one(tmp_path, gated(**policy), actor=actor, approvals={"allow_asserted": True, **approvals}) as flow:
        assert told in refused(flow)


def test_a_machine_may_request_where_two_must_agree(tmp_path):
    """With a quorum of two, four eyes are there without the requester's."""
    with one(tmp_path, gated(quorum=2), actor="ci") as flow:
        assert flow.run().status == "waiting"


def test_a_candidate_in_a_process_that_ends_is_refused(tmp_path):
    """Where records outlive the process, what waits may not be in its memory; in a project in memory it may."""

    @asset(io="memory", approval=ASK)
    def bill() -> int:
        return 1

    with one(tmp_path, bill) as flow:
        assert "would be lost" in refused(flow)
    with one(None, bill) as flow:
        assert flow.run().status == "waiting"


def test_an_in_place_manager_is_refused(tmp_path):
    """Nothing could be held back; a gate before the computation is allowed."""
    with one(tmp_path, gated(), gated_in_place("before")) as flow:
        flow._deployment.io.get("files").versioned = False
        assert "in place" in refused(flow, targets="bill")
        assert flow.run("table").status == "waiting"


def gated_in_place(when):
    """An asset that asks before it is computed."""

    @asset(approval=Approval("Compute?", when=when))
    def table() -> int:
        return 1

    return table


WRONG = [
    ({"approvers": "ann"}, "no list of names"),
    ({"quorum": 0}, "no number of people"),
    ({"quorum": True}, "no number of people"),
    ({"approvers": ["a"], "quorum": 2}, "can never be reached"),
    ({"timeout": "soon"}, "timeout"),
    ({"timeout": 5}, "no length of time"),
    ({"on_timeout": "shrug"}, "none of fail, remind"),
    ({"on_timeout": "escalate"}, "belong together"),
    ({"escalate_to": ["bob"]}, "belong together"),
    ({"when": "later"}, "none of"),
    ({"assurance": "sure"}, "none of asserted"),
    ({"invalidate_on": ["weather"]}, "none of code"),
    ({"four_eyes": 1}, "not True or False"),
    ({"message": "x" * 1_001}, "at most 1000 characters"),
]


@pytest.mark.parametrize(("given", "told"), WRONG)
def test_a_policy_that_cannot_be_kept_is_refused_where_it_is_written(given, told):
    """The option, its value and what is possible are named."""
    with pytest.raises(ValidationError, match=told):
        Approval(**given)


def test_a_gate_is_an_approval():
    """Anything else is refused with the form to write."""
    with pytest.raises(ValidationError, match=r"not an Approval\(...\)"):
        asset(name="bill", approval="ann")(lambda: 1)
