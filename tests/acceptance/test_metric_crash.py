"""Metrics count what processes did that are gone: killed, ended, cancelled; an exporter that begins later tells all of it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

from flowstone.testing import isolated_flow

DEADLINE = 60.0  # seconds; nothing here takes five, unless the machine is very busy

PIPELINE = """
import time
from pathlib import Path
from flowstone import Pipeline, asset

HERE = Path(__file__).parent

@asset(executor="inline")
def first():
    return 1

@asset(timeout=0.2, executor="process")
def hangs(first):
    time.sleep(60)

@asset(executor="process")
def middle(first, ctx):
    (HERE / f"reached.{ctx.run_id}").touch()
    while not (HERE / "go_on").exists():
        time.sleep(0.01)
    return 2

@asset
def last(middle):
    return 3

pipeline = Pipeline("p", [first, hangs, middle, last])
"""


class Project:
    """A folder with a pipeline whose middle step waits for a file, and the processes that work on it."""

    def __init__(self, folder):
        self.folder, self.home, self.started = folder, folder / "home", []
        (folder / "pipeline.py").write_text(PIPELINE)

    def start(self, *arguments):
        """Start ``flowstone`` with *arguments*."""
        environment = {**os.environ, "FLOWSTONE_HOME": str(self.home), "FLOWSTONE_PROJECT": "test"}
        process = subprocess.Popen(
            [sys.executable, "-m", "flowstone", *arguments],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, *arguments):
        """Run ``flowstone`` to its end; return its exit code."""
        process = self.start(*arguments)
        process.communicate(timeout=DEADLINE)
        return process.returncode

    def reach(self, process, known=()):
        """Wait until a run that is not *known* is in its middle step; return it."""
        until = time.monotonic() + DEADLINE
        while not (new := {path.suffix[1:] for path in self.folder.glob("reached.*")} - set(known)):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.01)
        return new.pop()

    def exporter(self):
        """A FlowStone that knows no pipeline and has just begun."""
        return isolated_flow(home=self.home)


@pytest.fixture
def project(tmp_path):
    """A project whose processes are gone when the test ends."""
    made = Project(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_dead_processes_did_is_counted_once(project, check_totals):
    """A kill -9 in a child's step, resume by another process, a cancelled run, a timeout: totals are the store's after each."""
    killed = project.start("run")
    run = project.reach(killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with project.exporter() as exporter:
        told = [check_totals(exporter)]
        lost = next(family for family in exporter.metrics() if family.name == "flowstone_workers_lost")
    (project.folder / "go_on").touch()
    assert project.finish("run", "--resume", run) == 1  # one of its steps hangs
    with project.exporter() as exporter:
        told.append(check_totals(exporter))

    (project.folder / "go_on").unlink()
    cancelled = project.start("run", "--force", "middle")
    other = project.reach(cancelled, known=[run])
    assert project.finish("cancel", other) == 0
    cancelled.wait(DEADLINE)
    with project.exporter() as exporter, project.exporter() as another:
        told += [check_totals(exporter), check_totals(another)]

    assert lost.samples[0].value == 1
    assert told[0]["flowstone_materialization_in_flight"][("middle",)] == 1
    assert told[1]["flowstone_materialization_attempts_total"][("middle", "lost")] == 1
    assert sum(count for labels, count in told[1]["flowstone_error_total"].items() if labels[:2] == ("hangs", "timeout")) == 1
    ended = told[3]["flowstone_materialization_total"]
    assert {labels[:2]: count for labels, count in ended.items()} == {
        ("first", "success"): 1, ("first", "reused"): 1, ("hangs", "failed"): 1, ("middle", "success"): 1, ("last", "success"): 1,
        ("middle", "cancelled"): 1,
    }  # fmt: skip
    assert told[2] == told[3]
    for earlier, later in itertools.pairwise(told):
        for name in earlier.keys() - {"flowstone_materialization_in_flight"}:
            assert all(later[name].get(labels, 0) >= count for labels, count in earlier[name].items())
