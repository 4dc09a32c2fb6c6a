"""Appending: an entry in the transaction of its change, or no change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flowstone.audit.acts import MAX_PLAIN_LOCATION, PLAIN, Act, micro
from flowstone.audit.leaf import MAX_PLAIN_KEY, Disclosure, disclose, leaf
from flowstone.audit.origins import new_origin, permanent
from flowstone.foundation.errors import AuditUnavailableError, LeafError
from flowstone.foundation.texts import storable
from flowstone.stores import audit
from flowstone.stores.database import Connection, Database, Transaction

BEGINNING = "flowstone.audit.log"
"""What is locked while a log begins."""


class Entry(NamedTuple):
    """One act: who did what to which version of which subject, and how it ended.

    *version* ``None`` is the one after the subject's newest entry. *at* is in nanoseconds. *data* is small and names no person;
    what a person could want forgotten is in *disclosures*.
    """

    action: str
    subject: str
    outcome: str
    actor: str
    identity: str
    at: int
    version: int | None = None
    data: Mapping[str, Any] = {}
    run_id: str = ""
    trace_id: str = ""
    disclosures: tuple[Disclosure, ...] = ()


class Auditor:
    """Appends to the log *origin* for one project."""

    def __init__(self, origin: str, project: str) -> None:
        self._origin, self._project = permanent(origin), project

    def append(self, tx: Transaction, entry: Entry) -> None:
        """Append *entry* to the transaction of its change; raises :class:`AuditUnavailableError` when that cannot be.

        Append after the compare-and-set of the change: entries that concern the same row are then in the order of its changes.
        """
        version = entry.version
        if version is None:
            version = audit.next_version(tx, self._project, entry.subject)
        values = self._row(entry, version)
        if entry.disclosures or entry.version is None:
            audit.add_now(tx, values, entry.disclosures)
        else:
            audit.add(tx, values)

    def append_within(self, connection: Connection, entry: Entry) -> None:
        """Append *entry* where rows are filled in past transactions, as by a restore: nobody else is there."""
        version = audit.last_version(connection, self._project, entry.subject) + 1
        audit.add_within(connection, self._row(entry, version), entry.disclosures)

    def _row(self, entry: Entry, version: int) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "origin": self._origin, "project": self._project, "subject": entry.subject, "version": version,
            "at": micro(entry.at), "actor": entry.actor, "identity": entry.identity, "action": entry.action,
            "outcome": entry.outcome, "data": entry.data,
        }  # fmt: skip
        if entry.run_id:
            fields["run"] = entry.run_id
        if entry.trace_id:
            fields["trace"] = entry.trace_id
        try:
            made = leaf(fields, entry.disclosures)
        except LeafError as error:
            raise AuditUnavailableError(f"{entry.action} of {entry.subject} cannot be audited: {error.message}") from error
        return {
            "project": self._project, "subject": entry.subject, "version": version, "action": entry.action,
            "actor": entry.actor, "asset": entry.data.get("asset", ""), "run_id": entry.run_id, "at": micro(entry.at) * 1_000,
            "leaf": made,
        }  # fmt: skip


def entry_of(
    act: Act,
    *,
    actor: str,
    identity: str,
    at: int,
    version: int | None = None,
    run_id: str = "",
    trace_id: str = "",
    personal: bool = False,
) -> Entry:
    """The entry of *act*: what people wrote, a long key or a *personal* one, and places that show it, are disclosures."""
    data, disclosures = dict(act.data), []
    texts = {name: storable(text) for name, text in act.texts.items() if text}
    private = personal or len(texts.get("partition", "").encode()) > MAX_PLAIN_KEY
    for name, text in texts.items():
        if private or name not in PLAIN or len(text.encode()) > MAX_PLAIN_LOCATION:
            disclosures.append(disclose(name, text))
        else:
            data[name] = text
    return Entry(act.action, act.subject, act.outcome, actor, identity, at, version, data, run_id, trace_id, tuple(disclosures))


def begin_log(database: Database, name: str, first: Callable[[Transaction, str], object] | None = None) -> str:
    """The origin of the database's log, which begins now, under *name*, unless there is one.

    *first* is called in the transaction with which it begins, with the origin: for the first entry.
    """
    with database.reading() as connection:
        found = audit.incarnations(connection)
    if not found:
        with database.transaction(power=True) as tx:
            tx.lock(BEGINNING)
            found = audit.incarnations(tx)
            if not found:
                found = [(1, new_origin(name), "", database.now())]
                audit.begin_incarnation(tx, *found[0])
                if first is not None:
                    first(tx, found[0][1])
    return found[0][1]
