"""One small run that dies before and after each of its changes: each statement, commit and rename, in both halves of a step.

``make test`` takes some of those moments, spread evenly; ``make prove`` (marker ``prove``) takes them all.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from flowstone.app.pipelines import load_pipeline

PROJECTS = Path(__file__).parents[1] / "projects"


@pytest.fixture(scope="module")
def small():
    """The pipeline that is run, and what its last asset holds."""
    pipeline = load_pipeline(str(PROJECTS / "small.py"), PROJECTS)
    return pipeline, sys.modules["small"].REPORT


def die_and_recover(made, small, at):
    """Let a process die at *at*, and another one go on; return whether it has died there."""
    status = made.end(made.start(**at))
    assert made.finish(made.start()) == "success"
    made.hold_whole()
    made.hold_bodies(most_lost=1)
    pipeline, report = small
    with made.reader(pipeline) as flow:
        assert {run.status for run in flow.runs()} == {"success"}
        assert flow.get("report") == report
        assert {step.action for step in flow.preview()} == {"reuse"}
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def every(place, small, folder, name, executor, url=None, *, first=1, stride=1):
    """Die at the moments *first*, *first* + *stride* and so on, until there is none; return how many there were."""
    at, url_of = first, url or (lambda: None)
    while True:
        how = {"pipeline": "small.py", "partition": None, "executor": executor}
        made = place(folder / f"{name}{at}", url_of(), f"{name}{at}", **how)
        try:
            if not die_and_recover(made, small, {name: at}):
                return at
        except AssertionError as error:
            error.add_note(f"{name}={at}, {executor}")
            raise
        at += stride


@pytest.fixture
def new_store(request, new_postgres_url):
    """A function that gives a new store: on PostgreSQL the URL of one, on SQLite nothing, since each home has its own."""
    return new_postgres_url if request.param == "postgresql" else None


CASES = [
    ("sqlite", "inline", "at", 41), ("postgresql", "inline", "at", 61), ("sqlite", "process", "child_at", 29),
]  # fmt: skip


@pytest.mark.parametrize(("new_store", "executor", "name", "stride"), CASES, indirect=["new_store"])
def test_a_death_at_some_changes_loses_nothing(place, small, tmp_path, new_store, executor, name, stride):
    """Whatever was the last thing a process did, the next one ends the run right; at most one attempt is lost, and ends once."""
    assert every(place, small, tmp_path, name, executor, new_store, first=3, stride=stride) > 2 * stride


# Database, executor, what counts, stride, in how many parts: what a child does is the same on both databases, and what its
# parent does is the same as inline, but for the claims and settlements of two steps that share a commit.
LONG = [
    ("sqlite", "inline", "at", 1, 4), ("postgresql", "inline", "at", 1, 6),
    ("sqlite", "process", "child_at", 1, 4), ("postgresql", "process", "child_at", 3, 1),
    ("sqlite", "process", "at", 5, 2), ("postgresql", "process", "at", 5, 2),
]  # fmt: skip
PARTS = [
    (database, executor, name, 1 + part * stride, parts * stride)
    for database, executor, name, stride, parts in LONG
    for part in range(parts)
]


@pytest.mark.prove
@pytest.mark.parametrize(("new_store", "executor", "name", "first", "stride"), PARTS, indirect=["new_store"])
def test_a_death_at_every_change_loses_nothing(place, small, tmp_path, new_store, executor, name, first, stride):
    """The same for every moment of a run inline and of a child, and for every fifth of a run that has children."""
    assert every(place, small, tmp_path, name, executor, new_store, first=first, stride=stride) > 80
