"""Why a value is what it is: from where, by what, whether it is outdated, and what changed since the version before."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from flowstone.app.conditions import Condition, Conditions
from flowstone.app.found import Found
from flowstone.app.wiring import Deployment
from flowstone.assets.definition import definition_notes
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.decision import short
from flowstone.ledger.lineage import Walk, walk
from flowstone.stores import errors, materializations, outputs, runs
from flowstone.stores.records import AttemptRecord, ErrorRecord, OutputRecord, RunRecord


class Change(NamedTuple):
    """One thing that differs between the value and the version before it."""

    what: str
    text: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that answers *why* for one asset's partition."""

    asset: str
    partition: str
    condition: Condition
    output: OutputRecord | None
    versions: int
    run: RunRecord | None
    attempts: list[AttemptRecord]
    lineage: Walk | None
    before: OutputRecord | None
    changes: list[Change]
    errors: list[ErrorRecord]
    last_run: RunRecord | None
    """The run of the newest materialization, when it is not the one that made the value."""
    notes: str | None


def explain(deployment: Deployment, pipeline: Pipeline | None, found: Found, asset: str, partition: Any) -> Explanation:
    """Collect the explanation from the store."""
    encoded = found.partition(asset, partition)
    condition = Conditions(deployment, pipeline).of(asset, encoded)
    output, last, project = condition.output, condition.last, deployment.settings.project
    with deployment.reading().reading() as connection:
        versions = outputs.versions(connection, project, asset, encoded)
        run = runs.find(connection, project, output.run_id) if output else None
        attempts = (
            [a for a in materializations.attempts_of_run(connection, run.id) if (a.asset, a.partition) == (asset, encoded)]
            if run
            else []
        )
        lineage = walk(connection, output) if output else None
        failed = errors.read(connection, project, asset=asset, partition=encoded, limit=5)
        last_run = (
            runs.find(connection, project, last.run_id) if last and (output is None or last.run_id != output.run_id) else None
        )
        before = _before(versions, output)
        changes = _changes(before, output, lineage, walk(connection, before, depth=1) if before else None)
    notes = definition_notes(pipeline[asset]) if pipeline is not None and asset in pipeline else None
    return Explanation(
        asset=asset,
        partition=encoded,
        condition=condition,
        output=output,
        versions=len(versions),
        run=run,
        attempts=attempts,
        lineage=lineage,
        before=before,
        changes=changes,
        errors=failed,
        last_run=last_run,
        notes=notes,
    )


def _before(versions: list[OutputRecord], output: OutputRecord | None) -> OutputRecord | None:
    if output is None:
        return None
    return next((version for version in versions if version.version < output.version), None)


def _changes(before: OutputRecord | None, output: OutputRecord | None, now: Walk | None, then: Walk | None) -> list[Change]:
    if before is None or output is None or now is None or then is None:
        return []
    changes = []
    if before.digest != output.digest:
        sizes = f", {before.size:,} -> {output.size:,} bytes" if before.size != output.size else ""
        changes.append(Change("value", f"sha256 {short(before.digest)} -> {short(output.digest)}{sizes}"))
    if before.source_version != output.source_version:
        changes.append(Change("source", f"{short(before.source_version)} -> {short(output.source_version)}"))
    if before.definition != output.definition:
        changes.append(Change("code", f"definition {short(before.definition)} -> {short(output.definition)}"))
    if before.config != output.config:
        changes.append(Change("config", "changed"))
    old = {edge.parameter: then.outputs[edge.upstream] for edge in then.edges if edge.downstream == before.id}
    for edge in now.edges:
        if edge.downstream != output.id:
            continue
        new = now.outputs[edge.upstream]
        used = old.pop(edge.parameter, None)
        if used is None:
            changes.append(Change("inputs", f"{edge.parameter} was not used before"))
        elif used.digest != new.digest:
            changes.append(Change("inputs", f"{new.asset} changed: sha256 {short(used.digest)} -> {short(new.digest)}"))
    changes += [Change("inputs", f"{parameter} is not used any more") for parameter in old]
    return changes
