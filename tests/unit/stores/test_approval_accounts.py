"""Approvals one by one: what was changed outside FlowStone of a request, its votes, its candidate or its events is told."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy.engine import make_url

from flowstone import Approval, Pipeline, Retry, asset
from flowstone.app.approval_health import SUBJECT
from flowstone.stores import accounts, crosschecks
from flowstone.testing import MovableClock, isolated_flow

ASKED = {"approvers": ["ann", "bob"], "four_eyes": False}
UNSETTLED = "no ended run has unsettled materializations"


@asset
def orders():
    return [1]


@asset(approval=Approval(**ASKED), retries=Retry(attempts=2, delay=0))
def ledger(orders, ctx):
    if ctx.attempt == 1:
        raise TimeoutError("no answer")
    return {"sum": sum(orders), "run": ctx.run_id}


@asset(approval=Approval(**ASKED, quorum=2))
def release(orders, ctx):
    return ctx.run_id


@asset(approval=Approval(**ASKED, when="before"))
def payment(orders):
    return 3


@asset
def note(ledger, release):
    return 4


SHOP = Pipeline("shop", [orders, ledger, release, payment, note])


def fill(home, url):
    """Make a store with requests that were approved, rejected, void, cancelled and are open; one asks for a second vote."""
    with isolated_flow(SHOP, home=home, database_url=url, actor="ann", approvals={"allow_asserted": True}) as flow:
        bob = isolated_flow(home=home, database_url=url, actor="bob", approvals={"allow_asserted": True})

        def ask(*targets):
            run = flow.run(targets or None, force=True)
            return run.run_id, {request.asset: request.id for request in flow.approvals.requests(run=run.run_id)}

        with bob:
            run_id, asked = ask()
            for id in asked.values():
                flow.approvals.approve(id, "fine")
            bob.approvals.approve(asked["release"], "me too")
            flow.resume(run_id)
            run_id, asked = ask("ledger", "release", "note")
            flow.approvals.approve(asked["ledger"], "newer")
            flow.approvals.approve(asked["release"], "yes")
            bob.approvals.reject(asked["release"], "no")
            _, asked = ask("payment")
            bob.approvals.cancel(asked["payment"], "not now")
            ask("ledger")
            ask("ledger")  # a newer candidate
            _, asked = ask("release")
            flow.approvals.approve(asked["release"], "one of two")
        flow.metrics()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a store that is copied and never changed."""
    folder = tmp_path_factory.mktemp("kept")
    fill(folder, f"sqlite:///{folder / 'flowstone.db'}")
    return folder


def failing(home, url):
    """What the doctor finds wrong."""
    with isolated_flow(home=home, database_url=url) as flow:
        return {finding.subject for finding in flow.doctor() if finding.level == "fail"}


