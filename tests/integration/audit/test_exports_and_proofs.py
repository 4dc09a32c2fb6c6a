"""What a real log gives out is proven without its database: exports of ranges and of chosen entries, proofs, consistency."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from flowstone.audit.export import Range, export_chosen, export_range, proofs_of
from flowstone.audit.offline import verify_export, verify_proof
from flowstone.audit.proofs import Proofs
from flowstone.audit.tree import Frontier, hash_leaf, inclusion_proof, root_of, verify_consistency
from flowstone.foundation.errors import AuditError, NotFoundError, ProofError, UsageError
from flowstone.stores import audit_checks, audit_questions
from flowstone.stores.audit_questions import Wanted
from flowstone.stores.records import AuditHeadRecord


def written(log, path, lines):
    """Verify the lines as anybody would who has the file, the origin and the key."""
    path.write_bytes(b"".join(lines))
    return verify_export(path, log.origin, log.keys)


def test_a_whole_log_is_exported_and_verified(log, tmp_path):
    """An export of a log with several heads and disclosures is intact for whoever has its origin and key."""
    log.sealed(5, reason="ticket 4711")
    log.sealed(300)
    with log.database.reading() as connection:
        report = written(log, tmp_path / "all", export_range(connection, Range()))

    assert (report.verdict, report.entries, report.disclosures) == ("INTACT", 305, 5)


def test_a_range_is_proven_by_the_newest_head(log, tmp_path):
    """A range that begins and ends anywhere is proven by the head of the whole log."""
    log.sealed(300)
    log.sealed(221)
    with log.database.reading() as connection:
        for begin, end in ((0, 1), (255, 257), (300, 521), (17, 512)):
            path = tmp_path / f"{begin}"
            path.write_bytes(b"".join(export_range(connection, Range(begin, end))))
            report = verify_export(path, log.origin, log.keys, begin=begin, end=end)

            assert (report.verdict, report.entries, report.size) == ("INTACT", end - begin, 521)


def test_chosen_entries_carry_their_proofs(log, tmp_path):
    """An export by filter has what fits and nothing else, each entry proven by itself; what fits no filter is not shown."""
    log.sealed(300)
    log.sealed(3, subject="hold:1", reason="ticket 4711")
    with log.database.reading() as connection:
        wanted = Wanted(subject="hold:1", actor="dev")
        report = written(log, tmp_path / "some", export_chosen(connection, wanted, Range()))
        nothing = written(log, tmp_path / "none", export_chosen(connection, Wanted(actor="ceo"), Range()))

    assert (report.findings, report.entries, report.disclosures, report.chosen) == ([], 3, 3, "actor=dev, subject=hold:1")
    assert (nothing.findings, nothing.entries) == ([], 0)


def test_what_is_disclosed_can_be_left_out(small_log, tmp_path):
    """An export without disclosures holds none of them, and says that it does not."""
    small_log.sealed(3, reason="ticket 4711")
    with small_log.database.reading() as connection:
        report = written(small_log, tmp_path / "bare", export_range(connection, Range(), withheld=True))

    assert b"4711" not in (tmp_path / "bare").read_bytes()
    assert (report.exit, report.findings, len(report.incomplete)) == (2, [], 1)


def test_what_is_not_sealed_is_not_exported(small_log):
    """An export ends with the newest head: nothing is given out that nobody has signed for."""
    with small_log.database.reading() as connection, pytest.raises(AuditError, match="nothing is sealed"):
        list(export_range(connection, Range()))
    small_log.sealed(2)
    small_log.append()
    with small_log.database.reading() as connection:
        assert len(list(export_range(connection, Range()))) == 2 + 2
        with pytest.raises(UsageError):
            list(export_range(connection, Range(0, 3)))


def test_every_entry_is_proven(log):
    """The proof of every entry of a log leads to its newest head, and is verified from its text alone."""
    log.sealed(257)
    log.sealed(20)
    with log.database.reading() as connection:
        proofs = proofs_of(connection)
        for seq in (0, 1, 127, 255, 256, 257, 276):
            row = audit_questions.at(connection, seq)
            proof = proofs.of_entry(seq, bytes(row.leaf_hash), bytes(row.leaf))

            assert verify_proof(proof.text(), log.origin, log.keys).exit == 0
        with pytest.raises(NotFoundError):
            proofs.inclusion(277, bytes(32))


def test_proofs_are_those_of_the_tree(small_log):
    """Proofs from pages, tiles and remembered edges are the ones that the whole tree gives, and every head is the beginning."""
    for count in (1, 2, 250, 3, 600, 44):
        small_log.sealed(count)
    with small_log.database.reading() as connection:
        proofs, heads = proofs_of(connection), list(audit_checks.heads(connection))
        hashes = [one for page in audit_questions.hashes(connection, 0, 900) for one in page]
        for seq in range(0, 900, 7):
            assert proofs.inclusion(seq, hashes[seq]) == inclusion_proof(lambda a, b: root_of(hashes[a:b]), seq, 900)
        for head in heads:
            consistency = proofs.consistency(head.size, head.root) if head.size < 900 else []
            verify_consistency(head.size, 900, consistency, head.root, heads[-1].root)


def test_a_proof_that_would_prove_nothing_is_not_given(small_log):
    """When what is stored does not lead to the head, no proof is given out: that is said instead."""
    small_log.sealed(10)
    with small_log.database.reading() as connection, pytest.raises(ProofError, match="does not lead to the tree head"):
        proofs_of(connection).inclusion(4, hash_leaf(b"another"))


@pytest.mark.prove
def test_a_proof_among_a_million_entries_takes_two_seconds(small_log, tmp_path):
    """The worst placed of 1,000,000 entries is proven within 2 s, and its neighbours at once."""
    small_log.sealed(1)
    with small_log.database.reading() as connection:
        hashes = [bytes(audit_questions.at(connection, 0).leaf_hash), *(hash_leaf(b"%d" % n) for n in range(1, 1_000_000))]
    with closing(sqlite3.connect(tmp_path / "flowstone.db")) as plain:  # 1,000,000 honest appends would take minutes
        plain.executescript("DROP TRIGGER audit_seal_insert")
        plain.executemany("INSERT INTO audit_seal VALUES (?, ?, ?)", ((n, -n, one) for n, one in enumerate(hashes) if n))
        plain.commit()
    frontier = Frontier()
    for one in hashes:
        frontier.add(one)
    head = AuditHeadRecord(size=len(hashes), prev_size=1, root=frontier.root(), peaks=b"".join(frontier.peaks), note="", at=0)
    with small_log.database.reading() as connection:
        begun, proofs = time.perf_counter(), Proofs(connection, small_log.origin, head)
        for seq in (0, 1, 999_999):
            assert len(proofs.inclusion(seq, hashes[seq])) > 10
        assert time.perf_counter() - begun < 2
