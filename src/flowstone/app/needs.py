"""Who still needs an output: holds, and runs that have not ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flowstone.execution import plan as plans
from flowstone.execution.plan import Place
from flowstone.stores import holds, retention
from flowstone.stores.asking import Asked
from flowstone.stores.records import HoldRecord, OutputRecord
from flowstone.stores.retention import ActiveRun, Superseded


class Held:
    """Which hold keeps an output: one on it, on its asset or partition, or on a run that made or reused it."""

    def __init__(self, active: Iterable[HoldRecord], used: Callable[[str], frozenset[str]]) -> None:
        self._outputs: dict[str, HoldRecord] = {}
        self._places: dict[Place, HoldRecord] = {}
        self._runs: dict[str, HoldRecord] = {}
        for hold in active:
            if hold.run_id:
                self._runs.setdefault(hold.run_id, hold)
                for id in used(hold.run_id):
                    self._outputs.setdefault(id, hold)
            elif hold.output:
                self._outputs.setdefault(hold.output, hold)
            else:
                self._places.setdefault((hold.asset, hold.partition), hold)

    @classmethod
    def now(cls, place: Asked, project: str) -> Held:
        """The holds in force as *place* sees them."""
        return cls(holds.active(place, project), lambda run: retention.used_outputs(place, run))

    def by(self, output: OutputRecord) -> HoldRecord | None:
        """The oldest hold that keeps *output*, ``None`` when it is free."""
        return (
            self._outputs.get(output.id)
            or self._places.get((output.asset, output.partition))
            or self._places.get((output.asset, ""))
            or self._runs.get(output.run_id)
        )


class Needs:
    """What must not be collected now."""

    def __init__(self, place: Asked, project: str) -> None:
        self._held = Held.now(place, project)
        self._runs = [(run, retention.used_outputs(place, run.id)) for run in retention.active_runs(place, project)]
        self._places = {run.id: _places(run) for run, _ in self._runs if run.status == "running"}

    def has(self, old: Superseded) -> bool:
        """Whether somebody holds the superseded output, or an active run made it, uses it or may be about to."""
        return self._held.by(old.output) is not None or any(self._uses(run, used, old) for run, used in self._runs)

    def _uses(self, run: ActiveRun, used: frozenset[str], old: Superseded) -> bool:
        output = old.output
        if output.run_id == run.id or output.id in used or output.id in run.plan:  # the plan names its inputs by their ids
            return True
        # what was current when the run began may be taken as it is, or compared with, at any time until it ends
        return old.at >= run.requested_at and (output.asset, output.partition) in self._places.get(run.id, ())


def _places(run: ActiveRun) -> frozenset[Place]:
    return frozenset(step.place for step in plans.decode(run.plan.encode()).steps)
