"""Identifiers that carry their kind: ``run_3k9x…``, ``out_…``, ``err_…``."""

from __future__ import annotations

import os
from collections.abc import Callable

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
LENGTH = 12  # 60 bits
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]  # every step asks: four look-ups instead of eight


class Ids:
    """A source of identifiers; tests pass a seeded *random* to replay a run."""

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random

    def new(self, kind: str) -> str:
        """Return a new identifier ``<kind>_<12 characters>`` (60 random bits)."""
        number = int.from_bytes(self._random(8), "big")
        return kind + "_" + "".join([ALPHABET[(number >> shift) & 31] for shift in range(0, 60, 5)])

    @staticmethod
    def numbered(kind: str, number: int, part: int) -> str:
        """Return the identifier ``<kind>_<8 characters>_<part>`` of a numbered row: later rows sort later, so indexes grow at
        their end instead of everywhere.
        """
        pairs = _PAIRS
        first, second = pairs[(number >> 30) & 1023], pairs[(number >> 20) & 1023]
        return f"{kind}_{first}{second}{pairs[(number >> 10) & 1023]}{pairs[number & 1023]}_{part}"

    def trace_id(self) -> str:
        """Return a new W3C trace id: 32 lower-case hexadecimal digits, not all zero."""
        return self._random(16).hex().replace("0" * 32, "1" * 32)
