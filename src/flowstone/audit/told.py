"""What the log tells of the records, folded into a temporary file: it may be of any size, and memory is not."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

Key = tuple[Any, ...]
_encode = msgspec.json.Encoder().encode
TOGETHER = 5_000
"""Changes of what is told that are written at once."""


class Told(msgspec.Struct):
    """What one entry tells of a record: what is in its bytes, where it stands, and what it discloses."""

    action: str
    subject: str
    project: str
    actor: str
    identity: str
    data: dict[str, Any]
    run: str = ""
    trace: str = ""
    commit: dict[str, str] = {}
    seq: int | None = None
    disclosed: Mapping[str, str] = {}

    @property
    def where(self) -> str:
        """The entry, for people."""
        return f"its audit entry {self.seq}" if self.seq is not None else "its audit entry, which is not sealed yet,"


_decode, _decode_texts = msgspec.json.Decoder(Told).decode, msgspec.json.Decoder(dict[str, str]).decode


def told_by(seq: int | None, leaf: bytes, disclosed: Mapping[str, str]) -> Told:
    """What the entry with these bytes tells."""
    told = _decode(leaf)
    told.seq, told.disclosed = seq, disclosed
    return told


class Line(NamedTuple):
    """What is told of one record in one respect."""

    key: Key
    told: Told


Spot = int
"""Where in the file an entry is kept."""
_HEAD = Struct("<qII")
"""Before each entry in the file: its place in the log or -1, and how many bytes it and, as JSON, what it discloses have."""
AT_ONCE = 1_024
"""Bytes of the file that are read at once: most entries have fewer."""


class Tales:
    """What was told last of each record, by kind and key. Keys of one kind are of one shape: a number, or up to three texts.

    Entries are kept one behind the other in a file. For each kind a table tells where that of each key is.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="flowstone-")
        self._file, self._end = Path(self._folder.name, "entries").open("w+b", buffering=0), 0  # noqa: SIM115 - closed with it
        self._kept: list[bytes] = []
        self._untold: dict[str, dict[Key, Spot | None]] = defaultdict(dict)
        self._kinds: set[str] = set()
        self._waiting = 0
        self._numbered: list[Key] = []
        self._db = sqlite3.connect(Path(self._folder.name, "told.db"), isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -16000",
            "CREATE TABLE numbered (project, asset, partition, version, seq)",
            "BEGIN",
        ):
            self._db.execute(statement)

    def keep(self, seq: int | None, leaf: bytes, disclosed: Mapping[str, str]) -> Spot:
        """Keep an entry, so that it can be told of."""
        beside, spot = _encode(disclosed) if disclosed else b"", self._end
        place = seq if type(seq) is int else -1  # who changes the database can put anything there
        kept = _HEAD.pack(place, len(leaf), len(beside)) + leaf + beside
        self._kept.append(kept)
        self._end = spot + len(kept)
        return spot

    def put(self, kind: str, spot: Spot | None, a: str | int, b: str = "", c: str = "") -> None:
        """What is told of the record from here on is at *spot*; ``None``: nothing is told of it any more."""
        self._untold[kind][a, b, c] = spot
        self._waiting += 1
        if self._waiting >= TOGETHER:
            self._flush()

    def get(self, kind: str, key: Key) -> Told | None:
        """What is told of the record."""
        self._flush()
        if kind not in self._kinds:
            return None
        found = self._db.execute(f'SELECT spot FROM "{kind}" WHERE a = ? AND b = ? AND c = ?', _filled(key)).fetchone()
        return self._read(found[0]) if found else None

    def every(self, kind: str) -> Iterator[Line]:
        """What is told of records of a kind, in the order of the keys."""
        self._flush()
        if kind in self._kinds:
            for a, b, c, spot in self._db.execute(f'SELECT * FROM "{kind}" ORDER BY a, b, c'):
                yield Line((a, b, c), self._read(spot))

    def number(self, place: Key, version: int, seq: int | None) -> None:
        """Note which version of a *place* (project, asset, partition) an output has whose entry is at *seq*."""
        self._numbered.append((*place, version, 2**62 if seq is None else seq))
        if len(self._numbered) >= TOGETHER:
            self._flush_numbers()

    def misnumbered(self, *, complete: bool) -> Iterator[tuple[Key, int]]:
        """Versions that do not follow the one whose entry stands before; where all are told of (*complete*), without a gap."""
        self._flush_numbers()
        window = "OVER (PARTITION BY project, asset, partition ORDER BY seq, version)"
        query = f"SELECT project, asset, partition, version, lag(version) {window} AS before FROM numbered"
        wrong = "version <> COALESCE(before, 0) + 1" if complete else "version <= COALESCE(before, 0)"
        for *place, version, _ in self._db.execute(f"SELECT * FROM ({query}) WHERE {wrong} LIMIT 1000"):
            yield tuple(place), version

    def close(self) -> None:
        """Remove the files."""
        self._db.close()
        self._file.close()
        self._folder.cleanup()

    def _read(self, spot: Spot) -> Told:
        file = self._file.fileno()
        kept = os.pread(file, AT_ONCE, spot)
        seq, size, beside = _HEAD.unpack_from(kept)
        end = _HEAD.size + size
        if len(kept) < end + beside:
            kept = os.pread(file, end + beside, spot)
        disclosed = _decode_texts(kept[end : end + beside]) if beside else {}
        return told_by(None if seq < 0 else seq, kept[_HEAD.size : end], disclosed)

    def _flush(self) -> None:
        """Write what was told since the last time."""
        if self._kept:
            self._file.write(b"".join(self._kept))
            self._kept = []
        if self._waiting:
            for kind, changes in self._untold.items():
                self._write(kind, changes)
            self._untold.clear()
            self._waiting = 0

    def _write(self, kind: str, changes: dict[Key, Spot | None]) -> None:
        """Neighbours together: sorted by the first part of the keys, quickly."""
        if kind not in self._kinds:
            self._db.execute(f'CREATE TABLE "{kind}" (a, b, c, spot, PRIMARY KEY (a, b, c)) WITHOUT ROWID')
            self._kinds.add(kind)
        near = sorted(changes, key=itemgetter(0))
        told = [(*key, spot) for key in near if (spot := changes[key]) is not None]
        self._db.executemany(f'INSERT OR REPLACE INTO "{kind}" VALUES (?, ?, ?, ?)', told)
        if len(told) < len(near):
            gone = [key for key in near if changes[key] is None]
            self._db.executemany(f'DELETE FROM "{kind}" WHERE a = ? AND b = ? AND c = ?', gone)

    def _flush_numbers(self) -> None:
        self._db.executemany("INSERT INTO numbered VALUES (?, ?, ?, ?, ?)", self._numbered)
        self._numbered = []


