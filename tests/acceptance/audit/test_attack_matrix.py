"""The attack matrix: an attacker with a database editor changes one thing, and verifying says so.

``make test`` tries two positions of each row on each database, committed past FlowStone; ``make prove`` tries 200 of each. What
cannot be detected is a test that shows exactly that.
"""

from __future__ import annotations

import random
import sqlite3

import pytest

from flowstone.audit import leaf as leaves
from flowstone.audit.note import Signer, TreeHead, sign
from flowstone.audit.tree import Frontier, hash_leaf
from flowstone.stores import append_only

STRANGER = Signer("stranger", bytes(range(32)))


# -- what the attacker does: each row changes one thing -------------------------------------------------------------------------


def flipped(data: bytes, rng: random.Random) -> bytes:
    """*data* with one bit flipped."""
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def sealed(a, rng):
    """The place and the number of some sealed entry."""
    return rng.choice(a.rows("SELECT seq, entry FROM audit_seal ORDER BY seq"))


def flip_a_leaf(a, rng):
    """1: a bit of a sealed entry is flipped."""
    _, entry = sealed(a, rng)
    with a.unguarded():
        leaf = bytes(a.one("SELECT leaf FROM audit_entry WHERE id = ?", entry))
        a.run("UPDATE audit_entry SET leaf = ? WHERE id = ?", flipped(leaf, rng), entry)


def rewrite_a_leaf(a, rng, entry=None):
    """2: an entry is written anew, well formed, and its hash with it."""
    seq, entry = sealed(a, rng)
    with a.unguarded():
        fields = leaves.read(bytes(a.one("SELECT leaf FROM audit_entry WHERE id = ?", entry)))
        made = leaves.canonical({**fields, "actor": "somebody-else"})
        a.run("UPDATE audit_entry SET leaf = ?, actor = 'somebody-else' WHERE id = ?", made, entry)
        a.run("UPDATE audit_seal SET leaf_hash = ? WHERE seq = ?", hash_leaf(made), seq)


def change_a_column(a, rng):
    """3: a column that is shown is changed, the entry is not."""
    _, entry = sealed(a, rng)
    column = rng.choice(["project", "subject", "action", "actor", "asset", "run_id"])
    with a.unguarded():
        a.run(f"UPDATE audit_entry SET {column} = {column} || 'x' WHERE id = ?", entry)


def change_a_number(a, rng):
    """3: a time or a version that is shown is changed."""
    _, entry = sealed(a, rng)
    with a.unguarded():
        a.run(f"UPDATE audit_entry SET {rng.choice(['at', 'version'])} = 4711 WHERE id = ?", entry)


def rebuild(a, write_note):
    """Compute every hash, root and head anew from the entries that are there."""
    places = a.rows("SELECT s.seq, e.leaf FROM audit_seal s JOIN audit_entry e ON e.id = s.entry ORDER BY s.seq")
    heads = {row[0]: row[1] for row in a.rows("SELECT size, note FROM audit_head")}
    frontier = Frontier()
    for seq, leaf in places:
        digest = hash_leaf(bytes(leaf))
        a.run("UPDATE audit_seal SET leaf_hash = ? WHERE seq = ?", digest, seq)
        frontier.add(digest)
        if frontier.size in heads:
            note = heads[frontier.size]
            text = TreeHead(note.split("\n")[0], frontier.size, frontier.root()).text()
            values = (frontier.root(), b"".join(frontier.peaks), write_note(text, note), frontier.size)
            a.run("UPDATE audit_head SET root = ?, peaks = ?, note = ? WHERE size = ?", *values)


def rebuild_with_old_signatures(a, rng):
    """4: an entry is changed, everything is computed anew, the signatures are kept."""
    rewrite_a_leaf(a, rng)
    with a.unguarded():
        rebuild(a, lambda text, note: text + "\n" + note.partition("\n\n")[2])


def rebuild_with_another_key(a, rng):
    """4: an entry is changed, everything is computed anew and signed with the attacker's key."""
    rewrite_a_leaf(a, rng)
    with a.unguarded():
        rebuild(a, lambda text, note: sign(text, [STRANGER]))


