"""Names that are safe as parts of a location, whatever the asset or partition is called."""

from __future__ import annotations

import hashlib
import re

from flowstone.foundation.errors import StorageError

LONGEST = 120  # bytes; file systems allow 255 and the attempt's name and extension need room
UNPARTITIONED = "@none"

_is_safe = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]*").fullmatch
_unsafe = re.compile(r"[^A-Za-z0-9_.-]+")


def safe_name(text: str) -> str:
    """Return one path part for *text*; different texts give different parts.

    Plain text stays as it is, with ``~`` for ``:`` (which Windows and ``scp`` refuse). Anything else, and long text, becomes a
    readable beginning, ``@`` and 96 bits of its SHA-256.
    """
    if len(text) <= LONGEST and _is_safe(text) and text[-1] != ".":
        return text.replace(":", "~")
    if not text:
        return UNPARTITIONED
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"{_unsafe.sub('-', text[:40]).strip('-.')}@{digest}"


def checked_location(location: str, manager: str) -> str:
    """Return *location* if it stays inside the manager's folder; raises ``StorageError`` otherwise."""
    parts = location.split("/")
    if "\0" in location or "\\" in location or not {"", ".", ".."}.isdisjoint(parts):
        raise StorageError(
            f"the location {location!r} leaves the folder of the IO manager {manager!r}",
            hint="locations are written by FlowStone alone: this record was altered, run `flowstone doctor`",
            location=location,
        )
    return location
