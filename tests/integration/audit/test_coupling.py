"""Every change that is audited has its entry, in the transaction of the change: told by who did it, and agreed with by verify."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from flowstone import FlowStone, Pipeline, Retry, asset, source
from flowstone.foundation.errors import AuditUnavailableError, FlowStoneError
from flowstone.foundation.settings import load
from flowstone.stores.audit_questions import Wanted

NOTES = {"fails": True, "version": "1"}


@asset(source=True, retries=Retry(attempts=2, delay=0))
def orders(ctx):
    ctx.summary("three of them")
    return [1, 2, 3]


@asset
def total(orders):
    if NOTES["fails"]:
        raise ValueError("no total today")
    return sum(orders)


rates = source("rates", version=lambda: NOTES["version"])
SHOP = Pipeline("shop", [orders, total, rates])


@pytest.fixture
def open_shop(database_url, tmp_path, monkeypatch):
    """A function that opens FlowStone on each database, with settings; it is closed when the test ends."""
    monkeypatch.setenv("FLOWSTONE_STATE_HOME", str(tmp_path / "state"))
    NOTES.update(fails=True, version="1")
    made = []

    def make(pipeline=SHOP, actor="ann", **given):
        fixed = {"home": str(tmp_path / "home"), "project": "shop", "database.url": database_url, "audit.seal": "auto"}
        arguments = {**fixed, **given}
        made.append(FlowStone(pipeline, settings=load(start=tmp_path, arguments=arguments), actor=actor))
        return made[-1]

    yield make
    for one in made:
        one.close()


def acts_of(flow, **wanted):
    """The acts in the log, the first one first."""
    return [entry.action for entry in reversed(flow.audit.entries(Wanted(**wanted), limit=1_000))]


def checked(flow):
    """What verify says: the verdict, and what is wrong."""
    flow.audit.seal()
    report = flow.audit.verify(record=False)
    return report.checked.verdict, [str(finding) for finding in report.checked.findings], report.checked.incomplete


INTACT = ("INTACT", [], [])


def test_a_run_tells_who_did_what(open_shop):
    """A run has entries of its request, of each of its endings and of its own, by who asked for it; verify agrees."""
    flow = open_shop()
    run = flow.run()
    entries = {entry.action: entry for entry in flow.audit.entries(Wanted(run_id=run.run_id))}

    assert acts_of(flow) == [
        "audit.begun", "retention.changed", "pipeline.changed", "run.requested", "materialization.succeeded",
        "materialization.failed", "materialization.succeeded", "run.finished",
    ]  # fmt: skip
    assert {entry.actor for entry in entries.values()} == {"ann"}
    assert entries["materialization.failed"].asset == "total"
    assert checked(flow) == INTACT


def test_what_people_decide_is_told(open_shop):
    """Withdrawing, erasing, holding, deciding about errors and pruning have entries, and verify finds the records as they say."""
    flow = open_shop(**{"retention.outputs": 1})
    for _ in range(3):
        flow.run(force=True)
    group = flow.error_groups()[0].id
    flow.mute_errors(group, reason="known")
    flow.reopen_errors(group, reason="not known after all")
    before = checked(flow)
    flow.resolve_errors(group, reason="mended")
    hold = flow.hold("orders", reason="case 4711")
    flow.release(hold.id, reason="closed")
    flow.invalidate("rates")
    flow.erase("orders", reason="a person asked for it")
    flow.prune()

    decided = acts_of(flow)[acts_of(flow).index("error_group.muted") :]
    assert decided[:7] == [
        "error_group.muted", "error_group.reopened", "error_group.resolved", "hold.added", "hold.released", "output.invalidated",
        "output.erased",
    ]  # fmt: skip
    assert acts_of(flow).count("output.collected") == 2
    assert (before, checked(flow)) == (INTACT, INTACT)


def test_a_run_that_waited_is_resumed_and_cancelled_by_whom_it_was(open_shop):
    """Resuming and cancelling are told of by who does it, what the run then makes by who asked for the run."""
    ann, bob = open_shop(actor="ann"), open_shop(actor="bob")
    waiting = []
    for _ in range(2):
        ann.stop()
        waiting.append(ann.run().run_id)
        ann = open_shop(actor="ann")
    bob.resume(waiting[0])
    bob.cancel(waiting[1], reason="not needed")
    told = {run: {e.action: e.actor for e in bob.audit.entries(Wanted(run_id=run))} for run in waiting}

    assert told[waiting[0]]["run.resumed"] == "bob"
    assert told[waiting[0]]["materialization.succeeded"] == told[waiting[0]]["run.finished"] == "ann"
    assert (told[waiting[1]]["run.requested"], told[waiting[1]]["run.cancelled"]) == ("ann", "bob")
    assert checked(bob) == INTACT


def refuse_entries(flow):
    """Let the database refuse every entry, as a disk that is full would."""
    made = {"sqlite": "BEGIN SELECT RAISE(ABORT, 'no room'); END", "postgresql": "EXECUTE FUNCTION audit_entry_guard()"}
    with flow._deployment.services().database.backend.changing() as connection:
        connection.execute(text(f"CREATE TRIGGER refuse BEFORE INSERT ON audit_entry {made[connection.dialect.name]}"))


def allow_entries(flow):
    """Undo that."""
    with flow._deployment.services().database.backend.changing() as connection:
        connection.execute(text("DROP TRIGGER refuse" + ("" if connection.dialect.name == "sqlite" else " ON audit_entry")))


def count(flow, table):
    """How many rows a table has."""
    with flow._deployment.services().database.reading() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar()


def test_what_cannot_be_audited_does_not_happen(open_shop):
    """Without its entry no run is requested, no hold added and nothing withdrawn; when entries can be written, all goes on."""
    flow = open_shop()
    flow.run()
    before = [count(flow, table) for table in ("run", "hold", "current_output", "event")]
    refuse_entries(flow)
    for change in (flow.run, lambda: flow.hold("orders", reason="case"), lambda: flow.invalidate("orders")):
        with pytest.raises(AuditUnavailableError):
            change()
    allow_entries(flow)

    assert [count(flow, table) for table in ("run", "hold", "current_output", "event")] == before
    assert flow.run(force=True).materialized
    assert checked(flow) == INTACT


def test_a_step_whose_entry_is_refused_is_not_recorded(open_shop):
    """The ending of a step follows the joint commit: tried alone, then an error that says so; the run waits."""

    @asset(source=True)
    def last(ctx):
        refuse_entries(NOTES["flow"])
        return 1

    flow = NOTES["flow"] = open_shop(Pipeline("shop", [last]))
    with pytest.raises(FlowStoneError, match="could not be written"):
        flow.run()
    allow_entries(flow)
    run = flow.runs()[0]

    assert (run.status, count(flow, "output"), acts_of(flow)[-1]) == ("waiting", 0, "run.requested")
    assert checked(flow) == INTACT


def sensitive_shop(*, sensitive=True, attempts=1):
    """A pipeline whose only asset is sensitive, or is not."""

    @asset(name="people", source=True, sensitive=sensitive, retries=attempts, code_version="1")
    def people():
        return ["Ann"]

    return Pipeline("people", [people])


def test_a_definition_is_told_of_when_another_one_is_used(open_shop):
    """The first run with another definition tells what has changed; a control that is taken away is said aloud."""
    for options in ({}, {"attempts": 3}, {"attempts": 3}, {"attempts": 3, "sensitive": False}):
        flow = open_shop(sensitive_shop(**options))
        flow.run()
    changed = [e.disclosed["changes"] for e in reversed(flow.audit.entries(Wanted(action="pipeline.changed")))]
    weakened = flow.audit.entries(Wanted(action="control.weakened"))

    assert len(changed) == 3
    assert '"added":{"people"' in changed[0]
    assert '"retries"' in changed[1]
    assert '"sensitive":[true,null]' in changed[2]
    assert [(entry.data["control"], entry.data["asset"]) for entry in weakened] == [("sensitive", "people")]
    assert [event.payload["asset"] for event in flow.events(names=["flowstone.control.weakened"])] == ["people"]
    assert checked(flow) == INTACT


def test_who_is_given_a_sensitive_value_is_told_of(open_shop):
    """Each read of a sensitive asset has its entry, with the digest of what was read, also without its code; others have none."""
    open_shop(sensitive_shop()).run()
    open_shop().run("orders")
    reader = open_shop(None, actor="bob")
    assert reader.get("people") == ["Ann"]
    reader.get_bytes("people")
    reader.get("orders")
    reads = reader.audit.entries(Wanted(action="data.read"))

    assert [(entry.actor, entry.asset) for entry in reads] == [("bob", "people")] * 2
    assert checked(reader) == INTACT
    refuse_entries(reader)
    with pytest.raises(AuditUnavailableError):
        reader.get("people")


def test_auditing_is_switched_off_and_on_aloud(open_shop):
    """Off, nothing is told but that it is off; on again, what was done meanwhile is summed up, and verify is content."""
    open_shop().run()
    silent = open_shop(**{"audit.enabled": False})
    silent.run(force=True)
    off = acts_of(silent), checked(silent)
    again = open_shop()
    again.run(force=True)

    assert off[0][-2:] == ["audit.stopped", "control.weakened"]
    assert off[1][0] == "INCOMPLETE"
    assert acts_of(again).count("audit.begun") == 2
    assert checked(again)[:2] == ("INTACT", [])


def test_records_from_before_the_log_are_summed_up(open_shop):
    """A log that begins on a database with records says what they are: verify knows them again, and sees when one is changed."""
    open_shop(**{"audit.enabled": False}).run()
    flow = open_shop()
    flow.run()
    whole = checked(flow)
    with flow._deployment.services().database.backend.changing() as connection:
        connection.execute(text("UPDATE output SET digest = 'f' WHERE asset = 'orders'"))

    assert whole == INTACT
    assert checked(flow)[0] == "TAMPERED"


def test_another_retention_is_told_of(open_shop):
    """What is kept is in the log, with what it was before; less of it is a control that is weakened."""
    for kept in (3, 3, 5, 2):
        flow = open_shop(**{"retention.outputs": kept})
        flow.run()
    changes = [e.data["after"]["outputs"] for e in reversed(flow.audit.entries(Wanted(action="retention.changed")))]

    assert changes == [3, 5, 2]
    assert [e.payload["now"] for e in flow.events(names=["flowstone.control.weakened"])] == ["outputs: 2"]


def test_the_doctor_says_that_nothing_is_audited(open_shop):
    """With auditing switched off the examination says so, and what to do."""
    flow = open_shop(**{"audit.enabled": False})
    flow.run()
    found = {finding.subject: finding for finding in flow.doctor()}["audit log"]

    assert (found.level, found.fix) == ("warn", "audit.enabled = true")
    assert "switched off" in found.text
