"""Saying how a record and its entry differ, and keeping count of the records that have none."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from flowstone.audit import fold
from flowstone.audit.acts import Act
from flowstone.audit.findings import LISTED, Findings
from flowstone.audit.fold import Fold
from flowstone.audit.told import Key, Told
from flowstone.foundation.serialize import canonical
from flowstone.foundation.texts import storable

_CHANGED = "what the log says is signed: the record was changed past FlowStone"
_EITHER = "the entry is not sealed: either side may be the changed one"


class Untold:
    """The records of one project without an entry: how many of each kind, a digest of them, and the first ones by name."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._digests: dict[str, Any] = {}
        self.named: list[tuple[str, str]] = []

    def add(self, kind: str, name: str, act: Act) -> None:
        """Add a record that no entry tells of."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._digests.setdefault(kind, hashlib.sha256()).update(canonical([act.subject, act.data, dict(act.texts)]) + b"\n")
        if len(self.named) < LISTED:
            self.named.append((kind, name))

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self._counts.values())

    def summary(self) -> dict[str, dict[str, Any]]:
        """What an entry holds of them: of each kind the number and the SHA-256."""
        return {kind: {"count": count, "digest": self._digests[kind].hexdigest()} for kind, count in sorted(self._counts.items())}


class Comparison:
    """Compares rows with what was told of them; ``log`` is what was folded of the log.

    ``untold`` has the records of each project that no entry tells of. At most *pruned* entries are in an archive that was not
    read. Whoever verifies for one *project* wants proof of that one.
    """

    def __init__(self, log: Fold, found: Findings, pruned: int = 0, project: str | None = None) -> None:
        self.log, self._found, self._pruned, self._project = log, found, pruned, project
        self.tales = log.tales
        self.untold: defaultdict[str, Untold] = defaultdict(Untold)
        self._gone_on: Counter[str] = Counter()

    def compare(self, name: str, act: Act, told: Told, project: str, run_id: str | None = None) -> None:
        """Compare what a row says, made into an act, with what its entry says, name by name."""
        pairs: list[tuple[str, Any, Any]] = [
            ("project", project, told.project), ("subject", act.subject, told.subject), ("act", act.action, told.action),
        ]  # fmt: skip
        if run_id is not None:
            pairs.append(("run", run_id, told.run))
        pairs += [(field, shown, told.data.get(field)) for field, shown in act.data.items()]
        pairs += _texts(act, told)
        for field, shown, signed in pairs:
            if shown != signed:
                self.differ(f"{name} says", f"{field} = {str(shown)[:80]}, {told.where} says {str(signed)[:80]}", told, "")

    def compare_actor(self, name: str, actor: str, identity: str, told: Told) -> None:
        """Compare who did it."""
        if (actor, identity) != (told.actor, told.identity):
            self.differ(name, f"by {actor} ({identity}), {told.where} says {told.actor} ({told.identity})", told)

    def differ(self, name: str, what: str, told: Told, colon: str = ":") -> None:
        """Tell of a record that says something else than its entry."""
        todo = f"{_CHANGED}; flowstone audit show {told.seq}" if told.seq is not None else _EITHER
        self._found.find("record", f"{name}{colon} {what}", told.subject, todo=todo)

    def strange(self, what: str, subject: str) -> None:
        """Tell of a record that says something of which no entry tells."""
        self._found.find("record", what, subject, todo=_CHANGED)

    def may_have_gone_on(self, told: Told) -> bool:
        """Whether a record differs because it went on while auditing was switched off; it is counted then."""
        if (fold.NEWEST if told.seq is None else told.seq) > self.log.gaps.get(told.project, -1):
            return False
        self._gone_on[told.project] += 1
        return True

    def is_silent(self, project: str) -> bool:
        """Whether auditing was never on in a project: nothing says that it began there, nor was it pruned."""
        return project not in self.log.begun and (not self._pruned or project not in self.log.projects)

    def phantom(self, what: str, key: Key, told: Told | None) -> None:
        """Tell of an entry whose record is not there."""
        if told is not None:
            shown = " ".join(str(part) for part in key if part != "")
            message = f"entry {told.seq} ({told.action}) tells of the {what} {shown}, of which there is no record"
            self._found.find("phantom", message, told.subject, todo="the record was deleted, or the entry was forged")

    def end(self) -> None:
        """Records without an entry are from before auditing began, exactly those; or their entries are in an archive."""
        older, strange = 0, []
        for project, untold in sorted(self.untold.items()):
            begun = self.log.begun.get(project)
            if begun is not None and begun.data.get("unaudited") == untold.summary():
                older += untold.count
            elif project in self.log.stopped or self.is_silent(project):
                self._gone_on[project] += untold.count
            else:
                strange.append(untold)
        if older:
            self._found.notices.append(f"{older} records are from before the log began, and are what they were then")
        count = sum(untold.count for untold in strange)
        if 0 < count <= self._pruned:
            self._found.lacks(f"{count} records have no entry here: entries were pruned, and their archive was not read")
        else:
            for kind, name in (named for untold in strange for named in untold.named):
                self._found.find("record", f"{name} has no audit entry ({kind})", name, todo=_CHANGED)
        self._tell_of_gaps()
        if self.log.forgotten:
            told = f"{self.log.forgotten} entries have a redacted partition: that of their records was taken"
            self._found.notices.append(told)

    def _tell_of_gaps(self) -> None:
        """Tell where records may have gone on without entries: where it goes on they are not proven."""
        for project in sorted({*self.log.stopped, *self._gone_on}):
            count, stopped = self._gone_on[project], self.log.stopped.get(project)
            if stopped is None and not self.is_silent(project):
                self._found.notices.append(f"{count} records of {project} went on while auditing was switched off, or changed")
                continue
            since = f"since entry {stopped.seq}" if stopped is not None else "and was never switched on"
            told = f"auditing is switched off ({project} {since}): {count} records, or what became of them, have no entry"
            if count and self._project in (None, project):
                self._found.lacks(told)
            else:
                self._found.notices.append(told)


def _texts(act: Act, told: Told) -> Iterable[tuple[str, Any, Any]]:
    """The texts of a row beside what the entry holds or discloses of them; what was redacted is not compared."""
    for name, text in act.texts.items():
        if name not in told.commit or name in told.disclosed:
            yield name, storable(text), told.data.get(name, told.disclosed.get(name, ""))
