"""Views that put several stores' records side by side, and the checks of what the facade is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import structs

from flowstone.app.conditions import Conditions
from flowstone.app.wiring import Deployment
from flowstone.assets.definition import definition_notes
from flowstone.assets.keys import display_key
from flowstone.assets.pipeline import Pipeline
from flowstone.execution import cancel, lost
from flowstone.execution import plan as plans
from flowstone.foundation.errors import SettingsError, did_you_mean
from flowstone.foundation.serialize import to_json
from flowstone.ledger.lineage import Walk
from flowstone.stores import approvals, audit_questions, errors, events, materializations, outputs, processes, runs
from flowstone.stores import lineage as edges
from flowstone.stores.database import Connection
from flowstone.stores.records import (
    ApprovalRecord,
    AttemptRecord,
    EdgeRecord,
    ErrorRecord,
    MaterializationRecord,
    OutputRecord,
    RunRecord,
)


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run and everything recorded of it."""

    run: RunRecord
    steps: list[tuple[str, str]]
    """The planned assets and partitions, in plan order."""
    materializations: list[MaterializationRecord]
    attempts: list[AttemptRecord]
    outputs: list[OutputRecord]
    """The outputs its materializations made or reused."""
    edges: list[EdgeRecord]
    errors: list[ErrorRecord]
    events: int
    entries: int
    """Entries of the audit log about it."""
    approvals: list[ApprovalRecord]
    """What it has asked people, and what else its steps wait for."""
    cancel: str = ""
    """Who asked for its end and why, in one line."""


def with_lost(deployment: Deployment, connection: Connection, found: list[RunRecord]) -> list[RunRecord]:
    """*found*, with those marked that a dead process was working on: nobody could tell the store, and asking changes nothing."""
    database = deployment.reading()
    holders = set() if database.backend.in_memory else {run.process for run in found if run.status == "running"}
    known = {id: processes.find(connection, id) for id in holders}
    now = database.now() if known else 0
    alive = {id for id, process in known.items() if process is not None and lost.is_alive(process, deployment.locks, now)}
    return [structs.replace(run, lost=True) if run.process in holders - alive else run for run in found]


def run_view(deployment: Deployment, connection: Connection, id: str) -> RunView:
    """Collect what the store knows of a run."""
    project = deployment.settings.project
    (run,) = with_lost(deployment, connection, [runs.find(connection, project, id)])
    plan = plans.decode(to_json(runs.plan_of(connection, run.id)).encode())
    rows = materializations.of_run(connection, run.id)
    used = outputs.find(connection, [row.output for row in rows if row.output])
    return RunView(
        run=run,
        steps=[step.place for step in plan.steps],
        materializations=rows,
        attempts=materializations.attempts_of_run(connection, run.id),
        outputs=[used[row.output] for row in rows if row.output in used],
        edges=edges.edges_into(connection, [output.id for output in used.values() if output.run_id == run.id]),
        errors=errors.read(connection, project, run_id=run.id, limit=1000),
        events=events.count(connection, run.id),
        entries=audit_questions.count_of_run(connection, run.id),
        approvals=_asked(connection, project, rows),
        cancel=cancel.message(connection, project, run.id) if run.cancel_requested_at or run.status == "cancelled" else "",
    )


def _asked(connection: Connection, project: str, rows: list[MaterializationRecord]) -> list[ApprovalRecord]:
    """The requests that a run has made, the oldest first, and those of others that its steps wait for."""
    own = approvals.listed(connection, project, status=None, run_id=rows[0].run_id, limit=None)[::-1] if rows else []
    mine = {asked.place for asked in own if asked.status == "pending"}
    waiting = [row for row in rows if row.status == "waiting" and (row.asset, row.partition) not in mine]
    others = (approvals.open_at(connection, project, row.asset, row.partition) for row in waiting)
    return [*own, *(asked for asked in others if asked is not None)]


def asset_info(pipeline: Pipeline, name: str, conditions: Conditions) -> dict[str, Any]:
    """One asset's definition, neighbours, what its digest cannot see, and its condition."""
    asset = pipeline[name]
    described = next(item for item in pipeline.definition()["assets"] if item["name"] == name)
    found = conditions.all([name])
    return {
        **described,
        "downstream": list(pipeline.graph.downstream(name)),
        "notes": definition_notes(asset),
        "conditions": [{"partition": c.partition, "state": c.state, "because": list(c.because)} for c in found],
    }


def only_current(connection: Connection, project: str, found: Walk) -> Walk:
    """Keep the outputs that are current now, and the edges between them."""
    places = {(output.asset, output.partition) for output in found.outputs.values()}
    current = {output.id for output in outputs.current_at(connection, project, places).values()}
    kept = {id: output for id, output in found.outputs.items() if id in current}
    return Walk(found.start, [edge for edge in found.edges if edge.downstream in kept and edge.upstream in kept], kept)


def names(targets: str | Iterable[str] | None) -> list[str]:
    """The targets as a list of names, each once."""
    return [] if targets is None else [targets] if isinstance(targets, str) else list(dict.fromkeys(targets))


def text_of(partition: Any) -> str | None:
    """The partition as it is recorded with a request."""
    return partition if partition is None or isinstance(partition, str) else display_key(partition)


def check_config(pipeline: Pipeline, config: Mapping[str, Any]) -> None:
    """Refuse config values no asset and no resource declares; raises :class:`SettingsError`."""
    declared = {name for thing in (*pipeline, *pipeline.resources.values()) for name in thing.config}
    for name in config:
        if name not in declared:
            hint = did_you_mean(name, declared) or f"declared: {', '.join(sorted(declared)) or 'none'}"
            raise SettingsError(f"config.{name} is declared by no asset of pipeline {pipeline.name!r}", hint=hint)
