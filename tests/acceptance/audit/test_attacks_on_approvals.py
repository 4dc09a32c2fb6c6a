"""The approval rows of the attack matrix: a decision is changed, made up or undone with a database editor, and that is found."""

from __future__ import annotations

import random

import pytest
from releasing import KEYS, PUBLIC

from flowstone.audit import leaf as leaves
from flowstone.foundation.signatures.sshsig import sign
from flowstone.foundation.signatures.statement import NAMESPACE, Statement

APPROVAL = [
    ("decided_by", "'ceo'"), ("decided_identity", "'authenticated'"), ("reason", "'fine'"), ("policy", "'{}'"),
    ("policy", "'{'"), ("policy", "replace(policy, '\"quorum\":', '\"quorum\":9')"), ("facts", "'{\"rows\":8}'"),
    ("facts", "'['"), ("digest", "'00'"), ("output", "'out_x'"), ("deadline", "deadline + 1000"), ("next_at", "4711000"),
    ("reminders", "reminders + 1"), ("escalated_at", "4711000"), ("ended_at", "4711000"), ("version", "version + 1"),
    ("requester", "'eve'"), ("identity", "'authenticated'"), ("requested_at", "4711000"), ("kind", "'weakening'"),
    ("run_id", "'run_x'"), ("trace_id", "'t'"), ("materialization", "materialization + 1"), ("asset", "'orders'"),
    ("partition", "'x'"), ("project", "'other'"), ("pipeline", "'q'"),
    ("status", "CASE status WHEN 'approved' THEN 'rejected' ELSE 'approved' END"),
]  # fmt: skip
VOTE = [
    ("voter", "'ceo'"), ("identity", "'authenticated'"),
    ("verdict", "CASE verdict WHEN 'approve' THEN 'reject' ELSE 'approve' END"),
    ("comment", "'seen by all'"), ("digest", "'00'"), ("at", "at + 1000"), ("seen", "'{\"rows\":8}'"), ("signature", "'x'"),
    ("key", "'SHA256:x'"), ("decision", "'dec_x'"),
]  # fmt: skip
CANDIDATE = [
    ("digest", "'00'"), ("size", "size + 1"), ("location", "location || 'x'"), ("definition", "'x'"), ("format", "'text'"),
    ("rows", "4711"), ("summary", "summary || 'x'"), ("created_at", "created_at + 1000"), ("manager", "'memory'"),
    ("attempt", "9"), ("project", "'other'"), ("version", "version + 70"), ("inputs", "'x'"), ("config", "'x'"),
    ("source_version", "'2'"),
]  # fmt: skip


def some(a, rng, sql):
    """Some row of a query."""
    return rng.choice(a.rows(sql))


def candidate(a, rng, status="status IN ('pending', 'rejected', 'expired')"):
    """A request whose candidate never became current: its id, that of its candidate, and the number of its step."""
    return some(a, rng, f"SELECT id, output, materialization FROM approval WHERE kind = 'after' AND {status} ORDER BY id")


def change_a_request(a, rng):
    """Anything that a request says is changed."""
    column, value = rng.choice(APPROVAL)
    id = some(a, rng, "SELECT id FROM approval ORDER BY id")[0]
    if column == "status":
        id = some(a, rng, "SELECT id FROM approval WHERE status <> 'pending' ORDER BY id")[0]
    a.run(f"UPDATE approval SET {column} = {value} WHERE id = ?", id)


def change_a_vote(a, rng):
    """Anything that a vote says is changed."""
    column, value = rng.choice(VOTE)
    a.run(
        f"UPDATE approval_vote SET {column} = {value} WHERE id = ?", some(a, rng, "SELECT id FROM approval_vote ORDER BY id")[0]
    )


def delete_a_vote(a, rng):
    """A vote is deleted."""
    a.run("DELETE FROM approval_vote WHERE id = ?", some(a, rng, "SELECT id FROM approval_vote ORDER BY id")[0])


