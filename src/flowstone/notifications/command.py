"""A channel that is a program of the operator's: started without a shell, given the message as JSON on standard input."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress

from flowstone.foundation.serialize import to_json
from flowstone.notifications.bodies import plain
from flowstone.notifications.channels import Undelivered
from flowstone.notifications.message import Message

KEPT = 300  # characters of what it says on standard error
_LOOK_SECONDS = 0.05


class CommandChannel:
    """Starts *words* for each message; exit code 0 means that it was taken. What it starts in turn is its own business."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words

    def send(self, id: str, message: Message, seconds: float) -> None:
        name = self._words[0]
        try:
            program = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise Undelivered(f"{name} cannot be started: {error.strerror}") from error
        try:
            said = _talk(program, to_json(plain(id, message)).encode(), seconds)
        finally:
            _end(program)
        if said is None:
            raise Undelivered(f"{name} was still busy after {seconds:g} s and was ended")
        if program.returncode:
            raise Undelivered(f"{name} ended with {program.returncode}{f': {said}' if said else ''}")


def _talk(program: subprocess.Popen[bytes], given: bytes, seconds: float) -> str | None:
    """Hand over *given* and wait for the end; return the first line of its complaint, ``None`` when it takes too long."""
    assert program.stdin is not None
    assert program.stderr is not None
    until = time.monotonic() + seconds
    for pipe in (program.stdin, program.stderr):
        os.set_blocking(pipe.fileno(), False)
    kept, left, ended = b"", given, False
    while not ended:
        if time.monotonic() >= until:
            return None
        ended = program.poll() is not None
        select.select([], [program.stdin] if left else [], [], 0 if ended else _LOOK_SECONDS)
        left = b"" if ended else _write(program, left)
        while piece := _read(program.stderr.fileno()):
            kept = (kept + piece)[: 4 * KEPT]
            if time.monotonic() >= until:
                return None
    return (kept.decode(errors="replace").strip().splitlines() or [""])[0][:KEPT]


def _read(descriptor: int) -> bytes:
    """What can be read now; nothing when it is nothing."""
    try:
        return os.read(descriptor, 65_536)
    except BlockingIOError:
        return b""


def _write(program: subprocess.Popen[bytes], left: bytes) -> bytes:
    """Write what the program takes of *left*; close its input at the end, or when it does not listen."""
    assert program.stdin is not None
    try:
        left = left[os.write(program.stdin.fileno(), left) :] if left else left
    except BlockingIOError:
        return left
    except BrokenPipeError:
        left = b""
    if not left and not program.stdin.closed:
        program.stdin.close()
    return left


def _end(program: subprocess.Popen[bytes]) -> None:
    """Leave no process of the program's session and no pipe."""
    if program.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    for pipe in (program.stdin, program.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
