"""What a value holds, told without trusting it: marks that are equal where values are, and names that are safe to show.

Values may be of any class, and their code may raise anywhere: none of it is called for containers and plain values, and what is
of another class is passed over and counted.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import hashlib
import marshal
import operator
import sys
import uuid
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

from flowstone.assets.keys import escape
from flowstone.foundation.texts import cut
from flowstone.io_managers import frames
from flowstone.io_managers.annotations import library_of

MOST = 100_000  # elements of a container that are looked at
BUDGET = 1_000_000  # values of one side altogether, however deep
DEEPEST = 100  # levels
TEXT = 64  # characters, or bytes, that count as one more value
LONGEST_NAME = 60

Shown = Callable[[Any], str | None]
"""Gives a plain value as a name."""

_UNKNOWN = ("unknown",)
_ATOMS = {type(None), bool, complex}
_WRITTEN = {dt.date, dt.datetime, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID}
_KINDS: dict[str, tuple[type, ...]] = {"list": (list, tuple), "set": (set, frozenset), "text": (str,)}
_PANDAS = {"Timestamp", "Timedelta", "NaTType", "NAType", "Period"}


class SpentError(Exception):
    """More values than are looked at."""


class Marker:
    """Gives values of one side their marks, until the budget is spent; *unknown* counts what could not be looked into."""

    def __init__(self, left: int = BUDGET) -> None:
        self.left = left
        self.unknown = 0

    def mark(self, value: Any) -> bytes:
        """Return the mark of *value*: equal for equal content of equal types. Raises ``SpentError``."""
        return hashlib.blake2b(_dumped(self._token(value, 0)), digest_size=32).digest()

    def spend(self, count: int) -> None:
        """Count *count* values as looked at; raises ``SpentError`` when that is too many."""
        self.left -= count
        if self.left < 0:
            self.left = 0
            raise SpentError

    def _token(self, value: Any, depth: int) -> Any:
        """*value* as data whose bytes tell it: tuples in it are tags with what they tag, so nothing a user builds looks alike."""
        self.left -= 1
        if self.left < 0:
            self.spend(0)
        cls = type(value)
        if cls is str:
            if len(value) >= TEXT:
                self.spend(len(value) // TEXT)
            return value
        if cls in _ATOMS:
            return value
        if cls is float:
            return value if value == value else ("nan",)  # noqa: PLR0124 - only NaN differs from itself
        if issubclass(cls, int):
            self.spend(int.bit_length(value) // (8 * TEXT))
            return int.__int__(value)
        try:
            return self._nested(value, cls, depth + 1)
        except SpentError:
            raise
        except Exception:  # noqa: BLE001 - a class of the user's may raise anything
            self.unknown += 1
            return _UNKNOWN

    def _nested(self, value: Any, cls: type, depth: int) -> Any:
        if depth > DEEPEST:
            self.unknown += 1
            return _UNKNOWN
        if issubclass(cls, list):
            return [self._token(item, depth) for item in list.__iter__(value)]
        if issubclass(cls, tuple):
            return ("tuple", [self._token(item, depth) for item in tuple.__iter__(value)])
        if issubclass(cls, (set, frozenset)):
            every = set.__iter__(value) if issubclass(cls, set) else frozenset.__iter__(value)
            return ("set", sorted(_dumped(self._token(item, depth)) for item in every))
        fields = fields_of(value)
        if fields is None:
            return self._written(value, cls, depth)
        pairs = [(self._key(key, depth), self._token(item, depth)) for key, item in fields.items()]
        named = {str}.issuperset(map(type, fields))
        pairs.sort(key=_first if named else _first_dumped)
        return ("dict", pairs)

    def _key(self, key: Any, depth: int) -> Any:
        if type(key) is not str:
            return self._token(key, depth)
        if len(key) >= TEXT:  # a name belongs to a value, which is counted
            self.spend(len(key) // TEXT)
        return key

    def _written(self, value: Any, cls: type, depth: int) -> Any:
        if issubclass(cls, (str, float)):  # a class of the user's, of an enumeration, or NumPy's
            return self._token(str.__str__(value) if issubclass(cls, str) else float.__float__(value), depth)
        if _is_written(cls):
            return ("written", cls.__name__, str(value))
        if issubclass(cls, enum.Enum):
            return ("enum", cls.__qualname__, object.__getattribute__(value, "_name_"))
        if cls in {bytes, bytearray}:
            self.spend(len(value) // TEXT)
            return ("bytes", bytes(value))
        if _is_array(cls) or _is_of_numpy(cls):
            if value.dtype.hasobject:
                self.spend(value.size)
                return ("objects", list(value.shape), self._token(value.tolist(), depth))
            self.spend(value.nbytes // TEXT)
            return ("numpy", str(value.dtype), list(value.shape), value.tobytes())
        raise TypeError(cls)


def fields_of(value: Any) -> dict[Any, Any] | None:
    """Return *value* as a dictionary, where it is one, a dataclass or a ``msgspec.Struct``; ``None`` for everything else."""
    cls = type(value)
    if issubclass(cls, dict):
        found: dict[Any, Any] = value if cls is dict else dict(dict.items(value))
        return found
    try:
        if issubclass(cls, msgspec.Struct):
            return {name: getattr(value, name) for name in cls.__struct_fields__}
        if dataclasses.is_dataclass(cls):
            return {each.name: getattr(value, each.name) for each in dataclasses.fields(cls)}
    except Exception:  # noqa: BLE001 - as above
        return None
    return None


def items_of(value: Any) -> tuple[list[Any], int] | None:
    """Return the first items of a list, tuple or set, and how many there are; ``None`` for everything else."""
    for base in (list, tuple, set, frozenset):
        if issubclass(type(value), base):
            return list(islice(base.__iter__(value), MOST)), base.__len__(value)
    return None


def showing(mask: Callable[[str], str]) -> Shown:
    """Return what gives a plain value as a name in one line: masked, then cut, what does not print escaped; else ``None``."""

    def shown(value: Any) -> str | None:
        try:
            text = _text(value)
        except Exception:  # noqa: BLE001 - as above
            return None
        return None if text is None else escape(cut(mask(text), LONGEST_NAME))

    return shown


def _text(value: Any) -> str | None:
    cls = type(value)
    if issubclass(cls, str):
        return str.__str__(value) or '""'
    if value is None or cls is bool or cls is float or (cls is int and value.bit_length() < 200) or _is_written(cls):
        return str(value)
    if cls is tuple and 0 < len(value) <= 5:
        parts = [_text(item) for item in value]
        return None if None in parts else ", ".join(map(str, parts))
    return None


def line_count(text: str) -> int:
    """Return how many lines *text* has; the last may lack its end."""
    return text.count("\n") + (not text.endswith("\n") and text != "")


def kind_of(value: Any) -> str:
    """Return what *value* is; ``other`` is what cannot be looked into."""
    if fields_of(value) is not None:
        return "dictionary"
    cls = type(value)
    for kind, bases in _KINDS.items():
        if issubclass(cls, bases):
            return kind
    if cls in {bytes, bytearray}:
        return "bytes"
    if _is_array(cls):
        return "array"
    if frames.kind_of(cls) is not None:
        return "table"
    marker = Marker()
    marker.mark(value)
    return "other" if marker.unknown else "value"


def _is_array(cls: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and cls is numpy.ndarray


def _is_of_numpy(cls: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(cls, numpy.generic)


def _is_written(cls: type) -> bool:
    """Whether the text of a value of *cls* is all of it."""
    return cls in _WRITTEN or (cls.__name__ in _PANDAS and library_of(cls) == "pandas")


_first = operator.itemgetter(0)


def _first_dumped(pair: tuple[Any, Any]) -> bytes:
    return _dumped(pair[0])


def _dumped(token: Any) -> bytes:
    """The bytes of a token: this version of the format has no references, so equal tokens have equal bytes."""
    return marshal.dumps(token, 2)
