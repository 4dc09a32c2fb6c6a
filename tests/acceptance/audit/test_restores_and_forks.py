"""Databases that are put back or go on in two copies, keys that are stolen or were rotated; and what cannot be detected."""

from __future__ import annotations

import random
import sqlite3

import psycopg
import pytest

from flowstone.audit.anchoring import Anchors
from flowstone.audit.keeper import Keeper
from flowstone.audit.note import Signer, TreeHead, sign
from flowstone.audit.rotation import reincarnate, rotate
from flowstone.audit.sealing import Sealer
from flowstone.audit.tree import Frontier, hash_leaf
from flowstone.foundation.errors import RollbackDetectedError
from flowstone.stores import append_only


def keeper_of(world):
    """Who keeps the log of *world*, without anchors."""
    sealer = Sealer(world.database, world.state, world.origin)
    return Keeper(world.database, sealer, Anchors(world.database, []), "shop", "dev", "os")


def newer(copied, history):
    """An old copy of a history, and the same history as it went on; the old one has the newer one's keeper."""
    old, now = copied(history), copied(history)
    now.live(20)
    old.anchors, old.state = now.anchors, now.state
    return old, now


def test_a_database_that_is_put_back_is_found(histories, copied):
    """17: an older copy is no fault in itself, but the keeper remembers more: verifying finds it and nothing is sealed."""
    old, now = newer(copied, histories[0])

    assert now.verify().verdict == "INTACT"
    assert old.verify().told == {"truncated": len(old.anchors) - len(histories[0].anchors) + 1}
    assert old.verify(outside=False).verdict == "INTACT"
    old.succeed()
    with pytest.raises(RollbackDetectedError, match="rolled back, or its log rewritten"):
        old.seal()


def test_a_restore_that_is_meant_goes_on(histories, copied):
    """17: when the keeper says that he restored it, the log goes on as another incarnation, and its lost end is a notice."""
    old, now = newer(copied, histories[0])
    lost = len(now.anchors) - len(histories[0].anchors)
    reincarnate(keeper_of(old), "the disk died")
    old.live(5)
    checked = old.verify()

    assert (checked.verdict, checked.findings, checked.incarnation) == ("INTACT", [], 2)
    assert sum("restored since" in notice for notice in checked.notices) == lost > 0


def test_a_restore_that_an_attacker_declares_is_found(histories, copied, editor):
    """17: without the key nobody can say that a restore was meant: neither in the database's own words nor with another key."""
    old, _ = newer(copied, histories[0])
    with editor(old) as attacker:
        attacker.run("INSERT INTO audit_log SELECT 2, origin || '/2', '', 1 FROM audit_log")
    assert old.verify().told["truncated"] > 0

    old.succeed()
    stranger = Signer(old.origin, bytes(range(32)))
    Sealer(old.database, old.state, old.origin).seal([stranger], anew=True)
    assert old.verify().told.keys() >= {"signature", "truncated"}


def test_two_copies_that_go_on_are_found(histories, copied):
    """18: of two copies that both go on, each is a fork to whoever has seen the other one's heads."""
    one, two = copied(histories[0]), copied(histories[0])
    two.random = random.Random(99)
    one.live(10), two.live(10)
    seen = len(histories[0].anchors)

    assert (one.verify().verdict, two.verify().verdict) == ("INTACT", "INTACT")
    one.anchors += two.anchors[seen:]
    assert one.verify().told.keys() & {"root", "truncated"}


def test_a_key_that_was_rotated_signs_no_later_head(histories, copied):
    """29: after a rotation all heads are good; one that the old key alone signs afterwards is refused."""
    world = copied(histories[0])
    old = world.state.key(world.origin, create=False)
    rotate(keeper_of(world), "yearly")
    world.live(5)
    assert (world.verify().verdict, world.verify().findings) == ("INTACT", [])

    world.succeed()
    Sealer(world.database, world.state, world.origin).seal([old])
    assert world.verify().told.keys() == {"signature"}


def test_a_head_of_another_log_proves_nothing(histories, copied):
    """27: an anchor that is of another log is told as such, whoever signed it."""
    world = copied(histories[0])
    head = TreeHead("other/1", 1_000_000, bytes(32))
    world.anchors.append(world.anchors[0]._replace(note=sign(head.text(), [world.state.key(world.origin, create=False)])))

    assert world.verify().told == {"foreign": 1}


