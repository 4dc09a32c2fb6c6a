"""What an executor asks of a plan: refused before anything begins, because what is in memory cannot reach a child process."""

from __future__ import annotations

import os

from flowstone.assets.pipeline import Pipeline
from flowstone.execution.lanes import executor_of
from flowstone.execution.plan import Plan
from flowstone.execution.resources import OpenResources
from flowstone.foundation.errors import UsageError
from flowstone.io_managers import IOManagers

MAX_THREADS = 32
NAMED = 5  # assets that are named in one message


def check(plan: Plan, pipeline: Pipeline, io: IOManagers, resources: OpenResources, default: str) -> bool:
    """Return whether the plan needs child processes; raises :class:`UsageError` for values that cannot reach one."""
    crossing = {step.asset for step in plan.steps if _is_process(pipeline, step.asset, default)}
    if resources.given:
        _check_resources(crossing, pipeline, resources)
    kept: dict[str, None] = {}
    for step in plan.steps:
        if step.asset in crossing:
            for name in (step.asset, *(item.asset for item in step.inputs)):
                if not pipeline[name].observed and io.get(pipeline[name].io).one_process:
                    kept[name] = None
    if kept:
        names = ", ".join([repr(name) for name in kept][:NAMED]) + (", …" if len(kept) > NAMED else "")
        raise UsageError(
            f"the process executor cannot reach the values of {names}: they are kept in this process's memory",
            hint='give them io="files", or use executor="thread" (an asset with a timeout always runs in a child process)',
        )
    return bool(crossing)


def _check_resources(crossing: set[str], pipeline: Pipeline, resources: OpenResources) -> None:
    for asset in sorted(crossing):
        given = [name for name in pipeline.resources_of(asset) if name in resources.given]
        if given:
            raise UsageError(
                f"asset {asset!r} runs in a child process, which the value given for resource {given[0]!r} cannot reach",
                hint='use executor="inline" or "thread" with resources={...} (an asset with a timeout always runs in a child)',
            )


def jobs_for(plan: Plan, pipeline: Pipeline, default: str) -> int:
    """How many bodies run at once when nobody says: one here, else as many as the machine has use for."""
    executors = {executor_of(pipeline[step.asset], default) for step in plan.steps}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "thread" in executors:
        return min(MAX_THREADS, cores + 4)
    return cores if "process" in executors else 1


def _is_process(pipeline: Pipeline, name: str, default: str) -> bool:
    asset = pipeline[name]
    return not asset.observed and executor_of(asset, default) == "process"
