"""The store against itself: a record without its evidence, or evidence without its record, is found."""

from __future__ import annotations

import sqlite3

import pytest

from flowstone import Pipeline, asset


@asset
def fine():
    return 1


@asset
def bad(fine):
    raise ValueError("no")


def findings(made, level):
    return [finding.subject for finding in made.doctor() if finding.level == level]


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        ("DELETE FROM event WHERE name = 'flowstone.materialization.start'", "every attempt has its start event"),
        ("DELETE FROM event WHERE name = 'flowstone.materialization.stop'", "every settled attempt has one ending event"),
        ("INSERT INTO event SELECT id + 1000, project, at, name, run_id, payload, xid FROM event WHERE name LIKE '%.exception'",
         "every settled attempt has one ending event"),
        ("UPDATE materialization SET output = 'out_none' WHERE status = 'success'", "every success has its output"),
        ("DELETE FROM event WHERE name = 'flowstone.error'", "every recorded error has its event"),
        ("UPDATE materialization SET status = 'retrying' WHERE status = 'failed'", "no ended run has unsettled materializations"),
        ("UPDATE attempt SET status = 'running', process = 'proc_dead' WHERE status = 'failed'", "every start has its ending"),
    ],
)  # fmt: skip
def test_each_disagreement_is_found(flow, tmp_path, statement, subject):
    """A store that agrees has no finding; one that was changed from outside is told under the right subject."""
    made = flow(Pipeline("p", [fine, bad]), home=tmp_path)
    made.run()
    before = findings(made, "fail")
    with sqlite3.connect(tmp_path / "flowstone.db") as connection:
        changed = connection.execute(statement).rowcount
    connection.close()

    assert before == []
    assert changed >= 1
    assert subject in findings(made, "fail")


def test_lost_bytes_are_found(flow, tmp_path):
    """A current output whose file is gone or has another size is a fault, with the command that mends it."""
    made = flow(Pipeline("p", [fine]), home=tmp_path)
    made.run()
    (stored,) = (tmp_path / "outputs").rglob("*.json")
    stored.unlink()
    (found,) = [finding for finding in made.doctor() if finding.level == "fail"]

    assert (found.subject, found.fix) == ("stored bytes", "flowstone run fine")
