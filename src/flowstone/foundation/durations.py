"""Lengths of time as people write them: ``90d``, ``12h``, ``1.5s``."""

from __future__ import annotations

import re

from flowstone.foundation.clock import NANOSECONDS

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_TEXT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")
_LONGEST = 100 * 365 * 86_400 * NANOSECONDS


def parse_duration(text: str) -> int:
    """Return the length *text* says in nanoseconds: a number and one of ``ms s m min h d w``.

    Raises :class:`ValueError` for any other text and for more than a hundred years.
    """
    found = _TEXT.fullmatch(text)
    if found is None or found[2] not in _SECONDS:
        raise ValueError(f"{text!r} is no length of time: write a number and a unit, for example 90d, 12h or 30s")
    length = round(float(found[1]) * _SECONDS[found[2]] * NANOSECONDS)
    if length > _LONGEST:
        raise ValueError(f"{text!r} is more than a hundred years")
    return length


def roughly(nanoseconds: int) -> str:
    """A length as people say it when it does not matter exactly: ``12 min``, ``5 h``, ``3 days``."""
    minutes = max(0, nanoseconds) // (60 * NANOSECONDS)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def show_duration(nanoseconds: int) -> str:
    """The shortest exact text of a length: ``90d``, ``36h``, ``0s``."""
    for unit in ("d", "h", "m", "s", "ms"):
        step = round(_SECONDS[unit] * NANOSECONDS)
        if nanoseconds and nanoseconds % step == 0:
            return f"{nanoseconds // step}{unit}"
    return f"{nanoseconds / NANOSECONDS:g}s"
