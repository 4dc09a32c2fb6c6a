"""Users' log lines and prints, caught while an attempt runs and kept with it.

Capture is switched on for the length of a run and sees only code whose ambient context names an attempt of its own. However many
captures are on, the process has one stream in place of each of its own and one handler at the root logger.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self, TextIO

from flowstone.events.context import Scope, current
from flowstone.events.losses import Losses
from flowstone.foundation.clock import Clock
from flowstone.foundation.forks import renew_in_children
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.serialize import to_json
from flowstone.observability.logs.lines import Line as Line  # noqa: PLC0414 - rooms above name it from here
from flowstone.observability.logs.lines import instead_of
from flowstone.observability.logs.records import ends_of, extras_of, text_of, trace_of

MAX_LINE = 16_384
MAX_PARTIAL = 1_000_000  # characters of a line that has not ended
SINK = "flowstone.lines"
"""Who has lost a captured line."""
_NOT_KEPT = ("flowstone.events", "flowstone.losses")  # lines about lines
_assets = logging.getLogger("flowstone.asset")  # parent of every ``ctx.log``


class Capture:
    """Collects the lines of a run's attempts; :meth:`take` hands them over.

    At most *limit* lines an attempt and *run_limit* lines a run are kept; the next one says that the rest were dropped. Prints
    are passed on to the real stream when *echo* is set.
    """

    def __init__(
        self,
        clock: Clock,
        redactor: Redactor,
        *,
        limit: int = 10_000,
        run_limit: int = 100_000,
        echo: Callable[[str], None] | None = None,
        losses: Losses | None = None,
    ) -> None:
        self._clock, self.redactor, self._limit, self._run_limit, self._echo = clock, redactor, limit, run_limit, echo
        self._losses = losses or Losses(clock.monotonic_ns)
        self._listeners: dict[str, Callable[[Line], object]] = {}
        self._lines: list[Line] = []
        self._counts: dict[Scope, int] = {}
        self._run_counts: dict[str, int] = {}
        self._users = 0
        self.writing = threading.Lock()
        """Held by who takes lines and writes them, until they are committed: lines become visible in order."""
        self._lock = threading.Lock()
        renew_in_children(self)

    def listen(self, id: str, listener: Callable[[Line], object]) -> None:
        """Call *listener* with every kept line that was no log record of this process: prints, and what children captured.

        It is called in the thread that prints or listens to the child; lines it raises at are counted as lost to *id*.
        """
        self._listeners = {**self._listeners, id: listener}

    def add(self, scope: Scope, level: str, logger: str, message: str, fields: str = "", *, told: bool = False) -> None:
        """Keep one line, redacted and cut to 16 kB; an attempt's lines over the limit are dropped and said.

        *told*: it is a log record, which listeners have other ways to hear of.
        """
        line = Line(scope, self._clock.now_ns(), level, logger, self.redactor.text(message, MAX_LINE), fields)
        with self._lock:
            count = self._counts[scope] = self._counts.get(scope, 0) + 1
            if count == self._limit + 1:
                line = instead_of(line, f"more than {self._limit} lines: the rest of this attempt's lines are dropped")
            dropped = count > self._limit
            kept = count <= self._limit + 1 and self._keep(line)
        if dropped or not kept:
            self._losses.add(SINK, "dropped")
        elif not told:
            self._tell(line)

    def accept(self, lines: list[Line]) -> None:
        """Keep lines that a child process has captured: redacted, cut and counted there."""
        with self._lock:
            kept = [line for line in lines if self._keep(line)]
        self._losses.add(SINK, "dropped", len(lines) - len(kept))
        for line in kept:
            self._tell(line)

    def lose(self, count: int) -> None:
        """Say that *count* lines that were kept could not be stored."""
        self._losses.add(SINK, "refused", count)

    def _tell(self, line: Line) -> None:
        if not self._listeners:
            return
        token = current.set(None)  # what a listener says is not the attempt's
        try:
            for id, listener in self._listeners.items():
                try:
                    listener(line)
                except Exception:  # noqa: BLE001 - who shows lines never breaks work
                    self._losses.add(id, "failed")
        finally:
            current.reset(token)

    def _keep(self, line: Line) -> bool:
        """Keep a line unless its run has too many, which is said once; return whether it was kept."""
        count = self._run_counts[line.scope.run_id] = self._run_counts.get(line.scope.run_id, 0) + 1
        if count == self._run_limit + 1:
            self._lines.append(instead_of(line, f"more than {self._run_limit} lines: the rest of this run's lines are dropped"))
        elif count <= self._run_limit:
            self._lines.append(line)
        return count <= self._run_limit

    def renew(self) -> None:
        """Begin with open locks after a fork; what was captured before it is the parent's."""
        self._lock, self.writing = threading.Lock(), threading.Lock()
        self._lines = []

    def take(self) -> list[Line]:
        """Return the lines collected since the last call."""
        if not self._lines:
            return []
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def begin(self, scope: Scope) -> Begun:
        """Say that the current code is the attempt's from here on; give what is returned to :meth:`end`."""
        return current.set(scope), _owner.set(self)

    def end(self, scope: Scope, begun: Begun) -> None:
        """Say that the attempt is over: :meth:`finish`, and the current code is nobody's again."""
        self.finish(scope)
        current.reset(begun[0])
        _owner.reset(begun[1])

    def finish(self, scope: Scope) -> None:
        """Keep what the attempt printed without a final line break, and forget its count."""
        for stream in _switch.streams:
            stream.finish(self, scope)
        if self._counts:
            self._counts.pop(scope, None)

    @property
    def is_on(self) -> bool:
        """Whether any run uses it now."""
        return self._users > 0

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
        _switch.on()
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _switch.off()
        with self._lock:
            self._users -= 1
            if not self._users:
                self._run_counts = {}


