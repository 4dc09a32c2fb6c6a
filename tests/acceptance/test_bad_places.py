"""Places that cannot be used: folders, disks and databases that refuse. One clear error, and work goes on once they do not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flowstone import FlowStone
from flowstone.testing import isolated_settings

FLOWSTONE = [sys.executable, "-m", "flowstone"]
IMPATIENT = """
import sys
import flowstone.stores.sqlite as sqlite
from flowstone.cli.main import execute

sqlite.BUSY_SECONDS = 0.3
sys.exit(execute(sys.argv[1:]))
"""
"""The command line with a database that waits a third of a second for its lock, and not half a minute."""
DEADLINE = 120  # seconds; a process that hangs fails its test

PIPELINE = """
import os
from pathlib import Path
from flowstone import Pipeline, asset

HERE = Path(__file__).parent
SPACE = (HERE / "space").exists()

@asset
def first():
    return [1]

@asset
def big(first):
    return b"x" * (10 if SPACE else 6_000_000)

@asset(io="memory")
def chatty(first):
    for number in range(1 if SPACE else 9_000):
        print(number, "x" * 400)
    return 1

@asset
def waits(first):
    if "READY" in os.environ:
        os.write(int(os.environ["READY"]), b"!")
        os.read(int(os.environ["GO"]), 1)
    return 2

pipeline = Pipeline("p", [first, big, chatty, waits])
"""


@pytest.fixture
def project(tmp_path):
    """A folder with a pipeline that has not been run."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


@pytest.fixture
def used(project):
    """The folder after ``first`` was run."""
    assert flowstone(project, "run", "first")[0] == 0
    return project


ORDINARY = f"""
import ctypes, os, sys

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
if os.getuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
    raise OSError(ctypes.get_errno(), "cannot give up CAP_DAC_OVERRIDE")
os.execv(sys.executable, [sys.executable, *{FLOWSTONE[1:]!r}, *sys.argv[1:]])
"""
"""The command line of a user to whom the modes of files and folders apply: of root too, once it has given up that right."""


def flowstone(folder: Path, *arguments: str, impatient: bool = False, ordinary: bool = False) -> tuple[int, str, str]:
    """Run one command line in *folder*; return its exit code and what it said."""
    command = [sys.executable, "-c", IMPATIENT] if impatient else [sys.executable, "-c", ORDINARY] if ordinary else FLOWSTONE
    ran = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return ran.returncode, ran.stdout, ran.stderr


def refused(said: tuple[int, str, str], *words: str) -> None:
    """Assert that the command ended with 2 and an error that has every one of *words*."""
    code, _, error = said
    assert code == 2
    assert "Traceback" not in error
    assert [word for word in words if word not in error] == []


def healthy(folder: Path) -> None:
    """Assert that the records in *folder* agree and that nothing is left over."""
    with FlowStone(settings=isolated_settings(folder / ".flowstone", project=folder.name)) as flow:
        assert [finding for finding in flow.doctor() if finding.level == "fail"] == []
    assert list((folder / ".flowstone").rglob(".tmp-*")) == []


# -- folders ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("home", "words"),
    [
        ("file", ("cannot write to", "File exists", "FLOWSTONE_HOME")),
        ("file/below", ("cannot write to", "Not a directory", "FLOWSTONE_HOME")),
        ("/proc/flowstone", ("cannot write to /proc/flowstone", "FLOWSTONE_HOME")),
        ("/dev/null/x", ("cannot write to /dev/null/x", "Not a directory", "FLOWSTONE_HOME")),
    ],
)
def test_a_home_that_cannot_be_written_is_named(project, home, words):
    """A home that is a file, below one, or where no folder can be made is refused with its path; root is no exception."""
    (project / "file").write_text("mine")

    refused(flowstone(project, "run", "--home", home), *words)
    assert (project / "file").read_text() == "mine"
    assert sorted(path.name for path in project.iterdir() if path.name != "__pycache__") == ["file", "pipeline.py"]


