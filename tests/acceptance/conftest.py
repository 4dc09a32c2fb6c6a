"""What every crash test is made of: processes that are started cheaply and killed, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from sqlalchemy import text

from flowstone.assets.keys import decode_key, display_key
from flowstone.events.catalogue import MaterializationException, MaterializationStart, MaterializationStop
from flowstone.testing import isolated_flow

PROJECTS = Path(__file__).parents[1] / "projects"
PATIENCE = 60.0  # seconds; what is waited for takes none, unless the machine is very busy
ENDINGS = (MaterializationStop.name, MaterializationException.name)


def _wait_until(condition, what):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.0005)


class Forking:
    """The program ``forking.py``, which starts a process for each command."""

    def __init__(self) -> None:
        command = [sys.executable, str(PROJECTS / "forking.py")]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **command):
        """Give one command and return its answer, a number."""
        self._program.stdin.write(json.dumps(command) + "\n")
        self._program.stdin.flush()
        return int(self._program.stdout.readline())

    def close(self):
        """End the program."""
        self._program.stdin.close()
        self._program.wait()
        self._program.stdout.close()


class Place:
    """A store and a folder in which processes work on one project."""

    def __init__(self, forking, folder, url=None, project="test", **how) -> None:
        self._forking, self.home, self.project = forking, folder / "home", project
        self.notes, self.url = folder / "notes", url or f"sqlite:///{self.home / 'flowstone.db'}"
        self._running = set()
        self._how = {"executor": "inline", "jobs": 1, "partition": "mon", **how}
        folder.mkdir(exist_ok=True)

    def start(self, do="work", **given):
        """Start a process that does something here; return its number."""
        where = {"home": str(self.home), "url": self.url, "project": self.project, "notes": str(self.notes)}
        process = self._forking.ask(do=do, **{**where, **self._how, **given})
        self._running.add(process)
        return process

    def end(self, process):
        """Wait until *process* has ended; return its wait status."""
        self._running.discard(process)
        return self._forking.ask(wait=process)

    def finish(self, process):
        """Wait until *process* has ended, as it must, in good order; return the last line it left."""
        status = self.end(process)
        said = Path(f"{self.notes}.{process}").read_text()
        assert status == 0, f"wait status {status}: {said}"
        return said.splitlines()[-1]

    def touch(self, name):
        """Make the file *name* beside the notes."""
        Path(f"{self.notes}.{name}").touch()

    def kill(self, process):
        """Kill the group of *process*, and wait until it has ended."""
        os.killpg(process, signal.SIGKILL)
        self.end(process)

    def close(self):
        """Kill what a test has left running."""
        for process in list(self._running):
            self.kill(process)

    def is_over(self, process):
        """Whether *process* has ended; it has not been waited for."""
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    def reach(self, process, count):
        """Wait until the bodies have noted *count* lines, or *process* has ended."""
        _wait_until(lambda: len(self.noted()) >= count or self.is_over(process), f"{count} notes, there are {len(self.noted())}")

    def noted(self):
        """What the bodies have noted: ``begin`` or ``end``, then run, asset, partition and attempt."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [tuple(line.split()) for line in lines]

    def children(self):
        """The living processes that were started from here by another program: they have its environment."""
        mark, found = f"SHAKEN_NOTES={self.notes}\0".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def reader(self, pipeline=None):
        """A FlowStone that asks the store."""
        return isolated_flow(pipeline, home=self.home, project=self.project, database_url=self.url)

    # -- what must hold when everything has ended ---------------------------------------------------------------------------

    def hold_whole(self):
        """Hold what no crash may break against the store, the folder and the machine."""
        _wait_until(lambda: not self.children(), "the end of the processes that were started from here")
        with self.reader() as flow:
            found = [finding for finding in flow.doctor() if finding.level == "fail" or finding.subject == "runs"]
            assert [(finding.level, finding.subject) for finding in found] == [("ok", "runs")]
            for run in flow.runs():
                self._hold_attempts(flow, flow.show(run.id))
            with flow._deployment.reading().reading() as connection:
                assert connection.execute(text("SELECT count(*) FROM slot")).scalar_one() == 0
                assert connection.execute(text("SELECT count(*) FROM process WHERE ended_at IS NULL")).scalar_one() == 0
                outputs = {row[0] for row in connection.execute(text("SELECT location FROM output"))}
            self._hold_files(outputs, flow)
            self._hold_log(flow)
            self.check_totals(flow)

    @staticmethod
    def _hold_log(flow):
        """The audit log agrees with itself, the records and the bytes; it is incomplete only where nobody lived to sign it."""
        checked = flow.audit.verify(record=False).checked
        assert checked.findings == []
        assert checked.verdict == "INTACT" or (checked.verdict, checked.heads) == ("INCOMPLETE", 0), checked.incomplete

    def _hold_attempts(self, flow, view):
        """Each attempt has one start, one ending and at most one error; a step that has ended well is not tried again."""
        starts, endings = Counter(), defaultdict(list)
        for event in flow.events(run_id=view.run.id, limit=10_000):
            place = (event.payload.get("asset"), event.payload.get("partition"), event.payload.get("attempt"))
            if event.name == MaterializationStart.name:
                starts[place] += 1
                assert not endings[place]
            elif event.name in ENDINGS:
                endings[place].append(event.payload.get("kind", "stop"))
        errors = Counter((error.asset, error.partition, error.attempt) for error in view.errors)
        last = {}
        for attempt in view.attempts:
            place = (attempt.asset, attempt.partition, attempt.number)
            assert starts.pop(place) == 1
            (ending,) = endings.pop(place)
            assert (ending == "worker_lost") == (attempt.status == "lost")
            assert errors.pop(place, 0) == (attempt.status in ("lost", "failed"))
            assert last.get(place[:2], (0, "lost")) in ((attempt.number - 1, "lost"), (attempt.number - 1, "failed"))
            last[place[:2]] = (attempt.number, attempt.status)
        assert (starts, {place for place, kinds in endings.items() if kinds}, errors) == (Counter(), set(), Counter())

    def _hold_files(self, known, flow):
        """No lock, no file half written; a whole one that no record knows was made by an attempt that was lost."""
        files = [path for path in self.home.rglob("*") if path.is_file()]
        assert [path.name for path in files if path.name.startswith(".tmp-") or path.suffix in (".lock", ".new", ".part")] == []
        outputs = self.home / "outputs"
        unknown = {str(path.relative_to(outputs)) for path in files if path.is_relative_to(outputs)} - known
        lost = [a for run in flow.runs() for a in flow.show(run.id).attempts if a.status == "lost"]
        names = {f"{attempt.run_id}-{attempt.number}-" for attempt in lost}
        assert [name for name in unknown if not any(part in name for part in names)] == []

    def hold_bodies(self, most_lost):
        """User code ran once at most for each attempt, and for each that was not lost; what is limited did not overlap."""
        with self.reader() as flow:
            attempts = {
                (run.id, a.asset, display_key(decode_key(a.partition)) if a.partition else "-", str(a.number)): a.status
                for run in flow.runs()
                for a in flow.show(run.id).attempts
            }
        lost = {attempt for attempt, status in attempts.items() if status == "lost"}
        begun, inside = set(), set()
        for word, *place in self.noted():
            attempt = tuple(place)
            if word == "begin":
                assert attempt not in begun, attempt
                begun.add(attempt)
                if attempt[1].startswith("guarded"):
                    assert inside - lost == set(), attempt
                    inside.add(attempt)
            else:
                inside.discard(attempt)
        assert begun <= attempts.keys()
        assert attempts.keys() - begun <= lost
        assert len(lost) <= most_lost


@pytest.fixture(scope="session")
def forking():
    """The program that starts processes; one for each worker of the session."""
    program = Forking()
    yield program
    program.close()


@pytest.fixture
def wait_until():
    """A function that waits for a condition, which must become true."""
    return _wait_until


@pytest.fixture
def place(forking, check_totals):
    """A function that makes a :class:`Place`; what still runs there in the end is killed."""
    made = []

    def make(*arguments, **options):
        made.append(Place(forking, *arguments, **options))
        made[-1].check_totals = check_totals  # what metrics tell is what the store has, also when it was folded by the dead
        return made[-1]

    yield make
    for each in made:
        each.close()
