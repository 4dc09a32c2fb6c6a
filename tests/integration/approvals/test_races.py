"""Sixteen threads that meet at one request, each with a FlowStone of its own: one decision, one entry, and everybody is answered.

``make test`` has a few trials of each race, ``make prove`` (marker ``prove``) a thousand, half of them on each database.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from flowstone import Approval, FlowStone, Pipeline, asset
from flowstone.foundation.errors import AlreadyDecidedError, ApprovalError, UsageError
from flowstone.testing import MovableClock, isolated_settings

THREADS = 16
SIDES = 4  # threads share this many FlowStones: processes have threads of their own, too
ENDINGS = ("approved", "rejected", "expired", "cancelled", "invalidated")
HOUR = timedelta(hours=1)


class Arena:
    """A store where one request after the other is fought about."""

    def __init__(self, home, url):
        settings = isolated_settings(home, database_url=url, approvals={"allow_asserted": True})
        self.settings = dataclasses.replace(settings, audit=dataclasses.replace(settings.audit, seal="tick"))
        self.clock, self.value, self.quorum = MovableClock(datetime(2026, 11, 23, tzinfo=UTC)), 0, 1
        self.flows = [self._flow("ann", self.pipeline(1)), *[self._flow(f"p{number}") for number in range(SIDES)]]

    def _flow(self, actor, pipeline=None):
        return FlowStone(pipeline, settings=self.settings, actor=actor, clock=self.clock, echo=lambda text: None)

    def pipeline(self, quorum):
        @asset(approval=Approval("Publish?", timeout=HOUR, quorum=quorum), code_version="1", source=True)
        def bom() -> int:
            self.value += 1
            return self.value

        @asset(code_version="1")
        def note(bom: int) -> int:
            return bom

        return Pipeline(f"quorum_{quorum}", [bom, note])

    def ask(self, quorum=1):
        """A new run that waits: its id and that of its request."""
        if quorum != self.quorum:
            self.flows[0].close()
            self.flows[0] = self._flow("ann", self.pipeline(quorum))
            self.quorum = quorum
        self.clock.advance(1)
        result = self.flows[0].run(force=True)
        (asked,) = self.flows[0].approvals.requests(run=result.run_id)
        return result.run_id, asked.id

    def close(self):
        for flow in self.flows:
            flow.close()


def at_once(moves):
    """Make all *moves* at the same moment, each in a thread; return what each of them returned or raised."""
    barrier, answers = threading.Barrier(len(moves)), [None] * len(moves)

    def make(number):
        barrier.wait()
        try:
            answers[number] = moves[number]()
        except Exception as error:  # noqa: BLE001 - what is raised is the answer
            answers[number] = error

    threads = [threading.Thread(target=make, args=(number,)) for number in range(len(moves))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def voting(arena, id, verdict, number, name=None):
    """A move: one person of their own says yes or no."""
    flow = arena.flows[1 + number % SIDES]
    person = name or f"person{number}"

    def move():
        from_person = type(flow.approvals)(flow._deployment, type(flow._actor)(person, "asserted"))
        return getattr(from_person, verdict)(id, f"says {person}")

    return move


def race(arena, kind):
    """One trial: hold that there was one decision, and that every answer is one a loser may get."""
    run_id, id = arena.ask(2 if kind == "vote/vote" else 1)
    owner = arena.flows[0]
    moves = {
        "approve/approve": lambda: [voting(arena, id, "approve", n) for n in range(THREADS)],
        "approve/reject": lambda: [voting(arena, id, ("approve", "reject")[n % 2], n) for n in range(THREADS)],
        "approve/expire": lambda: [
            voting(arena, id, "approve", n) if n % 2 else arena.flows[1 + n % SIDES].tick for n in range(THREADS)
        ],
        "cancel/approve": lambda: [
            voting(arena, id, "approve", n) if n % 2 else lambda: owner.cancel(run_id) for n in range(THREADS)
        ],
        "vote/vote": lambda: [voting(arena, id, "approve", n, f"person{n // 2}") for n in range(THREADS)],
    }[kind]()
    if kind == "approve/expire":  # the deadline passes while they are at it
        arena.clock.advance(HOUR - timedelta(microseconds=1))
        moves[0] = lambda: arena.clock.advance(1)
    answers = at_once(moves)
    for answer in answers:
        if isinstance(answer, Exception):
            assert isinstance(answer, ApprovalError | UsageError), repr(answer)
    hold(arena, run_id, id, [one for one in answers if not isinstance(one, Exception)])


def hold(arena, run_id, id, won):
    """One decision, one entry, one event; the value is there exactly when it was approved, and the run goes on once."""
    owner = arena.flows[0]
    if owner.approvals.find(id).status == "pending":  # everybody was before the deadline but nobody agreed
        owner.tick()
    asked = owner.approvals.find(id)
    with owner._deployment.reading().reading() as connection:
        query = f"SELECT action FROM audit_entry WHERE subject = 'approval:{id}'"
        actions = Counter(row[0] for row in connection.exec_driver_sql(query))
    ended = {f"approval.{status}": actions[f"approval.{status}"] for status in ENDINGS if actions[f"approval.{status}"]}
    assert ended == {f"approval.{asked.status}": 1}
    names = {"expired": "timeout"}
    events = [f"flowstone.checkpoint.{names.get(status, status)}" for status in ENDINGS]
    told = [event.name for event in owner.events(run_id=run_id, names=events)]
    assert told == [f"flowstone.checkpoint.{names.get(asked.status, asked.status)}"]
    deciding = [one for one in won if getattr(one, "runs", ())]
    assert len(deciding) <= 1
    votes = owner.approvals.votes(id)
    assert len({vote.voter for vote in votes}) == len(votes)
    current = owner.outputs("bom")
    published = [version.output.id for version in current if version.current]
    assert (asked.output in published) == (asked.status == "approved")
    cancelled = any(getattr(one, "status", "") == "cancelled" for one in won)
    assert cancelled or asked.status != "cancelled"
    if asked.status == "approved":
        assert sum(vote.verdict == "approve" for vote in votes) == asked.policy["quorum"]
        if not cancelled:  # the run may have been cancelled after its value was approved
            results = at_once([lambda: owner.resume(run_id)] * 3)
            assert sorted(type(one).__name__ for one in results) == ["RunResult", "UsageError", "UsageError"]
            assert owner.get("note") == owner.get("bom")
    ends = {"approved": "cancelled" if cancelled else "success", "cancelled": "cancelled"}
    assert owner.show(run_id).run.status == ends.get(asked.status, "failed")


@pytest.fixture
def arena(tmp_path, database_url):
    """An arena on each database."""
    made = Arena(tmp_path / "home", database_url)
    yield made
    made.close()


RACES = ["approve/approve", "approve/reject", "approve/expire", "cancel/approve", "vote/vote"]


@pytest.mark.parametrize("kind", RACES)
@pytest.mark.parametrize("trials", [20, pytest.param(500, marks=pytest.mark.prove)])
def test_one_decision_whoever_races(arena, kind, trials):
    """Whatever sixteen threads try at the same moment, one of them decides, and what follows from it happens once."""
    for number in range(trials):
        try:
            race(arena, kind)
        except AssertionError as error:
            error.add_note(f"trial {number} of {kind}")
            raise
    failures = [str(finding) for finding in arena.flows[0].doctor() if finding.level == "fail"]
    assert failures == []


def test_a_race_is_answered_by_name(arena):
    """Of two who decide, the second is told who was first."""
    _, id = arena.ask()
    voting(arena, id, "reject", 1)()
    with pytest.raises(AlreadyDecidedError, match="person1 rejected it"):
        voting(arena, id, "approve", 2)()