def test_outputs_that_cannot_be_written_fail_their_steps(used):
    """A file in place of the outputs folder fails each step as ``io_failed``; when it is gone the same command succeeds."""
    outputs = used / ".flowstone/outputs"
    shutil.rmtree(outputs)
    outputs.write_text("in the way")
    code, out, error = flowstone(used, "run", "first")

    assert (code, error) == (1, "")
    assert "io_failed" in out
    outputs.unlink()
    assert flowstone(used, "run", "first")[0] == 0
    healthy(used)


def test_a_folder_of_somebody_elses_is_named(project):
    """A folder this user may not write to is refused with its path; root is asked without its right to write anywhere."""
    project.chmod(0o555)
    try:
        refused(flowstone(project, "run", ordinary=True), "cannot write to", "Permission denied", "FLOWSTONE_HOME")
    finally:
        project.chmod(0o755)
    assert not (project / ".flowstone").exists()


# -- databases ----------------------------------------------------------------------------------------------------------------


def digest(file: Path) -> str:
    """The SHA-256 of a file's bytes; empty for a folder."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _is_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _is_something_else(file: Path) -> None:
    file.write_bytes(b"These are my notes, and no database at all. " * 100)


def _is_cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _has_other_tables(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()


def _is_newer(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_is_a_folder, ("flowstone.db", "unable to open", "FLOWSTONE_HOME")),
        (_is_something_else, ("flowstone.db", "not a database", "move it away")),
        (_is_cut_in_half, ("flowstone.db", "malformed", "restore a backup")),
        (_has_other_tables, ("flowstone.db", "none of FlowStone's tables", "database.url")),
        (_is_newer, ("flowstone.db", "9999", "newer FlowStone")),
    ],
)
def test_a_database_that_is_none_is_refused_and_left_alone(used, harm, words):
    """A database that is a folder, another file, cut short or newer is refused, and its bytes stay as they are."""
    file = used / ".flowstone/flowstone.db"
    for beside in used.glob(".flowstone/flowstone.db-*"):
        beside.unlink()
    harm(file)
    before = digest(file)

    for verb in (("run", "first", "--force"), ("doctor",)):
        refused(flowstone(used, *verb), *words)
    assert digest(file) == before


def test_an_empty_database_is_a_new_one(project):
    """A database file of no bytes, as a killed process may leave it, is made complete by the next run."""
    (project / ".flowstone").mkdir()
    (project / ".flowstone/flowstone.db").touch()

    assert flowstone(project, "run", "first")[0] == 0
    healthy(project)


def test_a_database_that_somebody_holds_is_told_after_a_while(used):
    """While another process holds the database questions are answered; a run gives up with an error and nothing is half done."""
    settings = isolated_settings(used / ".flowstone", project=used.name)
    holder = sqlite3.connect(used / ".flowstone/flowstone.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with FlowStone(settings=settings) as reading:
        assert [run.status for run in reading.runs()] == ["success"]
    code, _, error = flowstone(used, "run", "first", "--force", impatient=True)
    holder.execute("ROLLBACK")
    holder.close()

    assert code == 2
    assert "flowstone.db: database is locked" in error
    assert "another process has been writing" in error
    with FlowStone(settings=settings) as reading:
        assert len(reading.runs()) == 1
    healthy(used)


@pytest.mark.parametrize("harm", ["removed", "emptied"])
def test_a_database_that_goes_in_the_middle_of_a_run_is_told(used, harm):
    """When the database is removed or emptied under a run, the run ends with an error or a failure and never claims success."""
    ready, go = os.pipe(), os.pipe()
    environment = {**os.environ, "READY": str(ready[1]), "GO": str(go[0])}
    file = used / ".flowstone/flowstone.db"
    run = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, "run", "waits"], cwd=used, env=environment, pass_fds=(ready[1], go[0]),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with run:
        try:
            assert select.select([ready[0]], [], [], DEADLINE)[0], "the step did not begin"
            if harm == "emptied":
                os.truncate(file, 0)
            else:
                for path in used.glob(".flowstone/flowstone.db*"):
                    path.unlink()
            os.write(go[1], b"!")
            out, error = run.communicate(timeout=DEADLINE)
        finally:
            run.kill()
            for descriptor in (*ready, *go):
                os.close(descriptor)

    assert run.returncode == 2
    assert error.startswith("error: ") or "\nerror: " in error
    assert "flowstone.db" in error
    assert "Traceback" not in error
    assert "success" not in out


# -- disks --------------------------------------------------------------------------------------------------------------------

SMALL_DISK = """
mount -t tmpfs -o size=4m none "$DISK" && cp pipeline.py "$DISK/" && cd "$DISK" || exit 99
say() { out=$1; shift; "$PYTHON" -m flowstone "$@" >"$OUT/$out.out" 2>"$OUT/$out.err"; echo $? >"$OUT/$out.code"; }
say before run first
if [ "$FILL" ]; then head -c 4000000 /dev/zero >fill 2>/dev/null; cat fill >more 2>/dev/null; fi
say full run "$TARGET" $FORCE
say doctor doctor --json
rm -f fill more; mount -o remount,size=40m "$DISK"; touch space
run=$(sed -n 's/.*flowstone run --resume \\(run_[0-9a-z]*\\).*/\\1/p' "$OUT/full.err" | tail -1)
if [ "$run" ]; then say after run --resume "$run"; else say after run "$TARGET"; fi
say end doctor --json
find .flowstone -name '.tmp-*' >"$OUT/left"
"""


@pytest.fixture
def small_disk(tmp_path):
    """A function that runs ``TARGET`` on a disk of 4 MB, gives it space, and goes on; returns what each command said."""

    def run(target: str, *, fill: bool = False, force: bool = False) -> dict[str, tuple[int, str, str]]:
        for name in ("disk", "out"):
            (tmp_path / name).mkdir()
        (tmp_path / "pipeline.py").write_text(PIPELINE)
        unshare = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
        variables = {"DISK": tmp_path / "disk", "OUT": tmp_path / "out", "PYTHON": sys.executable, "TARGET": target}
        environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
        environment |= {"FILL": "1" if fill else "", "FORCE": "--force" if force else ""}
        ran = subprocess.run(
            [*unshare, "sh", "-c", SMALL_DISK], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=2 * DEADLINE, check=False,
        )  # fmt: skip
        out = tmp_path / "out"
        if not (out / "before.code").exists():
            pytest.fail(f"no small disk can be mounted here, so this cannot be proved: {ran.stderr.strip()}")
        assert (out / "left").read_text() == ""
        return {
            name: (int((out / f"{name}.code").read_text()), (out / f"{name}.out").read_text(), (out / f"{name}.err").read_text())
            for name in ("before", "full", "doctor", "after", "end")
        }

    return run


def failing(said: tuple[int, str, str]) -> list[str]:
    """What ``doctor`` found wrong."""
    found = [json.loads(line) for line in said[1].splitlines()]
    return [finding["subject"] for finding in found if finding["level"] == "fail"]


def test_an_output_that_fills_the_disk_fails_its_step(small_disk):
    """The step fails with the reason, nothing is left of its file, and the same command succeeds when there is space."""
    said = small_disk("big")

    assert said["before"][0] == 0
    assert (said["full"][0], said["full"][2]) == (1, "")
    assert "No space left on device" in said["full"][1]
    assert failing(said["doctor"]) == []
    assert (said["after"][0], said["after"][2]) == (0, "")
    assert failing(said["end"]) == []


def test_a_database_without_space_stops_the_run_and_goes_on_later(small_disk):
    """No record can be written: one error that says why, nothing committed is lost, and with space the work is done."""
    said = small_disk("waits", fill=True)

    refused(said["full"], "flowstone.db", "free space", "what was committed is safe")
    assert said["after"][0] == 0
    assert "first         reused" in said["after"][1]
    assert failing(said["end"]) == []


def test_lines_that_fill_the_disk_cost_lines_and_no_record(small_disk):
    """Printed lines the store has no space for are lost and said; the step that printed them is recorded all the same."""
    said = small_disk("chatty")

    assert said["full"][0] == 0
    assert re.search(r"\d+ captured lines could not be stored: .*disk is full", said["full"][2])
    assert failing(said["doctor"]) == []
    assert said["after"][0] == 0
    assert failing(said["end"]) == []
