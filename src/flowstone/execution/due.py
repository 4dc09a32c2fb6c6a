"""What is due to be written of a run: one commit for all of it, and each settlement alone when that fails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from flowstone.execution import lines
from flowstone.execution.moves import Ask, Compute, Decision, Observe, Reuse, Skip, Wait
from flowstone.execution.plan import Step
from flowstone.execution.session import Session
from flowstone.execution.settlement import Claim, Settlement
from flowstone.foundation.errors import FlowStoneError, RecordError
from flowstone.observability.logs.capture import Line
from flowstone.stores.database import Transaction
from flowstone.stores.records import OutputRecord

TRIES = 3


class Written(NamedTuple):
    """What a commit brought: observed versions, the rows of steps that wait for people (``None``: they need not), and for each
    step to compute its claim, ``None`` where that cannot be now.
    """

    observed: list[OutputRecord]
    waiting: list[tuple[Step, int | None]]
    claims: list[tuple[Claim | None, Compute]]


class Due:
    """The settlements of one run that are decided and not written yet, with the lines captured meanwhile."""

    def __init__(self, session: Session) -> None:
        self._session, self._services, self._steps = session, session.services, session.steps
        self._open: list[Settlement] = []
        self._lines: list[Line] = []

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, settled: Settlement) -> None:
        """Take in a settlement, and what was captured until now."""
        self._open.append(settled)
        self._lines += self._services.capture.take()

    def write(self, concluded: Sequence[Decision], computes: Sequence[Compute], tries: int = TRIES) -> Written:
        """T2 of the open settlements, the conclusions, and T1 of what begins, together; each T2 alone when that fails.

        Claims that fail for a while, as when two runs wait for each other's claims, are tried again. Raises
        :class:`RecordError` when a settlement cannot be written, or the run is not this process's any more.
        """
        try:
            with self._in_order(), self._services.database.transaction() as tx:
                for settled in self._open:
                    self._steps.settle(tx, settled)
                lines.add(tx, self._lines)
                if concluded or computes:
                    self._steps.guard(tx)
                observed, waiting = self._conclude(tx, concluded)
                claims = [(self._session.claim(tx, compute), compute) for compute in computes]
        except RecordError:
            raise
        except Exception as error:  # the store may refuse in many ways; what is finished must be settled all the same
            if not (self._open or (tries > 1 and getattr(error, "retryable", False))):
                raise
            for settled in list(self._open):
                self._settle_alone(settled, error)
            return self.write(concluded, computes, tries - 1)
        for settled in self._open:
            self._steps.settled(settled)
        self._open, self._lines = [], []
        return Written(observed, waiting, claims)

    def abandon(self, error: BaseException) -> None:
        """Settle what is still open, as far as the store allows; what it refuses is settled as lost by the next run."""
        tries = 1 if isinstance(error, RecordError) else TRIES
        for settled in list(self._open):
            try:
                self._settle_alone(settled, RecordError(), tries)
            except Exception as refused:  # noqa: BLE001 - the first error is the one to raise
                error.add_note(f"and the open step {settled.claim.step.asset!r} could not be settled: {refused}")

    def _in_order(self) -> AbstractContextManager[object]:
        """What keeps the lines of other transactions behind those that are written now."""
        return self._services.capture.writing if self._lines else nullcontext()

    def _conclude(
        self, tx: Transaction, concluded: Sequence[Decision]
    ) -> tuple[list[OutputRecord], list[tuple[Step, int | None]]]:
        observed: list[OutputRecord] = []
        waiting: list[tuple[Step, int | None]] = []
        for decision in concluded:
            match decision:
                case Skip(step, reason, message):
                    self._steps.skip(tx, step, reason, message)
                case Reuse(step, current, because):
                    self._steps.reuse(tx, step, current, because)
                case Observe(step, facts):
                    observed.append(self._steps.observe(tx, step, facts))
                case Ask():
                    waiting.append((decision.step, self._steps.ask(tx, decision)))
                case Wait():
                    waiting.append((decision.step, self._steps.wait(tx, decision)))
        return observed, waiting

    def _settle_alone(self, settled: Settlement, error: Exception, tries: int = TRIES) -> None:
        for attempt in range(tries):
            try:
                with self._in_order(), self._services.database.transaction() as tx:
                    self._steps.settle(tx, settled)
                    lines.add(tx, self._lines)
            except RecordError:
                raise
            except Exception as again:  # noqa: BLE001 - tried again, then raised as RecordError
                error = again
                if attempt < tries - 1:
                    self._services.clock.sleep(0.1 * 2**attempt)
                if self._lines and attempt == tries - 2:  # the record matters more than what was printed
                    self._lines = lines.drop(self._services.capture, self._lines, error)
            else:
                self._steps.settled(settled)
                self._open.remove(settled)
                self._lines = []
                return
        self._open.remove(settled)  # resuming the run ends it
        said, hint = (error.message, error.hint) if isinstance(error, FlowStoneError) else (str(error), None)
        raise RecordError(
            f"{settled.claim.step.asset!r} finished, but its record could not be written in {tries} tries: {said}",
            hint=hint or f"mend that, then: flowstone run --resume {self._session.run_id}",
            run_id=self._session.run_id,
        ) from error