def test_a_log_nobody_signed_is_incomplete(world, monkeypatch):
    """Where no key can be kept, heads are made and not signed; verifying never calls that intact."""
    monkeypatch.setattr(type(world.state), "key", lambda *_, **__: None)
    world.live(10)
    checked = world.verify(outside=False)

    assert (checked.verdict, checked.findings, checked.signed_size) == ("INCOMPLETE", [], 0)
    assert "nobody's signature" in " ".join(checked.incomplete)
    monkeypatch.undo()
    world.live(3)
    assert (world.verify().signed_size, world.verify().findings) == (world.verify().entries, [])


def test_a_log_signed_elsewhere_is_not_signed_here(histories, copied):
    """Whoever does not have the key of a log that was signed makes no other one: the new heads are not signed."""
    world = copied(histories[0])
    pinned = world.state.pinned()
    (world.state.folder / "key").unlink()
    world.succeed(), world.seal()

    assert not (world.state.folder / "key").exists()
    assert world.state.pinned() == pinned
    checked = world.verify()
    assert checked.findings == []
    assert checked.verdict == "INCOMPLETE"


# -- what cannot be detected, as docs/audit/threat-model.md says ----------------------------------------------------------------


def rewrite_with_the_key(attacker, signer):
    """An attacker who has the key takes a read of data out of the log and signs everything anew."""
    with attacker.unguarded():
        seq, entry = attacker.rows("SELECT s.seq, s.entry FROM audit_seal s JOIN audit_entry e ON e.id = s.entry "
                                   "WHERE e.action = 'data.read' ORDER BY s.seq")[0]  # fmt: skip
        attacker.run("DELETE FROM audit_entry WHERE id = ?", entry)
        attacker.run("DELETE FROM audit_seal WHERE seq = ?", seq)
        attacker.run("DELETE FROM audit_head")
        frontier = Frontier()
        places = attacker.rows("SELECT s.seq, e.leaf FROM audit_seal s JOIN audit_entry e ON e.id = s.entry ORDER BY s.seq")
        for number, (old, leaf) in enumerate(places):
            attacker.run("UPDATE audit_seal SET seq = ? WHERE seq = ?", number, old)
            frontier.add(hash_leaf(bytes(leaf)))
        head = TreeHead(signer.public.name, frontier.size, frontier.root())
        values = (frontier.size, 0, frontier.root(), b"".join(frontier.peaks), sign(head.text(), [signer]), 1)
        attacker.run("INSERT INTO audit_head VALUES (?, ?, ?, ?, ?, ?)", *values)


def test_with_a_stolen_key_only_anchors_help(world, editor):
    """5: who has the key and the database rewrites both; verifying alone says INTACT, an anchor shows it."""
    world.read()
    world.live(20)
    with editor(world) as attacker:
        rewrite_with_the_key(attacker, world.state.key(world.origin, create=False))

    assert world.verify(outside=False).verdict == "INTACT"
    assert world.verify().told.keys() & {"root", "truncated"}


def test_an_end_that_is_cut_off_is_seen_from_outside_alone(world, editor):
    """9: reads that were told at the log's end go with their heads; what lies outside the database shows it, nothing else."""
    world.live(20)
    size = world.verify().entries
    world.read(), world.seal()
    with editor(world) as attacker, attacker.unguarded():
        attacker.run("DELETE FROM audit_entry WHERE id IN (SELECT entry FROM audit_seal WHERE seq >= ?)", size)
        attacker.run("DELETE FROM audit_seal WHERE seq >= ?", size)
        attacker.run("DELETE FROM audit_head WHERE size > ?", size)

    assert world.verify(outside=False).verdict == "INTACT"
    assert world.verify().told.keys() == {"truncated"}


def test_what_is_not_sealed_yet_can_go_with_its_record(world, editor):
    """10 and 11: an entry deleted before it is sealed leaves a record without one; gone with its record, nothing tells."""
    world.live(20)
    world.hold()
    with editor(world) as attacker:
        subject = attacker.one("SELECT subject FROM audit_entry WHERE id = (SELECT MAX(id) FROM audit_entry)")
        with attacker.unguarded():
            attacker.run("DELETE FROM audit_disclosure WHERE entry = (SELECT MAX(id) FROM audit_entry)")
            attacker.run("DELETE FROM audit_entry WHERE id = (SELECT MAX(id) FROM audit_entry)")
        if attacker.dialect == "postgresql":
            assert world.verify().told == {"pending": 1, "record": 1}
            attacker.run("DELETE FROM audit_pending WHERE NOT EXISTS (SELECT 1 FROM audit_entry WHERE id = entry)")
    assert world.verify().told == {"record": 1}

    with editor(world) as attacker:
        attacker.run("DELETE FROM hold WHERE id = ?", subject.removeprefix("hold:"))
    assert world.verify().verdict == "INTACT"


