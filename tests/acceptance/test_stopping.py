"""Real processes that are asked to stop: by signals, by another process, by having been away too long.

What the database decides is shown on SQLite and PostgreSQL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from flowstone.foundation.errors import UsageError
from flowstone.stores.tables import process as processes
from flowstone.testing import isolated_flow

DEADLINE = 60.0  # seconds; nothing here takes five, unless the machine is very busy

PIPELINE = """
import time
from pathlib import Path
from flowstone import Pipeline, asset

HERE = Path(__file__).parent

@asset
def before():
    return 1

@asset
def middle(before, ctx):
    with (HERE / "ran").open("a") as file:
        file.write(f"middle {ctx.attempt}\\n")
    (HERE / f"reached_{ctx.attempt}").touch()
    until = time.monotonic() + 300
    while not (HERE / "go_on").exists() and time.monotonic() < until:
        time.sleep(0.01)
    return before + 1

@asset
def after(middle):
    return middle + 1

@asset
def asleep(ctx):
    (HERE / f"asleep_{ctx.attempt}").touch()
    time.sleep(300)

@asset
def aside():
    return 0

pipeline = Pipeline("p", [before, middle, after, asleep, aside])
"""


class Project:
    """A folder with a pipeline, and processes on one or several hosts that work on it in one database."""

    def __init__(self, folder, url):
        self.folder, self.url, self.started = folder, url, []
        (folder / "pipeline.py").write_text(PIPELINE)
        (folder / "outputs").mkdir()

    def url_on(self, host):
        """The database as *host* names it: a host is who shares a lock folder, which SQLite has beside the file's name."""
        home = self.folder / host
        if not home.exists():
            home.mkdir()
            (home / "flowstone.db").symlink_to(self.folder / "flowstone.db")
            (home / "outputs").symlink_to(self.folder / "outputs")
        return f"sqlite:///{home / 'flowstone.db'}" if self.url.startswith("sqlite") else self.url

    def start(self, *arguments, host="here"):
        """Start ``python -m flowstone`` with *arguments* and return the process."""
        environment = {
            **os.environ, "FLOWSTONE_HOME": str(self.folder / host), "FLOWSTONE_PROJECT": "test",
            "FLOWSTONE_DATABASE_URL": self.url_on(host),
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "flowstone", *arguments],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, *arguments, host="here"):
        """Run ``python -m flowstone`` to its end and return its exit code and what it printed."""
        return ended(self.start(*arguments, host=host))

    def reach(self, name, process):
        """Wait until *process* has made the file *name*."""
        until = time.monotonic() + DEADLINE
        while not (self.folder / name).exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.01)

    def go_on(self):
        """Let the middle step end."""
        (self.folder / "go_on").touch()

    def ran(self):
        """Which attempts of the middle step any process has begun."""
        return (self.folder / "ran").read_text().splitlines()

    def flow(self, host="here"):
        """A FlowStone that asks the same store."""
        return isolated_flow(home=self.folder / host, database_url=self.url_on(host))

    def facts(self):
        """The newest run, its attempts and the doctor's faults."""
        with self.flow() as flow:
            run = flow.runs()[0]
            attempts = [(a.asset, a.number, a.status) for a in flow.show(run.id).attempts]
            return run, attempts, [finding for finding in flow.doctor() if finding.level == "fail"]


def ended(process):
    """The exit code of *process* and what it printed."""
    printed = process.communicate(timeout=DEADLINE)[0]
    return process.returncode, printed


def said(process, text):
    """Read what *process* prints until it says *text*."""
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text!r}")


@pytest.fixture
def project(tmp_path):
    """A project with a SQLite file, whose processes are gone when the test ends."""
    yield from made_and_ended(tmp_path, f"sqlite:///{tmp_path / 'flowstone.db'}")


@pytest.fixture
def shared(tmp_path, database_url):
    """A project on each database, whose processes are gone when the test ends."""
    yield from made_and_ended(tmp_path, database_url)


def made_and_ended(folder, url):
    """Make a project, and end what it started."""
    made = Project(folder, url)
    yield made
    for process in made.started:
        process.kill()
        process.wait()
        process.stdout.close()


# -- SIGTERM -----------------------------------------------------------------------------------------------------------------


def test_sigterm_lets_what_runs_finish_and_begins_nothing(project):
    """Within the grace the step ends as a success and the next one waits with the run: exit 143; resuming repeats nothing."""
    process = project.start("run", "after", "--grace", "60")
    project.reach("reached_1", process)
    process.send_signal(signal.SIGTERM)
    said(process, "what runs may finish for 60 s")
    project.go_on()
    code, printed = ended(process)
    run, attempts, faults = project.facts()
    resumed = project.finish("run", "--resume", run.id)

    assert (code, f"interrupted: {run.id} waits to be resumed" in printed) == (143, True), printed
    assert (run.status, run.outcome) == ("waiting", {"reason": "stopped"})
    assert attempts == [("before", 1, "success"), ("middle", 1, "success")]
    assert resumed[0] == 0, resumed[1]
    assert (project.ran(), faults) == (["middle 1"], [])


