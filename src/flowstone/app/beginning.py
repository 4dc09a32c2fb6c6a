"""Whether this deployment audits: the log begins with the first change, and switching it off and on is told in it.

So is what decides how much is kept, and who may decide: it is compared with what the log says it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from flowstone.app import deciders, identity
from flowstone.audit import acts, leaf
from flowstone.audit.entries import BEGINNING, Auditor, begin_log, entry_of
from flowstone.audit.fold import Fold
from flowstone.audit.origins import permanent
from flowstone.audit.reconciliation import unaudited
from flowstone.audit.recorder import Recorder, Who
from flowstone.audit.verification import check_log
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.setting_groups import RetentionSettings
from flowstone.foundation.settings import Settings
from flowstone.stores import audit, audit_records
from flowstone.stores.database import Connection, Database, Transaction

SWITCHES = (acts.BEGUN, acts.STOPPED)


def begin(settings: Settings, database: Database, who: Who) -> Recorder:
    """What tells the log of this deployment's changes; it tells nothing where auditing is off, once that is told itself."""
    project = settings.project
    with database.reading() as connection:
        found = audit.incarnations(connection)
        last = audit.last_action(connection, project, acts.LOG, SWITCHES)
    if not settings.audit.enabled:
        if found and last != acts.STOPPED:
            _stop(database, Auditor(found[0][1], project), project, who)
        return Recorder()
    if not found:
        _begin(settings, database, who)
        with database.reading() as connection:
            found = audit.incarnations(connection)
            last = audit.last_action(connection, project, acts.LOG, SWITCHES)
    recorder = Recorder(Auditor(found[0][1], project))
    if last != acts.BEGUN:
        _begin_in(database, recorder, found[0][1], project, who)
    _compare_retention(settings, database, recorder, who)
    deciders.compare_rules(settings, database, recorder, who)
    deciders.compare_signers(settings.approvals.allowed_signers, project, database, recorder, who)
    return recorder


def _begin(settings: Settings, database: Database, who: Who) -> None:
    with database.reading() as connection:
        before = unaudited(connection, settings.project) if audit_records.are_any(connection, settings.project) else {}

    def first(tx: Transaction, origin: str) -> None:
        now = database.now()
        act = acts.begun(before, now)
        Auditor(origin, settings.project).append(tx, entry_of(act, actor=who.actor, identity=who.identity, at=now))

    begin_log(database, settings.audit.name or identity.host(), first)


def _begin_in(database: Database, recorder: Recorder, origin: str, project: str, who: Who) -> None:
    """Auditing begins in another project of the database, or begins again: say what was done without entries, as it is now."""
    before: dict[str, Any] = {}
    with database.reading() as connection, closing(Fold(connection)) as fold:
        if audit_records.are_any(connection, project):
            check_log(connection, permanent(origin), (), reader=fold)
            before = unaudited(connection, project, fold)
    with database.transaction(power=True) as tx:
        tx.lock(BEGINNING)
        if audit.last_action(tx, project, acts.LOG, SWITCHES) != acts.BEGUN:
            now = database.now()
            recorder.tell(tx, acts.begun(before, now), who, now)


def _stop(database: Database, auditor: Auditor, project: str, who: Who) -> None:
    with database.transaction(power=True) as tx:
        tx.lock(BEGINNING)
        if audit.last_action(tx, project, acts.LOG, SWITCHES) != acts.STOPPED:
            now, recorder = database.now(), Recorder(auditor)
            recorder.tell(tx, acts.stopped(), who, now)
            deciders.weakened(tx, recorder, "audit", "on", "off", who, now)


# -- what is kept ----------------------------------------------------------------------------------------------------------------


def _compare_retention(settings: Settings, database: Database, recorder: Recorder, who: Who) -> None:
    project, after = settings.project, _kept(settings.retention)
    with database.reading() as connection:
        before = _last_kept(connection, project)
    if before == after:
        return
    with database.transaction() as tx:
        now = database.now()
        recorder.tell(tx, acts.retention_changed(before, after), who, now)
        for kind, was, less in _shortened(before or {}, after):
            deciders.weakened(tx, recorder, "retention", f"{kind}: {was}", f"{kind}: {less}", who, now)


def _last_kept(connection: Connection, project: str) -> dict[str, Any] | None:
    found = audit.newest_leaf(connection, project, acts.RETENTION)
    kept = leaf.read(found)["data"].get("after") if found is not None else None
    return kept if isinstance(kept, dict) else None


def _kept(retention: RetentionSettings) -> dict[str, int | None]:
    """Versions of outputs, and the rest in seconds; ``None`` is all."""
    lengths = {kind: getattr(retention, kind) for kind in ("events", "logs", "errors")}
    seconds = {kind: None if length is None else length // NANOSECONDS for kind, length in lengths.items()}
    return {"outputs": retention.outputs, **seconds}


def _shortened(before: dict[str, Any], after: dict[str, int | None]) -> Iterator[tuple[str, str, str]]:
    for kind, was in before.items():
        now = after.get(kind)
        if now is not None and (was is None or now < was):
            yield kind, "all" if was is None else str(was), str(now)
