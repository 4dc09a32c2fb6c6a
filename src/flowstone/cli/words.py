"""How numbers, times and origins are said to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowstone.foundation.sizes import bytes_of as bytes_of  # noqa: PLC0414 - with the other words for people

_AS_THEY_ARE = frozenset({"done", "reused", "skipped", "failed", "cancelled", "waiting"})


def counted(number: int, word: str) -> str:
    """``1 file``, ``2,000 files``, ``2 entries``, ``3 done``."""
    if number == 1 or word in _AS_THEY_ARE:
        return f"{number:,} {word}"
    return f"{number:,} {word[:-1]}ies" if word.endswith("ry") else f"{number:,} {word}s"


def seconds(nanoseconds: int) -> str:
    """A duration: ``0.4 s``, ``12 s``, ``3 min 5 s``; below a tenth of a second in milliseconds."""
    value = nanoseconds / 1e9
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    if value < 59.5:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def ago(nanoseconds: int) -> str:
    """How long ago something was: ``just now``, ``5 min ago``, ``3 h ago``, ``12 days ago``."""
    minutes = round(nanoseconds / 60e9)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    hours = round(minutes / 60)
    return f"{hours} h ago" if hours < 48 else f"{round(hours / 24)} days ago"


def origin(provenance: Mapping[str, Any]) -> str:
    """Which commit a run's code was of and what was installed: ``git 4be1f02c.., 103 distributions (sha256 c41e7b02..)``."""
    return ", ".join(_origin(provenance))


def _origin(provenance: Mapping[str, Any]) -> Iterator[str]:
    git, packages = provenance.get("git"), provenance.get("distributions")
    if git and git["commit"]:
        clean = {True: " with changes", False: "", None: f" (changes unknown: {git['reason']})"}
        yield f"git {git['commit'][:8]}..{clean[git['dirty']]}"
    elif git:
        yield f"commit unknown ({git['reason']})"
    if packages:
        editable = f", editable: {', '.join(packages['editable'])}" if packages["editable"] else ""
        yield f"{counted(packages['count'], 'distribution')} (sha256 {packages['digest'][:8]}..{editable})"