def test_after_the_grace_what_runs_is_interrupted(project):
    """A step in a system call is interrupted when the grace is over: cancelled, no attempt spent, the run waits, exit 143."""
    process = project.start("run", "asleep", "--grace", "0.3")
    project.reach("asleep_1", process)
    process.send_signal(signal.SIGTERM)
    code, printed = ended(process)
    run, attempts, faults = project.facts()

    assert code == 143, printed
    assert (run.status, attempts, faults) == ("waiting", [("asleep", 1, "cancelled")], [])


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_grace(project, again):
    """Whoever does not want to wait says so again, with either signal."""
    process = project.start("run", "asleep", "--grace", "250")
    project.reach("asleep_1", process)
    process.send_signal(signal.SIGTERM)
    said(process, "what runs may finish for 250 s")
    process.send_signal(again)
    code, printed = ended(process)
    run, attempts, _ = project.facts()

    assert code == 143, printed
    assert (run.status, attempts) == ("waiting", [("asleep", 1, "cancelled")])


def test_the_grace_is_a_setting(project):
    """``run.grace`` is the grace of every run that does not say it."""
    (project.folder / "flowstone.toml").write_text('[run]\ngrace = "200ms"\n')
    process = project.start("run", "asleep")
    project.reach("asleep_1", process)
    process.send_signal(signal.SIGTERM)
    code, printed = ended(process)

    assert (code, "may finish for 0.2 s" in printed) == (143, True), printed


# -- cancel ------------------------------------------------------------------------------------------------------------------


def test_another_process_cancels_what_runs(shared):
    """A step in a system call is interrupted; the run is over, its process exits 1 and says who ended it and why."""
    process = shared.start("run", "asleep", "aside")
    shared.reach("asleep_1", process)
    with shared.flow() as flow:
        id = flow.runs()[0].id
    cancelled = shared.finish("cancel", id, "--reason", "wrong day", "--wait", "--json", "--as", "ann")
    code, printed = ended(process)
    late = shared.finish("cancel", id)
    run, attempts, faults = shared.facts()

    assert cancelled[0] == 0, cancelled[1]
    assert json.loads(cancelled[1])["status"] == "cancelled"
    assert (code, "Ended: cancelled by ann: wrong day" in printed) == (1, True), printed
    assert (late[0], "ended cancelled: there is nothing to cancel" in late[1]) == (2, True)
    assert (run.status, attempts, faults) == ("cancelled", [("asleep", 1, "cancelled")], [])
    assert run.outcome["cancelled"] == 2


def test_a_run_of_a_killed_process_is_cancelled_at_once(project):
    """Its attempt is settled as lost and the run ended, by the one command."""
    process = project.start("run", "asleep")
    project.reach("asleep_1", process)
    process.kill()
    process.wait()
    with project.flow() as flow:
        id = flow.runs()[0].id
    code, printed = project.finish("cancel", id)
    run, attempts, faults = project.facts()

    assert (code, f"Cancelled: {id}" in printed) == (0, True), printed
    assert (run.status, attempts, faults) == ("cancelled", [("asleep", 1, "lost")], [])


# -- races -------------------------------------------------------------------------------------------------------------------

RUNS = """
import sys
from flowstone import Pipeline, asset
from flowstone.testing import isolated_flow

first, second = asset(name="first", code_version="1")(lambda: 1), asset(name="second", code_version="1")(lambda first: 2)
pipeline = Pipeline("p", [first, second])
with isolated_flow(pipeline, home=sys.argv[1], database_url=sys.argv[2]) as flow:
    flow.run()
    print("ready", flush=True)
    for _ in range(int(sys.argv[3])):
        try:
            print(flow.run(force=True).status, flush=True)
        except Exception as error:
            print(type(error).__name__, error, flush=True)
"""


