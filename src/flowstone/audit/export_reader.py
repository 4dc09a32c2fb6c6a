"""Reading an export line by line, in little memory: a hostile file costs no more than its own length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol, TypeVar

from flowstone.audit import leaf as leaves
from flowstone.audit.acts import REDACTED
from flowstone.audit.leaf import Disclosure, commitment
from flowstone.audit.lines import FORMAT, MAX_LINE, EntryLine, Header, Trailer, read_line
from flowstone.audit.note import PublicKey, TreeHead
from flowstone.audit.offline_report import OfflineReport, head_of
from flowstone.audit.origins import permanent
from flowstone.audit.tlog_proof import MAX_HASHES, decoded, hash_of
from flowstone.audit.tree import Frontier, hash_leaf, verify_consistency, verify_inclusion
from flowstone.foundation.errors import LeafError, ProofError

TRACKED = 100_000
"""Undisclosed fields that are remembered until an entry tells of their redaction."""
_L = TypeVar("_L", Header, EntryLine, Trailer)


class Reader(Protocol):
    """Takes the entries that were found good."""

    def take(self, seq: int | None, leaf: bytes, fields: Mapping[str, Any], disclosed: Mapping[str, str]) -> None:
        """Take the entry at place *seq*: its bytes, their fields, and what it discloses."""
        ...


class UnreadableError(Exception):
    """What follows in the file cannot be made sense of; the finding is noted."""


class ExportReader:
    """Reads one export, line by line."""

    def __init__(self, report: OfflineReport, lines: Iterator[bytes], keys: Sequence[PublicKey], reader: Reader | None) -> None:
        self._report, self._lines, self._keys, self._reader = report, lines, keys, reader
        self._undisclosed, self._last = Undisclosed(report), -1
        self._header = self._parse(Header, next(lines, b""), "the first line")
        self._frontier = self._begin()

    def read(self) -> None:
        """Read the entries and the tree head, and compare what they say with each other."""
        waiting, number = b"", 1
        for number, line in enumerate(self._lines, 2):
            if waiting:
                self._take(self._parse(EntryLine, waiting, f"line {number - 1}"))
            waiting = line
        self._end(self._parse(Trailer, waiting, f"the last line ({number})"))
        if self._header.withheld:
            self._report.lacks("what entries disclose was left out of this file: names and reasons were not compared")
        self._undisclosed.tell()

    def _parse(self, cls: type[_L], line: bytes, where: str) -> _L:
        try:
            return read_line(cls, line, where)
        except ProofError as error:
            self._report.find("unreadable", error.message, todo="the file was cut off or edited: ask for it again")
            raise UnreadableError from error

    def _begin(self) -> Frontier:
        report, header = self._report, self._header
        report.begin, report.end, report.chosen = header.begin, header.end, header.chosen
        if permanent(header.origin) != permanent(report.origin):
            report.find("foreign", f"the file says it is of the log {header.origin[:100]!r}, not of {report.origin!r}")
        try:
            if header.format != FORMAT:
                raise ProofError(f"the format is {header.format[:60]!r}, this FlowStone reads {FORMAT}")
            if not 0 <= header.begin <= header.end or len(header.before) > MAX_HASHES:
                raise ProofError(f"the file says it has entries {header.begin} to {header.end}")
            self._root = hash_of(header.root) if header.chosen else b""
            return Frontier(header.begin, [hash_of(one) for one in header.before])
        except ProofError as error:
            report.find("unreadable", error.message)
            raise UnreadableError from error

    def _take(self, line: EntryLine) -> None:
        """Take an entry: it is next in the order, or its proof leads to the root."""
        report, header = self._report, self._header
        try:
            stated = hash_of(line.leaf_hash)
            if header.chosen:
                self._check_later(line.seq)
                verify_inclusion(stated, line.seq, header.end, [hash_of(one) for one in line.proof or ()], self._root)
            elif line.seq != self._frontier.size:
                raise ProofError(f"entry {line.seq} stands where {self._frontier.size} must be")
        except ProofError as error:
            report.find("order", error.message)
            if not header.chosen:
                raise UnreadableError from error  # no root can come out right any more
            return
        report.entries += 1
        if not header.chosen:
            self._frontier.add(stated)
        self._check(line, stated)

    def _check_later(self, seq: int) -> None:
        if seq <= self._last:
            raise ProofError(f"entry {seq} stands after entry {self._last}")
        self._last = seq

    def _check(self, line: EntryLine, stated: bytes) -> None:
        """Compare the bytes of an entry with its hash, and what it discloses with its commitments."""
        report = self._report
        if not line.leaf:
            report.lacks("entries that were pruned are in this file by their hash only: their archive has them")
            return
        try:
            leaf = decoded(line.leaf)
            if hash_leaf(leaf) != stated:
                report.find("changed", f"entry {line.seq} is not what its hash says", todo="its hash is what is signed")
                return
            fields = leaves.read(leaf)
        except (ProofError, LeafError) as error:
            report.find("malformed", f"entry {line.seq}: {error.message}")
            return
        if fields["origin"] != permanent(report.origin):
            report.find("foreign", f"entry {line.seq} is of the log {fields['origin'][:100]!r}")
        if self._reader is not None:
            self._reader.take(line.seq, leaf, fields, {name: given.value for name, given in line.disclosures.items()})
        self._undisclosed.redacted(fields)
        self._check_disclosures(line, fields.get("commit", {}))

    def _check_disclosures(self, line: EntryLine, promised: dict[str, str]) -> None:
        report = self._report
        for name, given in line.disclosures.items():
            try:
                fits = promised.get(name) == commitment(Disclosure(name, decoded(given.salt), given.value))
            except (ProofError, LeafError):
                fits = False
            if fits:
                report.disclosures += 1
            else:
                report.find("disclosure", f"entry {line.seq}: its {name[:64]} is not what the signed entry commits to")
        if not self._header.withheld:
            self._undisclosed.add(line, promised.keys() - line.disclosures.keys())

    def _end(self, trailer: Trailer) -> None:
        """Compare the root that came out with the one that is signed."""
        report = self._report
        report.note = trailer.head
        try:
            head = head_of(report, trailer.head, self._keys)
        except ProofError as error:
            report.find("signature", error.message, todo=error.hint or "get origin and key from the operator, not with the file")
            return
        report.size = head.size
        try:
            self._check_root(head, trailer.consistency)
        except ProofError as error:
            report.find("root", error.message, todo="the tree head is what is signed: ask for the file again")

    def _check_root(self, head: TreeHead, consistency: list[str]) -> None:
        header, frontier = self._header, self._frontier
        if header.chosen:
            if (head.size, head.root) != (header.end, self._root):
                raise ProofError(f"the signed tree head of {head.size} entries is not the one the entries are proven by")
        elif frontier.size != header.end:
            raise ProofError(f"the file says it ends at entry {header.end}, and ends at {frontier.size}")
        elif head.size == frontier.size and head.root != frontier.root():
            raise ProofError(f"the {head.size} entries are not those that were signed: one was changed, or their order")
        else:
            proof = [hash_of(one) for one in consistency[: MAX_HASHES + 1]]
            verify_consistency(frontier.size, head.size, proof, frontier.root(), head.root)


class Undisclosed:
    """Fields whose commitment has no disclosure: a later entry has to tell of their redaction."""

    def __init__(self, report: OfflineReport) -> None:
        self._report = report
        self._missing: dict[tuple[Any, Any], bool] = {}

    def add(self, line: EntryLine, names: Iterable[str]) -> None:
        """Remember what an entry does not disclose, and whether it is said to be redacted."""
        for name in names:
            if len(self._missing) < TRACKED:
                self._missing[line.seq, name] = name in line.redacted
            else:
                self._report.find("undisclosed", f"entry {line.seq}: its {name} is not there, as too many others are not")

    def redacted(self, fields: dict[str, Any]) -> None:
        """Forget what this entry tells of, if it tells of a redaction."""
        if fields["action"] == REDACTED and isinstance(fields["data"], dict):
            self._missing.pop((fields["data"].get("entry"), fields["data"].get("field")), None)

    def tell(self) -> None:
        """Tell of what is left."""
        report, first = self._report, ""
        for (seq, name), said in sorted(self._missing.items()):
            if said or report.chosen or report.end < report.size:
                report.redacted_elsewhere += 1
                first = first or f"{name} of entry {seq}"
            else:
                report.find("undisclosed", f"entry {seq}: its {name} is gone and no redaction tells of it")
        if first:
            others = f" and {report.redacted_elsewhere - 1} more" if report.redacted_elsewhere > 1 else ""
            report.lacks(f"redacted: {first}{others}; the entry that tells of it is not in this file")


def lines_of(report: OfflineReport, file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, of which no more is held than one."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE or not line.endswith(b"\n"):
            report.find("unreadable", f"a line is longer than {MAX_LINE:,} bytes, or the file was cut off in it")
            raise UnreadableError
        yield line
