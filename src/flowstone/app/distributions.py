"""Which distributions are installed where this process imports from: one digest, told from the names of their metadata."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PathDistribution
from pathlib import Path

import msgspec

from flowstone.foundation.serialize import from_json

_SEPARATORS = re.compile(r"[-_.]+")
_SUFFIXES = (".dist-info", ".egg-info")


class Installed(msgspec.Struct, frozen=True):
    """The SHA-256 of the sorted ``name==version`` lines, how many there are, and which are editable (their code may change)."""

    digest: str
    count: int
    editable: tuple[str, ...]


@functools.cache
def installed() -> Installed:
    """What is installed for this process, read once; an editable distribution's line ends in ``(editable)``."""
    found: dict[str, str] = {}
    editable = set()
    for folder in sys.path:
        for name, version, is_editable in _in(folder or os.curdir):
            if name not in found:  # the first on the path is the one that is imported
                found[name] = version
                if is_editable:
                    editable.add(name)
    lines = sorted(f"{name}=={version}{' (editable)' if name in editable else ''}" for name, version in found.items())
    return Installed(hashlib.sha256("\n".join(lines).encode()).hexdigest(), len(lines), tuple(sorted(editable)))


def _in(folder: str) -> Iterator[tuple[str, str, bool]]:
    """Name, version and whether it is editable, of each distribution whose metadata is in *folder*."""
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(_SUFFIXES))
    except OSError:  # an entry of the path that is no folder: a zip file, or nothing
        return
    for entry in entries:
        name, _, rest = entry.rpartition(".")[0].partition("-")
        version = rest.partition("-py")[0]
        path = Path(folder, entry)
        if not version:
            version = _version_in(path)
        yield _SEPARATORS.sub("-", name).lower(), version, _is_editable(path)


def _version_in(metadata: Path) -> str:
    """The version its file tells, for a folder whose name has none."""
    try:
        return str(PathDistribution(metadata).version)
    except Exception:  # noqa: BLE001 - whatever is wrong with somebody's metadata, the run goes on
        return "unknown"


def _is_editable(metadata: Path) -> bool:
    """Whether the distribution is imported from where it is worked on (PEP 660, or an egg-info beside its code)."""
    try:
        origin = from_json(metadata.joinpath("direct_url.json").read_bytes())
        return bool(origin["dir_info"]["editable"])
    except (OSError, ValueError, LookupError, TypeError):  # most have none; one that is malformed says nothing
        return metadata.suffix == ".egg-info" and "site-packages" not in metadata.parts and "dist-packages" not in metadata.parts
