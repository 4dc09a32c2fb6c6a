"""Copies and checks the bytes of outputs that are files, from one folder to another."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from flowstone.foundation.errors import StorageError
from flowstone.io_managers.naming import checked_location
from flowstone.stores import outputs
from flowstone.stores.backups import StoredOutput
from flowstone.stores.database import Database
from flowstone.stores.records import OutputRecord

FILES = "files"


def copy_bytes(wanted: Iterable[StoredOutput], source: Path, target: Path) -> list[StoredOutput]:
    """Copy each output's file unless it is there; return those that *source* does not have. Equal files stay one file."""
    missing: list[StoredOutput] = []
    copied: dict[tuple[int, int], Path] = {}
    for output in wanted:
        location = checked_location(output.location, FILES)
        here, there = source / location, target / location
        try:
            stat = here.stat()
        except (FileNotFoundError, NotADirectoryError):
            missing.append(output)
            continue
        if there.exists():
            if there.stat().st_size != output.size:
                raise StorageError(f"{there} is another file, of {there.stat().st_size} bytes", hint="choose another folder")
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        _copy(here, there, copied.get((stat.st_dev, stat.st_ino)))
        copied[(stat.st_dev, stat.st_ino)] = there
    return missing


def _copy(here: Path, there: Path, same: Path | None) -> None:
    """Copy a file under a temporary name, then rename it; *same* is a copy of the same file."""
    temporary = there.with_name(f".tmp-copy-{there.name}")
    temporary.unlink(missing_ok=True)
    try:
        if same is not None:
            os.link(same, temporary)
        else:
            shutil.copy(here, temporary)
        temporary.replace(there)
    finally:
        temporary.unlink(missing_ok=True)


def check_bytes(wanted: Iterable[StoredOutput], folder: Path) -> Iterator[tuple[str, str]]:
    """Read each output's file; give the id of each that is not what was recorded, and what is wrong with it."""
    for output in wanted:
        path = folder / checked_location(output.location, FILES)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            yield output.id, f"{output.asset} ({output.id}): {path}: {error.strerror}"
            continue
        if digest != output.digest:
            yield output.id, f"{output.asset} ({output.id}): {path}: other bytes than were recorded"


def given_up(database: Database, ids: Iterable[str]) -> dict[str, OutputRecord]:
    """Those of the outputs with these ids whose bytes are recorded as collected or erased by now: that is said before they go."""
    wanted = list(ids)
    if not wanted:
        return {}
    with database.reading() as connection:
        return {id: record for id, record in outputs.find(connection, wanted).items() if record.gone}
