"""What is audited: the name of each act, the row it changes, and what its entry holds, made from that row.

The recorder makes an entry's data with these functions from what it writes; reconciliation makes them again from what it reads.
Both are compared name by name: what a function gives, a row and its entry agree on. A recorder may add more names. The times that
functions are given are in nanoseconds, as rows have them; entries hold microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from flowstone.foundation.serialize import digest_of
from flowstone.foundation.texts import storable
from flowstone.stores.records import HoldRecord, OutputRecord

# -- acts that leave a row, and are compared with it ---------------------------------------------------------------------------
SUCCEEDED, FAILED = "materialization.succeeded", "materialization.failed"
RUN_REQUESTED, RUN_RESUMED = "run.requested", "run.resumed"
RUN_CANCEL_REQUESTED, RUN_FINISHED, RUN_CANCELLED = "run.cancel_requested", "run.finished", "run.cancelled"
INVALIDATED, ERASED, COLLECTED = "output.invalidated", "output.erased", "output.collected"
HOLD_ADDED, HOLD_RELEASED = "hold.added", "hold.released"
GROUP_RESOLVED, GROUP_MUTED, GROUP_REOPENED = "error_group.resolved", "error_group.muted", "error_group.reopened"
PIPELINE_CHANGED = "pipeline.changed"
# -- acts that are only told -----------------------------------------------------------------------------------------------------
CONTROL_WEAKENED = "control.weakened"
PARTITIONS_ADDED, RETENTION_CHANGED = "partitions.added", "retention.changed"
DB_PRUNED, DB_RESTORED = "db.pruned", "db.restored"
DATA_READ = "data.read"
# -- acts upon the log itself ----------------------------------------------------------------------------------------------------
BEGUN, STOPPED, REINCARNATED = "audit.begun", "audit.stopped", "audit.reincarnated"
REDACTED, PRUNED = "audit.redacted", "audit.pruned"
KEYS_ROTATED, ANCHORS_CHANGED = "keys.rotated", "anchors.changed"

PLAIN = frozenset({"partition", "location"})
"""The texts that an entry may hold; what people write it only commits to."""
MAX_PLAIN_LOCATION = 512
"""Bytes of a location that an entry holds; a longer one, or one that may show a personal partition, is disclosed."""
GROUP_STATUS = {GROUP_RESOLVED: "resolved", GROUP_MUTED: "muted", GROUP_REOPENED: "open"}


def micro(nanoseconds: int) -> int:
    """A row's time as entries hold it."""
    return nanoseconds // 1_000


class Act(NamedTuple):
    """What happened to which subject: *data* enters the entry as it is, of *texts* those that are plain and short."""

    action: str
    subject: str
    outcome: str
    data: dict[str, Any]
    texts: Mapping[str, str] = MappingProxyType({})


# -- materializations, outputs ---------------------------------------------------------------------------------------------------


def succeeded(materialization: int, made: OutputRecord, inputs: Iterable[tuple[str, str]], attempts: int, later: int = 0) -> Act:
    """A materialization has made an output, which is the current one now; *later* of its *attempts* were postponed."""
    data = {
        "asset": made.asset, "output": made.id, "digest": made.digest, "size": made.size, "definition": made.definition,
        "inputs_digest": inputs_digest(inputs), "attempts": attempts, "later": later, "record": rest_of(made),
    }  # fmt: skip
    texts = {"partition": made.partition, "location": made.location, "summary": made.summary}
    return Act(SUCCEEDED, of_materialization(materialization), "success", data, texts)


def failed(  # the columns of its row
    materialization: int, asset: str, partition: str, reason: str, message: str, attempts: int, later: int = 0
) -> Act:
    """A materialization has failed for good."""
    data = {"asset": asset, "reason": reason, "attempts": attempts, "later": later}
    return Act(FAILED, of_materialization(materialization), "failed", data, {"partition": partition, "message": message})


def inputs_digest(inputs: Iterable[tuple[str, str]]) -> str:
    """The SHA-256 of what went into an output: pairs of parameter and upstream output, sorted."""
    return digest_of(sorted(list(pair) for pair in inputs))