def _filled(key: Key) -> Key:
    return (*key, "", "")[:3]


class Following:
    """What is told of records in one more respect, asked for in the order of their keys; *missed* takes what nobody asks for."""

    def __init__(self, lines: Iterator[Line], missed: Callable[[Line], None]) -> None:
        self._lines, self._missed, self._next = lines, missed, next(lines, None)

    def of(self, key: Key) -> Told | None:
        """What is told of the record with this key."""
        filled, told = _filled(key), None
        while self._next is not None and self._next.key <= filled:
            if self._next.key == filled:
                told = self._next.told
            else:
                self._missed(self._next)
            self._next = next(self._lines, None)
        return told

    def end(self) -> None:
        """Nothing is asked for any more."""
        while self._next is not None:
            self._missed(self._next)
            self._next = next(self._lines, None)


def merged(told: Iterator[Line], rows: Iterator[tuple[Key, Any]]) -> Iterator[tuple[Key, Told | None, Any]]:
    """Both in the order of their keys, side by side: each key with what is told of it and its row, ``None`` where one is not."""
    line, row = next(told, None), next(rows, None)
    while line is not None or row is not None:
        key = None if row is None else _filled(row[0])
        if row is None or (line is not None and key is not None and line.key < key):
            assert line is not None
            yield line.key, line.told, None
            line = next(told, None)
        elif line is None or line.key != key:
            assert key is not None
            yield key, None, row[1]
            row = next(rows, None)
        else:
            yield line.key, line.told, row[1]
            line, row = next(told, None), next(rows, None)