def test_an_entry_with_another_time_is_a_notice(world):
    """13 and 33: clocks are set, honestly too: an entry that is older than the one before it is told, and is no finding."""
    world.live(10)
    world.clock.advance(7 * 86_400)
    world.read()
    world.clock.set(world.clock.now.replace(year=2025))
    world.read(), world.seal()
    checked = world.verify()

    assert checked.verdict == "INTACT"
    assert any("the clock went back" in notice for notice in checked.notices)


# -- what is prevented ----------------------------------------------------------------------------------------------------------

REFUSED = (
    "UPDATE {table} SET {column} = {column}", "DELETE FROM {table}", "INSERT INTO {table} SELECT * FROM {table} LIMIT 1",
)  # fmt: skip
TABLES = {
    "audit_log": ("reason", "incarnation"), "audit_entry": ("actor", "id"), "audit_seal": ("leaf_hash", "seq"),
    "audit_head": ("note", "size"), "audit_disclosure": ("value", "entry, field"),
}  # fmt: skip
"""Each table, a column and a key of it."""
SQLITE = (
    "INSERT OR REPLACE INTO {table} SELECT * FROM {table} LIMIT 1", "UPDATE OR REPLACE {table} SET {column} = 'x'",
    "INSERT INTO {table} SELECT * FROM {table} WHERE 1 LIMIT 1 ON CONFLICT ({key}) DO UPDATE SET {column} = 'x'",
    "INSERT OR REPLACE INTO audit_seal VALUES (0, 4711, x'00')", "INSERT OR REPLACE INTO audit_seal VALUES (4711, 1, x'00')",
    "INSERT OR REPLACE INTO audit_head SELECT size + 1000, 0, root, peaks, note, at FROM audit_head LIMIT 1",
    "INSERT OR REPLACE INTO audit_entry SELECT 1, 'p', 's', 1, 'a', 'a', 'a', 'a', 1, x'00'",
    "INSERT OR REPLACE INTO audit_entry SELECT NULL, project, subject, version, 'a', 'a', 'a', 'a', 1, x'00' FROM audit_entry",
    "INSERT INTO audit_seal VALUES ((SELECT MAX(seq) + 2 FROM audit_seal), 4711, x'00')",
    "INSERT INTO audit_head SELECT MAX(size) + 9, MAX(size) - 1, root, peaks, note, at FROM audit_head",
)  # fmt: skip
POSTGRES = (
    "TRUNCATE {table} CASCADE",
    "INSERT INTO {table} SELECT * FROM {table} LIMIT 1 ON CONFLICT ({key}) DO UPDATE SET {column} = {table}.{column}",
    "INSERT INTO audit_seal VALUES ((SELECT MAX(seq) + 2 FROM audit_seal), 4711, '\\x00')",
    "INSERT INTO audit_head SELECT MAX(size) + 9, MAX(size) - 1, '\\x00', '\\x00', 'n', 1 FROM audit_head",
    "CREATE TEMP TABLE audit_prune (below BIGINT); INSERT INTO audit_prune VALUES (4711); DELETE FROM audit_entry",
)  # fmt: skip


def test_the_guards_refuse_what_is_no_append(histories, copied, editor):
    """30 and 31: changing, deleting, replacing and truncating rows is refused, also as a replica; and an append is not."""
    world = copied(histories[0])
    with editor(world) as attacker:
        own, errors = (SQLITE, sqlite3.Error) if attacker.dialect == "sqlite" else (POSTGRES, psycopg.Error)
        before = {table: attacker.rows(f"SELECT * FROM {table}") for table in append_only.KEYS}
        for role in ("", "SET session_replication_role = replica") if attacker.dialect == "postgresql" else ("",):
            if role:
                attacker.run(role)
            for table, (column, key) in TABLES.items():
                for statement in (*REFUSED, *own):
                    with pytest.raises(errors, match=r"is append-only|duplicate key"):
                        attacker.run(statement.format(table=table, column=column, key=key))
        assert {table: attacker.rows(f"SELECT * FROM {table}") for table in append_only.KEYS} == before
    world.live(2)
    assert world.verify().verdict == "INTACT"
