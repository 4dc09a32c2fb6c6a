"""Giving tree heads to their anchors, and comparing what they kept with the log as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flowstone.audit.anchors import AnchorFile, FileSink, Sink
from flowstone.audit.note import TreeHead
from flowstone.audit.origins import permanent
from flowstone.audit.promises import Anchored
from flowstone.audit.state import head_in
from flowstone.foundation.errors import AuditError, ProofError, RollbackDetectedError
from flowstone.stores import audit, audit_questions
from flowstone.stores.database import Connection, Database

EVERY = 60 * 1_000_000_000
"""Nanoseconds between two heads that one sink is given while a process seals again and again."""


class Anchoring(NamedTuple):
    """What became of giving the newest head to a sink: *error* is empty when the sink has it now."""

    sink: str
    size: int
    error: str = ""


class Anchors:
    """The anchors of one log."""

    def __init__(self, database: Database, sinks: Sequence[Sink]) -> None:
        self._database, self.sinks = database, sinks

    def write(self, *, force: bool = True) -> list[Anchoring]:
        """Give the newest head to every sink that does not have it; without *force* not more often than once a minute."""
        with self._database.reading() as connection:
            head, origins = audit.last_head(connection), audit.incarnations(connection)
            receipts = audit_questions.receipts(connection)
        if head is None or not origins:
            return []
        done: list[Anchoring] = []
        for sink in self.sinks:
            now, last = self._database.now(), receipts.get(sink.name)
            if last is not None and (last.size >= head.size or (not force and now - last.at < EVERY)):
                continue
            try:
                receipt = sink.write(permanent(origins[0][1]), head.note, now)
            except (OSError, AuditError) as error:
                done.append(Anchoring(sink.name, head.size, error.message if isinstance(error, AuditError) else str(error)))
                continue
            with self._database.transaction() as tx:
                audit.add_anchor(tx, head.size, sink.name, receipt, now)
            done.append(Anchoring(sink.name, head.size))
        return done

    def require_log_goes_on(self) -> None:
        """Raise :class:`RollbackDetectedError` when the log does not go on from the newest head that an anchor has kept."""
        with self._database.reading() as connection:
            origins = audit.incarnations(connection)
            for sink in self.sinks:
                note = sink.newest(permanent(origins[0][1])) if isinstance(sink, FileSink) and origins else None
                head = _head(note) if note else None
                if head is None or head.origin != origins[-1][1]:
                    continue  # nothing to compare with, or of an incarnation before: verify judges those
                found = audit_questions.head(connection, head.size)
                if found is None or (found.size, bytes(found.root)) != (head.size, head.root):
                    raise RollbackDetectedError(
                        f"the audit log does not go on from the anchor {sink.name}, which has seen {head.size} entries",
                        hint='keep the file; if you restored it yourself: flowstone audit reincarnate --reason "..."',
                    )


class AnchorsRead:
    """What the anchors of a log have kept, for verifying: iterate over it, then ask what was wrong.

    *more* are files that the verifier names, whatever the settings are.
    """

    def __init__(self, connection: Connection, origin: str, sinks: Sequence[Sink], more: Sequence[AnchorFile] = ()) -> None:
        self._receipts, self._sinks, self._more, self._origin = audit_questions.receipts(connection), sinks, more, origin
        self.faults: list[str] = []
        self.notices: list[str] = []
        self.missing: list[str] = []
        self.read: list[str] = []
        """The sinks whose anchors were read."""
        self.elsewhere: list[str] = []
        """The sinks whose anchors only somebody else can read."""

    def __iter__(self) -> Iterator[Anchored]:
        for sink in self._sinks:
            if isinstance(sink, FileSink) and sink.is_here:
                yield from self._file(AnchorFile(sink.path(permanent(self._origin)), sink.name), sink.name)
            else:
                self.elsewhere.append(sink.name)
        for file in self._more:
            yield from self._file(file, file.name)

    def _file(self, file: AnchorFile, name: str) -> Iterator[Anchored]:
        accepted = self._receipts.get(name)
        try:
            yield from file
        except OSError as error:
            if accepted is not None or name not in {sink.name for sink in self._sinks}:
                self.missing.append(f"the anchor {name} cannot be read: {error.strerror}")
            return
        self.read.append(name)
        self.faults += file.faults
        self.notices += file.notices
        if accepted is not None and file.newest < accepted.size:
            seen = f"it has accepted {accepted.size} entries and knows of {file.newest}"
            self.missing.append(f"the anchor {name} was cut off, or is another one: {seen}")


def _head(note: str) -> TreeHead | None:
    try:
        return head_in(note)
    except ProofError:
        return None
