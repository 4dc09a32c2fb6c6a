"""Users' log lines and prints, caught while an attempt runs and kept with it.

Capture is switched on for the length of a run and sees only code whose ambient context names an attempt.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self, TextIO

from flowstone.events.context import Scope, current
from flowstone.foundation.clock import Clock
from flowstone.foundation.redaction import Redactor

MAX_LINE = 16_384
MAX_PARTIAL = 1_000_000  # characters of a line that has not ended
_assets = logging.getLogger("flowstone.asset")  # parent of every ``ctx.log``


class Line(NamedTuple):
    """One captured line."""

    scope: Scope
    at: int
    level: str
    logger: str
    message: str


class Capture:
    """Collects the lines of a run's attempts; :meth:`take` hands them over.

    At most *limit* lines an attempt are kept; the next one says that the rest were dropped. Prints are passed on to the
    real stream when *echo* is set.
    """

    def __init__(
        self, clock: Clock, redactor: Redactor, *, limit: int = 10_000, echo: Callable[[str], None] | None = None
    ) -> None:
        self._clock, self._redactor, self._limit, self._echo = clock, redactor, limit, echo
        self._lines: list[Line] = []
        self._counts: dict[Scope, int] = {}
        self._users = 0
        self._lock = threading.Lock()
        self._handler = _Handler(self)
        self._level = logging.NOTSET
        self._streams: list[tuple[str, TextIO, _Stream]] = []

    def add(self, scope: Scope, level: str, logger: str, message: str) -> None:
        """Keep one line, redacted and cut to 16 kB; an attempt's lines over the limit are dropped and said."""
        with self._lock:
            count = self._counts[scope] = self._counts.get(scope, 0) + 1
            if count > self._limit + 1:
                return
            if count == self._limit + 1:
                level, logger, message = (
                    "warning",
                    "flowstone",
                    f"more than {self._limit} lines: the rest of this attempt's lines are dropped",
                )
            self._lines.append(Line(scope, self._clock.now_ns(), level, logger, self._redactor.text(message, MAX_LINE)))

    def accept(self, lines: list[Line]) -> None:
        """Keep lines that a child process has captured: redacted, cut and counted there."""
        with self._lock:
            self._lines += lines

    def take(self) -> list[Line]:
        """Return the lines collected since the last call."""
        if not self._lines:
            return []
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def finish(self, scope: Scope) -> None:
        """Keep what the attempt printed without a final line break, and forget its count."""
        for _, _, stream in self._streams:
            stream.finish(scope)
        if self._counts:
            self._counts.pop(scope, None)

    def echo(self, text: str) -> None:
        """Pass a printed text on."""
        if self._echo is None:
            return
        token = current.set(None)  # what echoing prints is not the attempt's
        try:
            with suppress(OSError, ValueError):  # a reader that has gone away, a stream that cannot write this text
                self._echo(text)
        finally:
            current.reset(token)

    def __enter__(self) -> Self:
        with self._lock:
            self._users += 1
            if self._users > 1:  # another run of this process has it on
                return self
        logging.getLogger().addHandler(self._handler)
        self._level = _assets.level
        if self._level == logging.NOTSET:  # what assets say is kept, whatever the root logger shows
            _assets.setLevel(logging.INFO)
        for name in ("stdout", "stderr"):
            original = getattr(sys, name)
            stream = _Stream(self, name, original)
            setattr(sys, name, stream)
            self._streams.append((name, original, stream))
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
        logging.getLogger().removeHandler(self._handler)
        _assets.setLevel(self._level)
        for name, original, stream in self._streams:
            if getattr(sys, name) is stream:  # somebody else's replacement is not ours to undo
                setattr(sys, name, original)
        self._streams = []


class _Handler(logging.Handler):
    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        scope = current.get()
        if scope is None or record.name.startswith("flowstone.events"):
            return
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
        except Exception as error:  # noqa: BLE001 - a malformed log call must not fail the attempt
            text = f"{record.msg!r} (could not be formatted: {type(error).__name__})"
        self._capture.add(scope, record.levelname.lower(), record.name, text)


class _Stream:
    """A text stream that keeps what an attempt prints, line by line, and is the original one for everybody else."""

    def __init__(self, capture: Capture, name: str, original: TextIO) -> None:
        self._capture, self._name, self._original = capture, name, original
        self._partial: dict[Scope, str] = {}

    def write(self, text: str) -> int:
        scope = current.get()
        if scope is None:
            return self._original.write(text)
        *lines, rest = (self._partial.pop(scope, "") + text).split("\n")
        for line in lines:
            self._capture.add(scope, "info", self._name, line)
        if len(rest) > MAX_PARTIAL:  # a progress bar that never ends its line must not fill the memory
            self._capture.add(scope, "info", self._name, rest)
            lines.append(rest)
        elif rest:
            self._partial[scope] = rest
        if lines:  # whole lines, because attempts print at the same time
            self._capture.echo("".join([f"{line}\n" for line in lines]))
        return len(text)

    def flush(self) -> None:
        self._original.flush()

    def finish(self, scope: Scope) -> None:
        if self._partial:
            rest = self._partial.pop(scope, "")
            if rest:
                self._capture.add(scope, "info", self._name, rest)
                self._capture.echo(f"{rest}\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
