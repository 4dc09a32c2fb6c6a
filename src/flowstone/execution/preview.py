"""What a run would do, without doing it: sources are asked for their version, nothing is computed or recorded."""

from __future__ import annotations

from typing import NamedTuple

from flowstone.execution.decision import FORCED
from flowstone.execution.moves import Ask, Compute, Observe, Reuse, Wait, Weakened
from flowstone.execution.plan import Place
from flowstone.execution.schedule import Ending
from flowstone.execution.session import Session


class Preview(NamedTuple):
    """One step: *action* is ``compute``, ``ask``, ``wait``, ``reuse``, ``observe``, or ``depends`` on how an upstream ends."""

    asset: str
    partition: str
    action: str
    because: str


def preview(session: Session) -> list[Preview]:
    """Return what each step of the plan would do, in plan order."""
    session.prepare()
    changing: set[Place] = set()
    found = []
    for step in session.plan.steps:
        if session.forced(step):
            found.append(Preview(step.asset, step.partition, "compute", FORCED))
            changing.add(step.place)
            continue
        upstream = list(dict.fromkeys(item.asset for item in step.inputs if (item.asset, item.partition) in changing))
        if upstream:
            found.append(
                Preview(step.asset, step.partition, "depends", f"reused only if {', '.join(upstream)} comes out the same")
            )
            changing.add(step.place)
            continue
        decision = session.decide(step)
        match decision:
            case Reuse(_, current, because):
                found.append(Preview(step.asset, step.partition, "reuse", because))
                session.ended(step.place, Ending("reused", current.id, current.digest), current)
            case Observe():
                found.append(Preview(step.asset, step.partition, "observe", "its version is new"))
                changing.add(step.place)
            case Ask(weakened=Weakened()):
                found.append(Preview(step.asset, step.partition, "ask", "people are asked whether its gate may protect less"))
                changing.add(step.place)
            case Ask(because=because):
                found.append(Preview(step.asset, step.partition, "ask", f"people are asked before it is computed: {because}"))
                changing.add(step.place)
            case Wait(approval=approval):
                found.append(Preview(step.asset, step.partition, "wait", f"for the decision about {approval}"))
                changing.add(step.place)
            case Compute(because=because, refused=refused):
                found.append(
                    Preview(step.asset, step.partition, "compute", because if refused is None else f"and fail: {refused}")
                )
                changing.add(step.place)
    return found
