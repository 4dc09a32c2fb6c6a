"""Auditing that is switched off and on between runs, and projects that audit beside projects that do not: never a false alarm."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from flowstone import Approval, FlowStone, Pipeline, asset
from flowstone.foundation.settings import load


@asset(source=True)
def orders():
    """What was ordered."""
    return [1, 2, 3]


@asset
def total(orders):
    """How much that is."""
    return sum(orders)


@asset
def broken(orders):
    """What goes wrong."""
    raise ValueError(orders)


@asset(approval=Approval("May we?", four_eyes=False, assurance="asserted"))
def bill(orders):
    """What people decide about."""
    return len(orders)


@pytest.fixture
def opened(database_url, tmp_path, monkeypatch):
    """A function that opens a project in the one database, with auditing on or off; each is closed when the test ends."""
    monkeypatch.setenv("FLOWSTONE_STATE_HOME", str(tmp_path / "state"))
    made = []

    def open_(project="shop", *, on):
        arguments = {
            "home": str(tmp_path / project), "project": project, "database.url": database_url, "audit.enabled": on,
            "audit.seal": "auto", "retention.outputs": 1,
        }  # fmt: skip
        settings = load(start=tmp_path, arguments=arguments)
        made.append(FlowStone(Pipeline("p", [orders, total, broken, bill]), settings=settings, actor="dev"))
        return made[-1]

    yield open_
    for flow in made:
        flow.close()


def work(flow):
    """Whatever may be done: runs, failures, decisions, holds and their end, outputs withdrawn, given up and erased.

    Of the requests for approval some are void, one is approved, one is rejected, and one stays open.
    """
    for _ in range(2):
        flow.run(force=True)
    for decide in (flow.approvals.approve, flow.approvals.reject):
        decide(flow.approvals.requests()[0].id, "looked at it")
        flow.run("bill", force=True)
    for group in flow.error_groups(status="open"):
        flow.resolve_errors(group.id, reason="known")
    for hold in flow.holds():
        flow.release(hold.id, reason="settled")
    flow.hold(asset="total", reason="a question")
    flow.invalidate("total")
    flow.erase("orders", reason="asked for by ann")
    flow.prune()


def verified(flow):
    """The verdict, the findings, and what is told beside them."""
    checked = flow.audit.verify(record=False).checked
    return checked.verdict, checked.findings, " ".join(checked.incomplete + checked.notices)


@pytest.mark.parametrize(
    "switches", [(False, True, False, True), (True, False, True, False, True)], ids=["off first", "on first"]
)
def test_a_project_is_switched_off_and_on(opened, switches):
    """What is done while auditing is off is told as not proven, and once it is on again as what it was then: no finding ever."""
    is_begun = False
    for on in switches:
        flow, is_begun = opened(on=on), is_begun or on
        work(flow)
        if is_begun:
            verdict, findings, said = verified(flow)
            assert (verdict, findings) == ("INTACT" if on else "INCOMPLETE", [])
            assert on or "auditing is switched off (shop since entry" in said
        flow.close()


def test_switched_off_and_nothing_done(opened):
    """While nothing was done since it was switched off everything is proven, and that it is off is told."""
    work(opened(on=True))
    flow = opened(on=False)
    flow.prune()
    verdict, findings, said = verified(flow)

    assert (verdict, findings) == ("INTACT", [])
    assert "auditing is switched off (shop since entry" in said


def changed(flow, statement):
    """Change the database past FlowStone."""
    with flow._deployment.reading().backend.engine.begin() as connection:
        assert connection.execute(text(statement)).rowcount > 0


def test_projects_that_audit_and_projects_that_do_not(opened):
    """Whichever comes first, who audits is INTACT and told of the other one; to who does not his own records are not proven."""
    quiet = opened("quiet", on=False)
    work(quiet)
    shop = opened("shop", on=True)
    work(shop)
    work(quiet)  # a process that has begun before there was a log
    assert verified(shop)[:2] == ("INTACT", [])
    assert "auditing is switched off (quiet and was never switched on)" in verified(shop)[2]

    work(opened("late", on=False))
    verdict, findings, said = verified(shop)
    assert (verdict, findings) == ("INTACT", [])
    assert "auditing is switched off (late since entry" in said
    assert [(verified(flow)[:2]) for flow in (quiet, opened("late", on=False))] == [("INCOMPLETE", [])] * 2
    assert [finding.text for flow in (shop, quiet) for finding in flow.doctor() if finding.level == "fail"] == []

    for project in ("late", "quiet"):
        work(opened(project, on=True))
        assert verified(shop)[:2] == ("INTACT", [])
    assert "switched off (" not in verified(shop)[2]


def test_a_project_that_does_not_audit_covers_for_none(opened):
    """A record without an entry is found where auditing is on, also while it is off beside it, or has begun there since."""
    shop, quiet = opened("shop", on=True), opened("quiet", on=False)
    work(shop), work(quiet)
    columns = "project, asset, partition, output, run_id, reason, actor, identity, at, released_at, released_by"
    changed(shop, f"INSERT INTO hold (id, {columns}) SELECT 'hold_x', {columns} FROM hold WHERE project = 'shop' LIMIT 1")
    assert verified(shop)[0] == "TAMPERED"
    opened("quiet", on=True).hold(asset="orders", reason="a question")

    assert [finding.message for finding in verified(shop)[1]] == ["hold_x has no audit entry (hold)"]


def test_what_was_done_before_auditing_began_stays_what_it_was(opened):
    """Of records that a project made without auditing none is changed unnoticed once it audits, whoever began first."""
    work(opened("quiet", on=False)), work(opened("shop", on=True))
    quiet = opened("quiet", on=True)
    quiet.hold(asset="orders", reason="a question")
    assert verified(quiet)[:2] == ("INTACT", [])
    changed(quiet, "UPDATE run SET outcome = '{}' WHERE project = 'quiet'")

    assert verified(quiet)[0] == "TAMPERED"
