"""When a process seals what it has told of, and what it does when the log does not go on from what was signed before."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import textwrap

import pytest

from flowstone import FlowStone, Pipeline, asset
from flowstone.app.sealing import Sealing
from flowstone.foundation.errors import RollbackDetectedError
from flowstone.foundation.settings import load


@asset(source=True)
def orders():
    return [1]


@pytest.fixture
def open_shop(database_url, tmp_path, monkeypatch):
    """A function that opens FlowStone on each database, with settings; it is closed when the test ends."""
    monkeypatch.setenv("FLOWSTONE_STATE_HOME", str(tmp_path / "state"))
    made = []

    def make(**given):
        arguments = {"home": str(tmp_path / "home"), "project": "shop", "database.url": given.pop("url", database_url), **given}
        made.append(FlowStone(Pipeline("shop", [orders]), settings=load(start=tmp_path, arguments=arguments), actor="ann"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def unsealed(flow):
    """How many entries have no place, and how many have."""
    head = flow.audit.head()
    return head.unsealed, head.size


def beat(flow):
    """Do what a process does each second."""
    flow._deployment._heartbeat.tick()


def test_a_run_is_sealed_when_it_ends(open_shop):
    """Who seals by itself has sealed a run when it returns, and given the head to the anchor of the state folder."""
    flow = open_shop(**{"audit.seal": "auto"})
    flow.run()
    head = flow.audit.head()

    assert (head.unsealed, head.size, [anchor.size for anchor in head.anchors]) == (0, 6, [6])
    assert flow.audit.verify().checked.verdict == "INTACT"


def test_what_is_told_between_runs_is_sealed_each_second(open_shop, monkeypatch):
    """A change beside a run waits for the next beat at most; a beat with nothing new does not ask the store."""
    flow = open_shop(**{"audit.seal": "auto"})
    flow.run()
    flow._deployment._heartbeat.stop()
    flow.hold("orders", reason="case")
    before = unsealed(flow)
    beat(flow)
    after = unsealed(flow)
    monkeypatch.setattr(Sealing, "_keeper", lambda _: pytest.fail("asked"))
    beat(flow)

    assert (before, after) == ((1, 6), (0, 7))


def test_who_ends_has_sealed(open_shop):
    """What was told of last is sealed and anchored when the process ends in good order."""
    flow = open_shop(**{"audit.seal": "auto"})
    flow.run()
    flow._deployment._heartbeat.stop()
    flow.invalidate("orders")
    flow.close()
    head = open_shop(**{"audit.seal": "tick"}).audit.head()

    assert (head.unsealed, [anchor.size for anchor in head.anchors]) == (0, [head.size])


def test_where_ticks_seal_nobody_else_does(open_shop):
    """With audit.seal = tick neither runs nor beats nor the end of a process seal; a tick seals everything and says so."""
    flow = open_shop(**{"audit.seal": "tick"})
    flow.run()
    beat(flow)
    flow.close()
    later = open_shop(**{"audit.seal": "tick"})
    before = {entry.seq for entry in later.audit.entries()}
    ticked = {done.name: done.text for done in later.tick().duties}

    assert before == {None}
    assert ticked["audit"] == "6 entries sealed"
    assert unsealed(later) == (0, 6)


def test_a_seal_that_fails_fails_no_run(open_shop, monkeypatch, caplog):
    """What cannot be sealed now is said once and sealed later; the run has ended well."""
    flow = open_shop(**{"audit.seal": "auto"})
    flow.run()
    with monkeypatch.context() as patch:
        patch.setattr("flowstone.audit.sealing.Sealer.seal", lambda _: 1 / 0)
        with caplog.at_level(logging.WARNING, "flowstone.audit"):
            assert [flow.run(force=True).status for _ in range(2)] == ["success"] * 2
    flow.run(force=True)
    said = [record.message for record in caplog.records if record.name == "flowstone.audit"]

    assert said == ["the audit log: division by zero"]
    assert unsealed(flow)[0] == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_log_that_was_set_back_is_noticed_at_the_start(open_shop, tmp_path, caplog):
    """A database that is older than what was signed is told of, is not sealed, and with audit.strict nothing runs."""
    flow = open_shop()
    flow.run()
    flow.close()
    kept = shutil.copy(tmp_path / "flowstone.db", tmp_path / "kept.db")
    flow = open_shop()
    flow.run(force=True)
    flow.close()
    shutil.copy(kept, tmp_path / "flowstone.db")
    with caplog.at_level(logging.ERROR, "flowstone.audit"):
        older = open_shop()
        assert older.run(force=True).status == "success"
    told = older.events(names=["flowstone.audit.rollback_detected"])
    older.close()

    assert len(told) == 1
    assert any("signed" in record.message for record in caplog.records)
    with pytest.raises(RollbackDetectedError):
        open_shop(**{"audit.strict": True}).run()
    assert older.audit.head().size < 10
    again = open_shop()
    again.audit.reincarnate(reason="restored on purpose")
    again.close()
    assert open_shop(**{"audit.strict": True}).run().status == "success"


def test_nothing_loads_cryptography_before_the_first_seal(tmp_path):
    """Neither importing nor running, where others seal, nor a question loads the library that signs."""
    code = """
        import sys
        from flowstone import FlowStone, Pipeline, asset
        from flowstone.foundation.settings import load

        @asset(source=True)
        def orders():
            return [1]

        settings = load(arguments={"home": "home", "audit.seal": "tick"})
        with FlowStone(Pipeline("shop", [orders]), settings=settings) as flow:
            flow.run()
            flow.get("orders")
            flow.audit.entries()
            flow.status()
        print("cryptography" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
