"""What the report of an attempt means for its step: it has ended, is tried again, or people are asked."""

from __future__ import annotations

from flowstone.execution.outcome import Asked, Cancelled, Failed, Lost, Postponed, Report, Skipped, Stored, TimedOut
from flowstone.execution.schedule import Ending
from flowstone.execution.services import Services
from flowstone.execution.settlement import LOST_LIMIT, Claim, Settlement, Try, interrupted
from flowstone.foundation.clock import NANOSECONDS
from flowstone.ledger.failures import Failure

LONGEST_DELAY = 10 * 365 * 86_400.0  # seconds; more does not fit a time in nanoseconds


def concluded(services: Services, run_id: str, claim: Claim, report: Report, known: Try) -> Settlement:
    """What is to be written of a claimed attempt; *known* are the earlier tries of its step."""
    now = services.database.now()
    ending, retry_at, error_id, approval_id = None, None, "", ""
    match report.outcome:
        case Stored(asked=Asked()):
            approval_id = services.ids.new("apr")
        case Stored(output):
            ending = Ending("success", claim.output_id, output.digest)
        case Skipped(message):
            ending = Ending("skipped", reason="by_code", message=services.dispatcher.redactor.text(message))
        case Postponed(failure, after):
            ending, retry_at = _postponed(services, claim, failure, after, known, now)
            error_id = services.ids.new("err") if ending is not None else ""
        case Lost():
            error_id = services.ids.new("err")
            if known.losses + 1 < LOST_LIMIT:
                retry_at = now
            else:
                ending = Ending("failed", reason="worker_lost", message=f"its process died {LOST_LIMIT} times")
        case Failed(failure, retry) | TimedOut(failure, retry):
            error_id = services.ids.new("err")
            ending, retry_at = _failed(services, claim, failure, known, now, retry=retry)
        case Cancelled():
            ending, retry_at = interrupted(services.stopping.of(run_id), now)
    return Settlement(claim, report, ending, retry_at, error_id, now, approval_id)


def _postponed(
    services: Services, claim: Claim, failure: Failure, after: float, known: Try, now: int
) -> tuple[Ending | None, int | None]:
    if known.later < claim.asset.retries.later_limit:
        return None, now + int(min(after, LONGEST_DELAY) * NANOSECONDS)
    message = services.dispatcher.redactor.text(f"RetryLater {known.later + 1} times: {failure.message}")
    return Ending("failed", reason="gave_up", message=message), None


def _failed(
    services: Services, claim: Claim, failure: Failure, known: Try, now: int, *, retry: bool
) -> tuple[Ending | None, int | None]:
    spent = claim.number - known.later
    if retry and spent < claim.asset.retries.attempts:
        delay = claim.asset.retries.delay_before(spent + 1, services.random)
        return None, now + int(min(delay, LONGEST_DELAY) * NANOSECONDS)
    return Ending("failed", reason=failure.type, message=services.dispatcher.redactor.text(failure.message)), None
