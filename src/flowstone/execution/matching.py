"""Which rows of two lists belong together: by what identifies them, else by what they hold. Only the certain is told."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from flowstone.execution.changes import NAMED, Found, Names
from flowstone.execution.marks import MOST, Marker, Shown, SpentError, fields_of

IDENTIFIERS = ("id", "key", "name", "name+version", "purl", "bom-ref")  # the first that is unique on both sides
VERSION = "version"
LONGEST = 8_000_000  # characters of a text whose lines are looked at
FEW = 3  # fields named of one changed record

_IDENTITIES = {str, int, uuid.UUID}
_VERSIONED = {"id", "key", "name"}
_ENOUGH = 10_000  # values of one record that are looked at to say which fields changed

Record = dict[Any, Any]
By = dict[tuple[Any, ...], tuple[int, Record]]


class _Names(NamedTuple):
    """What records are called that something identifies them *by*."""

    by: str
    shown: Shown

    def label(self, record: Record) -> str:
        """What identifies a record, and its version."""
        parts = [self.shown(record[part]) or "" for part in self.by.split("+")]
        version = self._version(record)
        return " ".join([*parts, version] if version else parts)

    def change(self, was: Record, now: Record) -> str:
        """What changed about a record: its version, else the fields."""
        before, after = self._version(was), self._version(now)
        if before and after and was[VERSION] != now[VERSION]:
            return f"{self.label(was)} -> {after}"
        fields = [field for field in {**was, **now} if _differs(was, now, field)]
        names = [self.shown(field) or "a field" for field in fields[:FEW]]
        more = ", ..." if len(fields) > FEW else ""
        return f"{self.label(now)} ({', '.join(names)}{more})" if names else self.label(now)

    def _version(self, record: Record) -> str | None:
        version = record.get(VERSION)
        return self.shown(version) if self.by in _VERSIONED and type(version) is str and version else None


class Side(NamedTuple):
    """The items of one side that were looked at, with their marks; *whole* when these are all."""

    items: Sequence[Any]
    marks: Sequence[Any]
    whole: bool


def looked_at(marker: Marker, items: list[Any], total: int) -> Side:
    """Return as many of *items* as the budget allows, with their marks."""
    marks: list[bytes] = []
    with contextlib.suppress(SpentError):
        marks.extend(map(marker.mark, items))
    return Side(items[: len(marks)], marks, len(marks) == total)


def lines_of(text: str) -> Side:
    """Return the first lines of *text*, each with its end; a line that is cut is left out."""
    *lines, rest = text[:LONGEST].split("\n", MOST)
    found = [line + "\n" for line in lines]
    if rest and len(text) <= LONGEST and len(found) < MOST:
        found.append(rest)
    return Side(found, found, sum(map(len, found)) == len(text))


def entries(marker: Marker, fields: dict[Any, Any]) -> tuple[dict[bytes, tuple[Any, Any]], bool]:
    """Return the first keys and their values, by the mark of the key, and whether these are all."""
    found: dict[bytes, tuple[Any, Any]] = {}
    try:
        for key, value in islice(fields.items(), MOST):
            unknown = marker.unknown
            mark = marker.mark(key)
            if marker.unknown == unknown:
                found[mark] = (key, value)
    except SpentError:
        return found, False
    return found, len(fields) <= MOST


def matched(left: Side, right: Side, shown: Shown) -> Found | None:
    """Return what differs between records by what identifies them, as *shown*; ``None`` where nothing does."""
    records = [_records(side) for side in (left, right)]
    if records[0] is None or records[1] is None or not any(records):
        return None
    for name in IDENTIFIERS:
        old, new = _by(name, records[0]), _by(name, records[1])
        if old is not None and new is not None:
            return _differing(_Names(name, shown), (old, new), left, right)
    return None


def unmatched(kind: str, left: Side, right: Side, label: Callable[[Any], str | None]) -> Found:
    """Return what differs between the sides as heaps of items, which *label* names."""
    found = Found(kind)
    if left.whole:
        add(found.added, _extra(right, left), label)
    if right.whole:
        add(found.removed, _extra(left, right), label)
    return found


def add(names: Names, items: Sequence[Any], label: Callable[[Any], str | None]) -> None:
    """Add *items* to *names*; only those that are shown are labelled."""
    for place, item in enumerate(items):
        names.add(label(item) if place < NAMED else None)


def _records(side: Side) -> list[Record] | None:
    found = []
    for item in side.items:
        record = fields_of(item)
        if record is None:
            return None
        found.append(record)
    return found


def _by(name: str, records: Sequence[Record]) -> By | None:
    """The records with their place, by what identifies them; ``None`` where one has none, or two have the same."""
    found: By = {}
    for place, record in enumerate(records):
        identity = tuple(record.get(part) for part in name.split("+"))
        if not all(type(part) in _IDENTITIES for part in identity) or identity in found:
            return None
        found[identity] = (place, record)
    return found


def _differing(names: _Names, sides: tuple[By, By], left: Side, right: Side) -> Found:
    (old, new), found = sides, Found(f"rows by {names.by}")
    if left.whole:
        add(found.added, [new[each][1] for each in new if each not in old], names.label)
    if right.whole:
        add(found.removed, [old[each][1] for each in old if each not in new], names.label)
    both = [(old[each], new[each]) for each in old if each in new]
    changed = [(was, now) for (here, was), (there, now) in both if left.marks[here] != right.marks[there]]
    add(found.changed, changed, lambda pair: names.change(*pair))
    return found


def _extra(side: Side, other: Side) -> list[Any]:
    """The items that *other* has not, or not as often."""
    left = Counter(other.marks)
    found = []
    for item, mark in zip(side.items, side.marks, strict=True):
        if left[mark]:
            left[mark] -= 1
        else:
            found.append(item)
    return found


def _differs(was: Record, now: Record, field: Any) -> bool:
    if (field in was) != (field in now):
        return True
    try:
        return Marker(_ENOUGH).mark(was[field]) != Marker(_ENOUGH).mark(now[field])
    except SpentError:
        return False
