"""A tick that is killed before or after any of its statements: nothing is lost or said twice, at most one is sent again."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import text

from flowstone import Pipeline, asset
from flowstone.events.catalogue import AssetOverdue
from flowstone.testing import isolated_flow

LATE = 3


def late_pipeline():
    """Three assets that are overdue as soon as they are there."""

    def one(number):
        return asset(name=f"late{number}", due=timedelta(microseconds=1))(lambda: 1)

    return Pipeline("shop", [one(number) for number in range(LATE)])


@pytest.fixture
def hook():
    """A receiver of this machine: its URL, and the ids it was given."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            got.append(self.headers["Idempotency-Key"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", got
    server.shutdown()
    server.server_close()
    thread.join()


def killed_at(at, place, hook):
    """One project: a run, a tick that is killed at its moment *at*, a whole one. Returns whether the first one was killed."""
    url, got = hook
    place.project = f"p{at}"
    with isolated_flow(late_pipeline(), home=place.home, project=place.project, database_url=place.url) as flow:
        flow.run().raise_if_failed()
    got.clear()
    killed = os.WTERMSIG(place.end(place.start("tick", project=place.project, hook=url, at=at))) == signal.SIGKILL
    assert place.finish(place.start("tick", project=place.project, hook=url, at=0)) == ""
    with place.reader() as flow:
        said = Counter(event.payload["asset"] for event in flow.events(names=[AssetOverdue.name]))
        messages = flow.notifications()
    sent = Counter(got)

    assert said == {f"late{number}": 1 for number in range(LATE)}
    assert Counter(record.status for record in messages) == {"delivered": LATE}
    assert sent.keys() == {record.id for record in messages}
    assert sum(sent.values()) <= LATE + killed
    return killed


def through(step, place, hook):
    """Kill at every *step*-th moment until a tick has fewer; return how many were killed."""
    return next(number for number, at in enumerate(itertools.count(1, step)) if not killed_at(at, place, hook))


def test_a_tick_killed_at_many_moments(place, hook, database_url, tmp_path):
    """At every 37th moment, around statements and commits, on both databases."""
    assert through(37, place(tmp_path / "place", database_url), hook) >= 4


@pytest.mark.prove
def test_a_tick_killed_at_every_moment(place, hook, database_url, tmp_path):
    """At every moment."""
    assert through(1, place(tmp_path / "place", database_url), hook) >= 100


def test_a_tick_settles_what_the_dead_left(place, tmp_path):
    """A run whose process was killed waits to be resumed after a tick, which names it, and holds no limited resource any more."""
    dead = place(tmp_path / "place")
    process = dead.start()
    dead.reach(process, 3)
    dead.kill(process)
    with dead.reader() as flow:
        done = {duty.name: duty.text for duty in flow.tick().duties}
        (run,) = flow.runs()
        with flow._deployment.reading().reading() as connection:
            held = connection.execute(text("SELECT count(*) FROM slot")).scalar_one()

    assert (run.status, held) == ("waiting", 0)
    assert done["dead work"] == f"{run.id} of dead processes: flowstone run --resume {run.id}"