def rebuild_without_signatures(a, rng):
    """4: an entry is changed, everything is computed anew and not signed."""
    rewrite_a_leaf(a, rng)
    with a.unguarded():
        rebuild(a, lambda text, note: text)


def delete_an_entry(a, rng):
    """6: an entry is deleted, its place stays."""
    _, entry = sealed(a, rng)
    with a.unguarded():
        a.run("DELETE FROM audit_entry WHERE id = ?", entry)


def delete_an_entry_and_its_place(a, rng):
    """6: an entry and its place are deleted."""
    seq, entry = sealed(a, rng)
    with a.unguarded():
        a.run("DELETE FROM audit_entry WHERE id = ?", entry)
        a.run("DELETE FROM audit_disclosure WHERE entry = ?", entry)
        a.run("DELETE FROM audit_seal WHERE seq = ?", seq)


def delete_and_renumber(a, rng):
    """7: an entry is deleted, and those behind it move up."""
    delete_an_entry_and_its_place(a, rng)
    with a.unguarded():
        for number, (seq,) in enumerate(a.rows("SELECT seq FROM audit_seal ORDER BY seq")):
            a.run("UPDATE audit_seal SET seq = ? WHERE seq = ?", number, seq)


def cut_the_end_off(a, rng, *, heads=False):
    """8: the newest entries and their places are deleted, the heads are not."""
    size = a.one("SELECT MAX(size) FROM audit_head")
    sizes = [row[0] for row in a.rows("SELECT prev_size FROM audit_head ORDER BY size")]
    begin = rng.choice(sizes) if heads else rng.randrange(size)
    with a.unguarded():
        a.run("DELETE FROM audit_entry WHERE id IN (SELECT entry FROM audit_seal WHERE seq >= ?)", begin)
        a.run("DELETE FROM audit_disclosure WHERE entry IN (SELECT entry FROM audit_seal WHERE seq >= ?)", begin)
        a.run("DELETE FROM audit_seal WHERE seq >= ?", begin)
        if heads:
            a.run("DELETE FROM audit_head WHERE size > ?", begin)


def cut_the_end_and_its_heads_off(a, rng):
    """9: the newest entries go with their heads."""
    cut_the_end_off(a, rng, heads=True)


def put_an_entry_between(a, rng):
    """12: an entry is put among those that are sealed, past the queue."""
    columns = "project, subject, version, action, actor, asset, run_id, at, leaf"
    _, entry = sealed(a, rng)
    with a.unguarded():
        if a.dialect == "postgresql":
            a.run("ALTER TABLE audit_entry DISABLE TRIGGER USER")
        others = columns.replace("subject", "subject || 'x'")
        a.run(f"INSERT INTO audit_entry (id, {columns}) SELECT -7, {others} FROM audit_entry WHERE id = ?", entry)


def put_a_place_between(a, rng):
    """12: the order is made longer in the middle."""
    seq, _ = sealed(a, rng)
    with a.unguarded():
        for (behind,) in a.rows("SELECT seq FROM audit_seal WHERE seq >= ? ORDER BY seq DESC", seq):
            a.run("UPDATE audit_seal SET seq = seq + 1 WHERE seq = ?", behind)
        a.run("INSERT INTO audit_seal VALUES (?, -9, ?)", seq, rng.randbytes(32))


def swap_places(a, rng):
    """14: two entries change their places."""
    (one, first), (two, second) = rng.sample(a.rows("SELECT seq, entry FROM audit_seal ORDER BY seq"), 2)
    hashes = {seq: bytes(a.one("SELECT leaf_hash FROM audit_seal WHERE seq = ?", seq)) for seq in (one, two)}
    with a.unguarded():
        a.run("DELETE FROM audit_seal WHERE seq IN (?, ?)", one, two)
        a.run("INSERT INTO audit_seal VALUES (?, ?, ?)", one, second, hashes[two])
        a.run("INSERT INTO audit_seal VALUES (?, ?, ?)", two, first, hashes[one])


