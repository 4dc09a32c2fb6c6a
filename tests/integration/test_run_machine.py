"""Runs and attempts against a model: processes claim, settle, die, come back as zombies, resume and cancel in any order."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from flowstone import Pipeline, Retry, asset
from flowstone.app.verifying import Asked, outside, verify
from flowstone.app.wiring import Deployment
from flowstone.events.trace import Trace
from flowstone.execution import cancel, lost
from flowstone.execution import plan as plans
from flowstone.execution.outcome import Cancelled, Failed, Report, Skipped, Stored
from flowstone.execution.run import Actor, Runs
from flowstone.execution.schedule import Ending
from flowstone.execution.session import Compute, Observe, Reuse, Session, Skip
from flowstone.execution.settlement import LOST_LIMIT, Claim, output_of
from flowstone.foundation.errors import RecordError, UsageError
from flowstone.foundation.redaction import Redactor
from flowstone.io_managers import Output
from flowstone.ledger.failures import describe
from flowstone.observability.metrics.defaults import MATERIALIZATIONS
from flowstone.stores import events, materializations, outputs, processes, runs
from flowstone.testing import isolated_settings

TRIES = 2
PROJECTS = itertools.count()
PHASES = (Phase.explicit, Phase.generate)  # shrinking takes minutes: each example is several processes


@asset(retries=Retry(attempts=TRIES, delay=0))
def root() -> int:
    return 1


@asset(retries=Retry(attempts=TRIES, delay=0))
def left(root: int) -> int:
    return root


@asset
def right(root: int) -> int:
    return root


PIPELINE = Pipeline("machine", [root, left, right])
PLACES = [(asset.name, "") for asset in PIPELINE.assets]
ENDED = "SELECT asset, status FROM materialization WHERE project = :p AND status NOT IN ('running', 'retrying')"


@dataclass
class Running:
    """An attempt somebody believes to be working on."""

    process: int
    run_id: str
    session: Session
    claim: Claim
    ended: bool = False


@dataclass
class Held:
    """A run as the model sees it."""

    holder: int | None
    status: str = "running"
    sessions: dict[int, Session] = field(default_factory=dict)
    losses: dict[tuple[str, str], int] = field(default_factory=dict)


class Machine(RuleBasedStateMachine):
    """Every command answers as the model says, and the store never shows a state the model does not know."""

    url: str | None = None
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.project = f"machine_{next(PROJECTS)}"
        self.folder = tempfile.TemporaryDirectory(prefix="fsm-")
        self.deployments: dict[int, Deployment] = {}
        self.alive: set[int] = set()
        self.runs: dict[str, Held] = {}
        self.running: dict[int, Running] = {}  # by attempt row: what the store must say is running
        self.published = 0
        self.numbers = itertools.count()

    # -- processes ----------------------------------------------------------------------------------------------------------

    @initialize()
    def first(self) -> None:
        self.begin()

    @rule()
    @precondition(lambda self: len(self.alive) < 3 and len(self.deployments) < 8)
    def begin(self) -> None:
        """A process starts."""
        found = isolated_settings(Path(self.folder.name), project=self.project, database_url=self.url)
        number = next(self.numbers)
        self.deployments[number] = Deployment(found, PIPELINE)
        self.deployments[number].services()
        self.alive.add(number)
        self._reaped()

    @rule(data=st.data())
    @precondition(lambda self: len(self.alive) > 1)
    def die(self, data: st.DataObject) -> None:
        """A process lets go of its lock, as a killed or a stopped one does for others; it may go on as a zombie."""
        number = data.draw(st.sampled_from(sorted(self.alive)))
        self.deployments[number].locks.release()
        self.alive.discard(number)

    @rule(data=st.data())
    @precondition(lambda self: self.alive)
    def reap(self, data: st.DataObject) -> None:
        """A living process looks for dead ones."""
        self.deployments[data.draw(st.sampled_from(sorted(self.alive)))].services()
        self._reaped()

    def _reaped(self) -> None:
        for running in list(self.running.values()):
            if running.process not in self.alive:
                self._lose(running)
        for run in self.runs.values():
            if run.status == "running" and run.holder not in self.alive:
                run.status, run.holder = "waiting", None

    def _lose(self, running: Running) -> None:
        place = running.claim.step.place
        losses = self.runs[running.run_id].losses
        losses[place] = losses.get(place, 0) + 1
        del self.running[running.claim.attempt_row]

    # -- runs ---------------------------------------------------------------------------------------------------------------

    def _runs(self, number: int) -> Runs:
        return Runs(self.deployments[number]._services, PIPELINE, Actor("test", "os"), {})

    @rule(data=st.data())
    @precondition(lambda self: self.alive and len(self.runs) < 5)
    def request(self, data: st.DataObject) -> None:
        """A living process requests a run of everything."""
        number = data.draw(st.sampled_from(sorted(self.alive)))
        services = self.deployments[number]._services
        steps = tuple(_steps())
        plan = plans.Plan(steps, tuple(step.place for step in steps))
        run_id = services.ids.new("run")
        now = services.database.now()
        with services.database.transaction() as tx:
            processes.stand(tx, services.process, now)
            self._runs(number)._request(tx, run_id, "t" * 32, plan, {"force": True}, now)
        session = Session(services, PIPELINE, run_id, Trace("t" * 32, ""), plan, force=frozenset(plan.targets))
        session.prepare()
        self.runs[run_id] = Held(number, sessions={number: session})

    @rule(data=st.data())
    @precondition(lambda self: self.alive and self.runs)
    def resume(self, data: st.DataObject) -> None:
        """A waiting run is resumed by the first who tries; others are told."""
        number = data.draw(st.sampled_from(sorted(self.alive)))
        run_id = data.draw(st.sampled_from(list(self.runs)))
        held, services = self.runs[run_id], self.deployments[number]._services
        with services.database.reading() as connection:
            record = runs.find(connection, self.project, run_id)
            plan = plans.decode(plans.encode(plans.Plan(tuple(_steps()), tuple(PLACES))))
        with services.database.transaction() as tx:
            processes.stand(tx, services.process, services.database.now())
            won = runs.move(tx, run_id, "waiting", "running", process=services.process)
        assert won == (held.status == "waiting")
        if won:
            lost.settle_orphans(services, record)
            session = self._runs(number)._again(record, plan)
            session.prepare()
            held.status, held.holder = "running", number
            held.sessions[number] = session

    @rule(data=st.data())
    @precondition(lambda self: self.alive and self.runs)
    def cancel_waiting(self, data: st.DataObject) -> None:
        """A waiting run can be cancelled once; an ended one cannot."""
        number = data.draw(st.sampled_from(sorted(self.alive)))
        run_id = data.draw(st.sampled_from(list(self.runs)))
        held, services = self.runs[run_id], self.deployments[number]._services
        if held.status == "running":
            return
        with services.database.reading() as connection:
            record = runs.find(connection, self.project, run_id)
        if held.status == "waiting":
            cancel.request(services, record, cancel.Asked("test", "os"))
            held.status = "cancelled"
            return
        with pytest.raises(UsageError, match="nothing to cancel"):
            cancel.request(services, record, cancel.Asked("test", "os"))

    # -- steps --------------------------------------------------------------------------------------------------------------

    @rule(target=attempts, data=st.data())
    @precondition(lambda self: any(run.sessions for run in self.runs.values()))
    def work(self, data: st.DataObject) -> Any:
        """Whoever has a session takes its next step; a claim is won exactly when the run is held and the place is free."""
        run_id = data.draw(st.sampled_from([run_id for run_id, run in self.runs.items() if run.sessions]))
        held = self.runs[run_id]
        number = data.draw(st.sampled_from(sorted(held.sessions)))
        session, services = held.sessions[number], self.deployments[number]._services
        step = session.schedule.next(services.database.now())
        if step is None:
            return None
        mine = held.status == "running" and held.holder == number
        decision = session.decide(step)
        match decision:
            case Compute():
                free = not any(r.claim.step.place == step.place for r in self.running.values())
                try:
                    with services.database.transaction() as tx:
                        session.steps.guard(tx)
                        claim = session.claim(tx, decision)
                except RecordError:
                    assert not mine
                    del held.sessions[number]
                    return None
                assert mine
                assert (claim is not None) == free
                if claim is None:
                    session.schedule.ready(step.place)
                    return None
                session.steps.claimed(claim)
                self.running[claim.attempt_row] = Running(number, run_id, session, claim)
                return self.running[claim.attempt_row]
            case Skip(_, reason, message):
                if not mine:
                    return None
                with services.database.transaction() as tx:
                    session.steps.guard(tx)
                    session.steps.skip(tx, step, reason, message)
                session.ended(step.place, Ending("skipped", reason=reason, message=message))
            case Reuse() | Observe():
                raise AssertionError("every step is forced")
        return None

    @rule(running=attempts, how=st.sampled_from(["stored", "failed", "skipped", "cancelled"]))
    def settle(self, running: Running | None, how: str) -> None:
        """An attempt is settled once, by its own process, while nobody has taken it for dead."""
        if running is None or running.ended:
            return
        running.ended = True
        services, session, claim = self.deployments[running.process]._services, running.session, running.claim
        settled = session.steps.conclude(claim, Report(_outcome(how, claim), 1))
        try:
            with services.database.transaction() as tx:
                session.steps.settle(tx, settled)
            won = True
        except RecordError:
            won = False
        assert won == (claim.attempt_row in self.running), how
        if won:
            del self.running[claim.attempt_row]
            session.steps.settled(settled)
            session.apply(settled, output_of(settled, running.run_id))
            self.published += how == "stored"

    # -- what always holds --------------------------------------------------------------------------------------------------

    @invariant()
    def the_store_agrees(self) -> None:
        """Running attempts, run states, outputs, starts and endings are those of the model."""
        if not self.alive:
            return
        services = self.deployments[min(self.alive)]._services
        with services.database.reading() as connection:
            running = {a.id for a in materializations.running_attempts(connection) if a.run_id in self.runs}
            assert running == set(self.running)
            for run_id, held in self.runs.items():
                record = runs.find(connection, self.project, run_id)
                assert record.status == held.status
                statuses = [row.status for row in materializations.of_run(connection, run_id)]
                assert len(statuses) <= len(PLACES)
                for attempt in materializations.attempts_of_run(connection, run_id):
                    assert (attempt.status == "running") == (attempt.ended_at is None)
            made = sum(len(outputs.of_run(connection, self.project, run_id)) for run_id in self.runs)
            assert made == self.published
        for run_id, held in self.runs.items():
            for place, losses in held.losses.items():
                assert losses <= LOST_LIMIT, (run_id, place)

    def teardown(self) -> None:
        """Every attempt has one start and at most one ending in the event log, and so has what ended of materializations."""
        if self.alive:
            services = self.deployments[min(self.alive)]._services
            with services.database.reading() as connection:
                counts: dict[tuple[str, str, int], list[str]] = {}
                stored = Counter(map(tuple, connection.execute(text(ENDED), {"p": self.project})))
                told: Counter[tuple[str, ...]] = Counter()
                for found in events.read(connection, self.project, names=("flowstone.materialization.*",), limit=10_000):
                    told.update(labels[:2] for labels, _ in MATERIALIZATIONS.measure_payload(found.name, found.payload))
                    if found.payload.get("attempt"):
                        key = (str(found.run_id), found.payload["asset"], found.payload["attempt"])
                        counts.setdefault(key, []).append(found.name.rpartition(".")[2])
            assert told == stored
            for names in counts.values():
                assert names.count("start") == 1
                assert names.count("stop") + names.count("exception") <= 1
            self.check_audit(self.deployments[min(self.alive)])
        for deployment in self.deployments.values():
            deployment.close()
        self.folder.cleanup()

    @staticmethod
    def check_audit(deployment: Deployment) -> None:
        """The audit log agrees with every record, in every project of the database."""
        deployment.sealing.seal_now()
        kept = outside(deployment)
        with deployment.reading().reading() as connection:
            report = verify(deployment, connection, kept, Asked(hashed=False))
        assert (report.checked.verdict, report.checked.findings, report.checked.incomplete) == ("INTACT", [], [])


def _steps() -> list[plans.Step]:
    def needs(name: str) -> tuple[plans.Input, ...]:
        return (plans.Input("root", "root", "", optional=False, planned=True),) if name != "root" else ()

    return [plans.Step(name, "", needs(name)) for name, _ in PLACES]


def _outcome(how: str, claim: Claim) -> Any:
    match how:
        case "stored":
            return Stored(Output(f"at/{claim.output_id}", "json", "0" * 64, 1, "files"))
        case "skipped":
            return Skipped("not today")
        case "cancelled":
            return Cancelled(describe(KeyboardInterrupt(), Redactor(), retryable=True))
    return Failed(describe(ValueError("no"), Redactor(), retryable=True), retry=True)


def test_runs_and_attempts_keep_to_the_model(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims, settlements, deaths, zombies, resumptions and cancellations in any order are answered as the model says."""
    monkeypatch.setattr(Machine, "url", database_url if database_url.startswith("postgres") else None)
    count = 25 if settings.default.derandomize else 100
    checks = list(HealthCheck)
    few = settings(settings.default, phases=PHASES, max_examples=count, stateful_step_count=30, suppress_health_check=checks)
    run_state_machine_as_test(Machine, settings=few)