Begun = tuple[Token[Scope | None], Token[Capture | None]]
_owner: ContextVar[Capture | None] = ContextVar("flowstone_capture", default=None)


def _capturing() -> tuple[Scope, Capture] | None:
    """The attempt the current code belongs to and who keeps its lines; ``None`` for code that is nobody's."""
    scope, capture = current.get(), _owner.get()
    return (scope, capture) if scope is not None and capture is not None and capture.is_on else None


class _Switch:
    """What stands in the place of the process's streams and at its root logger while any capture is on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._handler = _Handler()
        self._level = logging.NOTSET
        self.streams: tuple[_Stream, ...] = ()

    def on(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            logging.getLogger().addHandler(self._handler)
            self._level = _assets.level
            if self._level == logging.NOTSET:  # what assets say is kept, whatever the root logger shows
                _assets.setLevel(logging.INFO)
            self.streams = tuple(_Stream(name, _real(getattr(sys, name))) for name in ("stdout", "stderr"))
            for stream in self.streams:
                setattr(sys, stream.name, stream)

    def off(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            logging.getLogger().removeHandler(self._handler)
            _assets.setLevel(self._level)
            for stream in self.streams:
                if getattr(sys, stream.name) is stream:  # somebody else's replacement is not ours to undo
                    setattr(sys, stream.name, stream.original)
            self.streams = ()


def _real(stream: TextIO | None) -> TextIO | None:
    """The stream itself, where one of ours was put back by somebody who had kept it."""
    while isinstance(stream, _Stream):
        stream = stream.original
    return stream


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        found = _capturing()
        if found is None or record.name.startswith(_NOT_KEPT):
            return
        scope, capture = found
        text, trace, extras = text_of(record), trace_of(record), extras_of(record, capture.redactor)
        if trace:
            text = f"{text}\n{ends_of(trace, capture.redactor)}"
        capture.add(scope, record.levelname.lower(), record.name, text, to_json(extras) if extras else "", told=True)


class _Stream:
    """A text stream that keeps what an attempt prints, line by line, and is the original one for everybody else."""

    def __init__(self, name: str, original: TextIO | None) -> None:
        self.name, self.original = name, original
        self._partial: dict[Scope, str] = {}

    def write(self, text: str) -> int:
        found = _capturing()
        if found is None:
            return self.original.write(text) if self.original is not None else len(text)
        scope, capture = found
        *lines, rest = (self._partial.pop(scope, "") + text).split("\n")
        for line in lines:
            capture.add(scope, "info", self.name, line)
        if len(rest) > MAX_PARTIAL:  # a progress bar that never ends its line must not fill the memory
            capture.add(scope, "info", self.name, rest)
            lines.append(rest)
        elif rest:
            self._partial[scope] = rest
        if lines:  # whole lines, because attempts print at the same time
            capture.echo("".join([f"{line}\n" for line in lines]))
        return len(text)

    def flush(self) -> None:
        if self.original is not None:
            self.original.flush()

    def finish(self, capture: Capture, scope: Scope) -> None:
        if self._partial:
            rest = self._partial.pop(scope, "")
            if rest:
                capture.add(scope, "info", self.name, rest)
                capture.echo(f"{rest}\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


_switch = _Switch()


def to_real_stdout(text: str) -> None:
    """Write *text* to the standard output of code that is nobody's attempt: a terminal, the output of a notebook's cell."""
    stream = next((stream.original for stream in _switch.streams if stream.name == "stdout"), _real(sys.stdout))
    if stream is not None:
        stream.write(text)
