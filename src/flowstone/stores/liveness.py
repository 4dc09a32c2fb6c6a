"""Is a process alive? One that shares the lock folder is while it holds its lock file: the kernel lets go of it when it dies.

Of processes elsewhere only their heartbeat is known. Two containers may have the same hostname: what counts is the folder.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flowstone.foundation.errors import DatabaseError

SWEEP_SECONDS = 5.0  # no sweep holds a lock nearly as long
DEAD_SECONDS = 30.0
"""A process elsewhere is dead when its heartbeat is older, by the database's clock."""
IDENTITY = "host"


def hostname_of(host: str) -> str:
    """The name of the machine, for people; the rest of *host* only tells lock folders apart."""
    return host.rpartition(":")[0] or host


class ProcessLocks:
    """One lock file per process, in one folder; without a folder (in memory) nobody else can be alive."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: FileLock | None = None
        self._id = ""

    def host(self) -> str:
        """Who shares this folder, as ``<hostname>:<id>``; the id is made once, by whoever asks first."""
        if not self._id:
            self._id = self._known() or self._make()
        return f"{socket.gethostname()}:{self._id}"

    def shares(self, host: str) -> bool:
        """Whether *host* is this folder's, so that a lock says who of it is alive."""
        self._id = self._id or self._known()
        return bool(self._id) and host.rpartition(":")[2] == self._id

    def _known(self) -> str:
        path = self._folder / IDENTITY if self._folder is not None else None
        return path.read_text(encoding="ascii") if path is not None and path.exists() else ""

    def _make(self) -> str:
        made = secrets.token_hex(8)
        if self._folder is None:
            return made  # nobody shares it
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / f"{IDENTITY}.guard"):
                found = self._known()
                if not found:
                    new = self._folder / f"{IDENTITY}.new"
                    new.write_text(made, encoding="ascii")
                    new.replace(self._folder / IDENTITY)  # whole or not at all: a reader takes no guard
        return found or made

    def hold(self, process: str) -> None:
        """Hold the lock of this process until :meth:`release`."""
        if self._folder is None:
            return
        path = self._folder / f"{process}.lock"
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            while not (self._held is not None and path.exists()):  # a sweep may have taken the file before it was locked
                self._held = FileLock(path, thread_local=False)
                self._held.acquire(timeout=SWEEP_SECONDS)

    def release(self) -> None:
        """Let go of this process's lock and remove its file."""
        if self._held is not None:
            Path(self._held.lock_file).unlink(missing_ok=True)
            self._held.release()
            self._held = None

    def is_held(self, process: str) -> bool:
        """Whether another process holds *process*'s lock, that is: lives."""
        if self._folder is None or not (self._folder / f"{process}.lock").exists():
            return False
        probe = FileLock(self._folder / f"{process}.lock")
        try:
            probe.acquire(timeout=0)
        except Timeout:
            return True
        probe.release()
        return False

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DatabaseError(
                f"cannot write to {self._folder}: {error.strerror}", hint="make it writable, or set FLOWSTONE_HOME"
            ) from error

    def sweep(self) -> None:
        """Remove lock files nobody holds: their process died before it could register, or after it signed off."""
        if self._folder is None or not self._folder.is_dir():
            return
        for path in self._folder.glob("*.lock"):
            probe = FileLock(path)
            try:
                probe.acquire(timeout=0)
            except Timeout:
                continue
            path.unlink(missing_ok=True)  # while it is held: whoever made the file sees that it is gone, and makes it again
            probe.release()

    def forget(self, process: str) -> None:
        """Remove the lock file of a process that is dead."""
        if self._folder is not None:
            (self._folder / f"{process}.lock").unlink(missing_ok=True)
