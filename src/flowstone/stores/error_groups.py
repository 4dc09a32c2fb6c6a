"""Groups of errors that fail alike: counted for good, though the errors may be pruned; and what was decided of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Update, and_, bindparam, func, select, update

from flowstone.foundation.errors import NotFoundError
from flowstone.stores.database import Transaction
from flowstone.stores.records import ErrorGroupRecord
from flowstone.stores.statements import inserting_once
from flowstone.stores.tables import error, error_group

STATUSES = ("open", "resolved", "muted")
PREFIX = "grp_"
EXAMINED = 1_000
"""So many of the newest errors are looked at for what a group, or an asset, has to do with."""

_add = inserting_once(error_group, keys=("project", "fingerprint"))
_key = (error_group.c.project == bindparam("p"), error_group.c.fingerprint == bindparam("f"))


class Member(NamedTuple):
    """An asset, a partition and a version of the code that errors of a group arose in, and how many did."""

    asset: str
    partition: str
    definition: str
    errors: int
    first_at: int
    last_at: int


class Before(NamedTuple):
    """A group as it was, kept as it is until the transaction ends."""

    status: str
    first_error: str
    first_at: int
    last_at: int
    decided_at: int | None


def _locked() -> Select[Any]:
    return select(*(error_group.c[name] for name in Before._fields)).where(*_key).with_for_update()


def _count_newest() -> Update:
    newest: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("type", "message", "asset", "last_error", "last_at")}
    return update(error_group).where(*_key).values(errors=error_group.c.errors + 1, status=bindparam("new"), **newest)


def _count_older() -> Update:
    first: dict[str, Any] = {"first_error": bindparam("first"), "first_at": bindparam("since")}
    return update(error_group).where(*_key).values(errors=error_group.c.errors + 1, status=bindparam("new"), **first)


def _cure() -> Update:
    return update(error_group).where(*_key).values(cured=error_group.c.cured + bindparam("more"))


def _decide() -> Update:
    decision: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("decided_at", "decided_by", "identity", "reason")}
    return update(error_group).where(*_key, error_group.c.status == bindparam("was")).values(status=bindparam("new"), **decision)


def begin(tx: Transaction, project: str, fingerprint: str, values: dict[str, Any]) -> bool:
    """Add the group of an error that resembles none before: its *values* are those of the error. ``False`` when it is there."""
    blank = {"decided_at": None, "decided_by": "", "identity": "", "reason": "", "status": "open", "errors": 1, "cured": 0}
    seen = {"first_error": values["last_error"], "first_at": values["last_at"]}
    return bool(tx.execute(_add, {"project": project, "fingerprint": fingerprint, **blank, **seen, **values}).rowcount == 1)


def count(tx: Transaction, project: str, fingerprint: str, values: dict[str, Any]) -> Before:
    """Count one more error of a group that is there, and return what it was before: a resolved one is open again."""
    key = {"p": project, "f": fingerprint}
    before = Before(*tx.execute(_locked, key).fetchone())
    status = "open" if before.status == "resolved" else before.status
    if values["last_at"] >= before.last_at:
        tx.execute(_count_newest, {**key, "new": status, **{f"new_{name}": value for name, value in values.items()}})
    else:
        since, first = min((before.first_at, before.first_error), (values["last_at"], values["last_error"]))
        tx.execute(_count_older, {**key, "new": status, "first": first, "since": since})
    return before


def cure(tx: Transaction, project: str, fingerprint: str, more: int) -> None:
    """Count that *more* errors of the group were cured by a retry."""
    tx.execute(_cure, {"p": project, "f": fingerprint, "more": more})


def decide(
    tx: Transaction, project: str, group: ErrorGroupRecord, status: str, at: int | None, by: str, identity: str, reason: str
) -> bool:
    """Move the group from the status it has in *group* to *status*; ``False`` when it has another one by now."""
    decision = {"new_decided_at": at, "new_decided_by": by, "new_identity": identity, "new_reason": reason}
    key = {"p": project, "f": group.fingerprint, "was": group.status}
    return bool(tx.execute(_decide, {**key, "new": status, **decision}).rowcount == 1)


def read(
    connection: Connection, project: str, *, status: str | None = None, asset: str | None = None, limit: int = 50
) -> list[ErrorGroupRecord]:
    """The groups with the newest errors first; *asset*: those that one of its newest errors belongs to."""
    found: list[ErrorGroupRecord] = []
    for each in STATUSES if status is None else (status,):
        query = select(error_group).where(error_group.c.project == project, error_group.c.status == each)
        if asset is not None:
            query = query.where(error_group.c.fingerprint.in_(_newest_of(project, asset)))
        rows = connection.execute(query.order_by(error_group.c.last_at.desc()).limit(limit)).mappings()
        found += [_record(row) for row in rows]
    return sorted(found, key=lambda group: (-group.last_at, group.fingerprint))[:limit]


def _newest_of(project: str, asset: str) -> Select[Any]:
    own = select(error.c.fingerprint).where(error.c.project == project, error.c.asset == asset)
    newest = own.order_by(error.c.at.desc()).limit(EXAMINED).subquery("newest")
    return select(newest.c.fingerprint)


def find(connection: Connection, project: str, id: str) -> ErrorGroupRecord:
    """The group with this id, fingerprint or unambiguous beginning of either; raises :class:`NotFoundError`."""
    text = id.removeprefix(PREFIX)
    digits = error_group.c.fingerprint
    begins = and_(digits >= text, digits <= text + "g", digits.startswith(text, autoescape=True))
    query = select(error_group).where(error_group.c.project == project, begins).order_by(digits).limit(2)
    rows = list(connection.execute(query).mappings()) if text else []
    if not rows or (len(rows) > 1 and rows[0]["fingerprint"] != text):
        what = "more than one group" if rows else "no group"
        raise NotFoundError(f"there is {what} of errors {id!r}", hint="flowstone errors --all lists them")
    return _record(rows[0])


def members(connection: Connection, project: str, fingerprint: str, examined: int) -> list[Member]:
    """Where the *examined* newest errors of the group arose, each place once, the newest first."""
    place = (error.c.asset, error.c.partition, error.c.definition)
    of_group = select(*place, error.c.at).where(error.c.project == project, error.c.fingerprint == fingerprint)
    newest = of_group.order_by(error.c.at.desc()).limit(examined).subquery("newest")
    columns = [newest.c[column.name] for column in place]
    query = select(*columns, func.count(), func.min(newest.c.at), func.max(newest.c.at)).group_by(*columns)
    found = [Member._make(row) for row in connection.execute(query)]
    return sorted(found, key=lambda member: (-member.last_at, member.asset, member.partition))


def _record(row: Any) -> ErrorGroupRecord:
    return ErrorGroupRecord.of(row, id=PREFIX + row["fingerprint"])