def rest_of(made: OutputRecord) -> str:
    """The SHA-256 of what an output's row says besides; its version is given by the store, in the order of the entries."""
    return digest_of([
        made.run_id, made.attempt, made.manager, made.format, made.rows, _kept(made.schema), made.config, made.inputs,
        _kept(made.source_version), made.created_at,
    ])  # fmt: skip


def _kept(text: str | None) -> str | None:
    """A text as every database holds it."""
    return text if text is None else storable(text)


def invalidated(asset: str, partition: str, output: str) -> Act:
    """A current output was withdrawn."""
    return Act(INVALIDATED, of_output(output), "success", {"asset": asset, "output": output}, {"partition": partition})


def erased(made: OutputRecord, at: int, reason: str, *, was_current: bool) -> Act:
    """The bytes of an output were erased; it was withdrawn if it was current."""
    data = {"asset": made.asset, "output": made.id, "digest": made.digest, "was_current": was_current, "gone_at": micro(at)}
    return Act(ERASED, of_output(made.id), "success", data, {"partition": made.partition, "reason": reason})


def collected(asset: str, partition: str, outputs: list[str], at: int) -> Act:
    """The bytes of superseded outputs of one partition were given up; at most 500 of them, as the subject the first."""
    data = {"asset": asset, "outputs": outputs, "gone_at": micro(at)}
    return Act(COLLECTED, of_output(outputs[0]), "success", data, {"partition": partition})


# -- runs ------------------------------------------------------------------------------------------------------------------------


def run_requested(row: Mapping[str, Any]) -> Act:
    """A run was requested; *row* is that of ``run`` with ``request``, ``plan`` and ``provenance`` as the texts they are."""
    data = {"pipeline": row["pipeline"], "definition": row["definition"], "requested_at": micro(row["requested_at"])}
    data |= {name: digest_of(row[name]) for name in ("request", "plan", "provenance")}
    return Act(RUN_REQUESTED, of_run(row["id"]), "success", data)


def run_resumed(run_id: str) -> Act:
    """A run that waited goes on."""
    return Act(RUN_RESUMED, of_run(run_id), "success", {})


def run_cancel_requested(run_id: str, reason: str, at: int) -> Act:
    """Somebody asked for the end of a run."""
    return Act(RUN_CANCEL_REQUESTED, of_run(run_id), "success", {"cancel_requested_at": micro(at)}, {"reason": reason})


def run_ended(run_id: str, status: str, ended_at: int, outcome: str, steps: Iterable[tuple[int, str, int, int, str, str]]) -> Act:
    """A run has ended as *status*; *outcome* is the row's text, *steps* are its materializations: see :func:`steps_digest`."""
    action = RUN_CANCELLED if status == "cancelled" else RUN_FINISHED
    data = {"status": status, "ended_at": micro(ended_at), "outcome": digest_of(outcome), "steps": steps_digest(steps)}
    return Act(action, of_run(run_id), status, data)


def steps_digest(steps: Iterable[tuple[int, str, int, int, str, str]]) -> str:
    """The SHA-256 of a run's materializations in the order of their ids: id, status, attempts, later, reason, output."""
    return digest_of(sorted(list(step) for step in steps))


# -- what people decide ----------------------------------------------------------------------------------------------------------


def hold_added(hold: HoldRecord) -> Act:
    """Something is held."""
    data = {"hold": hold.id, "asset": hold.asset, "output": hold.output, "held_run": hold.run_id, "held_at": micro(hold.at)}
    return Act(HOLD_ADDED, of_hold(hold.id), "success", data, {"partition": hold.partition, "reason": hold.reason})


def hold_released(hold: str, at: int, reason: str) -> Act:
    """A hold was released; who did it is the entry's actor."""
    return Act(HOLD_RELEASED, of_hold(hold), "success", {"hold": hold, "released_at": micro(at)}, {"reason": reason})


def group_reopened(fingerprint: str, why: str) -> Act:
    """A group of errors was opened again by somebody; its row has no decision any more."""
    act = group_decided(fingerprint, "open", 0, "")
    return act._replace(texts={"why": why})


