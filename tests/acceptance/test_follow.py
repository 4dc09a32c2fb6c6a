"""``flowstone events --follow`` as a process: what others record comes out, and it ends when nobody wants it any more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

FLOWSTONE = [sys.executable, "-m", "flowstone"]
DEADLINE = 60  # seconds; a process that hangs fails its test

PIPELINE = """
from flowstone import Pipeline, asset

@asset
def orders():
    return 1

@asset
def totals(orders):
    return 2

pipeline = Pipeline("p", [orders, totals])
"""


class Project:
    """A folder with a pipeline on one database, and processes that work with it."""

    def __init__(self, folder, database_url):
        self.folder = folder
        (folder / "pipeline.py").write_text(PIPELINE)
        self.environment = {**os.environ, "FLOWSTONE_DATABASE_URL": database_url, "FLOWSTONE_HOME": str(folder / "home")}
        self.started = []

    def flowstone(self, *arguments):
        """Run one command line."""
        command = [*FLOWSTONE, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=DEADLINE, check=False
        )

    def follow(self, *arguments):
        """Start a follower and return it once it is known to follow: it prints, as JSON, what was there before."""
        command = [*FLOWSTONE, "events", "--follow", "--json", "--after", "0", *arguments]
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.started.append(process)
        assert json.loads(process.stdout.readline())["name"] == "flowstone.run.start"
        return process


@pytest.fixture
def project(tmp_path, database_url):
    """The project, after a first run; what it started is ended."""
    made = Project(tmp_path, database_url)
    assert made.flowstone("run").returncode == 0
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def names_until(process, last, times):
    """The names the follower prints until *last* came the given number of times."""
    names = []
    while names.count(last) < times:
        names.append(json.loads(process.stdout.readline())["name"])
    return names


def test_a_follower_sees_what_other_processes_record(project):
    """Everything a run in another process records comes out, in order and once, as the log has it; Ctrl-C ends it quietly."""
    follower = project.follow()
    assert project.flowstone("run", "--force").returncode == 0
    seen = ["flowstone.run.start", *names_until(follower, "flowstone.run.stop", 2)]
    follower.send_signal(signal.SIGINT)
    rest, said = follower.communicate(timeout=DEADLINE)
    log = project.flowstone("events", "--json", "--limit", "1000").stdout

    assert seen == [json.loads(line)["name"] for line in log.splitlines()]
    assert (follower.returncode, rest, said) == (130, b"", b"interrupted\n")


def test_a_follower_ends_when_nobody_reads(project):
    """The reader goes away while nothing happens: the follower notices without having anything to write, and ends quietly."""
    follower = project.follow("--name", "flowstone.run.start")
    follower.stdout.close()

    assert follower.wait(timeout=DEADLINE) == 141
    assert follower.stderr.read() == b""


def test_a_follower_goes_on_from_a_cursor(project):
    """With the cursor of an event it begins behind it; without one, at what is recorded from now on; a limit is refused."""
    (line, *_) = project.flowstone("events", "--json", "--name", "flowstone.run.stop").stdout.splitlines()
    command = [*FLOWSTONE, "events", "--follow", "--after", json.loads(line)["cursor"]]
    follower = subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, text=True)
    project.started.append(follower)
    assert project.flowstone("run").returncode == 0
    refused = project.flowstone("events", "--follow", "--limit", "1")

    assert "flowstone.run.start" in follower.stdout.readline()
    assert refused.returncode == 2
    assert "--limit cannot go with it" in refused.stderr
