"""What the demos that tell a story share: lines on the terminal, and real processes whose lines are repeated there."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from flowstone.cli import demo_project
from flowstone.foundation.errors import UsageError
from flowstone.observability.logs.shape import one_line


class Story:
    """A demo in *folder* that is told on *console*."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self._console = folder, console

    def say(self, text: str) -> None:
        """One paragraph."""
        self._console.print(Text(text))

    def say_next(self, steps: Iterable[tuple[str, str]]) -> None:
        """What the reader may do next: a word and a command each."""
        self.say("")
        for word, command in steps:
            self.say(f"  {word:<9} {command}")

    @contextmanager
    def started(self, *arguments: str, within: Path | None = None) -> Iterator[subprocess.Popen[str]]:
        """A process that is told ``flowstone`` with *arguments*; what it says is said here, and it is over in the end."""
        self.say(f"   $ flowstone {shlex.join(arguments)}")
        process = subprocess.Popen(
            [sys.executable, "-m", "flowstone", *arguments],
            cwd=within or self.folder, env={**demo_project.variables(), "PYTHONUNBUFFERED": "1"}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        )  # fmt: skip
        with process:
            repeating = threading.Thread(target=self._repeat, args=(process,))
            repeating.start()
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                repeating.join()

    def ended(self, *arguments: str, within: Path | None = None) -> int:
        """Let a process do it to its end; return its exit code."""
        with self.started(*arguments, within=within) as process:
            return process.wait()

    def _repeat(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if line.strip():
                self.say(f"   {one_line(line.rstrip())}")


def begin(folder: Path, project: str, template: str, option: str, more: str = "") -> int:
    """Write the small project of the demo *option* into *folder*, *more* settings included; return the lines of its pipeline."""
    if (folder / demo_project.SETTINGS).is_file() and demo_project.settings_of(folder).project != project:
        raise UsageError(f"{folder} is another project's", hint=f"choose another folder: flowstone demo {option} FOLDER")
    file = f'# Settings of the demo project.\nproject = "{project}"\n{more}'
    lines = demo_project.write(folder, {"pipeline.py": template}, file)
    demo_project.begin_anew(demo_project.settings_of(folder))
    return lines
