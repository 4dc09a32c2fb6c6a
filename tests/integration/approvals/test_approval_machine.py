"""Requests against a plain model: runs ask, people vote, time passes, runs are resumed and cancelled, in any order."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from flowstone import Approval, FlowStone, Pipeline, asset
from flowstone.app.approving import Approvals
from flowstone.execution.run import Actor
from flowstone.foundation.errors import AlreadyDecidedError, ApprovalError, MissingOutputError, UsageError
from flowstone.testing import MovableClock, isolated_settings

PROJECTS = itertools.count()
PHASES = (Phase.explicit, Phase.generate)  # shrinking takes minutes: each example is a project
HOURS, QUORUM, PEOPLE, MOST_RUNS = 10, 2, ("ann", "bob", "carol", "dan"), 8


@dataclasses.dataclass
class Run:
    """A run as the model sees it: the status of its one step, and whether it waits for exactly what it would make."""

    id: str
    forced: bool
    step: str = "waiting"
    same: bool = False

    @property
    def status(self) -> str:
        ends = {"success": "success", "reused": "success", "cancelled": "cancelled", "rejected": "failed", "expired": "failed"}
        return ends.get(self.step, "waiting")


@dataclasses.dataclass
class Asked:
    """The open request: the run that made the candidate (by its place in the list), the candidate, and who said yes."""

    run: int
    value: list[int]
    deadline: datetime
    votes: set[str] = dataclasses.field(default_factory=set)
    endings: int = 0


class Machine(RuleBasedStateMachine):
    """Every command answers as the model says, and the store never shows anything else."""

    url: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="fsm-")
        self.clock = MovableClock(datetime(2026, 11, 23, tzinfo=UTC))
        self.version, self.made = 1, 0
        self.runs: list[Run] = []
        self.asked: Asked | None = None
        self.current: list[int] | None = None

    @initialize()
    def begin(self) -> None:
        """A project with one gated asset, which has a version of the outside."""

        @asset(source=True, version=lambda: str(self.version), approval=Approval(quorum=QUORUM, timeout=timedelta(hours=HOURS)))
        def bom() -> list[int]:
            self.made += 1
            return [self.version, self.made]

        found = isolated_settings(
            Path(self.folder.name),
            project=f"approvals_{next(PROJECTS)}",
            database_url=self.url,
            approvals={"allow_asserted": True},
        )
        found = dataclasses.replace(found, audit=dataclasses.replace(found.audit, seal="tick"))
        self.flow = FlowStone(Pipeline("p", [bom]), settings=found, actor="ann", clock=self.clock, echo=lambda text: None)

    def teardown(self) -> None:
        try:
            if self.runs:
                self._look_at_the_clock()  # a deadline that has passed is a fault only until somebody looks
                assert [str(one) for one in self.flow.doctor() if one.level == "fail"] == []
        finally:
            self.flow.close()
            self.folder.cleanup()

    # -- the model ------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """What time has done by now."""
        if self.asked is not None and self.clock.now >= self.asked.deadline:
            self._end("expired", "expired", "expired")

    def _look_at_the_clock(self) -> None:
        self._settle()
        with FlowStone(settings=self.flow.settings, actor="cron", clock=self.clock) as clock:
            clock.tick()

    def _end(self, own: str, same: str, other: str) -> None:
        """The request has ended: its own step, those that wait for the same, and those that wait for another answer go on so."""
        assert self.asked is not None
        for number, run in enumerate(self.runs):
            if run.step == "waiting":
                run.step = own if number == self.asked.run else same if run.same else other
        self.asked = None

    def _decide(self, number: int) -> None:
        """A run that works decides its step."""
        run, asked = self.runs[number], self.asked
        if not run.forced and self.current is not None and self.current[0] == self.version:
            run.step = "reused"
            return
        if asked is not None:
            same = asked.value[0] == self.version
            if (same and not run.forced) or number < asked.run:
                run.step, run.same = "waiting", same
                return
            self._end("retrying", "retrying", "retrying")
        run.step, run.same = "waiting", False
        deadline = self.clock.now + timedelta(hours=HOURS)
        self.asked = Asked(number, [self.version, self.made + 1], deadline)

    # -- what people do -------------------------------------------------------------------------------------------------

    @rule(forced=st.booleans())
    @precondition(lambda self: len(self.runs) < MOST_RUNS)
    def run(self, forced: bool) -> None:
        """Ann requests a run."""
        self.clock.advance(1)
        self._settle()
        self.runs.append(Run("", forced))
        self._decide(len(self.runs) - 1)
        result = self.flow.run(force=forced)
        self.runs[-1].id = result.run_id
        assert result.status == self.runs[-1].status

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def resume(self, data: st.DataObject) -> None:
        """A run that waits is resumed; another one cannot be."""
        number = data.draw(st.integers(0, len(self.runs) - 1))
        run = self.runs[number]
        if run.status != "waiting":
            with pytest.raises(UsageError):
                self.flow.resume(run.id)
            return
        self._settle()
        if run.step == "retrying":
            self._decide(number)
        assert self.flow.resume(run.id).status == run.status

    @rule(data=st.data(), person=st.sampled_from(PEOPLE), yes=st.booleans())
    @precondition(lambda self: self.runs)
    def vote(self, data: st.DataObject, person: str, yes: bool) -> None:
        """Somebody votes on the newest request."""
        as_person = Approvals(self.flow._deployment, Actor(person, "asserted"))
        requests = self.flow.approvals.requests(status=None)
        if not requests:
            return
        newest = requests[0].id if self.asked is None else self.flow.approvals.requests()[0].id
        self._settle()
        refusal: type[Exception] | None = None
        if self.asked is None:
            refusal = AlreadyDecidedError
        elif person == "ann" or person in self.asked.votes:
            refusal = ApprovalError
        decide = as_person.approve if yes else as_person.reject
        if refusal is not None:
            with pytest.raises(refusal):
                decide(newest, "said")
            return
        assert self.asked is not None
        self.asked.votes.add(person)
        if not yes:
            self._end("rejected", "rejected", "rejected")
        elif len(self.asked.votes) == QUORUM:
            self.current = self.asked.value
            self._end("success", "reused", "retrying")
        assert decide(newest, "said").approval.status == ("pending" if self.asked else "approved" if yes else "rejected")

    @rule(data=st.data())
    @precondition(lambda self: self.runs)
    def cancel(self, data: st.DataObject) -> None:
        """A run is cancelled, with its request; those that wait for that decide again."""
        number = data.draw(st.integers(0, len(self.runs) - 1))
        run = self.runs[number]
        if run.status != "waiting":
            with pytest.raises(UsageError):
                self.flow.cancel(run.id)
            return
        self.flow.cancel(run.id)
        if self.asked is not None and self.asked.run == number and run.step == "waiting":
            self._end("cancelled", "retrying", "retrying")
        run.step = "cancelled"

    @rule(hours=st.integers(1, HOURS))
    def wait(self, hours: int) -> None:
        """Time passes; nothing runs."""
        self.clock.advance(hours * 3_600)

    @rule()
    @precondition(lambda self: self.runs)
    def tick(self) -> None:
        """Somebody looks at the clock, without code."""
        self._look_at_the_clock()

    @rule()
    def move(self) -> None:
        """The outside has another version."""
        self.version += 1

    @rule()
    @precondition(lambda self: self.current is not None)
    def invalidate(self) -> None:
        """The current value is withdrawn; the question stays open."""
        assert self.flow.invalidate("bom")
        self.current = None

    # -- what always holds ----------------------------------------------------------------------------------------------

    @invariant()
    def the_store_agrees(self) -> None:
        """Runs, steps, the open request and the value that is handed out are those of the model."""
        if not self.runs:
            return
        for run in self.runs:
            view: Any = self.flow.show(run.id)
            assert (view.run.status, [one.status for one in view.materializations]) == (run.status, [run.step])
        pending = [(one.run_id, len(self.flow.approvals.votes(one.id))) for one in self.flow.approvals.requests()]
        asked = self.asked
        assert pending == ([(self.runs[asked.run].id, len(asked.votes))] if asked is not None else [])
        try:
            value = self.flow.get("bom")
        except MissingOutputError:
            value = None
        assert value == self.current


@pytest.mark.parametrize("examples", [5, pytest.param(100, marks=pytest.mark.prove)])
def test_requests_equal_the_model(database_url, examples):
    """After each of 250 steps on each database (5,000 in ``make prove``), the store shows what the model says."""
    machine = type("Approvals", (Machine,), {"url": database_url})
    how = settings(
        max_examples=examples, stateful_step_count=50, phases=PHASES, suppress_health_check=list(HealthCheck), deadline=None
    )
    run_state_machine_as_test(machine, settings=how)
