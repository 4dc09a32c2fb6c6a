"""Verifying a log: every entry hashed again, every tree head compared, every signature checked, in one pass and little memory.

Whose log it is and whose keys are trusted come from who verifies, never from the database. All findings are reported, not the
first one. Whether the records are those the log tells of is compared in ``reconciliation``, which takes the entries of this pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flowstone.audit.inspection import Checked, Inspection, Reader
from flowstone.audit.origins import of_incarnation, permanent
from flowstone.audit.promises import Anchored, Promises
from flowstone.audit.state import PinnedKey
from flowstone.audit.tree import HASH_BYTES, Frontier
from flowstone.foundation.errors import DamagedError
from flowstone.stores import append_only, audit, audit_checks
from flowstone.stores.audit_checks import Stored
from flowstone.stores.database import Connection

PATIENCE = 86_400 * 10**9
"""Nanoseconds after which an entry that is not sealed yet is worth a word."""


def check_log(
    connection: Connection,
    origin: str,
    keys: Sequence[PinnedKey],
    anchored: Iterable[Anchored] = (),
    *,
    now: int | None = None,
    archived_below: int = 0,
    reader: Reader | None = None,
) -> Checked:
    """Verify the log *origin*: entries, columns, order, heads, signatures, disclosures, guards.

    *anchored* are heads from outside the database, the newest one that was signed here included. *now* tells how long entries
    have waited for the sealer. Entries below *archived_below* were verified in their archive; *reader* takes the good ones.
    """
    checked = Checked(origin=permanent(origin))
    try:
        with audit_checks.telling_damage():
            for column in audit_checks.strange_values(connection, audit_checks.AUDIT):
                checked.find("type", f"{column} holds what FlowStone does not write there: it was put there past FlowStone")
            _check(connection, checked, keys, anchored, now, archived_below, reader)
    except (TypeError, ValueError) as error:
        if "type" not in checked.told:
            raise
        checked.lacks(f"what follows could not be compared: {error}")
    except DamagedError as error:
        checked.find("unreadable", error.message, todo="keep the file, restore a backup")
    return checked


def _check(
    connection: Connection,
    checked: Checked,
    keys: Sequence[PinnedKey],
    anchored: Iterable[Anchored],
    now: int | None,
    archived_below: int,
    reader: Reader | None,
) -> None:
    for difference in append_only.differences(connection):
        todo = "the tree tells whether entries were changed"
        checked.find("schema", f"{difference}: what it refuses may have been done", todo=todo)
    _check_incarnations(connection, checked)
    prunes = audit_checks.prunes(connection)
    checked.pruned_below = max((below for below, _ in prunes if type(below) is int), default=0)
    inspection = Inspection(checked, reader, prunes)
    promises = Promises(checked, checked.origin, keys, audit_checks.heads(connection))
    promises.take(anchored)
    _check_sealed(connection, checked, inspection, promises)
    promises.end(checked.entries)
    _check_unsealed(connection, checked, inspection)
    inspection.end()
    checked.heads, checked.anchors, checked.signed_size = promises.heads, promises.anchors, promises.signed_size
    _check_sequences(connection, checked)
    if checked.pruned_below > archived_below:
        checked.lacks(f"entries {archived_below}-{checked.pruned_below - 1} were pruned: their archive was not verified")
    if checked.oldest_unsealed is not None and now is not None and now - checked.oldest_unsealed > PATIENCE:
        waiting = f"{checked.unsealed} entries are not sealed, the oldest for {(now - checked.oldest_unsealed) // PATIENCE} d"
        checked.lacks(f"{waiting}: nothing that is signed covers them; flowstone audit seal")


def _check_incarnations(connection: Connection, checked: Checked) -> None:
    found = audit.incarnations(connection)
    if not found or found[0][0] != 1:
        checked.find("foreign", f"the database does not have the audit log {checked.origin}", todo="restore the database")
    for number, origin, _, _ in found:
        checked.incarnation = number
        if origin != of_incarnation(checked.origin, number):
            checked.find("foreign", f"the database says its log is {origin}, not {of_incarnation(checked.origin, number)}")
        elif number > 1:
            checked.notices.append(f"the log was restored, and its keeper has said so: incarnation {number}")


def _check_sealed(connection: Connection, checked: Checked, inspection: Inspection, promises: Promises) -> None:
    """Read the order from its beginning."""
    frontier = Frontier()
    for page, beside in audit_checks.sealed(connection):
        inspection.beside = beside
        for row in page:
            seq, leaf_hash = row[0], row[2]
            if seq != frontier.size:
                frontier = _skipped(checked, seq, frontier)
            at = inspection.look_at_sealed(row)
            if seq == frontier.size:
                frontier.add(leaf_hash if type(leaf_hash) is bytes else bytes(HASH_BYTES))
            if frontier.size >= promises.next_size:
                promises.reached(frontier)
                if at is not None and promises.signed_size == frontier.size:
                    checked.signed_at = at * 1_000
    checked.entries, checked.root = frontier.size, frontier.root()


def _skipped(checked: Checked, seq: Any, frontier: Frontier) -> Frontier:
    """Tell of a hole in the order, and go on behind it; no root can come out right any more."""
    checked.find("gap", f"the order has no entry {frontier.size}: {str(seq)[:30]} follows", todo="compare with an anchor")
    if type(seq) is not int or seq < frontier.size:
        return frontier
    return Frontier(seq, [bytes(HASH_BYTES)] * seq.bit_count())


def _check_unsealed(connection: Connection, checked: Checked, inspection: Inspection) -> None:
    """Read what is not sealed: what waits for the sealer, and what was put among what is sealed."""
    last, is_sqlite = audit_checks.last_sealed_entry(connection), connection.dialect.name == "sqlite"
    for page, beside in audit_checks.unsealed(connection):
        inspection.beside = beside
        waiting = set() if is_sqlite else audit_checks.waits(connection, [row[1] for row in page])
        for row in map(Stored._make, page):
            at = inspection.look_at(row)
            if not (row.entry > last if is_sqlite else row.entry in waiting):
                told = f"the entry {row.entry} ({row.action} of {row.subject}) has no place, and does not wait for one"
                checked.find("inserted", f"{told}: it was put there past FlowStone", str(row.subject))
            checked.unsealed += 1
            if at is not None:
                checked.oldest_unsealed = min(checked.oldest_unsealed or at * 1_000, at * 1_000)
    if not is_sqlite:
        for entry, is_there in audit_checks.wrongly_pending(connection):
            told = "it is sealed already" if is_there else "it is not there any more: it was deleted before it was sealed"
            checked.find("pending", f"the entry {entry} waits for its place, but {told}")


def _check_sequences(connection: Connection, checked: Checked) -> None:
    """Compare the versions of each subject with each other and with their places."""
    checked.subjects, broken = audit_checks.sequences(connection)
    for found in broken:
        if not found.are_without_gap or (found.first != 1 and not checked.pruned_below):
            told = f"{found.subject} has {found.entries} entries, of versions {found.first} to {found.last}: some are missing"
            checked.find("sequence", told, str(found.subject))
    for subject, version, place, before in audit_checks.misplaced(connection):
        told = f"{subject}: version {version} is entry {place}, the version before it entry {before}"
        checked.find("sequence", told, str(subject))
    for what, entry, field in audit_checks.strays(connection):
        checked.find("disclosure", f"a {what} of {field} is of entry {entry}, which does not exist")
