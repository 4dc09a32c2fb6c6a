"""The demo as a newcomer runs it: real processes over a small environment made on the spot."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

DEMO = [sys.executable, "-m", "flowstone", "demo"]


def own_environment() -> dict[str, str]:
    """The environment without settings, except where keys and heads of audit logs are kept."""
    kept = ("FLOWSTONE_STATE_HOME",)
    return {name: value for name, value in os.environ.items() if not name.startswith("FLOWSTONE_") or name in kept}


class Reviewed:
    """A virtual environment of its own, with what the test installs, and the folder the demo is run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "env", with_pip=False, symlinks=True)
        self.python = folder / "env" / "bin" / "python"
        self.site = next((folder / "env" / "lib").iterdir()) / "site-packages"

    def install(self, name: str, version: str, licence: str) -> Path:
        """Install one distribution of one module the way an installer does; return the module's file."""
        module = self.site / f"{name}.py"
        module.write_text(f"'''{name}'''\n")
        digest = base64.urlsafe_b64encode(hashlib.sha256(module.read_bytes()).digest()).rstrip(b"=").decode()
        info = self.site / f"{name}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {licence}\n"
        (info / "METADATA").write_text(metadata)
        (info / "RECORD").write_text(f"{name}.py,sha256={digest},{module.stat().st_size}\n{info.name}/METADATA,,\n")
        return module

    def demo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the demo as a person without a terminal would."""
        environment = own_environment()
        command = [*DEMO, *arguments] if "--python" in arguments else [*DEMO, "--python", str(self.python), *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Ask the demo's database with plain SQL."""
        connection = sqlite3.connect(self.folder / "flowstone-demo" / ".flowstone" / "flowstone.db")
        try:
            return list(connection.execute(query))
        finally:
            connection.close()


@pytest.fixture
def reviewed(tmp_path):
    """A small environment with one permissive and one copyleft distribution."""
    return small(tmp_path)


def small(folder: Path) -> Reviewed:
    made = Reviewed(folder)
    made.install("alpha", "1.0", "MIT")
    made.install("beta", "2.0", "GPL-3.0-or-later")
    return made


class Story(NamedTuple):
    """Three runs of one demo: the first, one with nothing changed, one after an installation and a tampered file."""

    place: Reviewed
    first: subprocess.CompletedProcess[str]
    recorded: tuple[object, ...]
    page: tuple[str, str]
    again: subprocess.CompletedProcess[str]
    changed: subprocess.CompletedProcess[str]
    released: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The demo run four times over one environment, the last time with a reviewer who says yes."""
    place = small(tmp_path_factory.mktemp("demo"))
    first = place.demo()
    counts = ("event where run_id is not null", "lineage", "audit_entry where run_id <> ''")
    recorded = place.rows(f"select {', '.join(f'(select count(*) from {each})' for each in counts)}")[0]
    page = (place.folder / "flowstone-demo" / "report.html").read_bytes()
    query = "select digest from output join current_output c on c.output = output.id where c.asset = 'report'"
    stored = str(place.rows(query)[0][0])
    again = place.demo()
    place.install("gamma", "3.0", "MIT").write_text("tampered\n")
    changed = place.demo()
    return Story(place, first, recorded, (hashlib.sha256(page).hexdigest(), stored), again, changed, place.demo("--yes"))


def line_of(output: str, start: str) -> str:
    return next(line for line in output.splitlines() if line.strip().startswith(start))


def test_the_first_run_reviews_and_says_what_it_did(story):
    """Every asset ends, the planned retry is told, the counts printed are the store's, and no line is over 100 columns."""
    said = story.first.stdout

    assert (story.first.returncode, story.first.stderr) == (0, "")
    assert "done     2 distributions" in line_of(said, "distributions")
    assert "2 of 4 files hashed, none differs" in line_of(said, "integrity")
    assert line_of(said, "integrity").endswith("attempt 2 of 3")
    assert "attempt 1: TimeoutError reading the last chunk" in said
    assert "skipped  no earlier snapshot to compare with" in line_of(said, "changes")
    assert "GPL-3.0-or-later" in line_of(said, "medium")
    assert [line for line in said.splitlines() if len(line) > 100 and str(story.place.folder) not in line] == []
    assert line_of(said, "Verified").startswith("Verified  INTACT: ")
    assert line_of(said, "Verified").endswith("audit entries re-hashed and signed, 6 outputs re-hashed")
    events, edges, entries = story.recorded
    figures = (
        f"8 materializations, 9 attempts, {events} events, {edges} lineage edges, 1 error, {entries} audit entries, 1 approval"
    )
    assert f"Recorded {figures}" in " ".join(said.split())