def swap_disclosures(a, rng):
    """15: what two entries disclose is exchanged."""
    rows = a.rows("SELECT entry, field, salt, value FROM audit_disclosure ORDER BY entry, field")
    (one, field, salt, value), (two, other_field, other_salt, other_value) = rng.sample(rows, 2)
    with a.unguarded():
        update = "UPDATE audit_disclosure SET salt = ?, value = ? WHERE entry = ? AND field = ?"
        a.run(update, bytes(other_salt), other_value, one, field)
        a.run(update, bytes(salt), value, two, other_field)


def change_a_disclosure(a, rng):
    """15: what an entry discloses is changed, or discloses more."""
    entry, field = rng.choice(a.rows("SELECT entry, field FROM audit_disclosure ORDER BY entry, field"))
    with a.unguarded():
        if rng.random() < 0.5:
            a.run("UPDATE audit_disclosure SET value = value || 'x' WHERE entry = ? AND field = ?", entry, field)
        else:
            a.run("INSERT INTO audit_disclosure VALUES (?, 'more', ?, 'x')", entry, rng.randbytes(32))


def replay_an_entry(a, rng):
    """16: an entry is appended again as a later version; the queue takes it."""
    _, entry = sealed(a, rng)
    a.run("INSERT INTO audit_entry (project, subject, version, action, actor, asset, run_id, at, leaf) SELECT project, subject, "
          "version + 70, action, actor, asset, run_id, at, leaf FROM audit_entry WHERE id = ?", entry)  # fmt: skip


def empty_the_log(a, rng):
    """19: the log is emptied and begun again."""
    with a.unguarded():
        for table in append_only.KEYS:
            a.run(f"DELETE FROM {table}")
        if a.dialect == "postgresql":
            a.run("DELETE FROM audit_pending")
        a.run("INSERT INTO audit_log VALUES (1, 'laptop/another-one', '', 1)")


def leave_the_guards_off(a, rng):
    """20: a trigger is dropped, switched off or replaced, and nothing else."""
    table = rng.choice(list(append_only.KEYS))
    if a.dialect == "sqlite":
        name = f"{table}_{rng.choice(['insert', 'update', 'delete'])}"
        a.run(f"DROP TRIGGER {name}")
        if rng.random() < 0.5:
            a.run(f"CREATE TRIGGER {name} BEFORE DELETE ON {table} WHEN 0 BEGIN SELECT 1; END")
    elif rng.random() < 0.5:
        a.run(f"ALTER TABLE {table} {rng.choice(['DISABLE', 'ENABLE'])} TRIGGER {table}_row")
    else:
        a.run(f"CREATE OR REPLACE FUNCTION {table}_guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")


RECORDS = {
    "output": [("digest", "'00'"), ("size", "size + 1"), ("location", "location || 'x'"), ("definition", "'x'"),
               ("format", "'text'"), ("rows", "4711"), ("summary", "'fine'"), ("source_version", "'2'"),
               ("created_at", "created_at + 1"), ("version", "version + 70"),
               ("gone", "'erased'"), ("project", "'other'"), ("run_id", "'run_x'"), ("config", "'x'"), ("manager", "'memory'"),
               ("attempt", "9"), ("inputs", "'x'"), ("schema", "'x'")],
    "materialization": [("status", "'reused'"), ("output", "'out_x'"), ("attempts", "attempts + 1"), ("reason", "'x'"),
                        ("later", "3"), ("message", "'fine'"), ("not_before", "1")],
    "run": [("status", "'rejected'"), ("actor", "'ceo'"), ("identity", "'authenticated'"), ("plan", "'[]'"),
            ("process", "'proc_x'"), ("trace_id", "'t'"),
            ("request", "'{\"a\":1}'"), ("definition", "'x'"), ("provenance", "'[]'"), ("requested_at", "4711"),
            ("pipeline", "'q'"), ("outcome", "'{\"a\":1}'"), ("cancel_requested_at", "4711")],
    "current_output": [("output", "(SELECT MIN(id) FROM output o WHERE o.id <> current_output.output)")],
    "lineage": [("parameter", "parameter || 'x'")],
    "hold": [("reason", "'none'"), ("released_at", "4711"), ("actor", "'ceo'"), ("asset", "'rates'"), ("at", "4711")],
    "error_group": [("status", "CASE status WHEN 'muted' THEN 'open' ELSE 'muted' END"), ("decided_by", "'ceo'"),
                    ("reason", "'x'")],
    "pipeline": [("definition", "'{}'"), ("digest", "'x'"), ("name", "'q'")],
}  # fmt: skip
"""What an attacker would change of the records, by table and column."""
KEYS = {"current_output": ("project", "asset", "partition"), "lineage": ("downstream", "parameter", "upstream"),
        "error_group": ("project", "fingerprint")}  # fmt: skip


