"""Redaction: what an entry discloses is deleted, in the transaction that says so. The entry and the tree stay as they are."""

from __future__ import annotations

from typing import NamedTuple

from flowstone.audit import leaf as leaves
from flowstone.audit.acts import redacted
from flowstone.audit.keeper import Keeper
from flowstone.foundation.errors import NotFoundError, UsageError
from flowstone.stores import audit_changes, audit_questions


class Redacted(NamedTuple):
    """What was deleted: the entry's place and the fields."""

    seq: int
    fields: tuple[str, ...]


def redact(keeper: Keeper, seq: int, fields: tuple[str, ...], reason: str) -> Redacted:
    """Delete what the sealed entry at *seq* discloses as *fields* (none: as all of them), and say so in the log."""
    with keeper.database.reading() as connection:
        row = audit_questions.at(connection, seq)
        if row is None:
            raise NotFoundError(f"there is no sealed entry {seq}", hint="flowstone audit list; flowstone audit seal")
        disclosed = audit_questions.disclosed(connection, [row]).get(row.id, {})
    if row.leaf is None:
        raise UsageError(f"entry {seq} was pruned: it discloses nothing here", hint="its archive has it: delete it there as well")
    promised = leaves.read(bytes(row.leaf)).get("commit", {})
    chosen = fields or tuple(disclosed)
    for field in chosen:
        if field not in promised:
            known = ", ".join(sorted(promised)) or "nothing"
            raise NotFoundError(f"entry {seq} commits to no {field!r}", hint=f"it commits to {known}")
        if field not in disclosed:
            raise UsageError(f"{field} of entry {seq} was redacted before", hint=f"flowstone audit show {seq}")
    if not chosen:
        raise UsageError(f"entry {seq} discloses nothing that could be redacted", hint=f"flowstone audit show {seq}")
    now = keeper.database.now()
    with keeper.database.transaction(power=True) as tx:
        for field in chosen:
            if audit_changes.redact(tx, row.id, field, now):
                keeper.append(tx, redacted(seq, field)._replace(texts={"reason": reason}), now)
    keeper.seal()
    return Redacted(seq, chosen)
