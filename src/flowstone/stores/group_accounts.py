"""Groups of errors against the errors they count and the decisions that were told."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, case, func, select

from flowstone.stores import error_groups
from flowstone.stores.records import ErrorGroupRecord
from flowstone.stores.tables import error, error_group, event, run

COUNTED = "every group counts its errors"
DECIDED = "every decision about a group was told"
IN_A_GROUP = "every error is in a group"

READ = 10_000  # events without a run
_DECISIONS = "flowstone.error_group."


class _Decision(msgspec.Struct):
    fingerprint: str = ""


_decision = msgspec.json.Decoder(_Decision)


def disagreements(
    connection: Connection, project: str, *, most_runs: int, groups: int, most_errors: int, pruned: int
) -> list[tuple[str, int, str]]:
    """Each check that fails: how many of the newest *groups* (or of the errors of the newest runs) do, and the first of them.

    Groups of more than *most_errors* are not counted again; what is older than *pruned* may be gone for good reasons.
    """
    found = error_groups.read(connection, project, status=None, limit=groups)
    small = [group for group in found if group.errors <= most_errors]
    told, since = _told(connection, project)
    wrong = {
        IN_A_GROUP: _alone(connection, project, most_runs),
        COUNTED: [group.id for group in small if not _is_counted(connection, project, group, pruned)],
        DECIDED: [group.id for group in found if not _is_told(group, told.get(group.fingerprint), max(pruned, since))],
    }
    return [(subject, len(ids), ids[0]) for subject, ids in wrong.items() if ids]


def _alone(connection: Connection, project: str, most_runs: int) -> list[str]:
    newest = select(run.c.id).where(run.c.project == project).order_by(run.c.requested_at.desc()).limit(most_runs).subquery()
    same = (error_group.c.project == error.c.project) & (error_group.c.fingerprint == error.c.fingerprint)
    query = select(error.c.id).join(newest, error.c.run_id == newest.c.id).outerjoin(error_group, same)
    return list(connection.execute(query.where(error_group.c.fingerprint.is_(None))).scalars())


def _is_counted(connection: Connection, project: str, group: ErrorGroupRecord, pruned: int) -> bool:
    """Whether the group has as many errors, and cured ones, as it says; fewer are there when some were pruned."""
    cured = func.coalesce(func.sum(case((error.c.cured > 0, 1), else_=0)), 0)
    span = (func.min(error.c.at), func.max(error.c.at))
    own = (error.c.project == project, error.c.fingerprint == group.fingerprint)
    there, well, first, last = connection.execute(select(func.count(), cured, *span).where(*own)).one()
    if group.first_at < pruned:
        return bool(there <= group.errors and well <= group.cured and (last is None or last <= group.last_at))
    return (there, well, first, last) == (group.errors, group.cured, group.first_at, group.last_at)


def _told(connection: Connection, project: str) -> tuple[dict[str, tuple[str, int]], int]:
    """The last decision about each group, and when it was made, among the newest events without a run; and how far these go."""
    own = (event.c.run_id.is_(None), event.c.project == project)
    query = select(event.c.name, event.c.at, event.c.payload).where(*own).order_by(event.c.id.desc()).limit(READ)
    rows = list(connection.execute(query))
    told = {
        _decision.decode(payload).fingerprint: (name.removeprefix(_DECISIONS), at)
        for name, at, payload in reversed(rows)
        if name.startswith(_DECISIONS)
    }
    return told, rows[-1].at if len(rows) == READ else 0


def _is_told(group: ErrorGroupRecord, told: tuple[str, int] | None, pruned: int) -> bool:
    """Whether the group's status is what was decided last: one that is open again says when it had been resolved."""
    if told is None:
        return group.decided_at is None and group.status == "open" if not pruned else (group.decided_at or 0) < pruned
    if group.decided_at is None:
        return told[0] == "reopened" and group.status == "open"
    return told == ("resolved" if group.status == "open" else group.status, group.decided_at)