def change_a_record(a, rng):
    """21: a record is changed, the log is not."""
    table = rng.choice(sorted(RECORDS))
    column, value = rng.choice(RECORDS[table])
    keys = KEYS.get(table, ("id",))
    where = " WHERE status IN ('success', 'failed')" if table in ("materialization", "run") else ""
    row = rng.choice(a.rows(f"SELECT {', '.join(keys)} FROM {table}{where} ORDER BY {', '.join(keys)}"))
    if a.dialect == "sqlite":
        a.run("PRAGMA foreign_keys = OFF")
    a.run(f"UPDATE {table} SET {column} = {value} WHERE " + " AND ".join(f"{key} = ?" for key in keys), *row)


def delete_a_record(a, rng):
    """21: a record is deleted, the log is not."""
    table = rng.choice(["current_output", "lineage", "hold", "error_group", "pipeline"])
    keys = KEYS.get(table, ("id",))
    row = rng.choice(a.rows(f"SELECT {', '.join(keys)} FROM {table} ORDER BY {', '.join(keys)}"))
    a.run(f"DELETE FROM {table} WHERE " + " AND ".join(f"{key} = ?" for key in keys), *row)


def add_a_record(a, rng):
    """21: a record is added that nothing has made."""
    kind = rng.choice(["output", "edge", "hold", "pointer"])
    one, two = rng.sample(a.rows("SELECT id FROM output ORDER BY id"), 2)
    if kind == "output":
        names = "project, asset, partition, run_id, attempt, manager, location, format, digest, size, definition, config"
        names += ", inputs, source_version, summary, created_at, gone"
        a.run(f"INSERT INTO output (id, version, {names}) SELECT 'out_forged', 4711, {names} FROM output WHERE id = ?", *one)
    elif kind == "edge":
        a.run("INSERT INTO lineage VALUES (?, 'forged', ?)", *one, *two)
    elif kind == "hold":
        names = "project, asset, partition, output, run_id, reason, actor, identity, at, released_at, released_by"
        a.run(f"INSERT INTO hold (id, {names}) SELECT 'hold_forged', {names} FROM hold ORDER BY id LIMIT 1")
    else:
        a.run("INSERT INTO current_output SELECT project, asset, 'forged', id FROM output WHERE id = ?", *one)


