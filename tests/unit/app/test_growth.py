"""What the doctor says of room and of the folder of outputs."""

from __future__ import annotations

import shutil
from collections import namedtuple
from datetime import UTC, datetime

import pytest

from flowstone import Pipeline, asset
from flowstone.testing import MovableClock

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def made(flow, tmp_path):
    """A project whose one asset stores 100,000 bytes, another value at each run."""
    clock = MovableClock(datetime.now(UTC))

    @asset(source=True)
    def big():
        return str(clock.now_ns()).ljust(100_000)

    return flow(Pipeline("p", [big]), home=tmp_path, clock=clock)


def passing(made, days, runs=1):
    """Let *days* pass, with *runs* runs."""
    for _ in range(runs):
        made._deployment.clock.advance(days * 86_400 / runs)
        made.run()


def finding(made, subject):
    return next(f for f in made.doctor() if f.subject == subject)


def test_a_young_store_is_not_forecast(made):
    """Without a day of records there is nothing to tell a rate from, and that is said."""
    made.run()
    told = finding(made, "growth")

    assert told.level == "ok"
    assert "outputs 100 kB" in told.text
    assert told.text.endswith("a forecast needs a day of records")


def test_growth_is_told_from_what_is_recorded(made, monkeypatch):
    """The rates are those of the last seven days; how long the disk lasts at them is said, as a warning when it is soon."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 10**12))
    made.run()
    passing(made, days=2, runs=2)
    long = finding(made, "growth")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1_500_000))
    soon = finding(made, "growth")

    assert long.level == "ok"
    assert "outputs 300 kB, 1000 GB free" in long.text or "outputs 300 kB, 1.0 TB free" in long.text
    assert "and 150 kB; " in long.text or "and 150 kB: " in long.text
    assert (soon.level, soon.fix) == ("warn", "flowstone db prune --dry-run, or keep less: retention.*")
    assert "the disk is full in" in soon.text


def test_collected_bytes_count_as_gone(made):
    """When as much is collected as is made, the outputs do not grow."""
    made.run()
    passing(made, days=16, runs=8)
    passing(made, days=1, runs=3)
    told = finding(made, "growth")

    assert "outputs 300 kB" in told.text
    assert "and 0 bytes" in told.text


def test_files_that_are_left_over_or_not_ours_are_told(made):
    """A file of a collected output is left over, with the command that removes it; another one is counted and left alone."""
    made.run()
    folder = next(made.settings.outputs.path.rglob("*.txt")).parent
    (folder / "notes.txt").write_text("x")
    clean = finding(made, "output files")
    first = next(path for path in folder.iterdir() if path.name.startswith("run_"))
    copy = first.read_bytes()
    passing(made, days=1, runs=3)
    first.write_bytes(copy)
    left = finding(made, "output files")

    assert (clean.level, clean.text) == ("ok", "1 file, nothing left over; 1 is not this database's and is left alone")
    assert (left.level, left.fix) == ("warn", "flowstone db prune")
    assert "1 file that nothing refers to, 100 kB" in left.text


def test_lost_bytes_of_older_versions_are_told(made):
    """A version that is recorded as kept and has no file is named; it is no failure, because it is not current."""
    made.run()
    first = next(made.settings.outputs.path.rglob("run_*"))
    passing(made, days=1)
    first.unlink()
    told = finding(made, "older versions")

    assert told.level == "warn"
    assert f"big version 1 (big/@none/{first.name})" in told.text
    assert finding(made, "stored bytes").level == "ok"


def test_a_large_folder_is_looked_at_in_part(made, monkeypatch):
    """Unless all is asked for, so many files and outputs are looked at, and that is said; sizes come from the records then."""
    monkeypatch.setattr("flowstone.app.growth.LOOKED", 1)
    made.run()
    passing(made, days=1, runs=2)
    part = {f.subject: f.text for f in made.doctor()}
    whole = {f.subject: f.text for f in made.doctor(thorough=True)}

    assert "not more than the first 1 files" in part["output files"]
    assert "not more than the newest 1 outputs" in part["older versions"]
    assert "outputs 300 kB" in part["growth"]
    assert "not more than" not in whole["output files"] + whole["older versions"]
    assert whole["output files"].startswith("3 files")
