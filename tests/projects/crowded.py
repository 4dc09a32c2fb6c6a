"""A pipeline whose assets do what an executor must cope with; children of the process executor load this very file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from flowstone import Event, Pipeline, Retry, asset, event, resource

SCRATCH = Path(os.environ.get("CROWDED_SCRATCH", "."))
_inside = 0
_lock = threading.Lock()


@event("crowded.said")
class Said(Event, frozen=True):
    """What an asset has to say."""

    asset: str
    words: str


@resource(scope="run")
def register() -> Iterator[Path]:
    """A file that notes when it was opened and closed, and by whom."""
    path = SCRATCH / "register"
    _append(path, f"open {os.getpid()}")
    yield path
    _append(path, f"close {os.getpid()}")


@resource(limit=2)
def gate() -> Path:
    """A resource two attempts may hold at once."""
    return SCRATCH / "gate"


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text + "\n")


def _together(name: str) -> int:
    """Note that somebody is inside, stay until it cannot be a coincidence, and return how many were there at most."""
    mine = SCRATCH / f"{name}.{os.getpid()}.{threading.get_ident()}"
    mine.touch()
    most = 0
    until = time.monotonic() + 0.25
    while time.monotonic() < until:
        most = max(most, len(list(SCRATCH.glob(f"{name}.*"))))
        time.sleep(0.01)
    mine.unlink()
    return most


@asset
def words(ctx) -> list[str]:
    print("printed", "by words")
    print("to the error stream", file=sys.stderr)
    ctx.log.warning("logged by words")
    ctx.emit(Said, asset="words", words="hello")
    ctx.progress(1, 2, "lines")
    ctx.summary("two words")
    return ["a", "b"]


@asset
def left(words: list[str]) -> int:
    return len(words)


@asset
def right(words: list[str]) -> str:
    return "".join(words)


@asset
def both(left: int, right: str, register: Path) -> str:
    _append(register, "used")
    return f"{left}{right}"


@asset
def where() -> list[int]:
    return [os.getpid(), os.getppid(), threading.get_ident()]


@asset(executor="process")
def elsewhere() -> list[int]:
    return [os.getpid(), os.getppid()]


@asset(timeout=0.3, retries=Retry(attempts=2, delay=0))
def endless() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    _append(SCRATCH / "started", str(child.pid))
    while True:
        pass


@asset
def patient() -> str:
    _append(SCRATCH / "patient", str(os.getpid()))
    until = time.monotonic() + 20
    while time.monotonic() < until and not (SCRATCH / "go").exists():
        time.sleep(0.01)
    return "went"


@asset
def half_written() -> Iterator[str]:
    yield "some"
    os.kill(os.getpid(), signal.SIGKILL)


@asset
def leaves() -> None:
    os._exit(0)


@asset
def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@asset
def falls_once() -> str:
    path = SCRATCH / "fell"
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "stands"


def _crowded(number: int):
    @asset(name=f"crowd_{number}")
    def member() -> int:
        return _together("crowd")

    return member


def _gated(number: int):
    @asset(name=f"gated_{number}")
    def member(gate: Path) -> int:
        return _together("gated")

    return member


crowd = [_crowded(number) for number in range(6)]
gated = [_gated(number) for number in range(4)]

pipeline = Pipeline(
    "crowded",
    [words, left, right, both, where, elsewhere, endless, patient, half_written, leaves, crashes, falls_once, *crowd, *gated],
    resources=[register, gate],
)