def forge_an_entry(a, rng):
    """22: a well formed entry is appended that tells of something that has not happened."""
    _, entry = sealed(a, rng)
    fields = leaves.read(bytes(a.one("SELECT leaf FROM audit_entry WHERE id = ?", entry)))
    data = {"asset": "orders", "output": "out_forged", "digest": "0" * 64, "size": 1, "definition": "d", "inputs_digest": "i",
            "attempts": 1, "record": "r", "location": "x"}  # fmt: skip
    forged = {**fields, "subject": "materialization:4711", "version": 1, "action": "materialization.succeeded", "data": data,
              "at": 1_790_000_000_000_000}  # fmt: skip
    forged.pop("commit", None)
    values = (fields["project"], forged["subject"], 1, forged["action"], fields["actor"], "orders", fields.get("run", ""),
              forged["at"] * 1_000, leaves.canonical(forged))  # fmt: skip
    columns = "project, subject, version, action, actor, asset, run_id, at, leaf"
    a.run(f"INSERT INTO audit_entry ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)


def delete_a_disclosure(a, rng):
    """23: what an entry discloses is deleted."""
    row = rng.choice(a.rows("SELECT entry, field FROM audit_disclosure ORDER BY entry, field"))
    with a.unguarded():
        a.run("DELETE FROM audit_disclosure WHERE entry = ? AND field = ?", *row)


def pretend_a_redaction(a, rng):
    """23: what an entry discloses is deleted, and said to be redacted."""
    row = rng.choice(a.rows("SELECT entry, field FROM audit_disclosure ORDER BY entry, field"))
    a.run("INSERT INTO audit_redaction VALUES (?, ?, 1)", *row)
    a.run("DELETE FROM audit_disclosure WHERE entry = ? AND field = ?", *row)  # the guards let it pass


def rename_the_log(a, rng):
    """27: the database says that its log is another one."""
    with a.unguarded():
        a.run(f"UPDATE audit_log SET origin = {rng.choice(['origin || 1', chr(39) + 'other/1' + chr(39)])}")


def pretend_a_restore(a, rng):
    """27: the database says that its log was restored."""
    a.run("INSERT INTO audit_log SELECT 2, origin || '/3', 'restored', 1 FROM audit_log WHERE incarnation = 1")


def change_a_head(a, rng):
    """28: a head is changed: its numbers, its root, its note."""
    size = rng.choice(a.rows("SELECT size FROM audit_head ORDER BY size"))[0]
    column = rng.choice(["root", "peaks", "note", "size", "prev_size"])
    with a.unguarded():
        if column in ("root", "peaks"):
            value = flipped(bytes(a.one(f"SELECT {column} FROM audit_head WHERE size = ?", size)), rng)
        elif column == "note":
            value = flipped(a.one("SELECT note FROM audit_head WHERE size = ?", size)[:-1].encode(), rng).decode("latin-1") + "\n"
            value = value.replace("\0", "x")
        else:
            value = 1_000_000 + rng.randrange(1_000)
        a.run(f"UPDATE audit_head SET {column} = ? WHERE size = ?", value, size)


def delete_a_head(a, rng):
    """28: a head is deleted."""
    size = rng.choice(a.rows("SELECT size FROM audit_head ORDER BY size"))[0]
    with a.unguarded():
        a.run("DELETE FROM audit_head WHERE size = ?", size)


def pretend_a_prune(a, rng):
    """37: entries are deleted, and said to be in an archive."""
    below = rng.randrange(1, a.one("SELECT MAX(size) FROM audit_head"))
    a.run("INSERT INTO audit_prune VALUES (?, 'archive', 'digest', 1)", below)
    a.run("DELETE FROM audit_entry WHERE id IN (SELECT entry FROM audit_seal WHERE seq < ?)", below)  # the guards let it pass


ROWS = {
    flip_a_leaf: {"changed"}, rewrite_a_leaf: {"root"}, change_a_column: {"column"}, change_a_number: {"column"},
    rebuild_with_old_signatures: {"signature"}, rebuild_with_another_key: {"signature"}, rebuild_without_signatures: {"root"},
    delete_an_entry: {"deleted"}, delete_an_entry_and_its_place: {"gap", "truncated"}, delete_and_renumber: {"root", "truncated"},
    cut_the_end_off: {"truncated"}, cut_the_end_and_its_heads_off: {"truncated"}, put_an_entry_between: {"inserted"},
    put_a_place_between: {"root", "deleted"}, swap_places: {"root"}, swap_disclosures: {"disclosure"},
    change_a_disclosure: {"disclosure"}, replay_an_entry: {"column"}, empty_the_log: {"foreign"},
    leave_the_guards_off: {"schema"}, change_a_record: {"record", "phantom"}, delete_a_record: {"record", "phantom"},
    add_a_record: {"record"}, forge_an_entry: {"phantom"},
    delete_a_disclosure: {"undisclosed"}, pretend_a_redaction: {"redaction"}, rename_the_log: {"foreign"},
    pretend_a_restore: {"foreign"}, change_a_head: {"head", "signature", "fork", "root", "truncated"},
    delete_a_head: {"fork", "unsigned"},
    pretend_a_prune: {"prune"},
}  # fmt: skip
"""Each attack, and the kinds of which it must show at least one."""


def names(attack):
    """What a test of *attack* is called."""
    return attack.__name__


@pytest.mark.parametrize("attack", ROWS, ids=names)
def test_an_attack_is_found(histories, copied, editor, attack):
    """Whatever one thing is changed in the database past FlowStone, verifying says TAMPERED, and what it was."""
    for number, history in enumerate(histories):
        world = copied(history)
        with editor(world) as attacker:
            attack(attacker, random.Random(number))
        checked = world.verify()

        assert checked.verdict == "TAMPERED", (number, checked)
        assert checked.told.keys() & ROWS[attack], (number, checked.findings)


TYPES = [
    ("audit_entry", "leaf", "'text'"), ("audit_entry", "subject", "x'ff'"), ("audit_entry", "at", "'x'"),
    ("audit_entry", "version", "x'ff'"), ("audit_seal", "leaf_hash", "'x'"), ("audit_seal", "seq", "'x'"),
    ("audit_seal", "seq", "4611686018427387904"), ("audit_seal", "seq", "-1"), ("audit_seal", "entry", "'x'"),
    ("audit_head", "size", "'x'"), ("audit_head", "size", "-5"), ("audit_head", "root", "'x'"), ("audit_head", "note", "x'ff'"),
    ("audit_disclosure", "value", "x'ff'"), ("audit_disclosure", "salt", "'x'"), ("audit_disclosure", "entry", "'x'"),
    ("output", "id", "x'ff'"), ("output", "digest", "x'ff'"), ("output", "created_at", "'x'"), ("run", "ended_at", "'x'"),
    ("hold", "at", "'x'"), ("materialization", "attempts", "x'ff'"), ("current_output", "partition", "x'ff'"),
]  # fmt: skip


@pytest.mark.parametrize("histories", ["sqlite"], indirect=True)
def test_what_is_of_another_type_is_found(histories, copied, editor):
    """SQLite takes any type in any column: verifying reads what is no number, no text or no bytes, and says so."""
    for table, column, value in TYPES:
        world = copied(histories[0])
        with editor(world) as attacker, attacker.unguarded():
            attacker.run("PRAGMA foreign_keys = OFF")
            key = "rowid" if table in ("audit_entry", "run", "hold", "materialization") else column
            changed = attacker.run(f"UPDATE {table} SET {column} = {value} WHERE {key} = (SELECT MAX({key}) FROM {table})")
            assert changed.rowcount > 0
        assert world.verify().verdict == "TAMPERED", (table, column, value)


@pytest.mark.parametrize("histories", ["sqlite"], indirect=True)
@pytest.mark.parametrize("count", [2, pytest.param(200, marks=pytest.mark.prove)])
def test_a_bit_that_flips_in_the_file_is_found(histories, copied, count):
    """A bit of a sealed entry that is flipped in the file itself, past every trigger, is found."""
    for number in range(count):
        world, rng = copied(histories[number % 2]), random.Random(number)
        world.close()
        path = world.folder / "flowstone.db"
        with sqlite3.connect(path) as connection:
            (leaf,) = rng.choice(connection.execute("SELECT leaf FROM audit_entry ORDER BY id").fetchall())
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        data = path.read_bytes()
        place = data.index(leaf[:200])
        path.write_bytes(data[:place] + flipped(leaf[:200], rng) + data[place + 200 :])
        world.open()

        assert world.verify().told.keys() & {"changed", "unreadable"}, number


# -- the same in many positions: in a transaction that is rolled back -----------------------------------------------------------


@pytest.mark.prove
@pytest.mark.parametrize("attack", ROWS, ids=names)
def test_an_attack_is_found_wherever_it_is(histories, attacker_of, attack):
    """In 200 random positions of two histories no attack is overlooked."""
    for history in histories:
        history.open()
        for number in range(100):
            with attacker_of(history) as (attacker, connection):
                attack(attacker, random.Random(number))
                checked = history.verify(connection=connection)

            assert checked.verdict == "TAMPERED", (number, checked)
            assert checked.told.keys() & ROWS[attack], (number, checked.findings)
        history.close()
