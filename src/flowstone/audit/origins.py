"""Whose log it is: ``name/uuid``, for good. A restore that is meant begins a new incarnation: its heads say ``name/uuid/2``."""

from __future__ import annotations

import re
import uuid

_INCARNATION = re.compile(r"/([2-9]|[1-9][0-9]{1,5})$")
_STRANGE = re.compile(r"[\s+/]+|[^\x21-\x7e]+")


def new_origin(name: str) -> str:
    """The origin of a log that begins now; *name* is for people."""
    return f"{_STRANGE.sub('-', name)[:100] or 'flowstone'}/{uuid.uuid4()}"


def permanent(origin: str) -> str:
    """The origin that entries carry and keys are named by: that of the log's first incarnation."""
    return _INCARNATION.sub("", origin)


def incarnation(origin: str) -> int:
    """Which incarnation a tree head's origin names."""
    found = _INCARNATION.search(origin)
    return int(found[1]) if found else 1


def of_incarnation(origin: str, number: int) -> str:
    """The origin of the tree heads of an incarnation of the log *origin*."""
    return permanent(origin) if number == 1 else f"{permanent(origin)}/{number}"