def test_the_page_is_the_stored_report(story):
    """``report.html`` is, byte for byte, the output that is current in the store."""
    assert story.page[0] == story.page[1]


def test_a_second_run_reuses_and_says_why(story):
    """Nothing changed: everything is reused, the sources because their fingerprints are the same; the gate asks once."""
    assert "6 reused, 1 skipped, 2 waiting" in story.again.stdout
    asked = [line for line in story.first.stdout.splitlines() if line.startswith("  1  look")]
    assert [line for line in story.again.stdout.splitlines() if line.startswith("  1  look")] == asked
    assert "source fingerprint" in line_of(story.again.stdout, "integrity")
    assert "unchanged since" in line_of(story.again.stdout, "integrity")


def test_an_installation_outdates_and_says_which_fingerprint(story):
    """One more distribution: both sources' fingerprints are named, and what depends on them is computed again."""
    assert "done     3 distributions" in line_of(story.changed.stdout, "distributions")
    assert story.changed.stdout.count("was outdated: source fingerprint") == 2
    assert "input distributions changed" in story.changed.stdout


def test_a_changed_file_is_the_worst_finding(story):
    """A file that is not what its RECORD says is high, named, and counted as differing, never as ok."""
    assert "1 differs" in line_of(story.changed.stdout, "integrity")
    assert "gamma.py differs from what was installed" in line_of(story.changed.stdout, "high    gamma")


def test_nothing_is_released_before_a_reviewer_has_said_yes(story):
    """A run that waits is no failure, the value is nobody's until then; a yes publishes these bytes and goes on."""
    asked = re.findall(r"approvals show (apr_\w+)", story.changed.stdout)[0]
    query = "select status, decided_by, decided_identity, requester from approval order by requested_at"
    first, last = story.place.rows(query)

    assert (story.changed.returncode, story.released.returncode) == (0, 0)
    assert first[0] == "invalidated"  # a newer candidate took its place
    assert last[:3] == ("approved", "demo-reviewer", "asserted")
    assert last[3] != "demo-reviewer"
    assert f"{asked} is approved by demo-reviewer, who only says who they are" in story.released.stdout
    assert "done     3 distributions" in line_of(story.released.stdout, "release_note")
    assert "approval.approved" in story.released.stdout
    assert line_of(story.released.stdout, "Verified").startswith("Verified  INTACT: ")
    query = "select count(*) from current_output where asset = 'bill_of_materials'"
    assert story.place.rows(query) == [(1,)]


def test_what_the_demo_says_to_type_works_when_pasted(reviewed):
    """Look, decide as the reviewer, go on, prove: each printed command does what it says, and the requester is refused."""
    said = reviewed.demo().stdout
    commands = [line.split(maxsplit=2)[2] for line in said.splitlines() if re.match(r"  [1-4]  ", line)]
    commands = [command.removeprefix("on").strip() for command in commands]
    folder = reviewed.folder / "flowstone-demo"

    def typed(command: str) -> subprocess.CompletedProcess[str]:
        line = command.replace("flowstone", f"{sys.executable} -m flowstone", 1)
        return subprocess.run(["sh", "-c", line], cwd=folder, env=own_environment(), capture_output=True, text=True, check=False)

    own = typed(commands[1].replace(" --as demo-reviewer", ""))
    done = [typed(command) for command in commands]

    assert own.returncode == 2
    assert "requested this run" in own.stderr
    assert [one.returncode for one in done] == [0, 0, 0, 0], [one.stderr for one in done]
    assert "You are approving" in done[0].stdout
    assert done[3].stdout.startswith("INTACT")


