"""What is known of an attempt between its claim and its settlement. Plain data, so that T2 can be written again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowstone.assets.asset import AnyAsset
from flowstone.execution.decision import Facts, Made
from flowstone.execution.outcome import Report, Stored
from flowstone.execution.plan import Step
from flowstone.execution.schedule import Ending
from flowstone.execution.stopping import Stop
from flowstone.foundation.serialize import digest_of
from flowstone.stores.records import OutputRecord

OBSERVED = "observed"
"""The manager and format of the outputs of observed sources: they have a version, and no bytes of ours."""


LOST_LIMIT = 3
"""This many losses fail a materialization: it probably kills its process."""


@dataclass(slots=True)
class Try:
    """What is known of one step's tries in this run: its row, how many there were, how many spent no attempt."""

    row: int = 0
    tries: int = 0
    later: int = 0
    """Interrupted and postponed tries, which spend no attempt."""
    losses: int = 0
    """Tries whose process died."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claimed attempt: this process, and nobody else, may settle it."""

    step: Step
    asset: AnyAsset
    row: int
    attempt_row: int
    number: int
    output_id: str
    facts: Facts
    inputs: Sequence[Made]
    limited: bool
    """Whether it holds places on limited resources."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What T2 will write, decided before the transaction so that it can be written again."""

    claim: Claim
    report: Report
    ending: Ending | None
    """``None`` when the step is tried again, or waits for people."""
    retry_at: int | None
    error_id: str
    at: int
    approval_id: str = ""
    """The request for approval, where people decide how the step ends."""


def interrupted(stop: Stop | None, now: int) -> tuple[Ending | None, int | None]:
    """How an interrupted attempt's step goes on: it is tried again when the run is resumed, unless the run was cancelled."""
    if stop is None or stop.kind != "cancel":
        return None, now
    return Ending("cancelled", reason="cancelled", message=stop.message), None


def output_of(settled: Settlement, run_id: str) -> OutputRecord | None:
    """The output a settlement stores, ``None`` when it stores none; its version is given by the store."""
    outcome, claim = settled.report.outcome, settled.claim
    if not isinstance(outcome, Stored):
        return None
    made, facts = outcome.output, claim.facts
    return OutputRecord(
        id=claim.output_id,
        asset=claim.step.asset,
        partition=claim.step.partition,
        version=0,
        run_id=run_id,
        attempt=claim.number,
        manager=made.manager,
        location=made.location,
        format=made.format,
        digest=made.digest,
        size=made.size,
        rows=made.rows,
        schema=made.schema,
        definition=facts.definition,
        config=facts.config,
        inputs=facts.inputs,
        source_version=facts.source_version,
        summary=outcome.summary,
        created_at=settled.at,
    )


def observed_of(id: str, step: Step, run_id: str, facts: Facts, now: int) -> OutputRecord:
    """The output that stands for a version of an observed source."""
    version = facts.source_version
    return OutputRecord(
        id=id,
        asset=step.asset,
        partition=step.partition,
        version=0,
        run_id=run_id,
        attempt=0,
        manager=OBSERVED,
        location=version,
        format=OBSERVED,
        digest=digest_of(version),
        size=0,
        rows=None,
        schema=None,
        definition=facts.definition,
        config=facts.config,
        inputs="",
        source_version=version,
        summary="",
        created_at=now,
    )
