"""Verifying while others write: what a keeper does before, after or while the snapshot is taken is never a finding."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest

from flowstone import FlowStone, Pipeline, asset
from flowstone.foundation.settings import load


@asset
def orders():
    """What was ordered."""
    return [1, 2, 3]


@pytest.fixture
def make_flow(database_url, tmp_path, monkeypatch):
    """A function that opens one project on each database, with an anchor beside the one of its keeper."""
    monkeypatch.setenv("FLOWSTONE_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "anchors").mkdir()
    arguments = {
        "home": str(tmp_path / "home"), "project": "shop", "database.url": database_url,
        "audit.anchors": [f"file:{tmp_path / 'anchors'}"],
    }  # fmt: skip
    opened = []

    def make():
        settings = load(start=tmp_path, arguments=arguments)
        opened.append(FlowStone(Pipeline("shop", [orders]), settings=settings, actor="dev"))
        return opened[-1]

    yield make
    for flow in opened:
        flow.close()


@pytest.fixture
def flow(make_flow):
    """A log that is sealed and anchored."""
    made = make_flow()
    made.run()
    made.audit.seal()
    return made


def append(other):
    """Somebody does something, which is sealed and anchored."""
    other.hold(asset="orders", reason="a question")
    other.audit.seal()


def rotate(other):
    """The key is replaced by another one, which signs what comes next."""
    other.audit.rotate_key(reason="yearly")
    append(other)


def erase(other):
    """An output is made anew, and its bytes are erased."""
    other.run(force=True)
    other.erase("orders", reason="asked for by ann")


def at_every_snapshot(flow, monkeypatch, act, *, is_begun):
    """Let *act* happen whenever *flow* begins to read: just before its snapshot, or just after it *is_begun*."""
    database, reading = flow._deployment.reading(), flow._deployment.reading().reading

    @contextmanager
    def hooked():
        if not is_begun:
            act()
        with reading() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM audit_head").all()
            if is_begun:
                act()
            yield connection

    monkeypatch.setattr(database, "reading", hooked)


@pytest.mark.parametrize("is_begun", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("deed", [append, rotate, erase])
def test_what_is_done_around_the_snapshot_is_no_finding(flow, make_flow, monkeypatch, deed, is_begun):
    """What is signed, anchored or erased just before or after the snapshot is begun is no finding, to the doctor neither."""
    other, done = make_flow(), []
    at_every_snapshot(flow, monkeypatch, lambda: done.append(deed(other)), is_begun=is_begun)
    checked = flow.audit.verify(record=False).checked

    once = len(done)
    assert (checked.verdict, checked.findings, checked.incomplete, checked.notices) == ("INTACT", [], [], [])
    assert [finding.text for finding in flow.doctor() if finding.level == "fail"] == []
    assert len(done) > once > 0


def test_a_process_that_begins_beside_a_sealer_finds_no_fault(flow, make_flow, monkeypatch):
    """What is signed and anchored while a process compares the log with both, as it begins, is no rollback."""
    other = make_flow()
    at_every_snapshot(flow, monkeypatch, lambda: append(other), is_begun=True)
    sealing = flow._deployment.sealing
    sealing.check()

    assert sealing.fault is None


WRITER = """
import sys, time
from pathlib import Path
from flowstone import FlowStone
from flowstone.foundation.errors import AuditError
from flowstone.foundation.settings import load

folder, url, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
anchors = ["file:" + str(folder / "anchors")]
arguments = {"home": str(folder / "home"), "project": "shop", "database.url": url, "audit.anchors": anchors}
with FlowStone(settings=load(start=folder, arguments=arguments), actor=name) as flow:
    number = 0
    while not (folder / "stop").exists():
        number += 1
        hold = flow.hold(asset="orders", reason="a question")
        flow.audit.seal()
        if number % 5 == 0:
            try:
                flow.audit.rotate_key(reason="often")
            except AuditError as error:
                assert "try again" in (error.hint or ""), error
        (folder / name).write_text(str(number))
        time.sleep(0.05)  # SQLite's WAL cannot be emptied while it is read without a pause, and is read ever more slowly
"""


@pytest.mark.parametrize("count", [8, pytest.param(150, marks=pytest.mark.prove)])
def test_a_log_that_others_write_is_always_intact(flow, database_url, tmp_path, count):
    """While two processes append, seal, anchor and replace the key, no state of the log that is verified has a finding."""
    command = [sys.executable, "-c", WRITER, str(tmp_path), database_url]
    writers = [subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in ("ann", "bob")]
    told, sizes = [], set()
    try:
        while len(sizes) < count or not _has_begun(tmp_path) or len(flow.audit.pinned_keys()) < 2:
            checked = flow.audit.verify(record=False).checked
            told.append((checked.verdict, checked.findings, checked.incomplete))
            sizes.add(checked.entries)
            if told[-1][0] != "INTACT" or any(writer.poll() is not None for writer in writers):
                break
    finally:
        (tmp_path / "stop").touch()
        said = [writer.communicate()[1] for writer in writers]

    assert said == ["", ""]
    assert [each for each in told if each != ("INTACT", [], [])] == []
    assert len(sizes) >= count
    assert len(flow.audit.pinned_keys()) > 1


def _has_begun(folder):
    """Whether both writers have appended something."""
    return all((folder / name).exists() for name in ("ann", "bob"))
