"""Which log a database has, as its keeper knows it: remembered where the database's owner cannot change it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from flowstone.audit.origins import permanent
from flowstone.audit.state import State, state_folder

LOGS = "logs"


class KnownLogs:
    """The origins of this user's databases, one small file each; *folder* is another one than this user's folder of logs."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = (folder or state_folder()) / LOGS

    def origin(self, database: str) -> str | None:
        """The permanent origin of the log that *database* had when it was last sealed; ``None`` when it is not known."""
        try:
            return (self._folder / _name(database)).read_text(encoding="utf-8").partition("\n")[0] or None
        except OSError:
            return None

    def remember(self, database: str, origin: str) -> bool:
        """Remember the log of *database*; return whether it could be."""
        try:
            State._write(self._folder / _name(database), f"{permanent(origin)}\n{database}\n")
        except OSError:
            return False
        return True

    def forget(self, database: str) -> None:
        """Expect no log of *database*: its owner begins anew."""
        with suppress(OSError):
            (self._folder / _name(database)).unlink()


def _name(database: str) -> str:
    return hashlib.sha256(database.encode()).hexdigest()[:32]
