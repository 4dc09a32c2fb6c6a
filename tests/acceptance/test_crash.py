"""Real processes, killed on purpose: a crash costs at most the step that was running, and the record stays whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowstone.testing import isolated_flow

DEADLINE = 30.0  # seconds; nothing here takes two, unless the machine is very busy

PIPELINE = """
import time
from pathlib import Path
from flowstone import Pipeline, asset

HERE = Path(__file__).parent

def note(text):
    with (HERE / "ran").open("a") as file:
        file.write(text + "\\n")

@asset
def before():
    note("before")
    return 1

@asset
def middle(before, ctx):
    note(f"middle {ctx.attempt}")
    print("in the middle")
    (HERE / f"reached_{ctx.attempt}").touch()
    while not (HERE / "go_on").exists():
        time.sleep(0.01)
    return before + 1

@asset
def after(middle):
    note("after")
    return middle + 1

@asset
def aside():
    note("aside")
    return 0

pipeline = Pipeline("p", [before, middle, after, aside])
"""


class Project:
    """A folder with a pipeline whose middle step waits for a file, and processes that work on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.started = folder, folder / "home", []
        (folder / "pipeline.py").write_text(PIPELINE)

    def start(self, *arguments):
        """Start ``python -m flowstone`` with *arguments* and return the process."""
        environment = {**os.environ, "FLOWSTONE_HOME": str(self.home), "FLOWSTONE_PROJECT": "test"}
        process = subprocess.Popen(
            [sys.executable, "-m", "flowstone", *arguments],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, *arguments):
        """Run ``python -m flowstone`` to its end and return its exit code and what it printed."""
        process = self.start(*arguments)
        printed = process.communicate(timeout=DEADLINE)[0]
        return process.returncode, printed

    def reach(self, attempt, process):
        """Wait until *process* is in the middle step's *attempt*."""
        until = time.monotonic() + DEADLINE
        while not (self.folder / f"reached_{attempt}").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.01)

    def go_on(self):
        """Let the middle step end."""
        (self.folder / "go_on").touch()

    def ran(self):
        """Which bodies have run, in order, by any process."""
        return (self.folder / "ran").read_text().split("\n")[:-1]

    def reader(self):
        """A FlowStone that asks the same store."""
        return isolated_flow(home=self.home)

    def facts(self):
        """The newest run with its attempts, the doctor's faults, and files left behind."""
        with self.reader() as flow:
            run = flow.runs()[0]
            attempts = [(a.asset, a.number, a.status) for a in flow.show(run.id).attempts]
            faults = [finding for finding in flow.doctor() if finding.level == "fail"]
        left = [p.name for p in self.home.rglob("*") if p.name.startswith(".tmp-") or p.suffix == ".lock"]
        return run, attempts, faults, left


@pytest.fixture
def project(tmp_path):
    """A project whose processes are gone when the test ends."""
    made = Project(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_an_interrupted_process_leaves_a_run_that_another_one_finishes(project):
    """SIGINT in a step: exit 130, the attempt is cancelled, the run waits; resuming repeats nothing that was finished."""
    process = project.start("run")
    project.reach(1, process)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=DEADLINE)[0]
    run, attempts, faults, left = project.facts()

    assert process.returncode == 130, printed
    assert run.id in printed
    assert (run.status, run.outcome) == ("waiting", {"reason": "interrupted"})
    assert attempts == [("before", 1, "success"), ("middle", 1, "cancelled")]
    assert (faults, left) == ([], [])

    project.go_on()
    code, printed = project.finish("run", "--resume", run.id)
    run, attempts, faults, left = project.facts()

    assert code == 0, printed
    assert run.status == "success"
    assert project.ran() == ["before", "middle 1", "middle 2", "after", "aside"]
    assert attempts[1:3] == [("middle", 1, "cancelled"), ("middle", 2, "success")]
    assert (faults, left) == ([], [])


