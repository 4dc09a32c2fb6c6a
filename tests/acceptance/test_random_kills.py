"""Processes killed at random moments, their runs resumed by others: a crash costs at most the steps that were running.

``make test`` has a few trials of each kind, ``make prove`` (marker ``prove``) the long matrix. What is random in a trial comes
from its batch and its number.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from flowstone.app.pipelines import load_pipeline

PROJECTS = Path(__file__).parents[1] / "projects"
NOTES = 54  # lines that a run leaves which nobody disturbs
JITTER = {"inline": 0.006, "thread": 0.006, "process": 0.012}  # seconds between a note and the kill
BEGINNING = 0.08  # seconds in which a run's store is created and its plan made, about
JOBS = {"inline": 1, "thread": 3, "process": 2}


@pytest.fixture(scope="module")
def shaken():
    """The pipeline that is run, and what its last assets hold."""
    pipeline = load_pipeline(str(PROJECTS / "shaken.py"), PROJECTS)
    return pipeline, sys.modules["shaken"]


def at_random(place, process, chance, executor):
    """Wait for a random moment in the life of *process*: some notes from now, and a little more."""
    seen = len(place.noted())
    more = chance.randint(0, max(1, NOTES - seen))
    place.reach(process, seen + more)
    time.sleep(chance.uniform(0, JITTER[executor] if more else BEGINNING))  # the moment is meant to be any


def hold(place, shaken, most_lost):
    """Hold everything a crash must not break, and that the values are right."""
    pipeline, told = shaken
    place.hold_whole()
    place.hold_bodies(most_lost)
    with place.reader(pipeline) as flow:
        assert {run.status for run in flow.runs()} == {"success"}
        assert flow.get("total") == told.TOTAL
        assert flow.get("report", partition="mon") == told.REPORT
        assert flow.get("streamed") == "".join(f"piece {number}\n" for number in range(told.PIECES))
        steps = {step.asset: step.action for step in flow.preview(partition="mon")}
        assert {name for name, action in steps.items() if action == "compute"} == {"unwanted"}  # it skips itself each time
        first = flow.runs()[-1].id
        (made,) = [output for output in flow.show(first).outputs if output.asset == "chatty"]
        lines = [line.message for line in flow.logs(first, asset="chatty") if line.attempt == made.attempt]
        assert lines == ["first line", "second line"]
        assert len(flow.events(run_id=first, names=["shaken.counted"])) == 1


def kill_and_resume(place, shaken, chance, executor):
    """One trial; return whether a kill fell into a run that was not over."""
    process = place.start()
    at_random(place, process, chance, executor)
    children = place.children() if executor == "process" and chance.random() < 0.25 else []
    if children:  # only one of the children: the run goes on
        os.kill(chance.choice(children), signal.SIGKILL)
        assert place.finish(process) == "success"
        hold(place, shaken, most_lost=1)
        return True
    place.kill(process)
    kills = 1
    if chance.random() < 0.3:
        process = place.start()
        at_random(place, process, chance, executor)
        place.kill(process)
        kills = 2
    assert place.finish(place.start()) == "success"
    hold(place, shaken, most_lost=kills * JOBS[executor])
    with place.reader() as flow:
        return bool(flow.events(names=["flowstone.run.resumed"]))


def trials(place, shaken, folder, seed, count, executor, url=None, **how):
    """Make *count* trials; with a *url*, which has one store for all, each in a project of its own."""
    hits = 0
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        made = place(folder / str(number), url, f"trial{number}", executor=executor, jobs=JOBS[executor], **how)
        try:
            hits += kill_and_resume(made, shaken, chance, executor)
        except AssertionError as error:
            error.add_note(f"trial {number} of {seed}")
            raise
    return hits


@pytest.mark.parametrize(("executor", "count"), [("inline", 10), ("thread", 6), ("process", 4)])
def test_kills_on_sqlite_cost_the_steps_that_were_running(place, shaken, tmp_path, executor, count):
    """Killed at any moment, and again while it is resumed, a run ends right, whole, and without repeating what was finished."""
    trials(place, shaken, tmp_path, f"test/{executor}", count, executor)


@pytest.mark.parametrize(("executor", "count"), [("inline", 2), ("thread", 1), ("process", 2)])
def test_kills_on_postgresql_cost_the_steps_that_were_running(place, shaken, tmp_path, postgres_url, executor, count):
    """The same on PostgreSQL, whose transactions end a moment after the process that began them."""
    trials(place, shaken, tmp_path, f"test/{executor}", count, executor, postgres_url)


@pytest.mark.parametrize(("executor", "count"), [("inline", 3), ("process", 2)])
def test_kills_with_every_reporter_on(place, shaken, tmp_path, database_url, executor, count):
    """While spans, metrics, log records, messages and a slow handler report, a kill costs no more and totals are right."""
    trials(place, shaken, tmp_path, f"reported/{executor}", count, executor, database_url, reporters=True)


def batches(**counts):
    """The batches of a long matrix: executor and number."""
    return [(executor, batch) for executor, count in counts.items() for batch in range(count)]


@pytest.mark.prove
@pytest.mark.parametrize(("executor", "batch"), batches(inline=10, thread=6, process=4))
def test_five_hundred_kills_on_sqlite(place, shaken, tmp_path, executor, batch):
    """25 trials; most kills fall into a run that is then resumed."""
    assert trials(place, shaken, tmp_path, f"{batch}/{executor}", 25, executor) > 10


@pytest.mark.prove
@pytest.mark.parametrize(("executor", "batch"), batches(inline=5, thread=3, process=2))
def test_two_hundred_kills_on_postgresql(place, shaken, tmp_path, postgres_url, executor, batch):
    """20 trials; most kills fall into a run that is then resumed."""
    assert trials(place, shaken, tmp_path, f"{batch}/{executor}", 20, executor, postgres_url) > 8


@pytest.mark.prove
@pytest.mark.parametrize(("executor", "batch"), batches(inline=4, thread=3, process=3))
def test_two_hundred_kills_with_every_reporter_on(place, shaken, tmp_path, database_url, executor, batch):
    """10 trials on each database."""
    assert trials(place, shaken, tmp_path, f"reported/{batch}/{executor}", 10, executor, database_url, reporters=True) > 3
