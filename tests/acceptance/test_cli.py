"""The command line as a process: exit codes, pipes and signals."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FLOWSTONE = [sys.executable, "-m", "flowstone"]
DEADLINE = 60  # seconds; a process that hangs fails its test

PIPELINE = """
import os
import time
from pathlib import Path
from flowstone import Pipeline, asset

HERE = Path(__file__).parent


def note(word):
    with (HERE / "bodies.txt").open("a") as file:
        file.write(word + "\\n")


@asset
def first():
    note("first")
    return [1, 2, 3]


@asset
def second(first):
    note("second")
    if not (HERE / "go").exists():
        os.write(int(os.environ["READY"]), b"!")
        time.sleep(60)
    return sum(first)


@asset
def wrong(first):
    raise ValueError("on purpose")


pipeline = Pipeline("signals", [first, second, wrong])
"""


SUMMARY = """
from flowstone import Pipeline, asset

@asset
def a(ctx):
    ctx.summary("größe ✓")
    return 1

pipeline = Pipeline("p", [a])
"""


@pytest.fixture
def project(tmp_path):
    """A folder with a pipeline whose second step waits for a signal, unless the file ``go`` is there."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


def flowstone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command line in *folder*."""
    return subprocess.run([*FLOWSTONE, *arguments], cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=False)


def stopped_by(folder: Path, number: int) -> tuple[int, str]:
    """Start a run in *folder*, send it the signal once its second step runs; return its exit code and what it said."""
    reader, writer = os.pipe()
    environment = {**os.environ, "READY": str(writer)}
    run = subprocess.Popen(
        [*FLOWSTONE, "run", "second"],
        cwd=folder,
        env=environment,
        pass_fds=[writer],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with run:
        try:
            assert select.select([reader], [], [], DEADLINE)[0], "the second step did not begin"
            run.send_signal(number)
            _, said = run.communicate(timeout=DEADLINE)
        finally:
            run.kill()
            os.close(reader)
            os.close(writer)
    return run.returncode, said


def test_a_run_and_its_questions(project):
    """Separate processes run, list, show and read: exit 0 when all is there, 1 when a materialization failed."""
    (project / "go").touch()

    assert flowstone(project, "run", "second").returncode == 0
    assert flowstone(project, "get", "second").stdout == "6\n"
    failed = flowstone(project, "run", "wrong")
    assert failed.returncode == 1
    states = {row["asset"]: row["state"] for row in map(json.loads, flowstone(project, "status", "--json").stdout.splitlines())}
    assert states == {"first": "up to date", "second": "up to date", "wrong": "missing"}
    assert flowstone(project, "doctor").returncode == 0
    assert (project / "bodies.txt").read_text() == "first\nsecond\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
def test_a_stopped_run_is_resumed_by_the_printed_command(project, number, code):
    """Ctrl-C and SIGTERM end a run in order; the command it prints goes on with it and repeats only the step that was running."""
    ended, said = stopped_by(project, number)

    assert ended == code
    command = said.splitlines()[-1].split()
    assert command[:3] == ["flowstone", "run", "--resume"]
    (project / "go").touch()
    assert flowstone(project, *command[1:]).returncode == 0
    assert (project / "bodies.txt").read_text() == "first\nsecond\nsecond\n"
    run = json.loads(flowstone(project, "show", command[3], "--json").stdout)
    assert run["run"]["status"] == "success"
    assert flowstone(project, "doctor").returncode == 0


def test_a_reader_that_leaves_is_no_error(project):
    """``flowstone events | head -1`` prints one line and nothing on standard error."""
    (project / "go").touch()
    flowstone(project, "run", "second")
    writing = subprocess.Popen([*FLOWSTONE, "events"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with writing:
        assert writing.stdout is not None
        writing.stdout.close()
        assert writing.stderr is not None
        said = writing.stderr.read()

    assert (writing.returncode, said) == (141, "")


def test_a_locale_that_lacks_a_character_gets_its_escape(project):
    """Where the locale cannot print a character it is escaped, and the command still succeeds."""
    (project / "pipeline.py").write_text(SUMMARY)
    flowstone(project, "run", "--quiet")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    said = subprocess.run(
        [*FLOWSTONE, "status"], cwd=project, env=environment, capture_output=True, timeout=DEADLINE, check=False
    )

    assert said.returncode == 0
    assert b"gr\xf6\xdfe \\u2713" in said.stdout
