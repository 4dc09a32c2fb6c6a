"""Is a process of this machine alive? It is while it holds its lock file; the kernel lets go of the lock when it dies."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from flowstone.foundation.errors import DatabaseError

SWEEP_SECONDS = 5.0  # no sweep holds a lock nearly as long


class ProcessLocks:
    """One lock file per process, in one folder; without a folder (in memory) nobody else can be alive."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: FileLock | None = None

    def hold(self, process: str) -> None:
        """Hold the lock of this process until :meth:`release`."""
        if self._folder is None:
            return
        path = self._folder / f"{process}.lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while not (self._held is not None and path.exists()):  # a sweep may have taken the file before it was locked
                self._held = FileLock(path, thread_local=False)
                self._held.acquire(timeout=SWEEP_SECONDS)
        except OSError as error:
            raise DatabaseError(
                f"cannot write to {self._folder}: {error.strerror}", hint="make it writable, or set FLOWSTONE_HOME"
            ) from error

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
