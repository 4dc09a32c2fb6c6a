"""What is measured of approvals is what the store has: what waits, how it ended, how long it took, and who was refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowstone import Approval, Pipeline, asset
from flowstone.foundation.errors import ApprovalError
from flowstone.testing import MovableClock, isolated_flow

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ASKED = {"approvers": ["ann"], "four_eyes": False, "timeout": "2h"}
HOUR = 3_600


def gated(name, **how):
    """An asset of that name about which ann is asked."""

    def body(ctx):
        return ctx.run_id

    return asset(name=name, approval=Approval(**ASKED, **how))(body)


@asset
def letter(ledger):
    return ledger


PIPELINE = Pipeline("p", [gated("ledger"), gated("taken", on_timeout="approve"), gated("before", when="before"), letter])


@pytest.fixture
def clock():
    """A clock that stands at noon."""
    return MovableClock(NOON)


@pytest.fixture
def flow(tmp_path, database_url, clock):
    """What ann runs and decides."""
    allowed = {"allow_asserted": True}
    with isolated_flow(PIPELINE, home=tmp_path, database_url=database_url, clock=clock, actor="ann", approvals=allowed) as made:
        yield made


def values(flow, name):
    """A metric's figures by their labels."""
    family = next(family for family in flow.metrics() if family.name == name)
    return {sample.labels: sum(sample.counts) if sample.counts else sample.value for sample in family.samples}


def ask(flow, *targets):
    """Run these targets anew; return the run's id and its requests by asset."""
    run_id = flow.run(targets, force=True).run_id
    return run_id, {request.asset: request.id for request in flow.approvals.requests(run=run_id)}


def test_what_waits_is_told_by_asset(flow, clock):
    """Pending requests, since when and until when, for each asset; a gate about which nobody is asked has 0, and no times."""
    names = ("pending", "oldest_timestamp_seconds", "deadline_timestamp_seconds")
    flow.run("letter")
    during = [values(flow, f"flowstone_checkpoint_{name}") for name in names]
    waiting = values(flow, "flowstone_run_waiting")
    flow.approvals.approve(flow.approvals.requests()[0].id, "fine")
    after = [values(flow, f"flowstone_checkpoint_{name}") for name in names]
    now = NOON.timestamp()

    assert during[0] == {("ledger",): 1, ("taken",): 0, ("before",): 0}
    assert [during[1], during[2]] == [{("ledger",): pytest.approx(at, abs=5)} for at in (now, now + 2 * HOUR)]
    assert after == [{("ledger",): 0, ("taken",): 0, ("before",): 0}, {}, {}]
    assert waiting == {}, "people are asked: it waits for nobody to resume it"
    assert values(flow, "flowstone_run_waiting") == {("p",): 1}, "they have decided: it does"


def test_a_candidate_is_no_success_until_it_is_approved(flow, clock, check_totals):
    """The last success of a gated asset is the moment of its approval, and only then its materialization has ended."""
    flow.run("ledger")
    names = ("flowstone_asset_last_success_timestamp_seconds", "flowstone_materialization_total")
    check_totals(flow)
    before = [values(flow, name) for name in names]
    attempts = values(flow, "flowstone_materialization_attempts_total")
    clock.advance(HOUR)
    flow.approvals.approve(flow.approvals.requests()[0].id, "fine")
    check_totals(flow)

    assert before == [{}, {}]
    assert attempts == {("ledger", "waiting"): 1}
    assert values(flow, names[0]) == {("ledger",): pytest.approx(NOON.timestamp() + HOUR, abs=5)}
    assert values(flow, names[1]) == {("ledger", "success", ""): 1}


def test_every_end_is_counted_once_and_its_waiting_measured(flow, clock, check_totals):
    """Approved, rejected, expired, taken for approved, void and cancelled: all totals are those of the store."""
    _, asked = ask(flow, "ledger", "taken", "before", "letter")
    clock.advance(600)
    flow.approvals.approve(asked["ledger"], "fine")
    flow.approvals.reject(asked["before"], "no")
    clock.advance(timedelta(hours=2))
    assert flow.tick().ok
    _, asked = ask(flow, "ledger", "before", "letter")
    flow.approvals.reject(asked["ledger"], "no")
    flow.approvals.cancel(asked["before"], "not now")
    cancelled, _ = ask(flow, "ledger", "letter")
    flow.cancel(cancelled)
    ask(flow, "ledger")
    clock.advance(timedelta(hours=3))
    assert flow.tick().ok
    told = check_totals(flow)
    measured = next(family for family in flow.metrics() if family.name == "flowstone_checkpoint_waiting_seconds")

    assert told["flowstone_checkpoint_total"] == {
        ("ledger", "approved"): 1, ("ledger", "rejected"): 1, ("ledger", "cancelled"): 1, ("ledger", "expired"): 1,
        ("taken", "approved_by_timeout"): 1, ("before", "rejected"): 1, ("before", "cancelled"): 1,
    }  # fmt: skip
    assert told["flowstone_materialization_total"][("ledger", "expired", "")] == 1
    assert told["flowstone_materialization_total"][("letter", "skipped", "rejected")] == 1
    assert {s.labels: s.value for s in measured.samples}[("ledger", "approved")] == pytest.approx(600, abs=5)


def test_refused_attempts_are_counted_by_their_reason(flow, tmp_path, database_url, clock, check_totals):
    """Somebody who is not asked, and who comes too late, each count under their own reason; nothing else changes."""
    flow.run("ledger")
    (asked,) = flow.approvals.requests()
    with isolated_flow(
        home=tmp_path, database_url=database_url, clock=clock, actor="eve", approvals={"allow_asserted": True}
    ) as eve:
        for _ in range(2):
            with pytest.raises(ApprovalError):
                eve.approvals.approve(asked.id, "me")
    flow.approvals.approve(asked.id, "fine")
    with pytest.raises(ApprovalError):
        flow.approvals.reject(asked.id, "no")
    check_totals(flow)

    assert values(flow, "flowstone_checkpoint_refused_total") == {("not_approver",): 2, ("already_decided",): 1}
    assert values(flow, "flowstone_checkpoint_total") == {("ledger", "approved"): 1}
