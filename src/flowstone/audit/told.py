"""What the log tells of the records, folded into a temporary file: it may be of any size, and memory is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

Key = tuple[Any, ...]
_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What one entry tells of a record: where it stands, and what it holds, discloses and only commits to."""

    seq: int | None
    action: str
    subject: str
    project: str
    actor: str
    identity: str
    run: str
    trace: str
    data: dict[str, Any]
    disclosed: dict[str, str]
    commits: list[str]

    @property
    def where(self) -> str:
        """The entry, for people."""
        return f"its audit entry {self.seq}" if self.seq is not None else "its audit entry, which is not sealed yet,"


_decode = msgspec.json.Decoder(Told).decode


class Line(NamedTuple):
    """What is told of one record in one respect."""

    key: Key
    told: Told


class Tales:
    """What was told last of each record, by kind and key. Keys of one kind are of one shape: a number, or up to three texts."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="flowstone-")
        self._db = sqlite3.connect(Path(self._folder.name, "told.db"), isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -16000",
            "CREATE TABLE told (kind TEXT, a, b, c, value BLOB, PRIMARY KEY (kind, a, b, c)) WITHOUT ROWID",
            "CREATE TABLE numbered (project, asset, partition, version, seq)",
            "BEGIN",
        ):
            self._db.execute(statement)

    def put(self, kind: str, key: Key, told: Told) -> None:
        """What is told of the record from here on."""
        self._db.execute("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?)", (kind, *_filled(key), _encode(told)))

    def remove(self, kind: str, key: Key) -> None:
        """Nothing is told of the record any more."""
        self._db.execute("DELETE FROM told WHERE kind = ? AND a = ? AND b = ? AND c = ?", (kind, *_filled(key)))

    def get(self, kind: str, key: Key) -> Told | None:
        """What is told of the record."""
        row = self._db.execute("SELECT value FROM told WHERE kind = ? AND a = ? AND b = ? AND c = ?", (kind, *_filled(key)))
        found = row.fetchone()
        return _decode(found[0]) if found else None

    def every(self, kind: str) -> Iterator[Line]:
        """What is told of records of a kind, in the order of the keys."""
        for a, b, c, value in self._db.execute("SELECT a, b, c, value FROM told WHERE kind = ? ORDER BY a, b, c", (kind,)):
            yield Line((a, b, c), _decode(value))

    def number(self, place: Key, version: int, seq: int | None) -> None:
        """Note which version of a *place* (project, asset, partition) an output has whose entry is at *seq*."""
        self._db.execute("INSERT INTO numbered VALUES (?, ?, ?, ?, ?)", (*place, version, 2**62 if seq is None else seq))

    def misnumbered(self, *, complete: bool) -> Iterator[tuple[Key, int]]:
        """Versions that do not follow the one whose entry stands before; where all are told of (*complete*), without a gap."""
        window = "OVER (PARTITION BY project, asset, partition ORDER BY seq, version)"
        query = f"SELECT project, asset, partition, version, lag(version) {window} AS before FROM numbered"
        wrong = "version <> COALESCE(before, 0) + 1" if complete else "version <= COALESCE(before, 0)"
        for *place, version, _ in self._db.execute(f"SELECT * FROM ({query}) WHERE {wrong} LIMIT 1000"):
            yield tuple(place), version

    def close(self) -> None:
        """Remove the file."""
        self._db.close()
        self._folder.cleanup()


def _filled(key: Key) -> Key:
    return (*key, "", "")[:3]


def told_by(seq: int | None, fields: Mapping[str, Any], disclosed: Mapping[str, str]) -> Told:
    """What an entry tells."""
    return Told(
        seq, fields["action"], fields["subject"], fields["project"], fields["actor"], fields["identity"], fields.get("run", ""),
        fields.get("trace", ""), fields["data"], dict(disclosed), list(fields.get("commit", ())),
    )  # fmt: skip


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
