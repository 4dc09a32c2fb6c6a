"""The long crash matrix: a process killed at random moments, its run resumed by another. ``make prove`` runs it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from flowstone.testing import isolated_flow

STEPS, BATCHES, TRIALS = 30, 8, 25
WINDOW = 0.15  # seconds from the run's request in which the kill falls; a whole run takes about as long

PROGRAM = """
import sys, time
from pathlib import Path
from flowstone import Pipeline, asset
from flowstone.testing import isolated_flow

HOME, STEPS = Path(sys.argv[1]), int(sys.argv[2])

def note(name):
    with (HOME.parent / "ran").open("a") as file:
        file.write(name + "\\n")
    time.sleep(0.001)

def step(number):
    def body(before):
        note(f"n{number}")
        return before + 1
    return asset(name=f"n{number}", code_version="1", deps={"before": f"n{number - 1}"})(body)

@asset(name="n0", code_version="1")
def first():
    note("n0")
    return 0

pipeline = Pipeline("p", [first, *(step(number) for number in range(1, STEPS))])
with isolated_flow(pipeline, home=HOME) as flow:
    (HOME.parent / "begun").touch()
    flow._deployment.services()
    waiting = flow.runs(status="waiting")
    result = flow.resume(waiting[0].id) if waiting else flow.run()
    assert result.ok, result
"""


@pytest.mark.prove
@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_kills_cost_at_most_the_step_that_was_running(tmp_path, batch):
    """Killed at a random moment, a run is finished by the next process: at most one step is repeated and nothing is left."""
    chance = random.Random(batch)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    resumed = 0
    for trial in range(TRIALS):
        folder = tmp_path / str(trial)
        folder.mkdir()
        process = start(program, folder)
        while not (folder / "begun").exists():
            assert process.poll() is None
        killed_after = chance.uniform(0, WINDOW)
        time.sleep(killed_after)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert start(program, folder).wait(timeout=60) == 0
        resumed += check(folder, f"batch {batch} trial {trial}: killed after {killed_after:.4f} s")
    assert resumed >= TRIALS // 4, f"only {resumed} of {TRIALS} kills fell into a run: move WINDOW"


def start(program, folder):
    command = [sys.executable, str(program), str(folder / "home"), str(STEPS)]
    return subprocess.Popen(command, start_new_session=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})


def check(folder, told):
    """Hold everything a crash must not break against *folder*; return whether the kill fell into the run."""
    with isolated_flow(home=folder / "home") as flow:
        newest = flow.runs()[0]
        assert newest.status == "success", told
        assert flow.get(f"n{STEPS - 1}") == STEPS - 1, told
        assert [finding for finding in flow.doctor() if finding.level == "fail"] == [], told
        resumed = flow.events(names=["flowstone.run.resumed"])
        lost = [attempt for attempt in flow.show(newest.id).attempts if attempt.status == "lost"]
    ran = Counter((folder / "ran").read_text().split())
    assert len(ran) == STEPS, told
    assert sum(ran.values()) - STEPS <= 1, told
    assert len(lost) <= 1, told
    left = [path.name for path in (folder / "home").rglob("*") if path.name.startswith(".tmp-") or path.suffix == ".lock"]
    assert left == [], told
    return bool(resumed)
