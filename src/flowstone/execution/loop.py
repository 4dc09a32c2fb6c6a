"""Works on one run until every step has ended.

It decides ready steps, claims those that must be computed, has their bodies run in their lanes, and settles what comes back;
settlements and claims that are due at the same moment are one commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from queue import Empty
from typing import NamedTuple

from flowstone.execution import expiring
from flowstone.execution.crowd import Crowd
from flowstone.execution.due import Due
from flowstone.execution.lanes import Finished, Lane, Lanes
from flowstone.execution.lines import LineFlusher
from flowstone.execution.moves import Compute, Decision, Observe, Reuse, Skip
from flowstone.execution.outcome import Cancelled, Report
from flowstone.execution.schedule import Ending
from flowstone.execution.session import Session
from flowstone.execution.settlement import Claim, output_of
from flowstone.execution.stopping import Stop, StopRequest
from flowstone.foundation.clock import NANOSECONDS
from flowstone.ledger.failures import describe

BATCH = 100  # conclusions without user code that may share a commit
LONGEST_SLEEP = 3600.0
LOOK_AGAIN_NS = 250_000_000  # at a step that another process has claimed, or whose resource is taken
REAP_EVERY_NS = 2_000_000_000
LOOK_NS = 1_000_000_000  # at what people have decided


class _Begun(NamedTuple):
    """A claimed attempt, the lane it is in once its body has started, and when it was claimed (monotonic)."""

    claim: Claim
    lane: Lane | None
    at: int


class Loop:
    """The work on one run; at most *jobs* bodies run at once.

    When all that is left waits for people, it waits with them for *patience* seconds before the run is put aside.
    """

    def __init__(self, session: Session, lanes: Lanes, jobs: int, patience: float = 0.0) -> None:
        self._session, self._services, self._steps = session, session.services, session.steps
        self._lanes, self._jobs = lanes, jobs
        self._running: dict[int, _Begun] = {}
        self._crowd = Crowd()
        self._due = Due(session)
        self._interrupted = False
        self._reaped_at = 0
        self._patience = patience
        self._looked_at = 0

    def run(self) -> None:
        """Run until every step has ended; raises what stops it, after settling what was running."""
        stopping, run_id = self._services.stopping, self._session.run_id
        stopping.add_waker(run_id, lambda: self._lanes.done.put(None))
        with self._services.capture, LineFlusher(self._services.capture, self._services.database):
            try:
                self._work()
            except BaseException as error:
                self._abandon(error)
                raise
            finally:
                stopping.remove_waker(run_id)

    def _work(self) -> None:
        stopping, run_id = self._services.stopping, self._session.run_id
        while True:
            self._collect()
            stop = stopping.of(run_id)
            self._look()
            concluded, computes = self._decide() if stop is None and not self._interrupted else ([], [])
            idle = not (self._due or concluded or computes)
            self._start(self._commit(concluded, computes))
            if self._interrupted:
                raise stopping.request(run_id)
            if stop is not None:
                self._obey(stop)
            if idle and not self._rest(stop):
                return

    def _decide(self) -> tuple[list[Decision], list[Compute]]:
        """Decide ready steps, those that must be computed as far as there is room for them."""
        concluded: list[Decision] = []
        computes: list[Compute] = []
        session = self._session
        while len(concluded) < BATCH and len(self._running) + len(computes) < self._jobs:
            step = session.schedule.next(self._services.database.now())
            if step is None:
                break
            if not self._crowd.admits(session.pipeline[step.asset], step):
                continue
            decision = session.decide(step)
            if isinstance(decision, Compute):
                self._crowd.enter(decision.asset)
                computes.append(decision)
                if self._lanes.stays_here(decision.asset, decision.refused):
                    break  # the loop will be busy with it
                continue
            concluded.append(decision)
            match decision:
                case Skip(step, reason, message):
                    session.ended(step.place, Ending("skipped", reason=reason, message=message))
                case Reuse(step, current, because):
                    session.ended(step.place, Ending("reused", current.id, current.digest, message=because), current)
                case Observe():
                    break
        return concluded, computes

    def _commit(self, concluded: Sequence[Decision], computes: Sequence[Compute]) -> list[tuple[Claim, Compute]]:
        """Write everything that is due at this moment; return the claims that were won."""
        if not (self._due or concluded or computes):
            return []
        observed, waiting, claims = self._due.write(concluded, computes)
        for step, row in waiting:
            self._session.wait(step, row)
        for record in observed:
            self._session.ended((record.asset, record.partition), Ending("success", record.id, record.digest), record)
        won = []
        for claim, compute in claims:
            if claim is None:
                self._delay(compute)
                continue
            self._running[claim.attempt_row] = _Begun(claim, None, self._services.clock.monotonic_ns())
            self._steps.claimed(claim)
            won.append((claim, compute))
        return won

    def _start(self, claims: Sequence[tuple[Claim, Compute]]) -> None:
        """Have the claimed bodies run; those that run here come last, because nothing else happens meanwhile."""
        chosen = []
        for claim, compute in claims:
            work = self._session.work(claim, compute.refused)
            lane = self._lanes.of(claim.asset, work.refused)
            self._running[claim.attempt_row] = self._running[claim.attempt_row]._replace(lane=lane)
            chosen.append((claim, work, lane))
        if len(chosen) > 1:
            chosen.sort(key=lambda one: self._lanes.stays_here(one[0].asset, one[1].refused))
        for claim, work, lane in chosen:
            lane.start(claim, work, self._lanes.done)

    def _collect(self) -> None:
        """Take in what has been reported."""
        done = self._lanes.done
        while not done.empty():
            finished = done.get()
            if finished is not None:
                self._finish(finished)

    def _finish(self, finished: Finished) -> None:
        claim, report = finished
        if self._running.pop(claim.attempt_row, None) is None:
            return  # abandoned: it is settled already
        settled = self._steps.conclude(claim, report)
        self._due.add(settled)
        self._crowd.leave(claim.asset, self._session.schedule)
        self._session.apply(settled, output_of(settled, self._session.run_id))
        self._interrupted = self._interrupted or isinstance(report.outcome, Cancelled)

    def _look(self, *, now: bool = False) -> bool:
        """Take in, once a second, what people or time have decided; return whether anything has moved."""
        session, monotonic = self._session, self._services.clock.monotonic_ns()
        if not session.schedule.waiting or not (now or monotonic - self._looked_at >= LOOK_NS):
            return False
        self._looked_at = monotonic
        expiring.settle_due(self._services)
        return session.look()

    def _stay(self) -> bool:
        """Whether to go on although nothing can be done now: people have just decided, or may yet."""
        session, clock = self._session, self._services.clock
        if not session.schedule.waiting:
            return False
        if self._look(now=True):
            return True
        if self._patience <= 0:
            return False
        began = clock.monotonic_ns()
        self._services.stopping.wait(session.run_id, min(self._patience, LOOK_NS / NANOSECONDS))
        self._patience -= (clock.monotonic_ns() - began) / NANOSECONDS
        return True

    def _rest(self, stop: Stop | None) -> bool:
        """Wait for something to do; return whether there can be any."""
        services, session = self._services, self._session
        full = len(self._running) >= self._jobs
        wake = session.schedule.wake_at() if stop is None and not full else None
        seconds = LONGEST_SLEEP if wake is None else max(0.0, (wake - services.database.now()) / NANOSECONDS)
        if stop is not None and stop.deadline is not None:
            seconds = min(seconds, max(0.0, (stop.deadline - services.clock.monotonic_ns()) / NANOSECONDS))
        if session.schedule.waiting:
            seconds = min(seconds, LOOK_NS / NANOSECONDS)
        if self._running:
            try:
                finished = self._lanes.done.get(timeout=min(seconds, LONGEST_SLEEP))
            except Empty:
                return True
            if finished is not None:
                self._finish(finished)
            return True
        if wake is None:
            return stop is None and self._stay()
        services.stopping.wait(session.run_id, min(seconds, LONGEST_SLEEP))
        return True

    def _obey(self, stop: Stop) -> None:
        """Raise :class:`StopRequest` once nothing may go on; a run whose steps have all ended just ends."""
        if not self._running and self._session.schedule.has_ended():
            return
        late = stop.deadline is not None and self._services.clock.monotonic_ns() >= stop.deadline
        if stop.kind != "drain" or late or not self._running:
            raise StopRequest(stop.kind)

    def _delay(self, compute: Compute) -> None:
        """Look again later at a step that cannot be claimed now; somebody else's claim may have been left by a dead process."""
        services, session, now = self._services, self._session, self._services.database.now()
        self._crowd.leave(compute.asset, session.schedule)
        if not session.is_held_up(compute):
            session.schedule.ready(compute.step.place)
            return
        session.schedule.delay(compute.step.place, now + LOOK_AGAIN_NS)
        if now - self._reaped_at >= REAP_EVERY_NS:
            self._reaped_at = now
            services.reap()

    def _abandon(self, error: BaseException) -> None:
        """Settle what is still open, as far as the store allows; what it refuses is settled as lost by the next run."""
        self._collect()
        ended = Cancelled(describe(error, self._services.dispatcher.redactor, retryable=True))
        for claim, lane, began in list(self._running.values()):
            took = self._services.clock.monotonic_ns() - began
            if lane is not None:
                lane.end(claim)
            self._finish(Finished(claim, Report(ended, took)))
        self._due.abandon(error)
