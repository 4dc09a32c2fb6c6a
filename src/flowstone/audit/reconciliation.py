"""Comparing the records with the log, both ways: each record has its entry, each entry its record, and they say the same.

What the log tells is made again from the rows by the functions of ``acts`` and compared name by name. Which output is current is
recomputed from the entries. Records from before the log began have no entry: those of each project have a digest in the entry
with which auditing began.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from flowstone.audit import acts, approval_records, fold
from flowstone.audit.acts import micro
from flowstone.audit.comparison import Comparison
from flowstone.audit.findings import Findings
from flowstone.audit.fold import Fold
from flowstone.audit.told import Following, Line, Told, merged
from flowstone.foundation.errors import DamagedError
from flowstone.stores import audit_checks, audit_records
from flowstone.stores.audit_records import MadeOutput
from flowstone.stores.database import Connection
from flowstone.stores.records import OutputRecord

ENDED = frozenset({"success", "partial", "failed", "cancelled"})


def reconcile(connection: Connection, log: Fold, found: Findings, pruned: int = 0, project: str | None = None) -> dict[str, int]:
    """Compare every record with what was folded of the log; return how many of each kind there are.

    At most *pruned* entries of the log are in an archive that was not read. That another *project* does not audit is a notice.
    """
    comparison = Comparison(log, found, pruned, project)
    compared = _compare_all(connection, comparison, found)
    comparison.end()
    return compared


def unaudited(connection: Connection, project: str, log: Fold | None = None) -> dict[str, dict[str, Any]]:
    """What is to be said of the records that *log* does not tell of when auditing begins in *project*: see :func:`acts.begun`."""
    with closing(Fold(connection)) as empty:
        found = Findings()
        comparison = Comparison(log or empty, found)
        _compare_all(connection, comparison, found)
        return comparison.untold[project].summary()


def _compare_all(connection: Connection, comparison: Comparison, found: Findings) -> dict[str, int]:
    parts: dict[str, Callable[[Connection, Comparison], int]] = {
        "outputs": _outputs, "failures": _failures, "pointers": _pointers, "runs": _runs, "holds": _holds,
        "decisions": _decisions, "definitions": _definitions, "approvals": approval_records.requests,
        "votes": approval_records.votes,
    }  # fmt: skip
    compared, strange = {}, audit_checks.strange_values(connection, audit_records.TABLES)
    for column in strange:
        found.find("record", f"{column} holds what FlowStone does not write there: it was put there past FlowStone")
    for name, part in parts.items():
        try:
            with audit_checks.telling_damage():
                compared[name] = part(connection, comparison)
        except (TypeError, ValueError) as error:
            if not strange and "type" not in found.told:
                raise
            found.lacks(f"the records of {name} could not be compared to their end: {error}")
        except DamagedError as error:
            found.find("unreadable", f"records of {name}: {error.message}", todo="keep the file, restore a backup")
            break
    return compared


# -- outputs and their pointers --------------------------------------------------------------------------------------------------


def _outputs(connection: Connection, comparison: Comparison) -> int:
    rows = (((made.record.id,), made) for made in audit_records.made_outputs(connection))
    count, gone_by = 0, Following(comparison.tales.every(fold.GONE), lambda line: _never_gone(comparison, line))
    for key, told, made in merged(comparison.tales.every(fold.OUTPUT), rows):
        if made is None:
            comparison.phantom("output", key, told)
            continue
        count += 1
        record, name = made.record, f"output {made.record.id} ({made.record.asset})"
        asked = comparison.tales.get(fold.CANDIDATE, key[:1])
        first = told or asked
        gone = _compare_gone(comparison, name, record, first, gone_by.of(key))
        if first is None:
            act = _act_of(made)
            comparison.untold[made.project].add("output", name, act._replace(data={**act.data, "gone": gone}))
            continue
        if asked is not None:
            first = asked
            approval_records.compare_candidate(comparison, name, made, asked, told)
        comparison.tales.number((made.project, record.asset, record.partition), record.version, first.seq)
        if told is not None:
            _compare_made(comparison, name, made, told)
    gone_by.end()
    for place, version in comparison.tales.misnumbered(complete=not comparison.untold):
        comparison.strange(f"version {version} of {' '.join(place[1:])}".strip() + " is not in the order of the log", place[1])
    for id in audit_records.stray_edges(connection):
        comparison.strange(f"lineage says what went into output {id}, which does not exist", id)
    for number, asset, output in audit_records.empty_successes(connection):
        told_of = f"materialization {number} of {asset} says success with output {output or 'none'}, which is not its own"
        comparison.strange(told_of, acts.of_materialization(number))
    return count


def _act_of(made: MadeOutput) -> acts.Act:
    return acts.succeeded(made.materialization, made.record, made.inputs, made.attempts, made.later)


def _compare_made(comparison: Comparison, name: str, made: MadeOutput, told: Told) -> None:
    """Compare the row of an output, and how its materialization has ended, with the entry that made it current."""
    comparison.compare(name, _act_of(made), told, made.project, made.record.run_id)
    if made.end != ("success", made.record.id, "", "", None):
        comparison.differ(name, f"materialization {made.materialization} says {made.end}, {told.where} success", told)


def _never_gone(comparison: Comparison, line: Line) -> None:
    comparison.phantom("bytes of output", line.key, line.told)


def _compare_gone(comparison: Comparison, name: str, record: OutputRecord, made: Told | None, told: Told | None) -> list[Any]:
    """Compare what became of an output's bytes with what is *told* of that; return what no entry tells of that, of an output
    of which none tells.
    """
    said = [record.gone, micro(record.gone_at) if record.gone_at is not None else None]
    if told is None:
        if record.gone and made is not None and not comparison.may_have_gone_on(made):
            comparison.strange(f"{name} says its bytes were {record.gone}, and no entry tells of that", record.id)
        return said
    signed = ["erased" if told.action == acts.ERASED else "collected", told.data.get("gone_at")]
    if said != signed:
        comparison.differ(name, f"gone = {said[0] or 'no'} at {said[1]}, {told.where} says {signed[0]} at {signed[1]}", told)
    return ["", None]


def _failures(connection: Connection, comparison: Comparison) -> int:
    rows = (((row.id,), row) for row in audit_records.failed(connection))
    count = 0
    for key, told, row in merged(comparison.tales.every(fold.FAILED), rows):
        if row is None:
            comparison.phantom("failed materialization", key, told)
            continue
        count += 1
        act = acts.failed(row.id, row.asset, row.partition, row.reason, row.message, row.attempts, row.later)
        name = f"materialization {row.id} ({row.asset})"
        if told is None:
            comparison.untold[row.project].add("failed", name, act)
        else:
            comparison.compare(name, act, told, row.project, row.run_id)
            if (row.output, row.not_before) != ("", None):
                comparison.differ(name, f"output = {row.output}, next try at {row.not_before}; it has failed", told)
    return count


def _pointers(connection: Connection, comparison: Comparison) -> int:
    rows = (((row[0], row[1], row[2]), row[3]) for row in audit_records.current(connection))
    count = 0
    for key, told, output in merged(comparison.tales.every(fold.CURRENT), rows):
        count += output is not None
        name = f"the current output of {key[1]} {key[2]}".strip()
        if told is not None:
            signed = told.data.get("output")
            if output != signed and comparison.may_have_gone_on(told):
                continue
            if output is None:
                comparison.differ(name, f"there is none, {told.where} made it {signed}, and nothing has withdrawn that", told)
            elif output != signed:
                comparison.differ(name, f"it is {output}, {told.where} made it {signed}", told)
        elif comparison.tales.get(fold.OUTPUT, (output,)) is not None or approval_records.is_candidate(comparison, output):
            comparison.strange(f"{name} is {output}, the log says that none is", output)
        elif key[0] not in comparison.untold:  # else it may be from before the log began
            comparison.strange(f"{name} is {output}, of which no entry tells", output)
    return count


# -- runs ------------------------------------------------------------------------------------------------------------------------


def _runs(connection: Connection, comparison: Comparison) -> int:
    rows = (((row["id"],), row) for row in audit_records.runs(connection))
    count = 0
    for key, told, row in merged(comparison.tales.every(fold.REQUESTED), rows):
        if row is None:
            comparison.phantom("run", key, told)
            continue
        count += 1
        if told is not None:
            comparison.compare(row["id"], acts.run_requested(row), told, row["project"], row["id"])
            comparison.compare_actor(row["id"], row["actor"], row["identity"], told)
            if told.trace and told.trace != row["trace_id"]:
                comparison.differ(row["id"], f"trace_id = {row['trace_id']}, {told.where} says {told.trace}", told)
        _compare_end(connection, comparison, row, told)
        _compare_cancel(comparison, row, told)
    return count


def _compare_end(connection: Connection, comparison: Comparison, row: dict[str, Any], requested: Told | None) -> None:
    id, status, ended = row["id"], row["status"], comparison.tales.get(fold.ENDED, (row["id"],))
    if ended is None and status not in ENDED:
        return
    steps = audit_records.steps(connection, id)
    act = acts.run_ended(id, status, row["ended_at"] or 0, row["outcome"], steps)
    if ended is not None:
        comparison.compare(id, act, ended, row["project"], id)
        if row["process"]:
            comparison.differ(id, f"process = {row['process']}, and it has ended", ended)
    elif requested is not None:
        if not comparison.may_have_gone_on(requested):
            comparison.strange(f"{id} says it has ended ({status}), and no entry tells of that", acts.of_run(id))
    else:
        comparison.untold[row["project"]].add("run", id, act)


def _compare_cancel(comparison: Comparison, row: dict[str, Any], requested: Told | None) -> None:
    told, asked = comparison.tales.get(fold.CANCEL, (row["id"],)), row["cancel_requested_at"]
    said = micro(asked) if asked is not None else None
    signed = told.data.get("cancel_requested_at") if told is not None else None
    if said != signed and told is None and requested is not None and comparison.may_have_gone_on(requested):
        return
    if said != signed and (requested is not None or told is not None):
        comparison.strange(f"{row['id']}: its end was asked for at {said}, the log says {signed}", acts.of_run(row["id"]))


# -- what people decide ----------------------------------------------------------------------------------------------------------


def _holds(connection: Connection, comparison: Comparison) -> int:
    rows = (((hold.id,), (project, hold)) for project, hold in audit_records.holds(connection))
    count = 0
    for key, told, row in merged(comparison.tales.every(fold.HELD), rows):
        if row is None:
            comparison.phantom("hold", key, told)
            continue
        count += 1
        project, hold = row
        act, released = acts.hold_added(hold), comparison.tales.get(fold.RELEASED, key[:1])
        said = [micro(hold.released_at), hold.released_by] if hold.released_at is not None else None
        signed = [released.data.get("released_at"), released.actor] if released is not None else None
        if told is None:
            data = {**act.data, "by": [hold.actor, hold.identity], "released": said if signed is None else None}
            comparison.untold[project].add("hold", hold.id, act._replace(data=data))
        else:
            comparison.compare(hold.id, act, told, project)
            comparison.compare_actor(hold.id, hold.actor, hold.identity, told)
        if said != signed and signed is None and told is not None and comparison.may_have_gone_on(told):
            continue
        if said != signed and (signed is not None or told is not None):
            comparison.strange(f"{hold.id} says released {said}, the log says {signed}", acts.of_hold(hold.id))
    return count


def _decisions(connection: Connection, comparison: Comparison) -> int:
    rows = (((row.project, row.fingerprint), row) for row in audit_records.groups(connection))
    count = 0
    for key, told, row in merged(comparison.tales.every(fold.DECIDED), rows):
        if row is None:
            comparison.phantom("group of errors", key, told)
            continue
        count += row.decided_at is not None
        name = f"the group of errors {row.fingerprint}"
        if told is not None:
            if told.data.get("decided_at") != micro(row.decided_at or 0) and comparison.may_have_gone_on(told):
                continue
            came_back = row.status == "open" and told.action == acts.GROUP_RESOLVED and row.last_at >= (row.decided_at or 0)
            act = acts.group_decided(row.fingerprint, "resolved" if came_back else row.status, row.decided_at or 0, row.reason)
            comparison.compare(name, act, told, row.project)
            is_cleared = told.action == acts.GROUP_REOPENED and (row.decided_at, row.decided_by, row.identity) == (None, "", "")
            if not is_cleared:  # a group that is opened again has no decision any more; who opened it the entry alone tells
                comparison.compare_actor(name, row.decided_by, row.identity, told)
        elif (row.status != "open" or row.decided_at is not None) and not _is_older(comparison, row.project, row.decided_at):
            comparison.strange(f"{name} is {row.status}, and no entry tells who decided so", acts.of_group(row.fingerprint))
    return count


def _is_older(comparison: Comparison, project: str, at: int | None) -> bool:
    """Whether what has that time may be from before the log began, or from while it was switched off."""
    begun = comparison.log.begun.get(project)
    if project in comparison.log.gaps or comparison.is_silent(project):
        return True
    since = begun.data.get("since") if begun is not None and begun.data.get("unaudited") else None
    return at is not None and isinstance(since, int) and micro(at) <= since


def _definitions(connection: Connection, comparison: Comparison) -> int:
    rows = (((row[0], row[1], row[2]), row[3]) for row in audit_records.definitions(connection))
    count = 0
    for key, told, text in merged(comparison.tales.every(fold.DEFINED), rows):
        if text is None:
            comparison.phantom("definition", key, told)
            continue
        count += 1
        act, name = acts.pipeline_changed(key[1], key[2], text, {}), f"definition {key[2][:12]} of {key[1]}"
        if told is None:
            comparison.untold[key[0]].add("definition", name, act)
        else:
            comparison.compare(name, act, told, key[0])
    return count
