"""Records that have no entry: from before the log began, and from while it was switched off; and entries that are consistent."""

from __future__ import annotations

import pytest

from flowstone.audit import acts
from flowstone.audit.entries import Auditor, entry_of
from flowstone.stores import holds
from flowstone.stores.records import HoldRecord


@pytest.fixture
def older(make_world, database_url):
    """A history whose records are older than its log, which has begun since and gone on."""
    world = make_world(database_url, 5, is_audited=False)
    for step in (world.succeed, world.succeed_again, world.succeed_again, world.fail, world.hold, world.hold, world.release,
                 world.define, world.decide, world.erase, world.collect, world.end_run, world.succeed):  # fmt: skip
        step()
    world.begin()
    return world.live(30)


def test_a_log_may_begin_on_a_database_that_has_records(older):
    """What was there before has no entry and is no fault; that it is what it was then is told."""
    checked = older.verify()

    assert (checked.verdict, checked.findings) == ("INTACT", [])
    assert any("from before the log began" in notice for notice in checked.notices)


OLD = {
    "an output": "UPDATE output SET digest = 'x' WHERE id = (SELECT MIN(id) FROM output)",
    "what went into it": "DELETE FROM lineage WHERE downstream = (SELECT MIN(downstream) FROM lineage)",
    "its bytes": "UPDATE output SET gone = 'erased', gone_at = 1 WHERE id = (SELECT MIN(id) FROM output WHERE gone = '')",
    "a failure": "UPDATE materialization SET message = 'x' WHERE status = 'failed'",
    "a run": "UPDATE run SET status = 'failed' WHERE requested_at = (SELECT MIN(requested_at) FROM run WHERE status = 'success')",
    "a hold": "UPDATE hold SET reason = 'x' WHERE at = (SELECT MIN(at) FROM hold)",
    "a definition": "UPDATE pipeline SET definition = '{}' WHERE id = (SELECT MIN(id) FROM pipeline)",
    "one more": "INSERT INTO hold SELECT 'hold_x', project, asset, partition, output, run_id, reason, actor, identity, at, "
    "released_at, released_by FROM hold LIMIT 1",
}


def test_what_is_older_than_the_log_cannot_be_changed_either(older, copied, editor):
    """Of records from before the log none can be changed, deleted or added: all of them together have a digest in it."""
    older.close()
    for what, statement in OLD.items():
        world = copied(older)
        with editor(world) as attacker:
            assert attacker.run(statement).rowcount > 0, what
        assert world.verify().verdict == "TAMPERED", what


def test_records_made_while_auditing_is_off_are_incomplete(world):
    """While it is switched off verifying is incomplete and says since when; once it begins again what is there is told of."""
    world.live(20)
    world.hold()
    world.stop()
    world.seal()
    for step in (world.succeed_again, world.succeed_again, world.hold, world.release, world.define, world.invalidate,
                 world.erase, world.collect, world.cancel_run, world.decide):  # fmt: skip
        step()
    checked = world.verify()
    assert (checked.verdict, checked.findings) == ("INCOMPLETE", [])
    assert any("switched off (shop since entry" in lacking for lacking in checked.incomplete)

    world.begin()
    world.live(10)
    checked = world.verify()
    assert (checked.verdict, checked.findings) == ("INTACT", [])
    assert any("went on while auditing was switched off" in notice for notice in checked.notices)


def test_a_forgery_that_is_consistent_is_sealed(world):
    """Undetectable: whoever owns the database adds a record and its entry, as FlowStone itself would, and they are sealed."""
    world.live(10)
    forged = HoldRecord(
        id="hold_forged", asset="orders", partition="", output="", run_id="", reason="dispute", actor="ceo",
        identity="authenticated", at=world.clock.now_ns(), released_at=None, released_by="",
    )  # fmt: skip
    with world.database.transaction() as tx:  # nothing in it is beyond a database editor
        holds.add(tx, "shop", forged)
        entry = entry_of(acts.hold_added(forged), actor="ceo", identity="authenticated", at=forged.at, version=1)
        Auditor(world.origin, "shop").append(tx, entry)
    world.seal()

    assert world.verify().verdict == "INTACT"


def test_a_partition_that_was_redacted_is_taken_from_its_record(world, editor):
    """Where only a disclosure named the partition of an output, and it was redacted, what is current is still compared."""
    while not any(partition == "k" * 200 for _, partition in world.made or ()):
        world.succeed()
    world.seal()
    with editor(world) as attacker:
        seq, entry = attacker.rows("SELECT s.seq, d.entry FROM audit_disclosure d JOIN audit_seal s ON s.entry = d.entry "
                                   "WHERE d.field = 'partition'")[0]  # fmt: skip
        attacker.run("INSERT INTO audit_redaction VALUES (?, 'partition', 1)", entry)
        attacker.run("DELETE FROM audit_disclosure WHERE entry = ? AND field = 'partition'", entry)
    with world.database.transaction() as tx:
        world.audit(tx, acts.redacted(seq, "partition"))
    world.seal()
    checked = world.verify()

    assert (checked.verdict, checked.findings, checked.redacted) == ("INTACT", [], 1)
    assert any("redacted partition" in notice for notice in checked.notices)
