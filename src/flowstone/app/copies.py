"""Copies and checks the bytes of outputs that are files, from one folder to another."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from flowstone.foundation.errors import StorageError
from flowstone.io_managers.naming import checked_location
from flowstone.stores.backups import StoredOutput

FILES = "files"


def copy_bytes(outputs: Iterable[StoredOutput], source: Path, target: Path) -> list[StoredOutput]:
    """Copy each output's file unless it is there; return those that *source* does not have. Equal files stay one file."""
    missing: list[StoredOutput] = []
    copied: dict[tuple[int, int], Path] = {}
    for output in outputs:
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


def check_bytes(outputs: Iterable[StoredOutput], folder: Path) -> Iterator[str]:
    """Read each output's file and say what is wrong with those that are not what was recorded."""
    for output in outputs:
        path = folder / checked_location(output.location, FILES)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            yield f"{output.asset} ({output.id}): {path}: {error.strerror}"
            continue
        if digest != output.digest:
            yield f"{output.asset} ({output.id}): {path}: other bytes than were recorded"
