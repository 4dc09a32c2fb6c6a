"""Whether a step waits for people: before it is computed, or because people are asked about somebody else's candidate already."""

from __future__ import annotations

from flowstone.execution.asking import binding
from flowstone.execution.decision import Facts
from flowstone.execution.moves import Ask, Compute, Wait
from flowstone.execution.services import Services
from flowstone.stores import approvals, outputs, runs
from flowstone.stores.database import Connection
from flowstone.stores.records import ApprovalRecord


def gated(services: Services, run_id: str, compute: Compute, *, forced: bool) -> Ask | Wait | None:
    """What the step does instead of being computed; ``None`` when nobody has to be asked before.

    It waits for the answer about exactly what it would compute, unless it is *forced*, and for that about whatever a run has
    made that was requested later: else two runs would make each other's requests void for ever.
    """
    step, gate = compute.step, compute.asset.approval
    before = gate is not None and gate.when == "before"
    with services.database.reading() as connection:
        if before and _is_allowed(connection, services.project, run_id, compute):
            return None
        pending = approvals.open_at(connection, services.project, *step.place)
        if pending is not None:
            same = _is_about(connection, pending, compute.facts)
            if (same and not forced) or runs.is_older(connection, run_id, pending.run_id):
                return Wait(step, pending.id, same)
    return Ask(step, compute.asset, compute.facts, compute.inputs, compute.because, compute.seen) if before else None


def _is_allowed(connection: Connection, project: str, run_id: str, compute: Compute) -> bool:
    """Whether people have allowed exactly this computation: to this run, or to another one since this was requested."""
    given = approvals.given(connection, project, *compute.step.place, binding(compute.facts))
    if not given or any(allowed == run_id for allowed, _ in given):
        return bool(given)
    requested = runs.requested_at(connection, run_id)
    return requested is not None and any(at >= requested for _, at in given)


def _is_about(connection: Connection, pending: ApprovalRecord, facts: Facts) -> bool:
    if pending.kind == "before":
        return pending.digest == binding(facts)
    if pending.kind != "after":
        return False
    candidate = outputs.find(connection, [pending.output])[pending.output]
    return facts == (candidate.definition, candidate.config, candidate.inputs, candidate.source_version)
