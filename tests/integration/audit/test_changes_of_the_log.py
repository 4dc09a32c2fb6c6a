"""What may be done to a log itself: new keys, a new incarnation, redaction, pruning. Each is told by an entry, and proven."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import pytest

from flowstone.audit import leaf as leaves
from flowstone.audit import pruning, redaction, rotation
from flowstone.audit.export import Range, export_chosen, export_range, proofs_of
from flowstone.audit.note import parse
from flowstone.audit.offline import verify_export, verify_proof
from flowstone.audit.origins import of_incarnation
from flowstone.audit.tlog_proof import decoded
from flowstone.foundation.errors import AuditError, NotFoundError, RollbackDetectedError, UsageError
from flowstone.stores import audit_changes, audit_checks, audit_questions
from flowstone.stores.audit_questions import Wanted

ALL = Range()


def actions(log):
    """The actions of every sealed entry, in order."""
    with log.database.reading() as connection:
        return [row.action for row in audit_questions.page(connection, 0, 10_000, 10_000)]


def exported(log, path, origin=None, keys=None, asked=ALL):
    """Verify a new export of the log."""
    with log.database.reading() as connection:
        path.write_bytes(b"".join(export_range(connection, asked)))
    return verify_export(path, origin or log.origin, keys or log.keys, begin=asked.begin or 0, end=asked.end)


def failing(error):
    """A function that dies."""

    def fail(*_: object) -> None:
        raise error

    return fail


# -- keys ---------------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_told_and_signed_by_both(log, tmp_path):
    """After a rotation one head has both signatures, the entry names both keys, and later heads have the new one alone."""
    log.sealed(3)
    old = log.keys
    done = rotation.rotate(log.keeper, "the laptop was stolen")
    log.sealed(2)
    pins = log.keeper.sealer.state.pinned()
    with log.database.reading() as connection:
        signers = [len(parse(head.note).signatures) for head in audit_checks.heads(connection)]
        row = audit_questions.at(connection, 3)

    assert ([done.old], [done.new], signers) == (old, log.keys, [1, 2, 1])
    assert leaves.read(bytes(row.leaf))["data"] == {"old": str(done.old), "new": str(done.new)}
    assert [(pin.since, pin.until) for pin in pins] == [(0, 4), (4, None)]
    assert exported(log, tmp_path / "new").verdict == "INTACT"
    assert exported(log, tmp_path / "old", keys=old).findings[0].kind == "signature"


@pytest.mark.parametrize("place", ["pin", "take_next_key"])
def test_a_rotation_that_is_broken_off_is_done_again(small_log, monkeypatch, place):
    """A rotation that dies in the middle leaves nothing untrusted, and is finished with the same new key."""
    small_log.sealed(3)
    state = small_log.keeper.sealer.state
    with monkeypatch.context() as patch:
        patch.setattr(type(state), place, failing(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            rotation.rotate(small_log.keeper, "lost")
    meant = state.next_key(small_log.origin).public
    small_log.sealed(2)
    done = rotation.rotate(small_log.keeper, "lost")
    small_log.sealed(1)
    with small_log.database.reading() as connection:
        heads = list(audit_checks.heads(connection))
    trusted = [
        [pin.key for pin in state.pinned() if pin.since <= head.size and (pin.until is None or head.size <= pin.until)]
        for head in heads
    ]  # fmt: skip

    assert done.new == meant
    assert [pin.until for pin in state.pinned()][-1] is None
    assert all(parse(head.note).signed_by(keys) for head, keys in zip(heads, trusted, strict=True))


def test_a_key_is_replaced_by_one_at_a_time(small_log, monkeypatch):
    """While somebody replaces the key nobody else does: he is told so, and nothing has changed."""
    small_log.sealed(2)
    state, pinned = small_log.keeper.sealer.state, small_log.keeper.sealer.state.pinned()
    monkeypatch.setattr("flowstone.audit.state.LOCK_SECONDS", 0)
    with state.rotating(), pytest.raises(AuditError, match="another process replaces the key"):
        rotation.rotate(small_log.made_keeper(), "yearly")

    assert (state.pinned(), actions(small_log)) == (pinned, ["run.requested"] * 2)
    rotation.rotate(small_log.keeper, "yearly")
    assert len(state.pinned()) == 2


def test_a_log_without_its_key_gets_no_other_one(small_log):
    """Who has no key of the log can neither rotate it nor declare a restore."""
    small_log.sealed(1)
    shutil.rmtree(small_log.state_home)
    for act in (rotation.rotate, rotation.reincarnate):
        with pytest.raises(AuditError, match="is not here"):
            act(small_log.keeper, "because")


# -- incarnations -------------------------------------------------------------------------------------------------------------


def set_back(log, tmp_path, entries=3):
    """A log whose database was set back by some entries, which the keeper has signed."""
    log.sealed(2)
    log.database.close()
    with closing(sqlite3.connect(tmp_path / "flowstone.db")) as plain:
        plain.execute(f"VACUUM INTO '{tmp_path / 'old.db'}'")
    again = type(log)(log.url, tmp_path)
    again.number = 100
    again.sealed(entries)
    again.database.close()
    for path in tmp_path.glob("flowstone.db*"):
        path.unlink()
    shutil.copy(tmp_path / "old.db", tmp_path / "flowstone.db")
    restored = type(log)(log.url, tmp_path)
    restored.number = 200
    return restored


def test_a_restore_that_was_meant_has_a_way_back(small_log, tmp_path):
    """A log that was set back is not sealed until the restore is declared; then it goes on as a new incarnation, and says so."""
    log = set_back(small_log, tmp_path)
    log.append()
    with pytest.raises(RollbackDetectedError):
        log.keeper.seal()
    sealed = rotation.reincarnate(log.keeper, "disk failure, backup of the night")
    log.sealed(2)
    with log.database.reading() as connection:
        row = audit_questions.at(connection, 3)
        disclosed = audit_questions.disclosed(connection, [row])[row.id]
    told = leaves.read(bytes(row.leaf))
    second = of_incarnation(log.origin, 2)

    assert (sealed.head.origin, sealed.head.size) == (second, 4)
    assert told["action"] == "audit.reincarnated"
    assert {name: told["data"][name] for name in ("incarnation", "size", "seen")} == {"incarnation": 2, "size": 2, "seen": 5}
    assert disclosed["reason"][1] == "disk failure, backup of the night"
    assert exported(log, tmp_path / "second", origin=second).verdict == "INTACT"
    assert exported(log, tmp_path / "first").findings[0].kind == "signature"
    log.database.close()


def test_a_log_that_goes_on_needs_no_way_back(log):
    """Where nothing was set back, there is nothing to declare."""
    log.sealed(2)
    with pytest.raises(UsageError, match="nothing is to be declared"):
        rotation.reincarnate(log.keeper, "because")


# -- redaction ----------------------------------------------------------------------------------------------------------------


def test_what_is_redacted_is_gone_and_told(log, tmp_path):
    """A redacted reason is nowhere in the database, an entry says who deleted it and why, and the log is as intact as before."""
    log.sealed(3, reason="flu")
    log.sealed(2)
    done = redaction.redact(log.keeper, 1, (), "asked by the person")
    report = exported(log, tmp_path / "after")

    assert done == redaction.Redacted(1, ("reason",))
    assert (report.verdict, report.entries, report.disclosures) == ("INTACT", 6, 3)
    assert (tmp_path / "after").read_text().count('"flu"') == 2
    with pytest.raises(UsageError, match="redacted before"):
        redaction.redact(log.keeper, 1, ("reason",), "again")


def test_what_cannot_be_redacted_is_said(small_log):
    """An entry that is not there, does not commit to the field, or discloses nothing is refused by name, and nothing is told."""
    small_log.sealed(1, reason="flu")
    small_log.sealed(1)
    for seq, fields, error in ((9, (), NotFoundError), (0, ("name",), NotFoundError), (1, (), UsageError)):
        with pytest.raises(error):
            redaction.redact(small_log.keeper, seq, fields, "because")

    assert actions(small_log) == ["run.requested"] * 2


def test_nothing_is_redacted_that_is_not_told(small_log, monkeypatch):
    """When the entry cannot be written, what was to be redacted is still there."""
    small_log.sealed(1, reason="flu")
    monkeypatch.setattr("flowstone.audit.keeper.Auditor.append", failing(AuditError("disk full")))
    with pytest.raises(AuditError, match="disk full"):
        redaction.redact(small_log.keeper, 0, (), "because")
    with small_log.database.reading() as connection:
        assert audit_questions.disclosed(connection, [audit_questions.at(connection, 0)])


# -- pruning ------------------------------------------------------------------------------------------------------------------


def test_pruned_entries_are_in_the_archive_and_still_proven(log, tmp_path):
    """After a prune the archive and the rest of the log are each verified, and an archived entry is proven by the newest head."""
    log.sealed(400, reason="ticket 4711")
    log.sealed(200)
    log.sealed(100)
    done = pruning.prune(log.keeper, tmp_path / "archive", log.keys)
    log.sealed(5)
    archive = verify_export(tmp_path / "archive", log.origin, log.keys, begin=0, end=512)
    rest = exported(log, tmp_path / "rest")
    with log.database.reading() as connection:
        proofs, row = proofs_of(connection), audit_questions.at(connection, 300)
        archived = json.loads((tmp_path / "archive").read_text().splitlines()[301])
        proof = proofs.of_entry(300, bytes(row.leaf_hash), b"")
        left = [row for row in audit_questions.page(connection, 0, 512, 600) if row.leaf is not None]

    assert (done.begin, done.below, done.deleted, left) == (0, 512, 512, [])
    assert (archive.verdict, archive.entries, archive.disclosures) == ("INTACT", 512, 400)
    assert (rest.exit, rest.begin, rest.findings, rest.incomplete) == (2, 512, [], ["entries 0-511 are not in this file"])
    assert actions(log)[-6] == "audit.pruned"
    assert verify_proof(proof.text(), log.origin, log.keys, decoded(archived["leaf"])).exit == 0


def test_the_newest_entry_of_a_subject_with_versions_stays(log, tmp_path):
    """What a subject was last told to be is still there after a prune: its next version follows, and it can be compared."""
    log.sealed(3, subject="hold:1", reason="ticket")
    log.sealed(600)
    pruning.prune(log.keeper, tmp_path / "archive", log.keys)
    log.sealed(1, subject="hold:1")
    with log.database.reading() as connection:
        kept = audit_questions.matching(connection, Wanted(subject="hold:1"), begin=0, limit=10)

        assert [(row.seq, row.version) for row in kept] == [(2, 3), (604, 4)]
        assert [field["reason"][1] for field in audit_questions.disclosed(connection, kept).values()] == ["ticket"]
        assert len(list(export_chosen(connection, Wanted(subject="hold:1"), Range()))) == 2 + 2


def test_a_second_prune_goes_on_where_the_first_ended(small_log, tmp_path):
    """Archives follow one another without a gap, redactions told later do not spoil them, and together they are the log."""
    small_log.sealed(300, reason="flu")
    pruning.prune(small_log.keeper, tmp_path / "first", small_log.keys)
    small_log.sealed(400, reason="flu")
    redaction.redact(small_log.keeper, 290, (), "asked")
    small_log.sealed(100)
    done = pruning.prune(small_log.keeper, tmp_path / "second", small_log.keys)

    assert (done.begin, done.below) == (256, 768)
    assert verify_export(tmp_path / "second", small_log.origin, small_log.keys, begin=256, end=768).verdict == "INTACT"
    with pytest.raises(UsageError, match="nothing can be pruned"):
        pruning.prune(small_log.keeper, tmp_path / "third", small_log.keys)


def test_only_what_is_old_sealed_and_anchored_is_pruned(small_log, tmp_path):
    """What is younger than asked, unsealed, or seen by no anchor stays."""
    at = 1_700_000_000_000_000_000
    small_log.sealed(300, at=at)
    small_log.sealed(300)
    small_log.append(300)

    assert pruning.boundary(small_log.keeper) == (0, 512)
    assert pruning.boundary(small_log.keeper, at + 1) == (0, 256)
    assert pruning.boundary(small_log.keeper, at) == (0, 0)
    small_log.keeper.sealer.seal()
    assert pruning.boundary(small_log.keeper) == (0, 512)  # sealed, and anchored nowhere yet
    small_log.keeper.anchors.write()
    assert pruning.boundary(small_log.keeper) == (0, 768)


def test_a_prune_whose_archive_cannot_be_verified_deletes_nothing(small_log, tmp_path):
    """An archive that is there, cannot be written, or proves nothing to who holds the key means that nothing was pruned."""
    small_log.sealed(300)
    (tmp_path / "there").write_text("mine")
    for path, keys, error in (
        (tmp_path / "there", small_log.keys, UsageError), (tmp_path / "no" / "folder", small_log.keys, UsageError),
        (tmp_path / "new", [], AuditError),
    ):  # fmt: skip
        with pytest.raises(error):
            pruning.prune(small_log.keeper, path, keys)

    assert (tmp_path / "there").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file() and "flowstone" not in path.name) == ["there"]
    assert "audit.pruned" not in actions(small_log)


def test_a_prune_that_is_killed_is_finished_by_the_next(small_log, tmp_path, monkeypatch):
    """Killed between telling and deleting, the bytes are there, and the next prune deletes them before anything else."""
    small_log.sealed(600)
    with monkeypatch.context() as patch:
        patch.setattr(audit_changes, "delete_pruned", failing(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            pruning.prune(small_log.keeper, tmp_path / "first", small_log.keys)
    with small_log.database.reading() as connection:
        before = [row.seq for row in audit_questions.page(connection, 0, 512, 600) if row.leaf is not None]
    deleted = pruning.finish(small_log.keeper)
    with small_log.database.reading() as connection:
        after = [row.seq for row in audit_questions.page(connection, 0, 512, 600) if row.leaf is not None]

    assert (len(before), deleted, after) == (512, 512, [])
    assert verify_export(tmp_path / "first", small_log.origin, small_log.keys, end=512).verdict == "INTACT"