def test_a_killed_process_costs_the_step_that_was_running(project):
    """SIGKILL in a step: the attempt ends once, as lost; its printed lines are there; finished steps are not repeated."""
    process = project.start("run")
    project.reach(1, process)
    with project.reader() as flow:
        id, until = flow.runs()[0].id, time.monotonic() + DEADLINE
        while not flow.logs(id) and time.monotonic() < until:
            time.sleep(0.05)  # lines are written each second; the kill must not come before
    process.kill()
    process.communicate()
    broken = project.facts()
    project.go_on()
    code, printed = project.finish("run", "--resume", id)
    run, attempts, faults, left = project.facts()
    with project.reader() as flow:
        endings = [e.payload["kind"] for e in flow.events(names=["flowstone.materialization.exception"])]
        lines = [(line.attempt, line.message) for line in flow.logs(id)]
        value = flow.get("after")

    assert broken[0].status == "running"
    assert [finding.subject for finding in broken[2]] == ["every start has its ending"]
    assert f"--resume {id}" in broken[2][0].fix
    assert code == 0, printed
    assert (run.status, value) == ("success", 3)
    assert project.ran() == ["before", "middle 1", "middle 2", "after", "aside"]
    assert attempts[:3] == [("before", 1, "success"), ("middle", 1, "lost"), ("middle", 2, "success")]
    assert endings == ["worker_lost"]
    assert lines == [(1, "in the middle"), (2, "in the middle")]
    assert (faults, left) == ([], [])


def test_a_step_that_kills_its_process_three_times_fails(project):
    """Three losses fail the step, so that a poisonous one does not take down every process that comes."""
    process = project.start("run", "after")
    project.reach(1, process)
    with project.reader() as flow:
        id = flow.runs()[0].id
    for attempt in (2, 3):
        process.kill()
        process.communicate()
        process = project.start("run", "--resume", id)
        project.reach(attempt, process)
    process.kill()
    process.communicate()
    code, printed = project.finish("run", "--resume", id)
    run, attempts, faults, left = project.facts()

    assert code == 1, printed
    assert run.status == "failed"
    assert project.ran() == ["before", "middle 1", "middle 2", "middle 3"]
    assert attempts == [("before", 1, "success"), *(("middle", number, "lost") for number in (1, 2, 3))]
    assert (faults, left) == ([], [])


def test_a_living_process_is_left_alone(project):
    """While one process is in a step, another sees its run as running, works on something else and cannot take it over."""
    process = project.start("run", "after")
    project.reach(1, process)
    with project.reader() as flow:
        id = flow.runs()[0].id
    refused = project.finish("run", "--resume", id)
    other = project.finish("run", "aside")
    with project.reader() as flow:
        seen = (flow.show(id).run.status, [a.status for a in flow.show(id).attempts], flow.doctor())
    project.go_on()
    printed = process.communicate(timeout=DEADLINE)[0]
    _, _, faults, left = project.facts()

    assert (refused[0], "it is being worked on" in refused[1]) == (2, True)
    assert other[0] == 0, other[1]
    assert seen[:2] == ("running", ["success", "running"])
    assert [finding for finding in seen[2] if finding.level == "fail"] == []
    assert process.returncode == 0, printed
    assert project.ran() == ["before", "middle 1", "aside", "after"]
    assert (faults, left) == ([], [])


def test_a_child_that_never_lets_go_dies_with_its_parent(place, wait_until, tmp_path, database_url):
    """A child that spins in C code cannot look around; the kernel ends it and what it started when its parent is killed."""
    made = place(tmp_path / "place", database_url, pipeline="shared.py", partition=None, executor="process")
    process = made.start(targets=["spinning"])
    wait_until(lambda: [note for note in made.noted() if note[0] == "spins"], "the child to be busy")
    spinning = {int(pid) for note in made.noted() if note[0] == "spins" for pid in note[1:]}
    wait_until(lambda: set(made.children()) == spinning, "the program to have begun")
    os.kill(process, signal.SIGKILL)
    made.end(process)
    wait_until(lambda: not made.children(), "the end of the child and of what it started")

    assert made.finish(made.start()) == "success"
    made.hold_whole()
    with made.reader() as flow:
        assert [attempt.status for attempt in flow.show(flow.runs()[0].id).attempts] == ["lost", "success"]
