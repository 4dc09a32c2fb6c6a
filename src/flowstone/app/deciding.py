"""Decides about groups of errors: resolved, muted, open again; each decision has who made it and why, and is made once."""

from __future__ import annotations

from typing import Literal

from flowstone.app.wiring import Deployment
from flowstone.audit import acts
from flowstone.execution.run import Actor
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import UsageError
from flowstone.ledger import error_groups as groups
from flowstone.stores import error_groups
from flowstone.stores.records import ErrorGroupRecord

Status = Literal["open", "resolved", "muted"]


def decide(deployment: Deployment, actor: Actor, id: str, status: Status, reason: str) -> ErrorGroupRecord:
    """Give the group another status and return it as it is then.

    Raises :class:`UsageError` without a reason, and for a decision that comes too late: who made the earlier one is named.
    """
    if not reason.strip() or len(reason) > 1_000:
        raise UsageError("a reason of 1 to 1,000 characters is needed", hint="-m 'what was done about it'")
    services = deployment.existing()
    project, said = services.project, services.dispatcher.redactor.text(reason)
    with services.database.reading() as connection:
        group = error_groups.find(connection, project, id)
    won, now = False, services.database.now()
    if group.status != status:
        with services.database.transaction() as tx:
            won = groups.decide(tx, project, group, status, at=now, actor=actor.id, identity=actor.source, reason=said)
            if won:
                reopened, id = status == "open", group.fingerprint
                act = acts.group_reopened(id, said) if reopened else acts.group_decided(id, status, now, said)
                services.audit.tell(tx, act, actor.who, now)
    with services.database.reading() as connection:
        group = error_groups.find(connection, project, group.fingerprint)
    if not won:
        hint = f"flowstone errors show {group.id}"
        raise UsageError(f"{group.id} is {group.status} already{_by(group)}; nothing changed", hint=hint)
    return group


def _by(group: ErrorGroupRecord) -> str:
    if group.decided_at is None or group.status == "open":
        return ""
    when = as_datetime(group.decided_at).strftime("%Y-%m-%d %H:%M UTC")
    return f": {group.decided_by} decided that on {when}, {group.reason!r}"
