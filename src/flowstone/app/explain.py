"""Why a value is what it is: from where, by what, whether it is outdated, and what changed since the version before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from flowstone.app.conditions import Condition, Conditions
from flowstone.app.distributions import installed
from flowstone.app.found import Found
from flowstone.app.listings import with_lost
from flowstone.app.wiring import Deployment
from flowstone.assets.keys import decode_key, display_key
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.decision import short
from flowstone.ledger.error_groups import with_tries
from flowstone.ledger.lineage import Walk, walk
from flowstone.stores import approvals, errors, materializations, outputs, runs
from flowstone.stores.database import Connection
from flowstone.stores.records import ApprovalRecord, AttemptRecord, ErrorRecord, OutputRecord, RunRecord, VoteRecord


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
    """Its inputs, and theirs."""
    before: OutputRecord | None
    changes: list[Change]
    errors: list[ErrorRecord]
    last_run: RunRecord | None
    """The run of the newest materialization, when it is not the one that made the value."""
    approval: ApprovalRecord | None
    """The request by which people agreed to the value; ``None`` where nobody was asked."""
    votes: list[VoteRecord]
    """What people have said to that request."""
    asked: ApprovalRecord | None
    """The newest request about a value that is not current: open, or refused."""
    notes: list[str]
    """What the definition digest cannot see, and what is installed here now that was not then: no reasons, but worth knowing."""


def explain(deployment: Deployment, pipeline: Pipeline | None, found: Found, asset: str, partition: Any) -> Explanation:
    """Collect the explanation from the store."""
    encoded = found.partition(asset, partition)
    conditions = Conditions(deployment, pipeline)
    condition = conditions.of(asset, encoded)
    output, last, project = condition.output, condition.last, deployment.settings.project
    with deployment.reading().reading() as connection:
        versions = outputs.count_versions(connection, project, asset, encoded)
        run = runs.find(connection, project, output.run_id) if output else None
        attempts = materializations.attempts_at(connection, run.id, asset, encoded) if run else []
        lineage = walk(connection, output, depth=2) if output else None
        failed = with_tries(connection, errors.read(connection, project, asset=asset, partition=encoded, limit=5))
        newer = [runs.find(connection, project, last.run_id)] if last and (output is None or last.run_id != output.run_id) else []
        last_run = next(iter(with_lost(deployment, connection, newer)), None)
        approval, asked = _approvals(connection, project, condition)
        votes = approvals.votes(connection, [approval.id])[approval.id] if approval is not None else []
        before = outputs.before(connection, project, output) if output else None
        changes = _changes(before, output, lineage, walk(connection, before, depth=1) if before else None)
        if before is not None and run is not None:
            changes += _environment(runs.find(connection, project, before.run_id), run)
    unseen = conditions.defined.get(asset, {}).get("unseen")
    return Explanation(
        asset=asset,
        partition=encoded,
        condition=condition,
        output=output,
        versions=versions,
        run=run,
        attempts=attempts,
        lineage=lineage,
        before=before,
        changes=changes,
        errors=failed,
        last_run=last_run,
        approval=approval,
        votes=votes,
        asked=asked,
        notes=[*([unseen] if unseen else []), *(_installed_since(run) if run is not None and output is not None else [])],
    )


def _approvals(connection: Connection, project: str, condition: Condition) -> tuple[ApprovalRecord | None, ApprovalRecord | None]:
    """The request by which people agreed to the current value, and the newest one about another."""
    where: dict[str, Any] = {"asset": condition.asset, "partition": condition.partition, "limit": 1}
    output, last = condition.output, condition.last
    if condition.asked is not None or last is None or last.status not in ("rejected", "expired"):
        asked = condition.asked
    else:
        asked = next(iter(approvals.listed(connection, project, status=last.status, run_id=last.run_id, **where)), None)
    if output is None:
        return None, asked
    agreed = approvals.listed(connection, project, status="approved", output=output.id, **where)
    agreed = agreed or approvals.listed(connection, project, status="approved", kind="before", run_id=output.run_id, **where)
    return next(iter(agreed), None), asked


def _environment(before: RunRecord, run: RunRecord) -> list[Change]:
    """What differs between the distributions two runs had."""
    old, new = before.provenance.get("distributions"), run.provenance.get("distributions")
    if not old or not new:
        return [Change("environment", "not recorded for both")]
    if old["digest"] == new["digest"]:
        return []
    counts = f", {old['count']} -> {new['count']} distributions" if old["count"] != new["count"] else ""
    return [Change("environment", f"sha256 {short(old['digest'])} -> {short(new['digest'])}{counts}")]


def _installed_since(run: RunRecord) -> list[str]:
    recorded = run.provenance.get("distributions")
    if not recorded or recorded["digest"] == installed().digest:
        return []
    return [f"The distributions installed here now are not those {run.id} had, which no digest of code sees."]


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
    changes += [Change("inputs", text) for text in _input_changes(_inputs_of(then, before), _inputs_of(now, output))]
    return changes


def _inputs_of(found: Walk, output: OutputRecord) -> dict[str, dict[str, OutputRecord]]:
    """What the output was made from: parameter → partition → output."""
    inputs: dict[str, dict[str, OutputRecord]] = {}
    for edge in found.edges:
        if edge.downstream == output.id:
            used = found.outputs[edge.upstream]
            inputs.setdefault(edge.parameter, {})[used.partition] = used
    return inputs


def _input_changes(then: dict[str, dict[str, OutputRecord]], now: dict[str, dict[str, OutputRecord]]) -> Iterator[str]:
    for parameter, used in now.items():
        old = then.get(parameter, {})
        if not old:
            yield f"{parameter} was not used before"
        elif len(used) == len(old) == 1:  # of whichever partition
            yield from _difference(*old.values(), *used.values(), name=next(iter(used.values())).asset)
        else:
            for partition in dict.fromkeys([*old, *used]):
                name = f"{parameter} {display_key(decode_key(partition))}"
                if partition not in old:
                    yield f"{name} was not used before"
                elif partition not in used:
                    yield f"{name} is not used any more"
                else:
                    yield from _difference(old[partition], used[partition], name=name)
    yield from (f"{parameter} is not used any more" for parameter in then if parameter not in now)


def _difference(old: OutputRecord, new: OutputRecord, *, name: str) -> Iterator[str]:
    if old.digest != new.digest:
        yield f"{name} changed: sha256 {short(old.digest)} -> {short(new.digest)}"
