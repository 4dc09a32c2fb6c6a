"""Anchors: tree heads kept where who can change the database cannot change them. Append-only files, and lines of a log.

A sink that fails is told of and tried again with the next head: it never holds up what is being sealed. What a file has kept is
read back and compared with the log; a line of a log has to be given back by whoever collects it.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from flowstone.audit.note import MAX_NOTE
from flowstone.audit.promises import Anchored
from flowstone.audit.state import ANCHORS, State, folder_name, head_in
from flowstone.foundation.errors import AuditError, ProofError, SettingsError
from flowstone.foundation.serialize import from_json, to_json

FIRST = "0" * 64
"""What the first line of a file says of the line before it."""
MAX_LINE = 4 * MAX_NOTE
BUSY_SECONDS = 2.0
"""How long to wait for somebody else who writes the same file: that takes them milliseconds."""
DEFAULT = "state"
"""The name of the sink in the user's state folder."""
_logger = logging.getLogger("flowstone.audit.anchor")


class Sink(Protocol):
    """Where anchors go; ``name`` is what receipts call it."""

    name: str

    def write(self, origin: str, note: str, at: int) -> str:
        """Keep the head for good, and return what says where; raises :class:`AuditError` or ``OSError`` when it did not."""
        ...


class FileSink:
    """A file for each log in a folder: one line a head, each with the hash of the line before it.

    The folder must be there: a volume that is not mounted is no place for anchors. *create*: unless it is FlowStone's own.
    """

    def __init__(self, name: str, folder: Path, *, create: bool = False) -> None:
        self.name, self._folder, self._create = name, folder, create

    def path(self, origin: str) -> Path:
        """The file of the log *origin*."""
        return self._folder / (ANCHORS if self._create else f"{folder_name(origin)}.{ANCHORS}")

    def write(self, origin: str, note: str, at: int) -> str:
        """Append a line and see it on the disk."""
        if self._create:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path(origin), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        with os.fdopen(descriptor, "r+b") as file:
            _lock(file.fileno())
            last, whole = _last_line(file.fileno())
            line = to_json({"at": at, "note": note, "previous": digest(last) if last else FIRST}).encode() + b"\n"
            os.write(file.fileno(), line if whole else b"\n" + line)  # a line that was cut off ends where it is
            os.fsync(file.fileno())
        return digest(line.rstrip(b"\n"))

    @property
    def is_here(self) -> bool:
        """Whether it can have been written from here: the folder of the keeper's own anchors is on the keeper's machine."""
        return not self._create or self._folder.exists()

    def newest(self, origin: str) -> str | None:
        """The note it kept last; ``None`` when there is none, or none that can be read."""
        try:
            with self.path(origin).open("rb") as file:
                found = _object(_last_line(file.fileno())[0])
        except OSError:
            return None
        note = found.get("note") if found else None
        return note if isinstance(note, str) else None


class LogSink:
    """A line of JSON for the logger ``flowstone.audit.anchor``, at level INFO: whoever collects logs keeps it."""

    name = "log"

    def write(self, origin: str, note: str, at: int) -> str:
        """Log the head; raises :class:`AuditError` when no handler would take it."""
        if not _is_heard():
            raise AuditError(
                "nobody listens to the log line of an anchor", hint='logs.level = "info", or a handler for flowstone.audit.anchor'
            )
        _logger.info(to_json({"anchor": origin, "at": at, "note": note}))
        return "logged"


def sinks(settings: Sequence[str], state: State) -> list[Sink]:
    """The sinks of the setting ``audit.anchors``, after the one in the user's state folder."""
    found: list[Sink] = [FileSink(DEFAULT, state.folder, create=True)]
    for text in dict.fromkeys(settings):
        kind, _, place = text.partition(":")
        if kind == "file" and Path(place).is_absolute():
            found.append(FileSink(text, Path(place)))
        elif text == "log":
            found.append(LogSink())
        else:
            raise SettingsError(f"audit.anchors: {text!r} is no place for anchors", hint="file:/an/absolute/folder, or log")
    return found


class AnchorFile:
    """The anchors in a file: give them one after the other, and meanwhile tell what is wrong with the file.

    It is a file of a :class:`FileSink`, lines of a log (objects with a ``note``), or one note. *name* is what findings call it.
    Lines that are added from now on are not given: they may be of heads that whoever compares does not see yet.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self.name = path, name
        self._end = _size(path)
        self.faults: list[str] = []
        self.notices: list[str] = []
        self.newest = 0
        """The size of the largest head it has kept, once all are given; of lines that were added since as well."""

    def __iter__(self) -> Iterator[Anchored]:
        last = b""
        for number, (line, was_there) in enumerate(self._lines(), 1):
            found = _object(line)
            note = found.get("note") if found else None
            if found is not None and isinstance(note, str):
                before = digest(last) if last else FIRST
                if found.get("previous", before) != before:
                    self.faults.append(f"{self.name}, line {number}: it does not follow the line before it, the file was edited")
                anchored = self._anchored(note)
                if was_there:
                    yield anchored
            elif was_there:  # one that is being written is not whole yet
                self.notices.append(f"{self.name}, line {number}: no anchor; a line that a crash cut off looks like this")
            last = line

    def _lines(self) -> Iterator[tuple[bytes, bool]]:
        """Each line, and whether it was there when this was made."""
        with self._path.open("rb") as file:
            if file.read(1) not in (b"{", b""):
                yield to_json({"note": self._path.read_text(encoding="utf-8", errors="replace")[: MAX_NOTE + 1]}).encode(), True
                return
            file.seek(0)
            while line := file.readline(MAX_LINE + 1):
                yield line.removesuffix(b"\n"), file.tell() <= self._end

    def _anchored(self, note: str) -> Anchored:
        with suppress(ProofError):
            self.newest = max(self.newest, head_in(note).size)
        return Anchored(self.name, note)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # what is wrong with it is told when it is read


def _object(line: bytes) -> dict[str, object] | None:
    try:
        found = from_json(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def digest(line: bytes) -> str:
    """The SHA-256 of a line, without its newline."""
    return hashlib.sha256(line).hexdigest()


def _lock(descriptor: int) -> None:
    """Keep other writers out of the file; raises :class:`AuditError` where one of them does not end."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise AuditError("another process keeps the file locked", hint="it is tried again with the next head") from error
            time.sleep(0.01)


def _last_line(descriptor: int) -> tuple[bytes, bool]:
    """The last line of a file without its newline, and whether it had one; empty for an empty file."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, min(size, MAX_LINE), max(0, size - MAX_LINE))
    whole = tail.endswith(b"\n") or not tail
    return tail.removesuffix(b"\n").rpartition(b"\n")[2], whole


def _is_heard() -> bool:
    """Whether a handler takes INFO of the logger."""
    logger: logging.Logger | None = _logger
    if not _logger.isEnabledFor(logging.INFO):
        return False
    while logger is not None:
        if any(handler.level <= logging.INFO for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
