"""Whether a step waits for people: before it is computed, or because somebody else's candidate is what it would compute."""

from __future__ import annotations

from typing import NamedTuple

from flowstone.assets.asset import AnyAsset
from flowstone.execution.asking import binding
from flowstone.execution.decision import Facts, Made
from flowstone.execution.plan import Step
from flowstone.execution.services import Services
from flowstone.stores import approvals, outputs


class Ask(NamedTuple):
    """People are asked before the step is computed; *because* says why it would be."""

    step: Step
    asset: AnyAsset
    facts: Facts
    inputs: tuple[Made, ...]
    because: str


class Wait(NamedTuple):
    """The step waits for the answer to an open request about exactly what it would compute."""

    step: Step
    approval: str


def gated(
    services: Services,
    run_id: str,
    step: Step,
    asset: AnyAsset,
    facts: Facts,
    inputs: tuple[Made, ...],
    because: str,
    *,
    forced: bool,
) -> Ask | Wait | None:
    """What the step does instead of being computed; ``None`` when nobody has to be asked before."""
    assert asset.approval is not None
    before = asset.approval.when == "before"
    with services.database.reading() as connection:
        pending = approvals.open_at(connection, services.project, *step.place)
        if not before:
            if pending is None or pending.kind != "after" or forced:
                return None
            candidate = outputs.find(connection, [pending.output])[pending.output]
            made_of = Facts(candidate.definition, candidate.config, candidate.inputs, candidate.source_version)
            return Wait(step, pending.id) if made_of == facts else None
        given = approvals.listed(
            connection, services.project, status="approved", kind="before", run_id=run_id, asset=step.asset,
            partition=step.partition,
        )  # fmt: skip
    bound = binding(facts)
    if any(answer.digest == bound for answer in given):
        return None
    if pending is not None and (pending.kind, pending.digest) == ("before", bound):
        return Wait(step, pending.id)
    return Ask(step, asset, facts, inputs, because)