def add_a_vote(a, rng):
    """A vote is added, of somebody who has not voted."""
    columns = "decision, verdict, voter, identity, comment, digest, at, seen, signature, key"
    id = some(a, rng, "SELECT id FROM approval ORDER BY id")[0]
    values = ("dec_forged", "approve", "ceo", "authenticated", "", "d", 1, "{}", "", "")
    a.run(f"INSERT INTO approval_vote (approval, {columns}) VALUES (?, {', '.join('?' * 10)})", id, *values)


def add_a_vote_on_nothing(a, rng):
    """A vote is added, on a request that does not exist."""
    a.run("PRAGMA defer_foreign_keys = ON" if a.dialect == "sqlite" else "SET session_replication_role = replica")
    id = some(a, rng, "SELECT id FROM approval_vote ORDER BY id")[0]
    columns = "verdict, voter, identity, comment, digest, at, seen, signature, key"
    insert = f"INSERT INTO approval_vote (approval, decision, {columns}) SELECT 'apr_forged', 'dec_forged', {columns}"
    a.run(f"{insert} FROM approval_vote WHERE id = ?", id)


def delete_a_request(a, rng):
    """A request and its votes are deleted, such as one that was refused."""
    id = some(a, rng, "SELECT id FROM approval ORDER BY id")[0]
    a.run("DELETE FROM approval_vote WHERE approval = ?", id)
    a.run("DELETE FROM approval WHERE id = ?", id)


def add_a_request(a, rng):
    """A request that was approved is made up."""
    names = (
        "project, kind, pipeline, asset, run_id, trace_id, materialization, output, digest, policy, facts, requester, identity"
    )
    names += ", requested_at, deadline, next_at, reminders, escalated_at, ended_at, decided_by, decided_identity, reason, version"
    id = some(a, rng, "SELECT id FROM approval WHERE status <> 'pending' ORDER BY id")[0]
    insert = f"INSERT INTO approval (id, status, partition, {names}) SELECT 'apr_forged', 'approved', 'forged', {names}"
    a.run(f"{insert} FROM approval WHERE id = ?", id)


def approve_past_the_code(a, rng):
    """A request is approved with everything that belongs to it: its row, its step, the pointer."""
    id, output, row = candidate(a, rng, "status = 'pending'")
    a.run("UPDATE approval SET status = 'approved', decided_by = 'ann', ended_at = 1, next_at = NULL WHERE id = ?", id)
    a.run("UPDATE materialization SET status = 'success', output = ? WHERE id = ?", output, row)
    point_to(a, output)


def point_to(a, output):
    """Make an output current."""
    project, asset, partition = a.rows("SELECT project, asset, partition FROM output WHERE id = ?", output)[0]
    a.run("DELETE FROM current_output WHERE project = ? AND asset = ? AND partition = ?", project, asset, partition)
    a.run("INSERT INTO current_output (project, asset, partition, output) VALUES (?, ?, ?, ?)", project, asset, partition, output)


def publish_a_candidate(a, rng):
    """The pointer is moved to a candidate that waits, or was refused."""
    point_to(a, candidate(a, rng)[1])


def change_a_candidate(a, rng):
    """The row of a candidate is changed, while it waits or after it was refused."""
    column, value = rng.choice(CANDIDATE)
    a.run(f"UPDATE output SET {column} = {value} WHERE id = ?", candidate(a, rng)[1])


def change_what_a_candidate_is_made_from(a, rng):
    """What went into a candidate is changed."""
    output = candidate(a, rng)[1]
    if a.run("DELETE FROM lineage WHERE downstream = ?", output).rowcount == 0:
        a.run("INSERT INTO lineage (downstream, parameter, upstream) VALUES (?, 'forged', ?)", output, output)


def delete_a_candidate(a, rng):
    """A candidate that was refused is deleted with its lineage."""
    output = candidate(a, rng, "status IN ('rejected', 'expired')")[1]
    a.run("DELETE FROM lineage WHERE downstream = ?", output)
    a.run("DELETE FROM output WHERE id = ?", output)


def change_the_step(a, rng):
    """What the step of a request says is changed."""
    row = candidate(a, rng)[2]
    column, value = rng.choice([("status", "'cancelled'"), ("status", "'skipped'"), ("status", "'success'"), ("reason", "'x'"),
                                ("message", "'x'"), ("output", "'out_x'")])  # fmt: skip
    a.run(f"UPDATE materialization SET {column} = {value} WHERE id = ?", row)