def group_decided(fingerprint: str, status: str, at: int, reason: str) -> Act:
    """A group of errors was resolved, muted or opened again; *status* is what it has become."""
    action = next(action for action, becomes in GROUP_STATUS.items() if becomes == status)
    data = {"fingerprint": fingerprint, "status": status, "decided_at": micro(at)}
    return Act(action, of_group(fingerprint), "success", data, {"reason": reason})


def pipeline_changed(pipeline: str, digest: str, definition: str, changes: Mapping[str, Any]) -> Act:
    """A definition was used that was not seen before; *definition* is its stored text, *changes* what differs from the last."""
    data = {"pipeline": pipeline, "definition": digest, "record": digest_of(definition), **changes}
    return Act(PIPELINE_CHANGED, of_pipeline(pipeline), "success", data)


def control_weakened(control: str, told: Mapping[str, Any]) -> Act:
    """Something protects less than before."""
    return Act(CONTROL_WEAKENED, f"control:{control}", "success", {"control": control, **told})


def retention_changed(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Act:
    """What is kept is another length than before; the first time there is nothing before."""
    told = {"before": dict(before) if before is not None else None, "after": dict(after)}
    return Act(RETENTION_CHANGED, RETENTION, "success", told)


def db_pruned(kind: str, removed: int, size: int, before: int) -> Act:
    """Old records, or files nothing refers to, were removed."""
    return Act(DB_PRUNED, DB, "success", {"kind": kind, "removed": removed, "size": size, "before": micro(before)})


def db_restored(rows: int, file: str) -> Act:
    """The database was filled from a backup."""
    return Act(DB_RESTORED, DB, "success", {"rows": rows}, {"file": file})


def data_read(asset: str, partition: str, output: str, digest: str) -> Act:
    """Somebody was given the value of a sensitive asset."""
    data = {"asset": asset, "output": output, "digest": digest}
    return Act(DATA_READ, of_output(output), "success", data, {"partition": partition})


# -- the log itself --------------------------------------------------------------------------------------------------------------


def begun(unaudited: Mapping[str, Any], since: int) -> Act:
    """Auditing begins in a project, or again; *unaudited* tells of its records without an entry: see ``audit.reconciliation``."""
    return Act(BEGUN, LOG, "success", {"unaudited": dict(unaudited), "since": micro(since)})


def stopped() -> Act:
    """Auditing is switched off: what is done from here on has no entry."""
    return Act(STOPPED, LOG, "success", {})


def redacted(seq: int, field: str) -> Act:
    """What entry *seq* committed to as *field* was deleted."""
    return Act(REDACTED, f"entry:{seq}", "success", {"entry": seq, "field": field})


def pruned(below: int, root: str, archive_digest: str, until: int) -> Act:
    """The bytes of the entries below *below* went into an archive; *root* is their tree's, *until* their newest time (µs)."""
    data = {"below": below, "root": root, "digest": archive_digest, "until": until}
    return Act(PRUNED, LOG, "success", data)


def reincarnated(incarnation: int, size: int, reason: str) -> Act:
    """The log goes on at *size* after a restore that was meant."""
    return Act(REINCARNATED, LOG, "success", {"incarnation": incarnation, "size": size}, {"reason": reason})


# -- subjects --------------------------------------------------------------------------------------------------------------------

LOG, DB, RETENTION = "log", "db", "retention"


def of_materialization(id: int) -> str:
    """The subject of a materialization."""
    return f"materialization:{id}"


def of_run(id: str) -> str:
    """The subject of a run."""
    return f"run:{id}"


def of_output(id: str) -> str:
    """The subject of what becomes of an output after it was made."""
    return f"output:{id}"


def of_hold(id: str) -> str:
    """The subject of a hold."""
    return f"hold:{id}"


def of_group(fingerprint: str) -> str:
    """The subject of a group of errors."""
    return f"error_group:{fingerprint}"


def of_pipeline(name: str) -> str:
    """The subject of a pipeline's definitions."""
    return f"pipeline:{name}"
