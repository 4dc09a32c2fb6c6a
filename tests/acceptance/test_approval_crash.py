"""Processes that die while they ask people, or record what was decided: nothing approved is lost, nothing else is seen.

``make test`` takes some moments of each, spread evenly; ``make prove`` (marker ``prove``) takes two hundred.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from flowstone.app.pipelines import load_pipeline

PROJECTS = Path(__file__).parents[1] / "projects"


@pytest.fixture(scope="module")
def gated():
    """The pipeline with a gate."""
    return load_pipeline(str(PROJECTS / "gated.py"), PROJECTS)


@pytest.fixture
def new_store(request, new_postgres_url):
    """A function that gives a new store: on PostgreSQL the URL of one, on SQLite nothing, since each home has its own."""
    return new_postgres_url if request.param == "postgresql" else lambda: None


def was_killed(status):
    """Whether the process with this wait status died of the kill."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def seen(made, gated):
    """Whether the gated value can be read, which must be so exactly when it was approved; the status of the request."""
    with made.reader(gated) as flow:
        if flow._deployment.is_new():
            return ""
        asked = flow.approvals.requests(status=None)
        assert len(asked) <= 1
        status = asked[0].status if asked else ""
        assert flow.exists("bom") == (status == "approved")
        assert flow.exists("bom") is False or flow.get("bom") == [1, 2]
    return status


def die(made, gated, asking, deciding):
    """Die once while asking or while deciding, and let others go on; return whether the moment was there."""
    status = made.end(made.start(**asking))
    dead = was_killed(status)
    assert seen(made, gated) in ("", "pending")
    if dead:
        assert made.finish(made.start()) == "waiting"
    assert seen(made, gated) == "pending"
    computed = len([note for note in made.noted() if note[2] == "bom"])
    if deciding:
        dead = was_killed(made.end(made.start("decide", **deciding)))
        seen(made, gated)
    assert made.finish(made.start("decide")) == "approved"
    assert seen(made, gated) == "approved"
    assert made.finish(made.start()) == "success"
    assert len([note for note in made.noted() if note[2] == "bom"]) == computed  # what was approved is not computed again
    made.hold_whole()
    made.hold_bodies(most_lost=1)
    with made.reader(gated) as flow:
        assert flow.get("release") == 3
        assert len(flow.events(names=["flowstone.checkpoint.approved"])) == 1
        assert flow.audit.verify().checked.findings == []
    return dead


def every(place, gated, folder, when, url, first, stride):
    """Die at the moments *first*, *first* + *stride* and so on, until there is none; return how many there were."""
    at = first
    while True:
        made = place(folder / f"{when}{at}", url(), f"{when}{at}", pipeline="gated.py", partition=None)
        moment = {"at": at}
        try:
            if not die(made, gated, moment if when == "asking" else {}, moment if when == "deciding" else {}):
                return at
        except AssertionError as error:
            error.add_note(f"{when} at {at}")
            raise
        at += stride


CASES = [
    ("sqlite", "asking", 141), ("postgresql", "asking", 157), ("sqlite", "deciding", 29), ("postgresql", "deciding", 31),
]  # fmt: skip


@pytest.mark.parametrize(("new_store", "when", "stride"), CASES, indirect=["new_store"])
def test_a_death_around_a_question_loses_and_shows_nothing(place, gated, tmp_path, new_store, when, stride):
    """Whenever a process dies, what was approved is there, was computed once, and nothing unapproved was ever seen."""
    assert every(place, gated, tmp_path, when, new_store, 7, stride) > 2 * stride


LONG = [
    (database, when, first, stride)
    for database in ("sqlite", "postgresql")
    for when, strides in (("asking", 12), ("deciding", 2))
    for first, stride in ((1, 2 * strides), (1 + strides, 2 * strides))
]  # fmt: skip


@pytest.mark.prove
@pytest.mark.parametrize(("new_store", "when", "first", "stride"), LONG, indirect=["new_store"])
def test_two_hundred_deaths_around_a_question(place, gated, tmp_path, new_store, when, first, stride):
    """The same for every twelfth moment of a run that asks, and every second one of a decision."""
    assert every(place, gated, tmp_path, when, new_store, first, stride) > 80
