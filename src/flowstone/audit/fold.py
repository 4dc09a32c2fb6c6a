"""Folds the entries of the log, one by one, into what they tell of each record last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flowstone.audit import acts, approval_acts
from flowstone.audit.told import Spot, Tales, Told, told_by
from flowstone.stores import audit_records
from flowstone.stores.database import Connection

OUTPUT, GONE, CURRENT, FAILED = "output", "gone", "current", "failed"
REQUESTED, CANCEL, ENDED, HELD, RELEASED = "requested", "cancel", "ended", "held", "released"
DECIDED, DEFINED = "decided", "defined"
ASKED, NEWEST_OF, CANDIDATE, VOTE = "asked", "newest of", "candidate", "vote"
"""A request as it was made, what is told of it last, the candidate it is about, and each vote on it."""
NEWEST = 2**62


class Good(msgspec.Struct):
    """An entry that was found good: its place, its bytes and their fields, and what it discloses."""

    seq: int | None
    leaf: bytes
    fields: Mapping[str, Any]
    data: Mapping[str, Any]
    disclosed: Mapping[str, str]


class Fold:
    """Takes every good entry; ``connection`` is asked for the partitions that only a redacted disclosure named."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self.tales = connection, Tales()
        self.projects: set[str] = set()
        """The projects that any entry is of."""
        self.begun: dict[str, Told] = {}
        """The entries with which auditing began in each project, the last time it did."""
        self.stopped: dict[str, Told] = {}
        """The entries with which projects switched auditing off, unless it has begun again."""
        self.gaps: dict[str, int] = {}
        """Up to which entry a project's records may have gone on without one: auditing was switched off behind it."""
        self.forgotten = 0
        """Entries whose partition was redacted: their records' partition was taken instead."""
        self._takers: dict[str, Callable[[Good], None]] = {
            acts.SUCCEEDED: self._succeeded, acts.INVALIDATED: self._withdrawn, acts.ERASED: self._erased,
            acts.COLLECTED: self._collected, acts.FAILED: self._numbered(FAILED),
            acts.RUN_REQUESTED: self._named(REQUESTED), acts.RUN_CANCEL_REQUESTED: self._named(CANCEL),
            acts.RUN_FINISHED: self._named(ENDED), acts.RUN_CANCELLED: self._named(ENDED),
            acts.HOLD_ADDED: self._named(HELD), acts.HOLD_RELEASED: self._named(RELEASED),
            **dict.fromkeys(acts.GROUP_STATUS, self._decided), acts.PIPELINE_CHANGED: self._defined,
            approval_acts.REQUESTED: self._asked, **dict.fromkeys(approval_acts.MOVES, self._moved),
            acts.BEGUN: self._begun, acts.STOPPED: self._stopped,
        }  # fmt: skip

    def take(self, seq: int | None, leaf: bytes, fields: Mapping[str, Any], disclosed: Mapping[str, str]) -> None:
        """Take the next entry."""
        self.projects.add(fields["project"])
        taker = self._takers.get(fields["action"])
        if taker is not None:
            taker(Good(seq, leaf, fields, fields["data"], disclosed))

    def close(self) -> None:
        """Forget everything."""
        self.tales.close()

    def _named(self, kind: str) -> Callable[[Good], None]:
        return lambda good: self.tales.put(kind, self._keep(good), _id_in(good.fields["subject"]))

    def _numbered(self, kind: str) -> Callable[[Good], None]:
        return lambda good: self.tales.put(kind, self._keep(good), _number_in(good.fields["subject"]))

    def _keep(self, good: Good) -> Spot:
        return self.tales.keep(good.seq, good.leaf, good.disclosed)

    def _succeeded(self, good: Good) -> None:
        tales, output = self.tales, _text(good, "output")
        spot = tales.keep(good.seq, good.leaf, good.disclosed)
        tales.put(OUTPUT, spot, output)
        tales.put(CURRENT, spot, *self._place(good, output))

    def _withdrawn(self, good: Good) -> None:
        output = _text(good, "output")
        place = self._place(good, output)
        current = self.tales.get(CURRENT, place)
        if current is not None and str(current.data.get("output", "")) == output:
            self.tales.put(CURRENT, None, *place)

    def _erased(self, good: Good) -> None:
        self.tales.put(GONE, self._keep(good), _text(good, "output"))
        if good.data.get("was_current"):
            self._withdrawn(good)

    def _collected(self, good: Good) -> None:
        outputs = good.data.get("outputs")
        if not outputs or not isinstance(outputs, list):
            return
        spot = self._keep(good)
        for output in outputs:
            self.tales.put(GONE, spot, str(output))

    def _decided(self, good: Good) -> None:
        self.tales.put(DECIDED, self._keep(good), good.fields["project"], _text(good, "fingerprint"))

    def _defined(self, good: Good) -> None:
        pipeline, definition = _text(good, "pipeline"), _text(good, "definition")
        self.tales.put(DEFINED, self._keep(good), good.fields["project"], pipeline, definition)

    def _asked(self, good: Good) -> None:
        id, spot = _id_in(good.fields["subject"]), self._keep(good)
        self.tales.put(ASKED, spot, id)
        self.tales.put(NEWEST_OF, spot, id)
        if good.data.get("output"):
            self.tales.put(CANDIDATE, spot, _text(good, "output"))

    def _moved(self, good: Good) -> None:
        id, spot, vote = _id_in(good.fields["subject"]), self._keep(good), good.data.get("vote")
        self.tales.put(NEWEST_OF, spot, id)
        if isinstance(vote, dict):
            self.tales.put(VOTE, spot, id, str(vote.get("decision")))

    def _begun(self, good: Good) -> None:
        project = good.fields["project"]
        self.begun[project] = told_by(good.seq, good.leaf, good.disclosed)
        if self.stopped.pop(project, None) is not None:
            self._open_gap(good)

    def _stopped(self, good: Good) -> None:
        self.stopped[good.fields["project"]] = told_by(good.seq, good.leaf, good.disclosed)
        self._open_gap(good)

    def _open_gap(self, good: Good) -> None:
        self.gaps[good.fields["project"]] = NEWEST if good.seq is None else good.seq

    def _place(self, good: Good, output: str) -> tuple[str, str, str]:
        """Project, asset and partition; a redacted partition is that of the output's row."""
        partition = good.data.get("partition", good.disclosed.get("partition", ""))
        if "partition" in good.fields.get("commit", ()) and "partition" not in good.disclosed:
            self.forgotten += 1
            partition = audit_records.partition_of(self._connection, output) or ""
        return good.fields["project"], _text(good, "asset"), str(partition)


def _text(good: Good, name: str) -> str:
    return str(good.data.get(name, ""))


def _id_in(subject: str) -> str:
    return subject.partition(":")[2]


def _number_in(subject: str) -> int:
    """The number in a subject; 0, which no record has, where there is none."""
    id = _id_in(subject)
    return int(id) if id.isascii() and id.isdigit() and len(id) < 19 else 0
