"""Giving tree heads to their anchors, and comparing what they kept with the log as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from flowstone.audit.anchors import AnchorFile, FileSink, Sink
from flowstone.audit.note import TreeHead
from flowstone.audit.origins import permanent
from flowstone.audit.promises import Anchored
from flowstone.audit.state import head_in
from flowstone.foundation.errors import AuditError, ProofError, RollbackDetectedError
from flowstone.stores import audit, audit_questions
from flowstone.stores.audit_questions import Receipt
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
        heads = self._newest()  # before the snapshot is begun: others seal first, and anchor after that
        with self._database.reading() as connection:
            origins = audit.incarnations(connection)
            for name, head in heads.items():
                if not origins or head.origin != origins[-1][1]:
                    continue  # of an incarnation before: verify judges those
                found = audit_questions.head(connection, head.size)
                if found is None or (found.size, bytes(found.root)) != (head.size, head.root):
                    raise RollbackDetectedError(
                        f"the audit log does not go on from the anchor {name}, which has seen {head.size} entries",
                        hint='keep the file; if you restored it yourself: flowstone audit reincarnate --reason "..."',
                    )

    def _newest(self) -> dict[str, TreeHead]:
        """The newest head that each file has kept."""
        with self._database.reading() as connection:
            origins = audit.incarnations(connection)
        if not origins:
            return {}
        notes = {sink.name: sink.newest(permanent(origins[0][1])) for sink in self.sinks if isinstance(sink, FileSink)}
        heads = {name: _head(note) for name, note in notes.items() if note}
        return {name: head for name, head in heads.items() if head is not None}


class AnchorsRead:
    """What the anchors of a log have kept, for verifying: take :meth:`heads`, then ask what was wrong.

    It is made before the snapshot is begun that it is compared with: others seal first, and anchor after that. *more* are files
    that the verifier names, whatever the settings are.
    """

    def __init__(self, origin: str, sinks: Sequence[Sink], more: Sequence[AnchorFile] = ()) -> None:
        here = {sink.name: sink.path(permanent(origin)) for sink in sinks if isinstance(sink, FileSink) and sink.is_here}
        self._own = [AnchorFile(path, name) for name, path in here.items()]
        self._more = more
        self.faults: list[str] = []
        self.notices: list[str] = []
        self.missing: list[str] = []
        self.read: list[str] = []
        """The sinks whose anchors were read."""
        self.elsewhere = [sink.name for sink in sinks if sink.name not in here]
        """The sinks whose anchors only somebody else can read."""

    def heads(self, connection: Connection) -> Iterator[Anchored]:
        """The heads they have kept; of each sink, whether it has all that it accepted by what *connection* sees."""
        return self._heads(audit_questions.receipts(connection))

    def _heads(self, receipts: Mapping[str, Receipt]) -> Iterator[Anchored]:
        for file in self._own:
            accepted = receipts.get(file.name)
            yield from self._of(file, accepted.size if accepted is not None else 0, must_be=accepted is not None)
        for file in self._more:
            yield from self._of(file, 0, must_be=True)

    def _of(self, file: AnchorFile, accepted: int, *, must_be: bool) -> Iterator[Anchored]:
        try:
            yield from file
        except OSError as error:
            if must_be:
                self.missing.append(f"the anchor {file.name} cannot be read: {error.strerror}")
            return
        self.read.append(file.name)
        self.faults += file.faults
        self.notices += file.notices
        if file.newest < accepted:
            seen = f"it has accepted {accepted} entries and knows of {file.newest}"
            self.missing.append(f"the anchor {file.name} was cut off, or is another one: {seen}")


def _head(note: str) -> TreeHead | None:
    try:
        return head_in(note)
    except ProofError:
        return None
