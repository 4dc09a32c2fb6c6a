"""Steps of an asset whose gate protects less than when it was last computed: those asked before let them through, or not.

Only where ``audit.require_approval_for_weakening`` is set. What was last computed was let through: a definition that is held
makes nothing. Whoever was asked by the old gate is asked whether the new one may count, and once they have agreed it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowstone.approvals.weakening import Less, weaker
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.moves import Ask, Compute, Wait, Weakened
from flowstone.execution.services import Services
from flowstone.foundation.serialize import digest_of
from flowstone.stores import approvals, pipelines, runs
from flowstone.stores.database import Connection

KIND = "weakening"


def weakened_gates(connection: Connection, services: Services, pipeline: Pipeline, assets: Iterable[str]) -> dict[str, Weakened]:
    """The gates of these assets that protect less than the ones they were last computed behind."""
    found = {}
    for name in sorted(assets) if services.people.hold_weakened else ():
        asset, before = pipeline[name], pipelines.computed_under(connection, services.project, name)
        old = before.get("approval") if before is not None else None
        new = asset.approval.describe() if asset.approval is not None else None
        less = weaker(old, new, services.people.people_of) if old and not asset.observed else []
        if old and less:
            found[name] = Weakened(old, new, [list(each) for each in less], digest_of([KIND, old, new]))
    return found


def held(services: Services, run_id: str, compute: Compute, gates: Mapping[str, Weakened]) -> Ask | Wait | None:
    """What the step does instead of being computed; ``None`` where its gate is not weaker, and once that was approved."""
    step, project, gate = compute.step, services.project, gates.get(compute.step.asset)
    if gate is None:
        return None
    with services.database.reading() as connection:
        given = approvals.listed(connection, project, status="approved", kind=KIND, asset=step.asset, limit=None)
        if any(each.digest == gate.digest for each in given):
            return None
        pending = approvals.open_at(connection, project, *step.place)
        if pending is not None:
            same = (pending.kind, pending.digest) == (KIND, gate.digest)
            if same or runs.is_older(connection, run_id, pending.run_id):
                return Wait(step, pending.id, same=False)
    return Ask(step, compute.asset, compute.facts, compute.inputs, compute.because, compute.seen, gate)


def question(asset: str, gate: Weakened) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What people are shown, and the policy by which they decide: the old one, but that time never agrees."""
    words = "; ".join(f"{each.was} -> {each.now}" for each in (Less(*less) for less in gate.less))
    facts = {"message": f"May {asset} be released with less: {words}?", "was": gate.old, "now": gate.new, "less": gate.less}
    policy = {**gate.old, "on_timeout": "fail"} if gate.old["on_timeout"] == "approve" else gate.old
    return facts, policy
