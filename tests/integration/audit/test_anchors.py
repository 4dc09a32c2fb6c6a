"""Anchors: heads that are kept elsewhere are read back, and what does not go on from them is found."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import threading

import pytest

from flowstone.audit.anchoring import Anchors, AnchorsRead
from flowstone.audit.anchors import AnchorFile, FileSink, LogSink, sinks
from flowstone.audit.keeper import Keeper
from flowstone.audit.state import State
from flowstone.foundation.errors import RollbackDetectedError, SettingsError
from flowstone.stores import audit_questions


def lines_of(log):
    """The lines of the anchor file on the other volume."""
    return log.keeper.anchors.sinks[1].path(log.origin).read_bytes().splitlines()


def notes(log):
    """What all anchors of the log have kept, and the reading."""
    read = AnchorsRead(log.origin, log.keeper.anchors.sinks)
    with log.database.reading() as connection:
        return [anchored.note for anchored in read.heads(connection)], read


def test_every_head_is_given_to_every_sink(log):
    """The state folder and the other volume have the same signed heads, and the database has their receipts."""
    for _ in range(3):
        log.sealed(2)
    kept, read = notes(log)

    assert [note.split("\n")[1] for note in kept] == ["2", "4", "6"] * 2
    assert (read.faults, read.notices, read.missing, read.read) == ([], [], [], ["state", f"file:{log.anchors}"])
    with log.database.reading() as connection:
        assert {name: receipt.size for name, receipt in audit_questions.receipts(connection).items()} == {
            "state": 6, f"file:{log.anchors}": 6,
        }  # fmt: skip


def test_a_sink_that_fails_is_told_of_and_tried_again(log):
    """A volume that is not mounted holds up nothing, and has the newest head once it is back."""
    log.anchors.rmdir()
    log.append()
    sealed, told = log.keeper.seal()

    assert (sealed[0].head.size, [(one.sink, bool(one.error)) for one in told]) == (
        1, [("state", False), (f"file:{log.anchors}", True)],
    )  # fmt: skip
    assert not log.anchors.exists()  # a folder made in the place of a volume would be this machine's
    log.anchors.mkdir()
    log.append()

    assert [one.error for one in log.keeper.seal()[1]] == ["", ""]
    assert len(lines_of(log)) == 1


def test_a_sealer_that_does_not_stop_anchors_once_a_minute(small_log):
    """A process that seals every second does not fill the volume: unless it is told to, it waits a minute."""
    for _ in range(3):
        small_log.append()
        small_log.keeper.seal(force=False)
    first = len(lines_of(small_log))
    small_log.keeper.anchors.write()

    assert (first, len(lines_of(small_log))) == (1, 2)


def test_two_keepers_anchor_one_head(log):
    """When another keeper gives the same head to the same sinks at the same moment, both have done it."""
    first, other = log.keeper.anchors.sinks[0], log.made_keeper()
    log.append()
    log.keeper.sealer.seal()
    log.keeper.anchors.sinks[0] = Meanwhile(first, other.anchors.write)

    assert [one.error for one in log.keeper.anchors.write()] == ["", ""]
    assert len(lines_of(log)) == 2


class Meanwhile:
    """A sink that is asked just when something else happens."""

    def __init__(self, sink, happens):
        self.name, self._sink, self._happens = sink.name, sink, happens

    def write(self, *arguments):
        """Let it happen, and write."""
        self._happens()
        return self._sink.write(*arguments)


def test_lines_that_are_added_meanwhile_are_not_compared(small_log):
    """Heads that are anchored once reading has begun are left for the next time, and a line that is being written is none."""
    small_log.sealed(2)
    read = AnchorsRead(small_log.origin, small_log.keeper.anchors.sinks)
    small_log.sealed(3)
    with small_log.keeper.anchors.sinks[1].path(small_log.origin).open("ab") as file:
        file.write(b'{"at":17')
    with small_log.database.reading() as connection:
        kept = [anchored.note.split("\n")[1] for anchored in read.heads(connection)]

    assert (kept, read.faults, read.notices, read.missing) == (["2", "2"], [], [], [])


def test_an_edited_anchor_file_is_found(small_log):
    """A line that is changed, taken out or put elsewhere breaks the chain of lines."""
    for _ in range(5):
        small_log.sealed()
    path, whole = small_log.keeper.anchors.sinks[1].path(small_log.origin), lines_of(small_log)
    edits = {
        "changed": [*whole[:2], whole[2].replace(b'"at":1', b'"at":2'), *whole[3:]], "gone": [*whole[:2], *whole[3:]],
        "swapped": [whole[0], whole[2], whole[1], *whole[3:]], "first gone": whole[1:], "twice": [*whole, whole[-1]],
    }  # fmt: skip
    for name, lines in edits.items():
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        assert notes(small_log)[1].faults, name


def test_an_anchor_file_that_was_cut_off_is_incomplete(small_log):
    """A file that ends before the head it has accepted, or is gone, is said to be; what is left of it is still compared."""
    for _ in range(3):
        small_log.sealed()
    path, whole = small_log.keeper.anchors.sinks[1].path(small_log.origin), lines_of(small_log)
    path.write_bytes(whole[0] + b"\n")
    kept, read = notes(small_log)
    path.unlink()

    assert (len(kept), read.faults, "has accepted 3 entries and knows of 1" in read.missing[0]) == (4, [], True)
    assert "cannot be read" in notes(small_log)[1].missing[0]


def test_a_line_that_a_crash_cut_off_is_no_fault(small_log):
    """After power was lost in a line, the file goes on after it; the piece is told of, and is no finding."""
    small_log.sealed()
    path = small_log.keeper.anchors.sinks[1].path(small_log.origin)
    with path.open("ab") as file:
        file.write(b'{"at":17')
    small_log.sealed()
    small_log.sealed()
    kept, read = notes(small_log)

    assert (len(kept), read.faults, len(read.notices)) == (6, [], 1)


def test_a_file_somebody_else_is_writing_is_waited_for(small_log):
    """Two keepers that anchor at once both get their receipt."""
    small_log.sealed()
    path = small_log.keeper.anchors.sinks[1].path(small_log.origin)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = threading.Timer(0.3, fcntl.flock, [file, fcntl.LOCK_UN])
        writer.start()
        small_log.append()
        anchored = small_log.keeper.seal()[1]
        writer.join()

    assert [one.error for one in anchored] == ["", ""]


def test_a_file_that_stays_locked_is_busy(small_log, monkeypatch):
    """A sink that somebody keeps locked fails after a while, and holds up nothing."""
    monkeypatch.setattr("flowstone.audit.anchors.BUSY_SECONDS", 0.05)
    small_log.sealed()
    path = small_log.keeper.anchors.sinks[1].path(small_log.origin)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        small_log.append()

        assert small_log.keeper.seal()[1][1].error == "another process keeps the file locked"


def test_a_log_line_is_an_anchor_when_somebody_listens(small_log, caplog):
    """The log line holds the signed head; where no handler takes it, the sink says so instead of giving a receipt."""
    keeper = small_log.keeper
    heard: Keeper = keeper._replace(anchors=Anchors(small_log.database, [LogSink()]))
    small_log.append()
    with caplog.at_level(logging.WARNING, "flowstone.audit.anchor"):
        unheard = heard.seal()[1]
    with caplog.at_level(logging.INFO, "flowstone.audit.anchor"):
        told = heard.anchors.write()
    line = json.loads(caplog.records[-1].getMessage())

    assert (bool(unheard[0].error), told[0].error) == (True, "")
    assert (line["anchor"], line["note"].split("\n")[1]) == (small_log.origin, "1")


def test_lines_that_were_collected_are_read_back(small_log, tmp_path):
    """Lines of a log, or one note, given back in a file are anchors as well; a file that is not there is missing."""
    small_log.sealed(3)
    note = notes(small_log)[0][0]
    collected, single = tmp_path / "collected.json", tmp_path / "head.txt"
    collected.write_text("".join(json.dumps({"anchor": small_log.origin, "note": note, "host": str(n)}) + "\n" for n in range(2)))
    single.write_text(note)
    files = [AnchorFile(path, path.name) for path in (collected, single, tmp_path / "none")]
    read = AnchorsRead(small_log.origin, [], files)
    with small_log.database.reading() as connection:
        kept = [anchored.note for anchored in read.heads(connection)]

    assert (kept, read.faults, len(read.missing)) == ([note] * 3, [], 1)


def test_a_database_that_was_set_back_does_not_go_on(small_log, tmp_path):
    """An older copy of the database does not go on from the newest anchor, even when the state folder was set back with it."""
    small_log.sealed(2)
    small_log.database.close()
    shutil.copy(tmp_path / "flowstone.db", tmp_path / "old.db")
    shutil.copytree(small_log.state_home, tmp_path / "old-state")
    again = type(small_log)(small_log.url, tmp_path)
    again.number = 100
    again.sealed(3)
    again.keeper.anchors.require_log_goes_on()
    again.database.close()
    for path in tmp_path.glob("flowstone.db*"):
        path.unlink()
    shutil.copy(tmp_path / "old.db", tmp_path / "flowstone.db")
    shutil.rmtree(small_log.state_home)
    shutil.copytree(tmp_path / "old-state", small_log.state_home)
    restored = type(small_log)(small_log.url, tmp_path)
    try:
        restored.keeper.sealer.require_log_goes_on()  # what the state folder remembers is as old
        with pytest.raises(RollbackDetectedError, match="which has seen 5 entries"):
            restored.keeper.anchors.require_log_goes_on()
    finally:
        restored.database.close()


@pytest.mark.parametrize("text", ["file:anchors", "s3://bucket", "", "file:", "logs"])
def test_a_place_that_is_none_is_refused(text, tmp_path):
    """A setting that names no place for anchors is an error, not an anchor that is never written."""
    with pytest.raises(SettingsError):
        sinks([text], State(tmp_path))


def test_two_logs_share_a_folder(make_log, tmp_path):
    """Each log has a file of its own in a folder of anchors, named by its origin."""
    sink = FileSink("x", tmp_path)

    assert sink.path("laptop/1").parent == sink.path("laptop/2").parent == tmp_path
    assert sink.path("laptop/1") != sink.path("laptop/2") != sink.path("laptop_2")
    assert os.sep not in sink.path("../../etc").name