def wait_for_nobody(a, rng):
    """A step that has ended is said to wait, or to be refused."""
    row = some(a, rng, "SELECT id FROM materialization WHERE asset <> 'bom' AND status = 'success' ORDER BY id")[0]
    a.run(f"UPDATE materialization SET status = '{rng.choice(['waiting', 'rejected', 'expired'])}' WHERE id = ?", row)


ROWS = (
    change_a_request, change_a_vote, delete_a_vote, add_a_vote, add_a_vote_on_nothing, delete_a_request, add_a_request,
    approve_past_the_code, publish_a_candidate, change_a_candidate, change_what_a_candidate_is_made_from, delete_a_candidate,
    change_the_step, wait_for_nobody,
)  # fmt: skip
"""Each attack on records; the log is not changed."""


def names(attack):
    """What a test of *attack* is called."""
    return attack.__name__


def prepare(attacker):
    """Let an attacker change keys as well: on SQLite they are compared only where somebody asked for that."""
    if attacker.dialect == "sqlite":
        attacker.run("PRAGMA foreign_keys = OFF")


@pytest.mark.parametrize("attack", ROWS, ids=names)
def test_an_attack_on_a_decision_is_found(histories, copied, editor, attack):
    """Whatever is changed of requests, votes, candidates and their steps past FlowStone, verifying says TAMPERED."""
    for number, history in enumerate(histories):
        world = copied(history)
        with editor(world) as attacker:
            prepare(attacker)
            attack(attacker, random.Random(number))
        checked = world.verify()

        assert checked.verdict == "TAMPERED", (number, checked)
        assert checked.told.keys() & {"record", "phantom"}, (number, checked.findings)


def test_a_decision_that_is_somebody_elses_is_named(histories, copied, editor):
    """Who is said to have decided, and who the log says it was, are both told."""
    world = copied(histories[0])
    with editor(world) as attacker:
        id, by = some(attacker, random.Random(1), "SELECT id, decided_by FROM approval WHERE status = 'rejected' ORDER BY id")
        place = "SELECT s.seq FROM audit_entry e JOIN audit_seal s ON s.entry = e.id WHERE e.action = 'approval.rejected'"
        seq = attacker.one(f"{place} AND e.subject = ?", f"approval:{id}")
        attacker.run("UPDATE approval SET decided_by = 'ceo' WHERE id = ?", id)
    [found] = world.verify().findings

    assert found.message == f"approval {id} says decided_by = ceo, its audit entry {seq} says {by}"
    assert found.taints == (f"approval:{id}",)


# -- forged entries: only what a person signed tells them apart ------------------------------------------------------------------


def signed_votes(a):
    """The entries that hold a signed vote: their fields and what they disclose."""
    found = []
    for id, leaf in a.rows("SELECT id, leaf FROM audit_entry WHERE substr(action, 1, 9) = 'approval.' ORDER BY id"):
        fields = leaves.read(bytes(leaf))
        if fields["data"].get("vote", {}).get("signature"):
            found.append((fields, dict(a.rows("SELECT field, value FROM audit_disclosure WHERE entry = ?", id))))
    return found


