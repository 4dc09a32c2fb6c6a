"""What is in the folder of the files IO manager, told from the files themselves."""

# Paths stay strings here, as in the manager: a folder may hold a million files.
# ruff: noqa: PTH116, PTH118

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flowstone.io_managers.files import TEMPORARY

_NAME = re.compile(r"(run_[0-9a-z]+)-(\d+)-([0-9a-z_]+)(?:\..*)?")


class FolderFile(NamedTuple):
    """One file: what its name says, and what the file system says."""

    location: str
    run_id: str
    """Empty when the name is not one that the manager gives."""
    output_id: str
    owner: str
    """The process that was writing it; empty for a complete file."""
    size: int
    changed_at: int
    """When its name, its content or its links changed last: nanoseconds since the epoch."""
    inode: tuple[int, int]


def folder_files(root: Path) -> Iterator[FolderFile]:
    """Every file under *root*, in no order; what goes away meanwhile is left out."""
    base = os.fspath(root)
    for folder, _, names in os.walk(base):
        inside = os.path.relpath(folder, base).replace(os.sep, "/")
        for name in names:
            with contextlib.suppress(OSError):
                stat = os.stat(os.path.join(folder, name), follow_symlinks=False)
                location = name if inside == "." else f"{inside}/{name}"
                changed = max(stat.st_mtime_ns, stat.st_ctime_ns)  # a shared file is old, its new name is not
                yield FolderFile(location, *_told_by(name), stat.st_size, changed, (stat.st_dev, stat.st_ino))


def _told_by(name: str) -> tuple[str, str, str]:
    """The run, the output and the owner that a file's name tells of."""
    if name.startswith(TEMPORARY):
        return "", "", name.removeprefix(TEMPORARY).partition("-")[0]
    found = _NAME.fullmatch(name)
    return (found[1], f"out_{found[3]}", "") if found else ("", "", "")
