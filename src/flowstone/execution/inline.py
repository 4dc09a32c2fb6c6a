"""The inline executor: one step after another, here; the settlement of one step and the claim of the next are one commit."""

from __future__ import annotations

from collections.abc import Sequence

from flowstone.execution.body import Body
from flowstone.execution.lines import LineFlusher
from flowstone.execution.outcome import Cancelled, Report
from flowstone.execution.schedule import Ending
from flowstone.execution.session import Compute, Decision, Observe, Reuse, Session, Skip
from flowstone.execution.settlement import Claim, Settlement, output_of
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import FlowStoneError, RecordError
from flowstone.ledger.failures import describe
from flowstone.observability.capture import Line
from flowstone.stores.database import Transaction
from flowstone.stores.records import OutputRecord

BATCH = 100  # conclusions without user code that may share a commit
RECORD_TRIES = 3
LONGEST_SLEEP = 3600.0


class Inline:
    """Runs the steps of one session in plan order as they become ready."""

    def __init__(self, session: Session) -> None:
        self._session, self._services = session, session.services
        self._body = Body(self._services.dispatcher, self._services.io, self._services.capture)
        self._claim: Claim | None = None
        self._open: Settlement | None = None
        self._lines: list[Line] = []

    def run(self) -> None:
        """Run until every step has ended; raises ``KeyboardInterrupt`` after settling what was running."""
        with self._services.capture, LineFlusher(self._services.capture, self._services.database):
            try:
                self._loop()
            except BaseException as error:
                self._abandon(error)
                raise

    def _loop(self) -> None:
        session, clock = self._session, self._services.clock
        while True:
            concluded, compute = self._next()
            had_work = self._open is not None or bool(concluded)
            claim = self._commit(concluded, compute)
            if claim is not None and compute is not None:
                self._work(claim, compute)
                continue
            if compute is not None:
                message = "another process has this step"
                session.ended(compute.step.place, Ending("failed", reason="lost_claim", message=message))
                continue
            wake = session.schedule.wake_at()
            if wake is not None:
                clock.sleep(min(max(0.0, (wake - self._services.database.now()) / NANOSECONDS), LONGEST_SLEEP))
            elif not had_work:
                return

    def _work(self, claim: Claim, compute: Compute) -> None:
        self._claim = claim
        report = self._body.run(self._session.work(claim, compute.refused))
        self._finish(claim, report)
        if isinstance(report.outcome, Cancelled):
            self._commit([], None)
            raise KeyboardInterrupt

    def _finish(self, claim: Claim, report: Report) -> None:
        settled = self._session.steps.conclude(claim, report)
        self._open, self._claim = settled, None
        self._lines += self._services.capture.take()
        self._session.apply(settled, output_of(settled, self._session.run_id))

    def _next(self) -> tuple[list[Decision], Compute | None]:
        """Decide ready steps until one must be computed; those decided before it need no user code."""
        concluded: list[Decision] = []
        session = self._session
        while len(concluded) < BATCH and (step := session.schedule.next(self._services.database.now())) is not None:
            decision = session.decide(step)
            if isinstance(decision, Compute):
                return concluded, decision
            concluded.append(decision)
            match decision:
                case Skip(step, reason, message):
                    session.ended(step.place, Ending("skipped", reason=reason, message=message))
                case Reuse(step, current, because):
                    session.ended(step.place, Ending("reused", current.id, current.digest, message=because), current)
                case Observe():
                    return concluded, None
        return concluded, None

    def _commit(self, concluded: Sequence[Decision], compute: Compute | None) -> Claim | None:
        """T2 of the open step, the conclusions, and T1 of the next, together; T2 alone when that fails."""
        settled, steps = self._open, self._session.steps
        if settled is None and not concluded and compute is None:
            return None
        try:
            with self._services.database.transaction() as tx:
                if settled is not None:
                    steps.settle(tx, settled, self._lines)
                observed = self._conclude(tx, concluded)
                claim = (
                    steps.claim(tx, compute.step, compute.asset, compute.facts, compute.inputs, compute.because)
                    if compute
                    else None
                )
        except RecordError:
            raise
        except Exception as error:  # the store may refuse in many ways; what is finished must be settled all the same
            if settled is None:
                raise
            self._settle_alone(settled, error)
            return self._commit(concluded, compute)
        self._settled(settled)
        for record in observed:
            self._session.ended((record.asset, record.partition), Ending("success", record.id, record.digest), record)
        if claim is not None:
            steps.claimed(claim)
        return claim

    def _conclude(self, tx: Transaction, concluded: Sequence[Decision]) -> list[OutputRecord]:
        observed: list[OutputRecord] = []
        for decision in concluded:
            match decision:
                case Skip(step, reason, message):
                    self._session.steps.skip(tx, step, reason, message)
                case Reuse(step, current, because):
                    self._session.steps.reuse(tx, step, current, because)
                case Observe(step, facts):
                    observed.append(self._session.steps.observe(tx, step, facts))
        return observed

    def _settle_alone(self, settled: Settlement, error: Exception) -> None:
        for attempt in range(RECORD_TRIES):
            try:
                with self._services.database.transaction() as tx:
                    self._session.steps.settle(tx, settled, self._lines)
            except RecordError:
                raise
            except Exception as again:  # noqa: BLE001 - tried again, then raised as RecordError
                error = again
                if attempt < RECORD_TRIES - 1:
                    self._services.clock.sleep(0.1 * 2**attempt)
            else:
                self._settled(settled)
                return
        hint = error.hint if isinstance(error, FlowStoneError) else None
        raise RecordError(
            f"{settled.claim.step.asset!r} finished, but its record could not be written in {RECORD_TRIES} tries: {error}",
            hint=hint or f"mend that, then: flowstone run --resume {self._session.run_id}",
            run_id=self._session.run_id,
        ) from error

    def _settled(self, settled: Settlement | None) -> None:
        if settled is not None:
            self._session.steps.settled(settled)
            self._open, self._lines = None, []

    def _abandon(self, error: BaseException) -> None:
        """Settle what is still open, as far as the store allows; what it refuses is settled as lost by the next run."""
        if self._claim is not None:
            self._finish(self._claim, Report(Cancelled(describe(error, retryable=True)), 0))
        settled, self._open = self._open, None
        if settled is not None and not isinstance(error, RecordError):
            try:
                self._settle_alone(settled, RecordError())
            except Exception as refused:  # noqa: BLE001 - the first error is the one to raise
                error.add_note(f"and the open step could not be settled: {refused}")
