"""Log lines of real processes: one shape on standard error, and a follower that sees what children and killed processes said."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from flowstone import __version__
from flowstone.events.trace import span_id_of
from flowstone.observability.logs.shape import FIELDS

FLOWSTONE = [sys.executable, "-m", "flowstone"]
DEADLINE = 60  # seconds; a process that hangs fails its test

PIPELINE = """
import time
from flowstone import Pipeline, Retry, asset

@asset(retries=Retry(attempts=2, delay=0))
def orders(ctx):
    print("printed\\x1b[31m\\u2028red")
    ctx.log.warning("careful password=hunter22", extra={"rows": 3})
    if ctx.attempt == 1:
        raise TimeoutError("slow\\nstorage")

@asset
def broken(orders):
    raise ValueError("no")

@asset
def hangs(ctx):
    print("last words")
    time.sleep(600)

pipeline = Pipeline("shop", [orders, broken, hangs])
"""


class Project:
    """A folder with a pipeline, and the processes that work with it."""

    def __init__(self, folder, database_url):
        self.folder = folder
        (folder / "pipeline.py").write_text(PIPELINE)
        self.environment = {**os.environ, "FLOWSTONE_DATABASE_URL": database_url, "FLOWSTONE_HOME": str(folder / "home")}
        self.started = []

    def flowstone(self, *arguments, **variables):
        """Run one command line."""
        return subprocess.run(
            [*FLOWSTONE, *arguments], cwd=self.folder, env={**self.environment, **variables},
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip

    def start(self, *arguments):
        """Start one command line."""
        process = subprocess.Popen(
            [*FLOWSTONE, *arguments], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process


@pytest.fixture
def project(tmp_path, database_url):
    """The project; what it started is ended."""
    made = Project(tmp_path, database_url)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("executor", ["inline", "process"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_line_of_a_run_has_one_shape(project, executor):
    """FlowStone's lines, users' records and prints, of this process and of children, are JSON lines that say where from."""
    said = project.flowstone(
        "run", "broken", "--executor", executor, FLOWSTONE_LOGS_FORMAT="json", FLOWSTONE_LOGS_LEVEL="info", FLOWSTONE_ENV=""
    )
    lines = [json.loads(line) for line in said.stderr.splitlines()]
    recorded = [json.loads(line) for line in project.flowstone("events", "--json", "--limit", "1000").stdout.splitlines()]
    run = recorded[0]["run_id"]
    by_event = {line["event"]: line for line in lines if "event" in line}

    assert said.returncode == 1
    assert [line["event"] for line in lines if "event" in line] == [event["name"] for event in recorded]
    for line in lines:
        known = [name for name in line if name in FIELDS]
        assert known == sorted(known, key=FIELDS.index)
        assert (line["pipeline"], line["version"], line["worker"][:5]) == ("shop", __version__, "proc_")
        assert {"ts", "level", "logger", "msg", "host", "pid", "run_id"} <= set(line)
        assert line["run_id"] == run
    start, stop = by_event["flowstone.run.start"], by_event["flowstone.run.stop"]
    assert (start["state"], start["database"][:10], len(start["definition"])) == (str(project.folder / "home"), "sqlite:///", 64)
    assert (stop["outcome"], stop["failed"], stop["exit_code"]) == ("failed", 1, 1)
    error = by_event["flowstone.error"]
    assert (error["level"], error["type"], error["retryable"], len(error["fingerprint"])) == ("error", "ValueError", False, 16)

    for attempt in (1, 2):
        mine = [line for line in lines if line.get("attempt") == attempt and "event" not in line]
        assert [(line["logger"], line["level"], line["msg"]) for line in mine] == [
            ("stdout", "info", "printed\x1b[31m\u2028red"),
            ("flowstone.asset.orders", "warning", "careful password=[redacted]"),
        ]
        assert {line["span_id"] for line in mine} == {span_id_of(run, "orders", "", attempt)}
        assert mine[1]["fields"] == {"rows": 3}
    assert len(said.stderr.split("\n")) - 1 == len(lines) == len(said.stderr.splitlines())
    assert "\x1b" not in said.stderr + said.stdout

    kept = project.flowstone("logs", run, "--json").stdout.splitlines()
    shown = [line for line in lines if "event" not in line]
    same = ("level", "logger", "msg", "run_id", "asset", "attempt", "trace_id", "span_id", "fields")
    assert [[line.get(name) for name in same] for line in map(json.loads, kept)] == [
        [line.get(name) for name in same] for line in shown
    ]


def test_a_follower_sees_what_a_child_said_and_that_its_process_was_killed(project):
    """The lines of a child process come out while it runs; when the process that works on the run is killed the follower ends."""
    runner = project.start("run", "hangs", "--executor", "process")
    run = next(line.split()[0] for line in runner.stdout if line.startswith("run_"))
    follower = project.start("logs", run, "--follow")
    first = follower.stdout.readline()
    runner.kill()
    rest, _ = follower.communicate(timeout=DEADLINE)

    assert first.endswith("info    hangs#1 stdout: last words\n")
    assert rest == f"{run} is not worked on: its process is dead\n"
    assert follower.returncode == 0
    assert project.flowstone("logs", run, "--grep", "last").stdout == first


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_groups_of_lines_are_separated_and_filters_go_together(project):
    """``-C`` puts ``--`` between groups that do not touch; attempt, level, limit choose, in words as in JSON."""
    project.flowstone("run", "orders")
    run = json.loads(project.flowstone("runs", "--json").stdout.splitlines()[0])["id"]

    said = project.flowstone("logs", run, "--grep", "careful", "-C", "0", "--level", "warning", "--attempt", "2").stdout
    assert said.count("\n") == 1
    assert said.endswith("warning orders#2 careful password=[redacted] rows=3\n")
    around = project.flowstone("logs", run, "--grep", "printed", "-C", "1").stdout.splitlines()
    assert ["--" if line == "--" else line.split()[2] for line in around] == ["orders#1", "orders#1", "orders#2", "orders#2"]
    assert project.flowstone("logs", run, "--limit", "1").stdout.count("\n") == 1
    assert project.flowstone("logs", run, "--partition", "nope").stdout == f"{run} kept no such lines.\n"
    assert project.flowstone("logs", run, "--level", "loud").returncode == 2
