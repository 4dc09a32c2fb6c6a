"""``flowstone demo --tamper``: a value and everything recorded of it are changed in a copy with plain SQL, and found out."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from flowstone import FlowStone, __version__
from flowstone.audit.findings import EXIT
from flowstone.cli import demo_project, releasing, run, stories
from flowstone.cli.console import terminal
from flowstone.cli.stories import Story
from flowstone.foundation.errors import FlowStoneError

PROJECT = "flowstone-tamper"
COPY = "tampered"
ASSET, WRONG = "turnover", b"2400"
BOSS = "the-boss"
_CURRENT = "SELECT id, location FROM output WHERE id = (SELECT output FROM current_output WHERE asset = ?)"


def show(folder: Path) -> None:
    """Write the small project into *folder*, run it, tamper with a copy of it, and verify both."""
    lines = stories.begin(folder, PROJECT, "tamper.py", "--tamper", releasing.SETTINGS)
    _Tamper(folder, terminal()).tell(lines)


class _Tamper(Story):
    """The five parts of the demo."""

    def tell(self, lines: int) -> None:
        """Tell it all."""
        self.say(f"FlowStone {__version__} changes one of its own results behind its back, as whoever owns the file could.")
        self.say(f"Nothing leaves this machine. Project: {self.folder} (its pipeline.py is {lines} lines)")
        self.say("\n1  A process runs it, a reviewer approves the letter, and the audit log of both is sealed and signed.")
        self._require(self.ended("run", "--force"), run.WAITING)
        self._require(self.ended("approvals", "approve", self._asked(), "--as", releasing.REVIEWER, "-m", "read it"), 0)
        self.say(f"\n2  In a copy somebody doubles the {ASSET}: the stored bytes, and what is recorded of them.")
        self.say("   And it was not the reviewer who approved the letter, but somebody whose word counts more.")
        self._tamper()
        self.say("\n3  Bytes, digest and size agree with each other, so the wrong value is given out:")
        self._require(self.ended("get", ASSET, within=self.folder / COPY), 0)
        self.say("\n4  The log is signed, and the key is not in the project's folder:")
        self._require(self.ended("audit", "verify", within=self.folder / COPY), EXIT["TAMPERED"])
        self.say("\n5  And here is the project itself, which nobody touched:")
        self._require(self.ended("audit", "verify"), EXIT["INTACT"])
        self.say_next([
            ("enter", demo_project.enter(self.folder)),
            ("look", "flowstone audit list"),
            ("by hand", f"sqlite3 .flowstone/flowstone.db \"UPDATE output SET digest = 'f00d' WHERE asset = '{ASSET}'\""),
            ("prove", "flowstone audit verify"),
        ])  # fmt: skip

    def _tamper(self) -> None:
        copy = self.folder / COPY
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns(COPY, "__pycache__"))
        self.say(f"   $ cp -r . {COPY}")
        found, digest = demo_project.settings_of(copy), hashlib.sha256(WRONG).hexdigest()
        with closing(sqlite3.connect(copy / ".flowstone" / "flowstone.db")) as connection, connection:
            id, location = connection.execute(_CURRENT, [ASSET]).fetchone()
            stored = found.outputs.path / location
            stored.unlink()
            stored.write_bytes(WRONG)
            change = f"SET digest = '{digest}', size = {len(WRONG)}, summary = '{WRONG.decode()}'"
            connection.execute(f"UPDATE output {change} WHERE id = '{id}'")
            connection.execute(f"UPDATE approval SET decided_by = '{BOSS}' WHERE asset = 'letter'")
        self.say(f"   $ printf {WRONG.decode()} > {stored.relative_to(self.folder.resolve())}")
        self.say(f'   $ sqlite3 {COPY}/.flowstone/flowstone.db "UPDATE output')
        self.say(f"       {change.replace(digest, digest[:16] + '..')} WHERE id = '{id}'\"")
        self.say(f'   $ sqlite3 {COPY}/.flowstone/flowstone.db "UPDATE approval')
        self.say(f"       SET decided_by = '{BOSS}' WHERE asset = 'letter'\"")

    def _asked(self) -> str:
        """The open request about the letter."""
        with FlowStone(settings=demo_project.settings_of(self.folder)) as flow:
            (asked,) = flow.approvals.requests()
        return asked.id

    def _require(self, code: int, wanted: int) -> None:
        if code != wanted:
            raise FlowStoneError(
                f"that ended with {code} instead of {wanted}", hint=f"{demo_project.enter(self.folder)} && flowstone doctor"
            )
