"""``flowstone demo --kill``: a real run, killed with SIGKILL in the middle of a step, what is known then, and how it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from pathlib import Path

from rich.console import Console

from flowstone import FlowStone, __version__
from flowstone.app.findings import Finding
from flowstone.cli import demo_project, stories
from flowstone.cli.console import WIDTH, terminal
from flowstone.cli.lines import WORDS
from flowstone.cli.stories import Story
from flowstone.foundation.clock import NANOSECONDS, SystemClock
from flowstone.foundation.errors import FlowStoneError, NotFoundError
from flowstone.foundation.settings import Settings
from flowstone.stores.records import AttemptRecord

PROJECT = "flowstone-kill"
MIDDLE = NANOSECONDS * 7 // 10  # a step that has run for so long is killed
LOOK_SECONDS = 0.05
ENDINGS = "every start has its ending"


def show(folder: Path) -> None:
    """Write the small project into *folder*, run it, kill it, look at it, go on with it, and look again."""
    lines = stories.begin(folder, PROJECT, "kill.py", "--kill")
    found = demo_project.settings_of(folder)
    with FlowStone(settings=found) as flow:
        _Kill(folder, found, flow, terminal()).tell(lines)


class _Kill(Story):
    """The four parts of the demo; what it says of the run is asked of the store."""

    def __init__(self, folder: Path, found: Settings, flow: FlowStone, console: Console) -> None:
        super().__init__(folder, console)
        self._settings, self._flow = found, flow
        self._clock = SystemClock()

    def tell(self, lines: int) -> None:
        self.say(f"FlowStone {__version__} kills one of its own runs with SIGKILL, as a crash or a full memory would.")
        self.say(f"Nothing leaves this machine. Project: {self.folder}, where each command below is run")
        self.say(f"(its pipeline.py is {lines} lines; read it, change it, kill it again)")
        lost = self._kill()
        self.say("\n2  Nobody could tell the database. It says what it knows, and what to do:")
        self._examine()
        self.say("\n3  Another process goes on: what was finished stays, the attempt that was lost is made again.")
        with self.started("run", "--resume", lost.run_id) as process:
            if process.wait() != 0:
                raise FlowStoneError(
                    f"{lost.run_id} could not be finished", hint=f"{demo_project.enter(self.folder)} && flowstone doctor"
                )
        self.say("\n4  Every attempt that started has one ending, and the database agrees with itself again:")
        self._attempts(lost)
        self._examine()
        self._next(lost.run_id)

    def _kill(self) -> AttemptRecord:
        """Begin a run and kill its process in the middle of a step; return the attempt that was running."""
        self.say("\n1  A process begins a run.")
        again = ("--force",) if self._settings.home is not None and self._settings.home.exists() else ()
        began = self._clock.now_ns()
        with self.started("run", *again) as process:
            attempt = self._middle(process, began)
            os.killpg(process.pid, signal.SIGKILL)
        self.say(f"   In the middle of {attempt.asset}, without a warning:")
        self.say(f"   $ kill -9 {process.pid}")
        return attempt

    def _middle(self, process: subprocess.Popen[str], began: int) -> AttemptRecord:
        while process.poll() is None:
            attempt = self._running(began)
            if attempt is not None and self._clock.now_ns() - attempt.started_at >= MIDDLE:
                return attempt
            self._clock.sleep(LOOK_SECONDS)
        raise FlowStoneError(
            f"the run ended before a step had taken {MIDDLE / NANOSECONDS:g} s",
            hint=f"let a step of {self.folder}/pipeline.py take longer",
        )

    def _running(self, began: int) -> AttemptRecord | None:
        try:
            runs = self._flow.runs(limit=1, status="running")
        except NotFoundError:
            return None  # the process has not created the database yet
        if not runs or runs[0].requested_at < began:
            return None
        return next((a for a in self._flow.show(runs[0].id).attempts if a.status == "running"), None)

    def _examine(self) -> None:
        """Say what the doctor says about endings, and how many other checks are well."""
        self.say("   $ flowstone doctor")
        findings = self._flow.doctor()
        told = [finding for finding in findings if finding.subject == ENDINGS or finding.level in ("warn", "fail")]
        for finding in told:
            self._say_finding(finding)
        self.say(f"   ok    {sum(f.level == 'ok' and f not in told for f in findings)} other checks")

    def _say_finding(self, finding: Finding) -> None:
        text = f"   {finding.level:<5} {finding.subject}: {finding.text}"
        self.say(textwrap.fill(text, WIDTH, subsequent_indent=" " * 9, break_on_hyphens=False))
        if finding.fix:
            self.say(f"         fix: {finding.fix}")

    def _attempts(self, lost: AttemptRecord) -> None:
        view = self._flow.show(lost.run_id)
        errors = {error.id: error.message for error in view.errors}
        width = max(len(attempt.asset) for attempt in view.attempts)
        for attempt in view.attempts:
            note = errors.get(attempt.error, "")
            if attempt.process == lost.process and attempt.status == "success":
                note = "before the kill, and not computed again"
            line = f"   {attempt.asset:<{width}}  attempt {attempt.number}  {WORDS.get(attempt.status, attempt.status):<5} {note}"
            self.say(textwrap.fill(line, WIDTH, subsequent_indent=" " * (width + 22)).rstrip())

    def _next(self, run_id: str) -> None:
        steps = [
            ("enter", demo_project.enter(self.folder)),
            ("look", f"flowstone show {run_id}"),
            ("evidence", f"flowstone events --run {run_id}"),
            ("again", "flowstone run"),
            ("by hand", "flowstone run --force & sleep 2; kill -9 $!; flowstone doctor"),
        ]
        self.say_next(steps)