def test_the_bill_of_materials_is_cyclonedx(story):
    """The stored bill of materials names the distributions with their package URLs, as CycloneDX 1.6."""
    command = [sys.executable, "-m", "flowstone", "get", "bill_of_materials"]
    done = subprocess.run(command, cwd=story.place.folder / "flowstone-demo", capture_output=True, text=True, check=True)
    bill = json.loads(done.stdout)

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [item["purl"] for item in bill["components"]] == ["pkg:pypi/alpha@1.0", "pkg:pypi/beta@2.0", "pkg:pypi/gamma@3.0"]


def test_an_unreadable_interpreter_leaves_nothing(reviewed):
    """An interpreter that is not there is one clear error, exit 2, and no folder is made."""
    done = reviewed.demo("--python", "/no/such/python")

    assert done.returncode == 2
    assert "/no/such/python: there is no such interpreter" in done.stderr
    assert not (reviewed.folder / "flowstone-demo").exists()


def test_somebody_elses_folder_is_left_alone(reviewed):
    """A folder with other things in it is refused and not written to."""
    other = reviewed.folder / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    done = reviewed.demo("mine")

    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in other.iterdir()] == ["notes.txt"]


def test_a_changed_pipeline_is_kept_and_quiet_is_short(reviewed):
    """What a reader changed in pipeline.py is what the next demo runs; with ``-q`` only the last lines are printed."""
    folder = reviewed.folder / "flowstone-demo"
    folder.mkdir()
    (folder / "flowstone.toml").write_text('project = "flowstone-demo"\n')
    (folder / "pipeline.py").write_text(
        "from flowstone import Pipeline, asset\n"
        "@asset(config={'python': None})\ndef mine(config):\n    return 1\n"
        "pipeline = Pipeline('p', [mine])\n"
    )
    done = reviewed.demo("-q")

    assert done.returncode == 0
    assert "success: 1 done" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line]) <= 5


