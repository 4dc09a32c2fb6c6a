"""Folds the entries of the log, one by one, into what they tell of each record last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowstone.audit import acts, approval_acts
from flowstone.audit.told import Tales, Told, told_by
from flowstone.stores import audit_records
from flowstone.stores.database import Connection

OUTPUT, GONE, CURRENT, FAILED = "output", "gone", "current", "failed"
REQUESTED, CANCEL, ENDED, HELD, RELEASED = "requested", "cancel", "ended", "held", "released"
DECIDED, DEFINED = "decided", "defined"
ASKED, NEWEST_OF, CANDIDATE, VOTE = "asked", "newest of", "candidate", "vote"
"""A request as it was made, what is told of it last, the candidate it is about, and each vote on it."""
NEWEST = 2**62


class Fold:
    """Takes every good entry; ``connection`` is asked for the partitions that only a redacted disclosure named."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self.tales = connection, Tales()
        self.begun: Told | None = None
        """The entry with which auditing began, the last time it did."""
        self.stopped: dict[str, Told] = {}
        """The entries with which projects switched auditing off, unless it has begun again."""
        self.gaps: dict[str, int] = {}
        """Up to which entry a project's records may have gone on without one: auditing was switched off behind it."""
        self.forgotten = 0
        """Entries whose partition was redacted: their records' partition was taken instead."""
        self._takers: dict[str, Callable[[Told], None]] = {
            acts.SUCCEEDED: self._succeeded, acts.INVALIDATED: self._withdrawn, acts.ERASED: self._erased,
            acts.COLLECTED: self._collected, acts.FAILED: self._numbered(FAILED),
            acts.RUN_REQUESTED: self._named(REQUESTED), acts.RUN_CANCEL_REQUESTED: self._named(CANCEL),
            acts.RUN_FINISHED: self._named(ENDED), acts.RUN_CANCELLED: self._named(ENDED),
            acts.HOLD_ADDED: self._named(HELD), acts.HOLD_RELEASED: self._named(RELEASED),
            **dict.fromkeys(acts.GROUP_STATUS, self._decided), acts.PIPELINE_CHANGED: self._defined,
            approval_acts.REQUESTED: self._asked,
            **dict.fromkeys(approval_acts.MOVES, self._moved),
            acts.BEGUN: self._begun, acts.STOPPED: self._stopped,
        }  # fmt: skip

    def take(self, seq: int | None, fields: Mapping[str, Any], disclosed: Mapping[str, str]) -> None:
        """Take the next entry."""
        taker = self._takers.get(fields["action"])
        if taker is not None:
            taker(told_by(seq, fields, disclosed))

    def close(self) -> None:
        """Forget everything."""
        self.tales.close()

    def _named(self, kind: str) -> Callable[[Told], None]:
        return lambda told: self.tales.put(kind, (_id_in(told.subject),), told)

    def _numbered(self, kind: str) -> Callable[[Told], None]:
        return lambda told: self.tales.put(kind, (_number_in(told.subject),), told)

    def _succeeded(self, told: Told) -> None:
        output = _text(told, "output")
        self.tales.put(OUTPUT, (output,), told)
        self.tales.put(CURRENT, self._place(told, output), told)

    def _withdrawn(self, told: Told) -> None:
        output = _text(told, "output")
        place = self._place(told, output)
        current = self.tales.get(CURRENT, place)
        if current is not None and _text(current, "output") == output:
            self.tales.remove(CURRENT, place)

    def _erased(self, told: Told) -> None:
        self.tales.put(GONE, (_text(told, "output"),), told)
        if told.data.get("was_current"):
            self._withdrawn(told)

    def _collected(self, told: Told) -> None:
        outputs = told.data.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            self.tales.put(GONE, (str(output),), told)

    def _decided(self, told: Told) -> None:
        self.tales.put(DECIDED, (told.project, _text(told, "fingerprint")), told)

    def _defined(self, told: Told) -> None:
        self.tales.put(DEFINED, (told.project, _text(told, "pipeline"), _text(told, "definition")), told)

    def _asked(self, told: Told) -> None:
        key = (_id_in(told.subject),)
        self.tales.put(ASKED, key, told)
        self.tales.put(NEWEST_OF, key, told)
        if told.data.get("output"):
            self.tales.put(CANDIDATE, (_text(told, "output"),), told)

    def _moved(self, told: Told) -> None:
        id, vote = _id_in(told.subject), told.data.get("vote")
        self.tales.put(NEWEST_OF, (id,), told)
        if isinstance(vote, dict):
            self.tales.put(VOTE, (id, str(vote.get("decision"))), told)

    def _begun(self, told: Told) -> None:
        self.begun = told
        if self.stopped.pop(told.project, None) is not None:
            self._open_gap(told)

    def _stopped(self, told: Told) -> None:
        self.stopped[told.project] = told
        self._open_gap(told)

    def _open_gap(self, told: Told) -> None:
        self.gaps[told.project] = NEWEST if told.seq is None else told.seq

    def _place(self, told: Told, output: str) -> tuple[str, str, str]:
        """Project, asset and partition; a redacted partition is that of the output's row."""
        partition = told.data.get("partition", told.disclosed.get("partition", ""))
        if "partition" in told.commits and "partition" not in told.disclosed:
            self.forgotten += 1
            partition = audit_records.partition_of(self._connection, output) or ""
        return told.project, _text(told, "asset"), str(partition)


def _text(told: Told, name: str) -> str:
    return str(told.data.get(name, ""))


def _id_in(subject: str) -> str:
    return subject.partition(":")[2]


def _number_in(subject: str) -> int:
    """The number in a subject; 0, which no record has, where there is none."""
    id = _id_in(subject)
    return int(id) if id.isascii() and id.isdigit() and len(id) < 19 else 0
