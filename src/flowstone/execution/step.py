"""The half of a step that holds the store: claim (T1) and settle (T2). Outcomes are matched here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from flowstone.assets.asset import AnyAsset
from flowstone.audit import acts
from flowstone.audit.recorder import ONLY
from flowstone.events.catalogue import (
    AssetObserved,
    MaterializationException,
    MaterializationReused,
    MaterializationSkipped,
    MaterializationStart,
    MaterializationStop,
)
from flowstone.execution import asking, weakened
from flowstone.execution.asking import Asking, Requester
from flowstone.execution.concluding import concluded
from flowstone.execution.decision import Facts, Made
from flowstone.execution.gate import gate_of
from flowstone.execution.moves import Ask, Wait
from flowstone.execution.outcome import Cancelled, Failed, Lost, Outcome, Postponed, Report, Skipped, Stored, TimedOut
from flowstone.execution.ownership import taken
from flowstone.execution.plan import Place, Step
from flowstone.execution.schedule import Ending
from flowstone.execution.services import Services
from flowstone.execution.settlement import Claim, Settlement, Try, observed_of, output_of
from flowstone.foundation.errors import RecordError
from flowstone.ledger import error_groups, failures
from flowstone.ledger.failures import Failure
from flowstone.ledger.lineage import record_inputs
from flowstone.stores import approvals, materializations, outputs, runs, slots
from flowstone.stores.database import Transaction
from flowstone.stores.records import OutputRecord


class Steps:
    """Claims and settles the steps of one run."""

    def __init__(self, services: Services, requester: Requester, behind: Callable[[Place], Iterable[str]]) -> None:
        self._services, self._run_id, self._trace_id = services, requester.run_id, requester.trace_id
        self._who, self._asking, self._behind = requester.who, Asking(services, requester), behind
        self.tries: dict[Place, Try] = {}

    def claim(
        self,
        tx: Transaction,
        step: Step,
        asset: AnyAsset,
        facts: Facts,
        inputs: Sequence[Made],
        because: str,
        limits: Mapping[str, int],
        seen: str | None = None,
    ) -> Claim | None:
        """T1: claim the step and begin an attempt, *because* it is not reused; ``None`` when that cannot be now.

        Somebody else may be computing the same asset and partition, or have done so since *seen* was the current output; a
        resource of *limits* may have no place left.
        """
        services, project = self._services, self._services.project
        for resource, limit in limits.items():
            if slots.held(tx, project, resource) >= limit:
                return None
        known = self.tries.get(step.place)
        if known is not None:
            row = known.row if materializations.claim_again(tx, known.row) else None
        else:
            row = materializations.claim_new(tx, project, self._run_id, step.asset, step.partition)
        if row is None:
            return None
        if seen is not None and outputs.replaced(tx, project, *step.place, seen):
            materializations.unclaim(tx, row, new=known is None)
            return None
        number = known.tries + 1 if known else 1
        now = services.database.now()
        attempt = materializations.begin_attempt(tx, row, number, services.process, now)
        for resource in limits:
            slots.take(tx, project, resource, attempt)
        tx.emit(MaterializationStart, at=now, attempt=number, because=because, **self.where(step))
        output_id = services.ids.numbered("out", row, number)
        return Claim(step, asset, row, attempt, number, output_id, facts, inputs, bool(limits))

    def guard(self, tx: Transaction) -> None:
        """Raise :class:`RecordError` unless the run is this process's, and keep it so for the transaction."""
        if not runs.is_held(tx, self._run_id, self._services.process):
            raise taken(self._run_id)

    def claimed(self, claim: Claim) -> None:
        """Note a committed claim."""
        known = self.tries.setdefault(claim.step.place, Try())
        known.row, known.tries = claim.row, claim.number

    def conclude(self, claim: Claim, report: Report) -> Settlement:
        """Decide what the report means: the ending, or when to try again."""
        return concluded(self._services, self._run_id, claim, report, self.tries[claim.step.place])

    def settle(self, tx: Transaction, settled: Settlement) -> None:
        """T2: end the attempt with all its evidence. Raises :class:`RecordError` when it is no longer this process's."""
        claim, report = settled.claim, settled.report
        for happened in report.shown:
            tx.record(happened)
        for happened in report.told:
            tx.tell(happened)
        status = "waiting" if settled.approval_id else _ATTEMPT_STATUS[type(report.outcome)]
        if not materializations.settle_attempt(
            tx, claim.attempt_row, self._services.process, status, settled.at, report.duration_ns, settled.error_id
        ):
            raise RecordError(
                f"attempt {claim.number} of {claim.step.asset!r} is no longer this process's: it was settled as lost",
                hint="the result is discarded; resume the run",
                run_id=self._run_id,
                asset=claim.step.asset,
            )
        ending = settled.ending
        if settled.approval_id:
            materializations.settle(tx, claim.row, "waiting", output=claim.output_id)
        elif ending is None:
            postponed = isinstance(report.outcome, Postponed | Cancelled)
            materializations.settle(tx, claim.row, "retrying", not_before=settled.retry_at, postponed=postponed)
        else:
            materializations.settle(
                tx, claim.row, ending.status, reason=ending.reason, message=ending.message, output=ending.output
            )
            if ending.status == "failed":
                self._audit_failure(tx, settled, ending)
        if claim.limited:
            slots.free(tx, claim.attempt_row)
        self._tell(tx, settled, report.outcome)

    def settled(self, settled: Settlement) -> None:
        """Note a committed settlement for the next try."""
        known = self.tries[settled.claim.step.place]
        if isinstance(settled.report.outcome, Lost):
            known.losses += 1
        elif isinstance(settled.report.outcome, Postponed | Cancelled) and settled.ending is None:
            known.later += 1

    def reuse(self, tx: Transaction, step: Step, current: OutputRecord, because: str) -> None:
        """Take the current output as it is."""
        if materializations.conclude(
            tx, self._services.project, self._run_id, step.asset, step.partition, "reused", message=because, output=current.id
        ):
            tx.emit(MaterializationReused, output=current.id, because=because, **self.where(step))

    def observe(self, tx: Transaction, step: Step, facts: Facts) -> OutputRecord:
        """Record a version of an observed source that was not seen before; return the output that stands for it."""
        version, now = facts.source_version, self._services.database.now()
        record = observed_of(self._services.ids.new("out"), step, self._run_id, facts, now)
        row = materializations.conclude(
            tx, self._services.project, self._run_id, step.asset, step.partition, "success", output=record.id
        )
        outputs.add(tx, {**_columns(record), "project": self._services.project})
        outputs.point(tx, self._services.project, record.asset, record.partition, record.id)
        if row is not None and self._services.audit.is_on:
            known = self.tries.get(step.place)
            self._audit(tx, acts.succeeded(row, record, (), *(known.tries, known.later) if known else (0,)), now)
        tx.emit(AssetObserved, at=now, output=record.id, version=version, **self.where(step))
        return record

    def skip(self, tx: Transaction, step: Step, reason: str, message: str) -> None:
        """Record that the step does not run."""
        if materializations.conclude(
            tx, self._services.project, self._run_id, step.asset, step.partition, "skipped", reason=reason, message=message
        ):
            tx.emit(MaterializationSkipped, reason=reason, message=message, **self.where(step))

    def ask(self, tx: Transaction, asked: Ask) -> int | None:
        """Ask people before the step is computed; return its row, which waits, ``None`` when another output is current now."""
        services, step, now = self._services, asked.step, self._services.database.now()
        if asked.seen is not None and outputs.replaced(tx, services.project, *step.place, asked.seen):
            return None
        row = materializations.conclude(tx, services.project, self._run_id, *step.place, "waiting")
        if row is not None and asked.weakened is not None:
            facts, policy = weakened.question(step.asset, asked.weakened)
            self._asking.weakening(tx, services.ids.new("apr"), row, step.place, asked.weakened.digest, policy, facts, now)
        elif row is not None:
            self._asking.before(
                tx, services.ids.new("apr"), row, step.place, asked.facts, asked.inputs, gate_of(asked.asset).describe(),
                because=asked.because, dependants=self._behind(step.place), now=now,
            )  # fmt: skip
        return row

    def wait(self, tx: Transaction, waiting: Wait) -> int | None:
        """Wait for the answer to somebody's request; return the step's row, ``None`` when it was answered meanwhile."""
        asked = approvals.locked(tx, waiting.approval)
        if asked is None or asked.status != "pending":
            return None
        reason = asking.SAME if waiting.same else ""
        return materializations.conclude(tx, self._services.project, self._run_id, *waiting.step.place, "waiting", reason=reason)

    def _tell(self, tx: Transaction, settled: Settlement, outcome: Outcome) -> None:
        claim, duration = settled.claim, settled.report.duration_ns
        where = {**self.where(claim.step), "attempt": claim.number}
        match outcome:
            case Stored(output):
                cured = self._store(tx, settled)
                ended = "waiting" if settled.approval_id else "success"
                tx.emit(
                    MaterializationStop, at=settled.at, outcome=ended, duration_ns=duration, size_bytes=output.size,
                    rows=output.rows or 0, output=claim.output_id, digest=output.digest, summary=outcome.summary, cured=cured,
                    **where,
                )  # fmt: skip
            case Skipped(message):
                tx.emit(
                    MaterializationStop,
                    at=settled.at,
                    outcome="skipped",
                    duration_ns=duration,
                    reason="by_code",
                    summary=message,
                    **where,
                )
                tx.emit(MaterializationSkipped, at=settled.at, reason="by_code", message=message, **self.where(claim.step))
            case Failed(failure) | TimedOut(failure) | Lost(failure) | Postponed(failure) | Cancelled(failure):
                self._tell_failure(tx, settled, failure, where)

    def _tell_failure(self, tx: Transaction, settled: Settlement, failure: Failure, where: dict[str, Any]) -> None:
        """Emit the exception, and record the error: a postponed or cancelled try is an exception and no error."""
        retry_in = max(0, settled.retry_at - settled.at) if settled.retry_at is not None else 0
        kind = _KIND[type(settled.report.outcome)]
        if kind == "postponed" and settled.error_id:
            kind = "error"  # postponed too often
        tx.emit(
            MaterializationException,
            at=settled.at,
            kind=kind,
            final=settled.ending is not None,
            duration_ns=settled.report.duration_ns,
            type=failure.type,
            message=failure.message,
            error=settled.error_id,
            retry_in_ns=retry_in,
            **where,
        )
        if settled.error_id:
            redactor, project = self._services.dispatcher.redactor, self._services.project
            definition = settled.claim.facts.definition
            failures.record(tx, redactor, failure, settled.error_id, project, settled.at, where, definition)

    def _store(self, tx: Transaction, settled: Settlement) -> int:
        """Record the output; return how many errors of earlier attempts it cured."""
        claim = settled.claim
        record = output_of(settled, self._run_id)
        if record is None:
            return 0
        if record.summary:
            record = replace(record, summary=self._services.dispatcher.redactor.text(record.summary))
        inputs = [(made.parameter, made.output) for made in claim.inputs]
        outputs.add(tx, {**_columns(record), "project": self._services.project})
        record_inputs(tx, record.id, inputs)
        if settled.approval_id:
            self._ask_about(tx, settled, record, inputs)
        else:
            outputs.point(tx, self._services.project, record.asset, record.partition, record.id)
        if self._services.audit.is_on and not settled.approval_id:
            later = self.tries[claim.step.place].later
            self._audit(tx, acts.succeeded(claim.row, record, inputs, claim.number, later), settled.at)
        if claim.number == 1:
            return 0
        return error_groups.cure(tx, self._services.project, self._run_id, record.asset, record.partition, claim.number)

    def _ask_about(
        self, tx: Transaction, settled: Settlement, candidate: OutputRecord, inputs: Iterable[tuple[str, str]]
    ) -> None:
        claim, outcome = settled.claim, settled.report.outcome
        assert isinstance(outcome, Stored)
        assert outcome.asked is not None
        self._asking.about(
            tx, settled.approval_id, claim.row, candidate, outcome.asked, gate_of(claim.asset).describe(),
            inputs=inputs, config=claim.asset.config, base=outputs.current_id(tx, self._services.project, *claim.step.place),
            dependants=self._behind(claim.step.place), now=settled.at,
        )  # fmt: skip

    def _audit_failure(self, tx: Transaction, settled: Settlement, ending: Ending) -> None:
        claim = settled.claim
        (asset, partition), later = claim.step.place, self.tries[claim.step.place].later
        act = acts.failed(claim.row, asset, partition, ending.reason, ending.message, claim.number, later)
        self._audit(tx, act, settled.at)

    def _audit(self, tx: Transaction, act: acts.Act, at: int) -> None:
        self._services.audit.tell(tx, act, self._who, at, version=ONLY, run_id=self._run_id, trace_id=self._trace_id)

    def where(self, step: Step) -> dict[str, Any]:
        """The fields every event of the step has."""
        return {"asset": step.asset, "partition": step.partition, "run_id": self._run_id, "trace_id": self._trace_id}


def _columns(record: OutputRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


_ATTEMPT_STATUS = {
    Stored: "success",
    Skipped: "skipped",
    Failed: "failed",
    TimedOut: "failed",
    Lost: "lost",
    Postponed: "failed",
    Cancelled: "cancelled",
}
_KIND = {Failed: "error", TimedOut: "timeout", Lost: "worker_lost", Postponed: "postponed", Cancelled: "cancelled"}
