"""Each run against its own events, one by one: what began has one ending, what is recorded has its evidence, and nothing else is.

The counts of :mod:`flowstone.stores.crosschecks` see that something is missing; this sees what, and also what makes up for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from flowstone.stores import events
from flowstone.stores.approval_accounts import ONE_DECISION, ONE_REQUEST, Requests, Said
from flowstone.stores.tables import attempt, error, event, materialization, run

ENDED = frozenset({"success", "partial", "failed", "cancelled"})
ONE_ENDING = "every attempt has its own start and its own ending"
ONE_MOVE = "every value that is moved arrives or fails"
ONE_ERROR = "every error is its attempt's, and told once"
ONE_CURE = "every cure was a success"
ONE_RUN = "every run has one start, and one ending when it has ended"
ONE_STEP = "every step that was reused, skipped or decided by people is told once"
SUBJECTS = (ONE_RUN, ONE_ENDING, ONE_STEP, ONE_REQUEST, ONE_DECISION, ONE_MOVE, ONE_ERROR, ONE_CURE)

_PREFIX = "flowstone."
_ENDING = {
    "success": ("stop", "success"), "skipped": ("stop", "skipped"), "waiting": ("stop", "waiting"),
    "lost": ("exception", "worker_lost"), "cancelled": ("exception", "cancelled"),
}  # fmt: skip
_FAILED = frozenset({"error", "timeout", "postponed"})
_IO = ("io.load.", "io.store.")

Key = tuple[str, str, int]
"""Asset, partition, number of the attempt."""


class _Payload(msgspec.Struct):
    asset: str = ""
    partition: str = ""
    attempt: int = 0
    outcome: str = ""
    kind: str = ""
    error: str = ""
    cured: int = 0
    subject: str = ""
    approval: str = ""
    by_timeout: bool = False


_payload = msgspec.json.Decoder(_Payload)


class Told(NamedTuple):
    """One event of a run: its name without ``flowstone.``, and what is compared of it."""

    name: str
    payload: _Payload

    @property
    def key(self) -> Key:
        """The attempt it belongs to."""
        return self.payload.asset, self.payload.partition, self.payload.attempt


@dataclass
class Examined:
    """How many runs were compared, how many had too many events for it, and what disagrees by subject."""

    runs: int = 0
    too_large: int = 0
    found: dict[str, list[str]] = field(default_factory=lambda: {subject: [] for subject in SUBJECTS})


def examine(connection: Connection, project: str, *, most_runs: int, most_events: int, errors_since: int) -> Examined:
    """Compare the newest runs with their events, as far as these are *most_events*; runs whose events were pruned are left out.

    Errors of runs that ended before *errors_since* may have been pruned.
    """
    examined, left = Examined(), most_events
    newest = select(run.c.id, run.c.status, run.c.ended_at).where(run.c.project == project)
    for id, status, ended_at in connection.execute(newest.order_by(run.c.requested_at.desc()).limit(most_runs)):
        size = events.count(connection, id)
        if size > left:
            examined.too_large += 1
            continue
        left -= size
        told = _told(connection, id)
        if not told or told[0].name != "run.start":  # a prune takes the first event first
            continue
        examined.runs += 1
        found = _Account(connection, id, told)
        for subject, what in found.disagreements(status, errors_kept=ended_at is None or ended_at >= errors_since):
            examined.found[subject].append(what)
    return examined


def _told(connection: Connection, run_id: str) -> list[Told]:
    query = select(event.c.name, event.c.payload).where(event.c.run_id == run_id).order_by(event.c.id)
    ours = ((name.removeprefix(_PREFIX), payload) for name, payload in connection.execute(query) if name.startswith(_PREFIX))
    return [Told(name, _parsed(payload)) for name, payload in ours if not name.startswith("error_group.")]


def _parsed(payload: str) -> _Payload:
    try:
        return _payload.decode(payload)
    except msgspec.MsgspecError:  # it was changed outside FlowStone, and agrees with nothing
        return _Payload()


class _Account:
    """One run, its rows and its events."""

    def __init__(self, connection: Connection, run_id: str, told: list[Told]) -> None:
        self._run_id, self._told = run_id, told
        own = materialization.c.run_id == run_id
        steps = select(materialization.c.id, materialization.c.asset, materialization.c.partition, materialization.c.status)
        self._steps = {id: (asset, partition, status) for id, asset, partition, status in connection.execute(steps.where(own))}
        tries = select(attempt.c.materialization, attempt.c.number, attempt.c.status, attempt.c.error)
        joined = tries.join(materialization, attempt.c.materialization == materialization.c.id).where(own)
        self._attempts: dict[Key, tuple[str, str]] = {
            (*self._steps[row][:2], number): (status, id) for row, number, status, id in connection.execute(joined)
        }
        place = (error.c.asset, error.c.partition, error.c.attempt)
        rows = connection.execute(select(error.c.id, *place, error.c.cured).where(error.c.run_id == run_id))
        self._errors: dict[str, tuple[Key, int]] = {id: ((a, k, number), cured) for id, a, k, number, cured in rows}
        self._requests = Requests(connection, run_id, (Said(t.name, t.payload.approval, t.payload.by_timeout) for t in told))

    def disagreements(self, status: str, *, errors_kept: bool) -> Iterator[tuple[str, str]]:
        """Each subject that does not agree, with where."""
        found = {
            ONE_RUN: self._run(status), ONE_ENDING: self._endings(), ONE_STEP: chain(self._concluded(), self._decided()),
            ONE_MOVE: self._moves(),
            ONE_REQUEST: self._requests.untold(), ONE_DECISION: self._requests.unvoted(),
        }  # fmt: skip
        if errors_kept or self._errors:
            found |= {ONE_ERROR: self._of_errors(), ONE_CURE: self._cures()}
        for subject, places in found.items():
            yield from ((subject, place) for place in places)

    def _at(self, key: tuple[object, ...]) -> str:
        return f"{self._run_id} {key[0]}".strip()

    def _run(self, status: str) -> Iterator[str]:
        names = Counter(told.name for told in self._told)
        outcomes = [told.payload.outcome for told in self._told if told.name == "run.stop"]
        if names["run.start"] != 1 or outcomes != ([status] if status in ENDED else []):
            yield self._run_id

    def _endings(self) -> Iterator[str]:
        starts = Counter(told.key for told in self._told if told.name == "materialization.start")
        endings: dict[Key, list[tuple[str, str]]] = defaultdict(list)
        for name, payload in self._told:
            if name in ("materialization.stop", "materialization.exception"):
                key = (payload.asset, payload.partition, payload.attempt)
                endings[key].append((name.rpartition(".")[2], payload.outcome or payload.kind))
        for key in {**self._attempts, **starts, **endings}:
            status = self._attempts.get(key, ("", ""))[0]
            if starts[key] != 1 or not _is_ending(status, endings.get(key, [])):
                yield f"{self._at(key)} attempt {key[2]}"

    def _concluded(self) -> Iterator[str]:
        for status in ("reused", "skipped"):
            rows = {step[:2] for step in self._steps.values() if step[2] == status}
            told = Counter(told.key[:2] for told in self._told if told.name == f"materialization.{status}")
            yield from (self._at(place) for place in {*rows, *told} if told[place] != (place in rows))

    def _decided(self) -> Iterator[str]:
        last: dict[tuple[str, str], tuple[int, str]] = {}
        for (asset, partition, number), (status, _) in self._attempts.items():
            last[asset, partition] = max(last.get((asset, partition), (0, "")), (number, status))
        waited = {place for place, (_, status) in last.items() if status == "waiting"}
        decided = Counter((t.key[:2], t.payload.outcome) for t in self._told if t.name == "materialization.decided")
        ended = {
            (step[:2], step[2])
            for step in self._steps.values()
            if step[2] in ("rejected", "expired") or (step[2] == "success" and step[:2] in waited)
        }
        yield from (self._at(one[0]) for one in {*ended, *decided} if decided[one] != (one in ended))

    def _moves(self) -> Iterator[str]:
        begun: Counter[tuple[object, ...]] = Counter()
        for told in self._told:
            if told.name.startswith(_IO):
                kind, _, part = told.name.rpartition(".")
                begun[(*told.key, kind, told.payload.subject)] += 1 if part == "start" else -1
        yield from (self._at(key) for key, left in begun.items() if left)

    def _of_errors(self) -> Iterator[str]:
        told = Counter((t.payload.error, t.key) for t in self._told if t.name == "error")
        ended = Counter((t.payload.error, t.key) for t in self._told if t.name == "materialization.exception" and t.payload.error)
        rows = {(id, key) for id, (key, _) in self._errors.items()}
        named = {(id, key) for key, (_, id) in self._attempts.items() if id}
        for one in {*rows, *told, *ended, *named}:
            of_attempt = one[1][2] > 0  # else it stopped the run
            if not (one in rows and told[one] == 1 and (one in named) == of_attempt and ended[one] == of_attempt):
                yield f"{one[0]} of {self._at(one[1])}"

    def _cures(self) -> Iterator[str]:
        cured = Counter((*key[:2], number) for key, number in self._errors.values() if number)
        # events that were recorded before schema 0003 do not say it
        told = {t.key: t.payload.cured for t in self._told if t.name == "materialization.stop" and t.payload.cured}
        for key in {*cured, *told}:
            if cured[key] != told.get(key, cured[key]) or self._attempts.get(key, ("", ""))[0] not in ("success", "waiting"):
                yield f"{self._at(key)} attempt {key[2]}"


def _is_ending(status: str, endings: list[tuple[str, str]]) -> bool:
    """Whether the endings are those of an attempt with this status; no status: there is no such attempt."""
    if status == "running":
        return not endings
    if status == "failed":
        return len(endings) == 1 and endings[0][0] == "exception" and endings[0][1] in _FAILED
    return endings == [_ENDING[status]] if status in _ENDING else False


def last_prune(connection: Connection, project: str) -> int:
    """When something was pruned for the last time, 0 for never: what is older may be gone for good reasons."""
    own = (event.c.run_id.is_(None), event.c.name == "flowstone.db.pruned", event.c.project == project)
    return int(connection.execute(select(event.c.at).where(*own).order_by(event.c.id.desc()).limit(1)).scalar() or 0)