def forge(a, fields, disclosed, **vote):
    """Append an entry like *fields*, as another version and with another vote."""
    data = {**fields["data"], "vote": {**fields["data"]["vote"], **vote}}
    forged = {**fields, "version": fields["version"] + 70, "data": data, "actor": data["vote"]["voter"]}
    said = {name: value for name, value in forged.items() if name not in ("v", "commit")}
    shown = [leaves.disclose(*each) for each in disclosed.items()]
    made = leaves.leaf(said, tuple(shown))
    values = (forged["project"], forged["subject"], forged["version"], forged["action"], forged["actor"], data["asset"],
              forged["run"], forged["at"] * 1_000, made)  # fmt: skip
    columns = "project, subject, version, action, actor, asset, run_id, at, leaf"
    a.run(f"INSERT INTO audit_entry ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
    entry = a.one("SELECT MAX(id) FROM audit_entry")
    for each in shown:
        a.run("INSERT INTO audit_disclosure (entry, field, salt, value) VALUES (?, ?, ?, ?)", entry, *each)


def another_verdict(a, rng):
    """The verdict is another one than was signed."""
    fields, disclosed = rng.choice(signed_votes(a))
    forge(a, fields, disclosed, verdict="reject" if fields["data"]["vote"]["verdict"] == "approve" else "approve")


def another_candidate(a, rng):
    """The candidate is another one than was signed."""
    forge(a, *rng.choice(signed_votes(a)), digest="0" * 64)


def another_comment(a, rng):
    """The comment is another one than was signed."""
    fields, _ = rng.choice(signed_votes(a))
    forge(a, fields, {"comment": "nobody said this"})


def another_time(a, rng):
    """The time is another one than was signed."""
    fields, disclosed = rng.choice(signed_votes(a))
    forge(a, fields, disclosed, at=fields["data"]["vote"]["at"] + 1)


def another_request(a, rng):
    """A signature is replayed for another request."""
    (fields, disclosed), (other, _) = rng.sample(signed_votes(a), 2)
    while other["subject"] == fields["subject"]:
        other, _ = rng.choice(signed_votes(a))
    forge(a, {**fields, "subject": other["subject"]}, disclosed)


def another_person(a, rng):
    """The signature is of one person, the entry says another."""
    fields, disclosed = rng.choice(signed_votes(a))
    forge(a, fields, disclosed, voter="ceo")


def a_foreign_key(a, rng):
    """The decision is signed, for somebody else, with a key that is not theirs."""
    fields, disclosed = rng.choice(signed_votes(a))
    vote, data = fields["data"]["vote"], fields["data"]
    key = rng.choice([name for name in KEYS if name != vote["voter"]])
    statement = Statement(
        approval=data["approval"], project=fields["project"], asset=data["asset"], partition=data.get("partition", ""),
        verdict=vote["verdict"], digest=vote["digest"], comment=disclosed.get("comment", ""), actor=vote["voter"], at=vote["at"],
    )  # fmt: skip
    forge(a, fields, disclosed, signature=sign(KEYS[key], statement.text(), NAMESPACE), key=PUBLIC[key].fingerprint)


def another_fingerprint(a, rng):
    """The entry names another key than the one that signed."""
    forge(a, *rng.choice(signed_votes(a)), key="SHA256:" + "A" * 43)


def no_signature_at_all(a, rng):
    """The entry names a key, and what should be its signature is none."""
    forge(a, *rng.choice(signed_votes(a)), signature=rng.choice(["", "x", "-----BEGIN SSH SIGNATURE-----\n"]))


FORGERIES = (
    another_verdict, another_candidate, another_comment, another_time, another_request, another_person, a_foreign_key,
    another_fingerprint, no_signature_at_all,
)  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES, ids=names)
def test_a_signature_that_is_not_of_the_decision_is_found(histories, copied, editor, forgery):
    """An entry whose signature is of anything else, or of anybody else, is found by the signature, sealed or not."""
    for number, history in enumerate(histories):
        world = copied(history)
        with editor(world) as attacker:
            forgery(attacker, random.Random(number))
        assert "decision" in world.verify(records=False).told, number
        world.seal()
        assert "decision" in world.verify(records=False).told, number


@pytest.mark.prove
@pytest.mark.parametrize("attack", [*ROWS, *FORGERIES], ids=names)
def test_an_attack_on_a_decision_is_found_wherever_it_is(histories, attacker_of, attack):
    """In 200 random positions of two histories no attack on a decision is overlooked."""
    for history in histories:
        history.open()
        for number in range(100):
            with attacker_of(history) as (attacker, connection):
                attack(attacker, random.Random(number))
                checked = history.verify(connection=connection)

            assert checked.verdict == "TAMPERED", (number, checked)
            assert checked.told.keys() & ({"decision"} if attack in FORGERIES else {"record", "phantom"}), (number, checked)
        history.close()
