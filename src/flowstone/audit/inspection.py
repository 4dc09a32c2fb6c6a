"""Looking at entries one by one: their form, their columns, what they disclose; and what they say of other entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from flowstone.audit import acts
from flowstone.audit import leaf as leaves
from flowstone.audit.disclosures import Redactions, check_disclosures
from flowstone.audit.findings import Findings
from flowstone.audit.tree import hash_leaf
from flowstone.foundation.errors import LeafError
from flowstone.stores.audit_checks import Beside, Row, Stored

CLOCK = 60 * 10**6
"""Microseconds that the clocks of several writers may differ without a word."""
_NOTHING: Mapping[str, str] = MappingProxyType({})
_SHOWN = slice(3, 11)  # the columns of a stored entry that repeat what its bytes say


@dataclass
class Checked(Findings):
    """What a pass over the log *origin* found. Sizes are numbers of entries, times nanoseconds."""

    origin: str = ""
    entries: int = 0
    """Entries that have their place."""
    root: bytes = b""
    pruned_below: int = 0
    heads: int = 0
    signed_size: int = 0
    """The size of the newest tree head that a trusted key signed; 0 when none did."""
    signed_at: int | None = None
    """The time of the newest entry it covers: entries are signed, the times of heads are not."""
    incarnation: int = 0
    anchors: int = 0
    unsealed: int = 0
    oldest_unsealed: int | None = None
    subjects: int = 0
    disclosures: int = 0
    redacted: int = 0


class Reader(Protocol):
    """Takes the entries that were found good."""

    def take(self, seq: int | None, leaf: bytes, fields: Mapping[str, Any], disclosed: Mapping[str, str]) -> None:
        """Take the next entry, at place *seq* (``None``: not sealed yet): its bytes, their fields, and what it discloses."""
        ...


class Readers:
    """Several readers of the same entries."""

    def __init__(self, *readers: Reader) -> None:
        self._readers = readers

    def take(self, seq: int | None, leaf: bytes, fields: Mapping[str, Any], disclosed: Mapping[str, str]) -> None:
        """Give the entry to each."""
        for reader in self._readers:
            reader.take(seq, leaf, fields, disclosed)


class Inspection:
    """Looks at each entry; *prunes* are the places below which entries are said to be in an archive, and its digest."""

    def __init__(self, checked: Checked, reader: Reader | None, prunes: list[tuple[Any, Any]]) -> None:
        self._checked, self._reader, self._untold_prunes = checked, reader, set(prunes)
        self._redactions = Redactions(checked)
        self._newest, self._steps, self._step = 0, 0, (0, 0)
        self.beside = Beside({}, {})
        """What lies beside the entries of the page that is looked at."""

    def look_at_sealed(self, row: Row) -> int | None:
        """Look at the entry at a place: its bytes are those that were sealed. Return its time in microseconds."""
        leaf = row[-1]
        if type(leaf) is bytes and hash_leaf(leaf) == row[2]:
            return self.look_at(row)
        checked, shown = self._checked, Stored._make(row)
        if leaf is None:
            if not (type(shown.seq) is int and shown.seq < checked.pruned_below):
                checked.find("deleted", f"entry {shown.seq} is gone; its hash is signed", todo="an export or a backup has it")
        else:
            told = f"entry {shown.seq} ({shown.action} of {shown.subject}) is not what was sealed: its bytes were changed"
            checked.find("changed", told, str(shown.subject), todo="its hash is signed: an export or a backup has the entry")
        return None

    def look_at(self, row: Row) -> int | None:
        """Look at an entry by itself; return its time in microseconds."""
        leaf, entry, beside = row[-1], row[1], self.beside
        try:
            fields = leaves.read(leaf)
        except LeafError as error:
            told = f"{_where(row)} is not what FlowStone writes: {error.message}"
            self._checked.find("malformed", told, str(Stored._make(row).subject))
            return None
        action, data, at, disclosed = fields["action"], fields["data"], fields["at"], _NOTHING
        said = (fields["project"], fields["subject"], fields["version"], action, fields["actor"],
                fields.get("run", ""), data.get("asset", ""), at * 1_000)  # fmt: skip
        if said != row[_SHOWN]:
            self._tell_columns(Stored._make(row), said)
        if fields["origin"] != self._checked.origin:
            told = f"{_where(row)} is of the log {fields['origin'][:100]!r}"
            self._checked.find("foreign", told, fields["subject"])
        if at > self._newest:
            self._newest = at
        elif at < self._newest - CLOCK:
            self._steps += 1
            self._step = max(self._step, (self._newest - at, row[0] or 0))
        if "commit" in fields or entry in beside.disclosed or entry in beside.redacted:
            disclosed = self._look_beside(row, fields.get("commit", _NOTHING))
        if action[:6] == "audit.":
            self._take_own(action, data)
        if self._reader is not None:
            self._reader.take(row[0], leaf, fields, disclosed)
        return int(at)

    def end(self) -> None:
        """Tell of redactions and prunes that no entry tells of, and of the clock."""
        checked = self._checked
        for below in sorted(str(below) for below, _ in self._untold_prunes):
            checked.find("prune", f"entries below {below} are said to be in an archive, and no entry tells of that")
        self._redactions.end()
        if self._steps:
            back, seq = self._step
            checked.notices.append(f"the clock went back {self._steps} times, at most by {back / 1e6:.0f} s (entry {seq})")

    def _tell_columns(self, row: Stored, said: tuple[object, ...]) -> None:
        sealed, where = row.seq is not None, _where(row)
        for name, shown, signed in zip(Stored._fields[_SHOWN], row[_SHOWN], said, strict=True):
            if shown != signed:
                told = f"{where}: its column {name} says {str(shown)[:100]}, the {'sealed ' if sealed else ''}entry says {signed}"
                self._checked.find("column", told, str(row.subject), todo=f"flowstone audit show {row.seq}" if sealed else "")

    def _look_beside(self, row: Row, commitments: Mapping[str, str]) -> dict[str, str]:
        seq, entry = row[:2]
        redacted = self._redactions.of(seq, entry, self.beside.redacted.get(entry, set()))
        return check_disclosures(self._checked, _where(row), commitments, self.beside.disclosed.get(entry, {}), redacted)

    def _take_own(self, action: str, data: Mapping[str, Any]) -> None:
        """Note what the log says of itself."""
        if action == acts.REDACTED:
            self._redactions.told(data.get("entry"), data.get("field"))
        elif action == acts.PRUNED:
            self._untold_prunes -= {(below, digest) for below, digest in self._untold_prunes if _is_told(data, below, digest)}


def _where(row: Row) -> str:
    """The entry, for people."""
    return f"entry {row[0]}" if row[0] is not None else f"the unsealed entry {row[1]}"


def _is_told(data: Mapping[str, Any], below: object, digest: object) -> bool:
    return data.get("below") == below and data.get("digest") == digest