def kill(folder: Path, *arguments: str, terminal: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the demo that kills, in *folder*; its output goes to *terminal* when there is one."""
    environment = own_environment()
    out = subprocess.PIPE if terminal is None else terminal
    return subprocess.run(
        [*DEMO, "--kill", *arguments],
        cwd=folder, env=environment, stdout=out, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
    )  # fmt: skip


def attempts_of(folder: Path, run_id: str) -> list[tuple[str, int, str]]:
    """Asset, number and status of each attempt of a run, asked with plain SQL."""
    query = """SELECT m.asset, a.number, a.status FROM attempt a JOIN materialization m ON m.id = a.materialization
               WHERE m.run_id = ? ORDER BY a.id"""
    connection = sqlite3.connect(folder / ".flowstone" / "flowstone.db")
    try:
        return list(connection.execute(query, [run_id]))
    finally:
        connection.close()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder in which a first run was killed, and what was said."""
    folder = tmp_path_factory.mktemp("kill")
    return folder, kill(folder)


def test_a_run_is_killed_and_goes_on_before_a_newcomers_eyes(killed):
    """A step is killed, the doctor names it and what to do, the run ends right, and what is said is what is recorded."""
    folder, done = killed
    said = done.stdout
    run_id = line_of(said, "$ flowstone run --resume").split()[-1]

    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 3 attempts were left by dead processes" in line_of(said, "fail  every start has its ending")
    assert f"fix: flowstone run --resume {run_id}" in said
    assert attempts_of(folder / "flowstone-kill", run_id) == [
        ("customers", 1, "success"), ("orders", 1, "success"), ("invoices", 1, "lost"), ("invoices", 2, "success"),
        ("turnover", 1, "success"), ("letter", 1, "success"),
    ]  # fmt: skip
    assert line_of(said, "orders     attempt 1  done").endswith("before the kill, and not computed again")
    pid = line_of(said, "$ kill -9").split()[-1]
    assert f"process {pid} on" in line_of(said, "invoices   attempt 1  lost")
    assert "6 attempts, 0 running, 0 open in dead processes" in line_of(said, "ok    every start has its ending")
    assert [line for line in said.splitlines() if len(line) > 100 and str(folder) not in line] == []
    command = [sys.executable, "-m", "flowstone", "get", "letter"]
    got = subprocess.run(command, cwd=folder / "flowstone-kill", capture_output=True, text=True, check=True)
    assert got.stdout.strip() == "3 customers owe us 1200."


def test_it_can_be_killed_again_on_a_terminal(killed):
    """A second time everything is computed by force, so that there is something to kill; a terminal is left as it was."""
    ours, theirs = os.openpty()
    try:
        done = kill(killed[0], terminal=theirs)
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody is at the other end
            while part := os.read(ours, 65_536):
                said += part
    finally:
        os.close(ours)

    assert (done.returncode, done.stderr) == (0, "")
    assert b"$ flowstone run --force" in said
    assert b"12 attempts, 0 running, 0 open in dead processes" in said
    assert b"\x1b[?25l" not in said


def test_a_folder_of_another_project_is_not_killed_in(tmp_path):
    """The project of another demo, and options of the review, are refused before anything runs."""
    (tmp_path / "flowstone.toml").write_text('project = "mine"\n')
    refused = kill(tmp_path, ".")
    misused = kill(tmp_path, "--python", sys.executable)

    assert (refused.returncode, misused.returncode) == (2, 2)
    assert "is another project's" in refused.stderr
    assert "leave out --python, --yes and --quiet" in misused.stderr
    assert not (tmp_path / ".flowstone").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["flowstone.toml"]


def test_a_run_with_nothing_to_kill_in_says_so(tmp_path):
    """A pipeline without a long step ends before it can be killed; that is one clear error."""
    (tmp_path / "flowstone.toml").write_text('project = "flowstone-kill"\n')
    (tmp_path / "pipeline.py").write_text(
        "from flowstone import Pipeline, asset\n@asset\ndef a(): ...\npipeline = Pipeline('p', [a])\n"
    )
    done = kill(tmp_path, ".")

    assert done.returncode == 2
    assert "the run ended before a step had taken 0.7 s" in done.stderr


def tamper(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo that tampers, in *folder*."""
    command = [*DEMO, "--tamper"]
    return subprocess.run(command, cwd=folder, env=own_environment(), capture_output=True, text=True, timeout=120, check=False)


def test_a_change_behind_its_back_is_found_out_before_a_newcomers_eyes(tmp_path):
    """The copy gives out the wrong value and verifies as tampered, down to what was changed; the project itself is intact."""
    done = tamper(tmp_path)
    verdicts = [line.split()[:2] for line in done.stdout.splitlines() if line.strip().startswith(("TAMPERED", "INTACT"))]
    connection = sqlite3.connect(tmp_path / "flowstone-tamper" / ".flowstone" / "flowstone.db")
    (entries,) = connection.execute("SELECT count(*) FROM audit_seal").fetchone()
    connection.close()

    assert (done.returncode, done.stderr) == (0, "")
    assert verdicts == [["TAMPERED", str(entries)], ["INTACT", str(entries)]]
    assert "\n   2400\n" in done.stdout
    assert re.findall(r" \(turnover\) says (\w+) = ", done.stdout) == ["digest", "size", "summary"]
    assert "says decided_by = the-boss" in done.stdout
    assert done.stdout.splitlines()[-1] == "  prove     flowstone audit verify"


def test_who_removes_a_demo_may_begin_anew(tmp_path):
    """A second demo in the place of a removed one is not told that an audit log is missing."""
    assert tamper(tmp_path).returncode == 0
    shutil.rmtree(tmp_path / "flowstone-tamper")
    again = tamper(tmp_path)

    assert (again.returncode, again.stderr) == (0, "")
    assert "the audit log" not in again.stdout.split("$ flowstone run --force")[1].split("\n2  ")[0]
