"""Finds files of outputs that nothing refers to: left by a process that was killed, or by bytes that could not be removed.

A file whose run this database does not know may be another database's: it is left alone, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from flowstone.app.collection import batches
from flowstone.foundation.clock import NANOSECONDS
from flowstone.io_managers.folder import FolderFile, folder_files
from flowstone.stores import outputs, retention
from flowstone.stores.database import Database

YOUNG = 3_600 * NANOSECONDS  # a file may be about to be recorded
CHUNK = 500

State = Literal["used", "busy", "orphan", "left over", "foreign"]
"""``left over``: its output is recorded as gone. ``orphan``: its run has ended, and no output has it. ``busy``: it may be about
to be recorded. ``foreign``: it is not one of this database's."""


class Orphans:
    """Compares a folder with the outputs of the whole database: projects may share a folder."""

    def __init__(self, folder: Path, database: Database, now: int) -> None:
        self._folder, self._database, self._now = folder, database, now

    def found(self) -> Iterator[FolderFile]:
        """The files that a prune may remove."""
        return (file for file, state in self.every() if state in ("orphan", "left over"))

    def every(self) -> Iterator[tuple[FolderFile, State]]:
        """Every file and what it is; the folder is read once."""
        for batch in batches(folder_files(self._folder), CHUNK):
            yield from self._compare(batch)

    def _compare(self, batch: list[FolderFile]) -> list[tuple[FolderFile, State]]:
        with self._database.reading() as connection:
            recorded = outputs.find(connection, [file.output_id for file in batch if file.output_id])
            lone = [file for file in batch if file.output_id not in recorded]
            status = retention.run_statuses(connection, {file.run_id for file in lone if file.run_id})
            ended = retention.ended_processes(connection, {file.owner for file in lone if file.owner})
        told: list[tuple[FolderFile, State]] = []
        for file in batch:
            output = recorded.get(file.output_id)
            if output is not None:
                same = output.location == file.location
                told.append((file, "foreign" if not same else "left over" if output.gone else "used"))
            elif file.owner in ended or (file.run_id in status and status[file.run_id] not in retention.ACTIVE):
                told.append((file, "orphan" if file.changed_at < self._now - YOUNG else "busy"))
            else:
                told.append((file, "busy" if file.run_id in status or file.owner else "foreign"))
        return told