def change_outside(url, statement):
    """Run a statement as somebody with the database's own tool would; return how many rows it changed."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            changed = connection.execute(statement).rowcount
        connection.close()
        return changed
    with psycopg.connect(url) as connection:
        return connection.execute(statement).rowcount


def told_twice(name):
    """The statement that tells one event a second time in the place of another: their number stays."""
    first, last = (f"FROM event WHERE name = 'flowstone.{name}' ORDER BY id {order} LIMIT 1" for order in ("ASC", "DESC"))
    return f"UPDATE event SET payload = (SELECT payload {first}) WHERE id = (SELECT id {last})"


def made_current(status):
    """The statement that makes a candidate current past everybody."""
    return f"""UPDATE current_output SET output = (SELECT output FROM approval WHERE status = '{status}' AND asset = 'release')
        WHERE asset = 'release'"""


VOTE = "approval, decision, verdict, voter, identity, comment, digest, at, seen, signature, key"
OLDEST = "(SELECT output FROM approval WHERE asset = 'ledger' AND status = 'approved' ORDER BY ended_at LIMIT 1)"
CORRUPTIONS = {
    "a request deleted": ("DELETE FROM approval WHERE id NOT IN (SELECT approval FROM approval_vote)", crosschecks.ASKED),
    "a request of another step": ("UPDATE approval SET materialization = 1 WHERE status = 'approved'", crosschecks.ASKED),
    "a request made another kind": ("UPDATE approval SET kind = 'before' WHERE status = 'rejected'", crosschecks.ASKED),
    "an open request closed": ("UPDATE approval SET status = 'cancelled' WHERE status = 'pending'", crosschecks.WAITING),
    "an open request moved": ("UPDATE approval SET partition = 'x' WHERE status = 'pending'", crosschecks.WAITING),
    "a step that waits for nothing": ("UPDATE materialization SET status = 'waiting' WHERE asset = 'orders'",
                                      crosschecks.WAITING),
    "a rejected request opened": ("UPDATE approval SET status = 'pending', partition = 'x' WHERE status = 'rejected'",
                                  crosschecks.OPEN),
    "a waiting run ended": ("UPDATE run SET status = 'failed' WHERE status = 'waiting'", crosschecks.OPEN),
    "a waiting run ended, its step left": ("UPDATE run SET status = 'failed' WHERE status = 'waiting'", UNSETTLED),
    "a step that waits made a success": ("UPDATE materialization SET status = 'success' WHERE status = 'waiting'",
                                         crosschecks.OPEN),
    "an approved output deleted": (f"DELETE FROM output WHERE id = {OLDEST}", crosschecks.APPROVED),
    "an approved step without its output": (f"UPDATE materialization SET output = 'x' WHERE output = {OLDEST}",
                                            crosschecks.APPROVED),
    "an approved step made a failure": (f"UPDATE materialization SET status = 'failed' WHERE output = {OLDEST}",
                                        crosschecks.APPROVED),
    "an older version made current again": (f"UPDATE current_output SET output = {OLDEST} WHERE asset = 'ledger'",
                                            crosschecks.APPROVED),
    "another digest approved": ("UPDATE approval SET digest = 'x' WHERE status = 'approved' AND kind = 'after'",
                                crosschecks.APPROVED),
    "an open candidate made current": (made_current("pending"), crosschecks.CANDIDATES),
    "a rejected candidate made current": (made_current("rejected"), crosschecks.CANDIDATES),
    "an approval made a rejection": ("UPDATE approval SET status = 'rejected' WHERE status = 'approved'", crosschecks.CANDIDATES),
    "a rejection made an approval": ("UPDATE approval SET status = 'approved' WHERE status = 'rejected'", accounts.ONE_REQUEST),
    "an open request that has ended": ("UPDATE approval SET ended_at = 1 WHERE status = 'pending'", accounts.ONE_REQUEST),
    "a request told twice, another never": (told_twice("checkpoint.requested"), accounts.ONE_REQUEST),
    "an approval told twice, another never": (told_twice("checkpoint.approved"), accounts.ONE_REQUEST),
    "a rejection untold": ("DELETE FROM event WHERE name = 'flowstone.checkpoint.rejected'", accounts.ONE_REQUEST),
    "a void request untold": ("DELETE FROM event WHERE name = 'flowstone.checkpoint.invalidated'", accounts.ONE_REQUEST),
    "a decision of somebody else": ("UPDATE approval SET decided_by = 'ceo' WHERE decided_by = 'ann'", accounts.ONE_DECISION),
    "a decision of time": ("UPDATE approval SET decided_by = 'flowstone' WHERE status = 'approved'", accounts.ONE_DECISION),
    "a vote deleted": ("DELETE FROM approval_vote WHERE voter = 'bob'", accounts.ONE_DECISION),
    "a vote that was counted deleted": ("DELETE FROM approval_vote WHERE comment = 'one of two'", accounts.ONE_DECISION),
    "a vote added": (f"""INSERT INTO approval_vote ({VOTE}) SELECT approval, 'd', verdict, 'eve', {VOTE.split("voter, ")[1]}
        FROM approval_vote WHERE comment = 'one of two'""", accounts.ONE_DECISION),
    "a vote of somebody else": ("UPDATE approval_vote SET voter = 'ceo' WHERE voter = 'bob'", accounts.ONE_DECISION),
    "a no made a yes": ("UPDATE approval_vote SET verdict = 'approve' WHERE verdict = 'reject'", accounts.ONE_DECISION),
    "a vote for other bytes": ("UPDATE approval_vote SET digest = 'x' WHERE voter = 'bob'", accounts.ONE_DECISION),
    "a quorum raised": ("""UPDATE approval SET policy = replace(policy, '"quorum":2', '"quorum":3')""", accounts.ONE_DECISION),
    "a policy that is none": ("UPDATE approval SET policy = 'gone' WHERE status = 'approved'", accounts.ONE_DECISION),
    "a vote untold": ("DELETE FROM event WHERE name = 'flowstone.checkpoint.voted'", accounts.ONE_DECISION),
    "a rejected step made a skip": ("UPDATE materialization SET status = 'skipped' WHERE status = 'rejected'", accounts.ONE_STEP),
    "a rejected step made a success": ("UPDATE materialization SET status = 'success' WHERE status = 'rejected'",
                                       accounts.ONE_STEP),
    "a decided step untold": ("DELETE FROM event WHERE name = 'flowstone.materialization.decided'", accounts.ONE_STEP),
    "a decided step told twice, another never": (told_twice("materialization.decided"), accounts.ONE_STEP),
    "a candidate made a success": ("UPDATE attempt SET status = 'success' WHERE status = 'waiting'", accounts.ONE_ENDING),
    "a candidate untold": ("DELETE FROM event WHERE payload LIKE '%\"outcome\":\"waiting\"%'", accounts.ONE_ENDING),
    "a cure of a candidate taken back": ("UPDATE error SET cured = 7 WHERE cured > 0", accounts.ONE_CURE),
    "a deadline long past": ("UPDATE approval SET deadline = 1 WHERE status = 'pending'", SUBJECT),
}  # fmt: skip
ON_A_SERVER = (
    "a request deleted", "an open request moved", "a rejected request opened", "an older version made current again",
    "a rejected candidate made current", "a rejection made an approval", "a decision of somebody else", "a vote added",
    "a quorum raised", "a decided step untold",
)  # fmt: skip


def test_an_honest_store_has_no_finding(tmp_path, database_url):
    """Requests that were approved by one and by two, rejected, void, cancelled or are open: nothing of it is a disagreement."""
    fill(tmp_path, database_url)
    with isolated_flow(home=tmp_path, database_url=database_url) as flow:
        statuses = {request.status for request in flow.approvals.requests(status=None)}

    assert statuses == {"approved", "rejected", "invalidated", "cancelled", "pending"}
    assert failing(tmp_path, database_url) == set()


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_each_corruption_is_found(kept, tmp_path, corruption):
    """A store that was changed from outside is told under the subject that was broken."""
    statement, subject = CORRUPTIONS[corruption]
    home = shutil.copytree(kept, tmp_path / "home")
    url = f"sqlite:///{home / 'flowstone.db'}"

    assert change_outside(url, statement) >= 1
    assert subject in failing(home, url)


def test_corruptions_are_found_on_a_server(tmp_path, postgres_url, postgres_server, new_postgres_url):
    """What compares requests with votes, candidates and events says the same of a PostgreSQL database."""
    fill(tmp_path, postgres_url)
    found = {}
    for name in ON_A_SERVER:
        url = new_postgres_url()
        copy, source = (make_url(one).database for one in (url, postgres_url))
        postgres_server.execute(f"DROP DATABASE {copy}")
        postgres_server.execute(f"CREATE DATABASE {copy} TEMPLATE {source}")
        change_outside(url, CORRUPTIONS[name][0])
        found[name] = CORRUPTIONS[name][1] in failing(tmp_path, url)

    assert found == dict.fromkeys(ON_A_SERVER, True)


def test_what_time_has_settled_is_no_disagreement(tmp_path):
    """Requests that expired, were taken for approved, reminded of and escalated, each by the clock, agree with their events."""
    clock = MovableClock()

    def gated(name, **how):
        def body():
            return name

        return asset(name=name, approval=Approval(timeout="2h", **ASKED, **how))(body)

    policies = {
        "late": {}, "taken": {"on_timeout": "approve"}, "again": {"on_timeout": "remind"},
        "wider": {"on_timeout": "escalate", "escalate_to": ["chief"]},
    }  # fmt: skip
    pipeline = Pipeline("p", [gated(name, **how) for name, how in policies.items()])
    with isolated_flow(pipeline, home=tmp_path, clock=clock, approvals={"allow_asserted": True}) as flow:
        flow.run()
        for _ in range(3):
            clock.advance(timedelta(hours=1))
            assert flow.tick().ok
        statuses = {request.asset: request.status for request in flow.approvals.requests(status=None)}
        found = [finding for finding in flow.doctor(thorough=True) if finding.level == "fail"]

    assert statuses == {"late": "expired", "taken": "approved", "again": "pending", "wider": "pending"}
    assert found == []
