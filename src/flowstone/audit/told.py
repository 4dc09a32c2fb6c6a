"""What the log tells of the records, folded into a temporary file: it may be of any size, and memory is not."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
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


Spot = tuple[int | None, int, int, bytes | None]
"""Where an entry is kept: its place in the log, that of its bytes in the file, their number, and what it discloses, as JSON."""


class Tales:
    """What was told last of each record, by kind and key. Keys of one kind are of one shape: a number, or up to three texts.

    Entries are kept one behind the other in a file, and told of in a table of where each is.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="flowstone-")
        self._file, self._end = Path(self._folder.name, "entries").open("w+b", buffering=0), 0  # noqa: SIM115 - closed with it
        self._kept: list[bytes] = []
        self._untold: dict[str, dict[Key, Spot | None]] = defaultdict(dict)
        self._waiting = 0
        self._numbered: list[Key] = []
        self._db = sqlite3.connect(Path(self._folder.name, "told.db"), isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -16000",
            "CREATE TABLE told (kind TEXT, a, b, c, seq, begin, size, disclosed, PRIMARY KEY (kind, a, b, c)) WITHOUT ROWID",
            "CREATE TABLE numbered (project, asset, partition, version, seq)",
            "BEGIN",
        ):
            self._db.execute(statement)

    def keep(self, seq: int | None, leaf: bytes, disclosed: Mapping[str, str]) -> Spot:
        """Keep an entry, so that it can be told of."""
        kept, begin, size = self._kept, self._end, len(leaf)
        kept.append(leaf)
        self._end = begin + size
        return seq, begin, size, _encode(disclosed) if disclosed else None

    def put(self, kind: str, spot: Spot | None, a: str | int, b: str = "", c: str = "") -> None:
        """What is told of the record from here on is at *spot*; ``None``: nothing is told of it any more."""
        self._untold[kind][a, b, c] = spot
        self._waiting += 1
        if self._waiting >= TOGETHER:
            self._flush()

    def get(self, kind: str, key: Key) -> Told | None:
        """What is told of the record."""
        self._flush()
        asked = "SELECT seq, begin, size, disclosed FROM told WHERE kind = ? AND a = ? AND b = ? AND c = ?"
        found = self._db.execute(asked, (kind, *_filled(key))).fetchone()
        return self._read(found) if found else None

    def every(self, kind: str) -> Iterator[Line]:
        """What is told of records of a kind, in the order of the keys."""
        self._flush()
        query = "SELECT a, b, c, seq, begin, size, disclosed FROM told WHERE kind = ? ORDER BY a, b, c"
        for a, b, c, *spot in self._db.execute(query, (kind,)):
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

    def _read(self, spot: Sequence[Any]) -> Told:
        seq, begin, size, disclosed = spot
        return told_by(seq, os.pread(self._file.fileno(), size, begin), _decode_texts(disclosed) if disclosed else {})

    def _flush(self) -> None:
        """Write what was told since the last time, neighbours together: sorted by the first part of the keys, quickly."""
        if self._kept:
            self._file.write(b"".join(self._kept))
            self._kept = []
        if self._waiting:
            for kind, changes in self._untold.items():
                near = sorted(changes, key=itemgetter(0))
                told = [(kind, *key, *spot) for key in near if (spot := changes[key]) is not None]
                self._db.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?, ?, ?, ?)", told)
                gone = [(kind, *key) for key, spot in changes.items() if spot is None]
                self._db.executemany("DELETE FROM told WHERE kind = ? AND a = ? AND b = ? AND c = ?", gone)
            self._untold.clear()
            self._waiting = 0

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
