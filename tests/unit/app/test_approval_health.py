"""The doctor's row "approvals": what waits and for how long, and whether those who are asked could decide at all."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowstone import Approval, FlowStone, Pipeline, asset
from flowstone.app.approval_health import SUBJECT, findings
from flowstone.testing import MovableClock, isolated_settings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SIGNERS = Path(__file__).parents[1] / "foundation/signatures/vectors/allowed_signers"


@pytest.fixture
def clock():
    """A clock that stands at noon."""
    return MovableClock(NOON)


@pytest.fixture
def examined(tmp_path, clock):
    """A function that runs one gated asset under settings of approvals, waits, and returns what is said of approvals."""

    def examine(gate, wait=timedelta(0), *, decided=False, later=None, **approvals):
        body = asset(name="ledger", approval=gate)(lambda: 1)
        settings = isolated_settings(tmp_path, approvals={"allow_asserted": True, **approvals})
        with FlowStone(Pipeline("p", [body]), settings=settings, actor="ann", clock=clock) as flow:
            flow.run()
            if decided:
                flow.approvals.approve(flow.approvals.requests()[0].id, "fine")
        clock.advance(wait)
        settings = isolated_settings(tmp_path, approvals={"allow_asserted": True, **(later or approvals)})
        with FlowStone(settings=settings, actor="ann", clock=clock) as flow:
            return [(each.level, each.text, each.fix) for each in findings(flow._deployment)]

    return examine


def test_nothing_is_said_where_no_asset_has_a_gate(tmp_path):
    """Without gates the row says so, and is no warning."""
    with FlowStone(Pipeline("p", [asset(name="x")(lambda: 1)]), settings=isolated_settings(tmp_path)) as flow:
        flow.run()

        assert [tuple(each) for each in findings(flow._deployment)] == [("ok", SUBJECT, "no asset has a gate", "")]


@pytest.mark.parametrize(
    ("wait", "level", "text"),
    [
        (timedelta(minutes=90), "ok", "1 waiting, the oldest for 90 min"),
        (timedelta(hours=2, minutes=30), "warn", "1 waiting, the oldest for 2 h; 1 past the deadline, {id} for 30 min"),
        (timedelta(hours=5), "fail", "1 waiting, the oldest for 5 h; 1 past the deadline, {id} for 3 h"),
    ],
)
def test_what_waits_is_told_with_its_age(examined, wait, level, text, tmp_path):
    """A request is no fault while there is time; past its deadline it is a warning, and after an hour a failure: nobody looks."""
    first = examined(Approval(four_eyes=False, timeout="2h", assurance="asserted"), wait)[0]
    with FlowStone(settings=isolated_settings(tmp_path)) as flow:
        (asked,) = flow.approvals.requests()

    assert first == (level, text.format(id=asked.id), "" if level == "ok" else "flowstone tick")


def test_a_decided_request_does_not_wait(examined):
    """A gate whose requests are decided says that nothing waits."""
    assert examined(Approval(four_eyes=False), decided=True)[0] == ("ok", "nothing waits", "")


def test_a_group_without_people_is_named(examined):
    """A gate that asks a group whose people the settings do not say any more cannot be passed: both are named."""
    gate = Approval(approvers=["ann", "group:reviewers"], four_eyes=False)
    level, text, fix = examined(gate, groups={"reviewers": ("bob",)}, later={"groups": {"others": ("bob",)}})[1]

    assert (level, text) == ("warn", "reviewers has no people: group:reviewers is asked about ledger")
    assert fix == 'reviewers = ["NAME"] under [approvals.groups] of the settings'


def test_a_quorum_that_a_group_cannot_reach_is_named(examined):
    """Two votes of a group of one person and a machine: nobody can ever reach them."""
    gate = Approval(approvers=["group:reviewers"], quorum=2, four_eyes=False)
    told = examined(gate, groups={"reviewers": ("bob", "eve")}, later={"groups": {"reviewers": ("bob", "ci")}})

    assert ("warn", "1 people are asked about ledger, and 2 must approve") in [each[:2] for each in told]


def test_whoever_must_sign_and_has_no_key_is_named(examined, tmp_path):
    """Signed decisions need a file of keys, one that is understood, and in it a key of each who is asked."""
    gate = Approval(approvers=["group:signers"], four_eyes=False, assurance="signed")
    listed = next(line.split()[0] for line in SIGNERS.read_text().splitlines() if line.strip() and not line.startswith("#"))
    known = tmp_path / "allowed_signers"
    shutil.copy(SIGNERS, known)
    groups = {"signers": (listed, "eve")}

    def told(**approvals):
        return [(level, text) for level, text, _ in examined(gate, groups=groups, **approvals)[1:]]

    assert told() == [("warn", "decisions about ledger must be signed, and no file says whose key is whose")]
    assert "cannot read the allowed signers" in told(allowed_signers=tmp_path / "none")[0][1]
    assert told(allowed_signers=known) == [
        ("warn", f"eve cannot decide about ledger: {known} has no key of theirs that counts now")
    ]


def test_gates_that_take_anybodys_word_are_named(examined):
    """Where a word is enough to decide, by the setting or by the gate itself, the doctor warns; else it does not."""
    by_setting = examined(Approval(approvers=["ann"], four_eyes=False))
    said = "anybody can decide about ledger in anybody's name (--as)"

    assert by_setting[1:] == [("warn", said, "approvals.allow_asserted = false")]


def test_a_run_that_waits_for_people_is_not_told_to_be_resumed(tmp_path):
    """While people are asked the run is no warning; once they have decided it waits to be resumed, and the command is given."""
    ledger = asset(name="ledger", approval=Approval(approvers=["ann"], four_eyes=False))(lambda: 1)
    letter = asset(name="letter", after=[ledger])(lambda: 2)
    settings = isolated_settings(tmp_path, approvals={"allow_asserted": True})
    with FlowStone(Pipeline("p", [ledger, letter]), settings=settings, actor="ann") as flow:
        run_id = flow.run().run_id
        before = [each for each in flow.doctor() if each.subject == "runs"]
        flow.approvals.approve(flow.approvals.requests()[0].id, "fine")
        after = [each for each in flow.doctor() if each.subject == "runs"]

    assert [(each.level, each.text) for each in before] == [("ok", "1 waiting")]
    assert [(each.level, each.fix) for each in after] == [("warn", f"flowstone run --resume {run_id}")]