def runs_of(project, times):
    """Start a process that runs two assets by force so many times, and return it once it is ready."""
    program = project.folder / "runs.py"
    program.write_text(RUNS)
    process = subprocess.Popen(
        [sys.executable, str(program), str(project.folder / "here"), project.url_on("here"), str(times)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    project.started.append(process)
    said(process, "ready")
    return process


def test_cancelling_races_with_finishing(shared):
    """A run that is cancelled while it finishes has one ending: whoever was too late is told the other one."""
    times, answers = 40, {}
    process = runs_of(shared, times)
    with shared.flow() as flow:
        first = flow.runs()[-1].id
        while process.poll() is None:
            for run in flow.runs(limit=3, status="running"):
                answers.setdefault(run.id, answer(flow, run.id))
        printed = process.stdout.read().split()
        ends = {}
        for event in flow.events(names=["flowstone.run.stop"], limit=1000):
            ends.setdefault(event.run_id, []).append(event.payload["outcome"])
        stored = {run.id: run.status for run in flow.runs(limit=100)}
        faults = [finding for finding in flow.doctor() if finding.level == "fail"]

    assert len(printed) == times
    assert answers
    assert ends.pop(first) == ["success"]
    assert all(len(outcomes) == 1 for outcomes in ends.values())
    assert sorted(printed) == sorted(outcome for (outcome,) in ends.values())
    assert all(stored[run] in text for run, text in answers.items())
    assert faults == []


def answer(flow, run_id):
    """How the run ended, as the one who cancels it is told."""
    try:
        return flow.cancel(run_id, wait=DEADLINE).status
    except UsageError as refused:
        return refused.message


def test_invalidating_races_with_running(shared):
    """What is withdrawn while it is computed again is either withdrawn or replaced: every withdrawal has its event."""
    process = runs_of(shared, 25)
    with shared.flow() as flow:
        won = 0
        while process.poll() is None:
            won += flow.invalidate("second")
        printed = process.stdout.read().split()
        events = flow.events(names=["flowstone.asset.invalidated"], limit=100_000)
        faults = [finding for finding in flow.doctor() if finding.level == "fail"]

    assert printed == ["success"] * 25
    assert won == len(events) == len({event.payload["output"] for event in events}) > 0
    assert faults == []


def test_two_that_must_not_run_together_do_not(shared):
    """Two processes with ``--if-running fail`` at the same moment: one runs, the other exits 2 with its name."""
    together = [shared.start("run", "after", "--if-running", "fail") for _ in range(2)]
    until = time.monotonic() + DEADLINE
    while all(process.poll() is None for process in together):
        assert time.monotonic() < until
        time.sleep(0.01)
    skipped = shared.finish("run", "after", "--if-running", "skip")
    shared.go_on()
    codes, texts = zip(*map(ended, together), strict=True)
    with shared.flow() as flow:
        (run,) = flow.runs()

    assert sorted(codes) == [0, 2], texts
    assert f"{run.id} is being worked on" in texts[codes.index(2)]
    assert (skipped[0], f"Nothing was begun: {run.id} works on it" in skipped[1]) == (0, True), skipped[1]
    assert shared.ran() == ["middle 1"]


def test_two_processes_that_want_the_same_compute_it_once(shared):
    """The second one waits for the first one's step, takes its value, and both succeed."""
    first = shared.start("run", "after")
    shared.reach("reached_1", first)
    second = shared.start("run", "after")
    with shared.flow() as flow:
        until = time.monotonic() + DEADLINE
        while not flow.events(names=["flowstone.materialization.delayed"]):
            assert time.monotonic() < until
            time.sleep(0.01)
    shared.go_on()
    codes, texts = zip(*map(ended, [first, second]), strict=True)
    _, _, faults = shared.facts()

    assert codes == (0, 0), texts
    assert (shared.ran(), faults) == (["middle 1"], [])


# -- away too long -------------------------------------------------------------------------------------------------------------


def test_a_process_that_was_stopped_past_its_liveness_is_refused(shared):
    """SIGSTOP, 31 s without a heartbeat, another host finishes the run, SIGCONT: its settle is refused, its value is nobody's."""
    process = shared.start("run", "after", host="there")
    shared.reach("reached_1", process)
    process.send_signal(signal.SIGSTOP)
    with shared.flow() as flow:
        (run,) = flow.runs()
        with flow._deployment.services().database.transaction() as tx:
            tx.execute(age, {})
    shared.go_on()
    code, printed = shared.finish("run", "--resume", run.id)
    with shared.flow() as flow:
        before = flow.explain("middle").output
    process.send_signal(signal.SIGCONT)
    stopped = ended(process)
    run, attempts, faults = shared.facts()
    with shared.flow() as flow:
        assert flow.explain("middle").output == before
        assert flow.get("after") == 3

    assert code == 0, printed
    assert (stopped[0], "no longer this process's" in stopped[1]) == (2, True), stopped[1]
    assert (run.status, faults) == ("success", [])
    assert attempts == [("before", 1, "success"), ("middle", 1, "lost"), ("middle", 2, "success"), ("after", 1, "success")]


def age():
    """Let 31 s pass for every process."""
    return processes.update().values(heartbeat_at=processes.c.heartbeat_at - 31_000_000_000)
