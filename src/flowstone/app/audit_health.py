"""What an examination says of the audit log: is it sealed, does it agree with the records, was it verified, who else has it?"""

from __future__ import annotations

from collections.abc import Iterator

from flowstone.app.audit_gauges import behind_of
from flowstone.app.findings import Finding
from flowstone.app.verifying import Asked, Outside, outside, verify
from flowstone.app.wiring import Deployment
from flowstone.audit.anchors import DEFAULT
from flowstone.audit.findings import Findings
from flowstone.events.catalogue import AuditVerified
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.durations import roughly
from flowstone.foundation.errors import AuditError, NotFoundError
from flowstone.stores import audit, audit_questions, events
from flowstone.stores.database import Connection

SMALL = 20_000
"""Entries of a log that is compared with its records unless all are."""
HOUR = 3_600 * NANOSECONDS
SEALED_WITHIN, ANCHORED_WITHIN, VERIFIED_WITHIN = HOUR, HOUR, 26 * HOUR
VERIFY = "flowstone audit verify"
ALONE = "on this machine alone, whose owner could rewrite all of it: flowstone audit anchors add file:/mnt/other/anchors"


def findings(deployment: Deployment, *, thorough: bool) -> list[Finding]:
    """What an examination says; *thorough*: a log of any size is compared with its records. Stored bytes are not read."""
    database = deployment.reading()
    if not deployment.settings.audit.enabled:
        text = "auditing is switched off (audit.enabled): who changed what is not told"
        return [Finding("warn", "audit log", text, "audit.enabled = true")]
    try:
        kept = outside(deployment)
    except NotFoundError:
        return [Finding("ok", "audit log", "there is none yet: it begins with the next run")]
    with database.reading() as connection:
        found = audit.incarnations(connection)
        head, unsealed = audit.last_head(connection), audit_questions.count_unsealed(connection)
        size, now = (head.size if head else 0), database.now()
        if database.backend.in_memory:
            return [Finding("ok", "audit log", f"{size + unsealed:,} entries, in memory: nobody else can read or change them")]
        told = [
            _sealed(size, unsealed, head.at if head else found[-1][3] if found else now, now),
            *_agreement(deployment, connection, kept, size + unsealed, thorough=thorough),
            _verified(deployment, connection, now),
        ]
        return [*told, *_anchored(deployment, connection, size, now)]


def _sealed(size: int, unsealed: int, last: int, now: int) -> Finding:
    text = f"{size + unsealed:,} entries, {unsealed:,} not sealed yet"
    if unsealed and now - last > SEALED_WITHIN:
        return Finding("warn", "audit log", f"{text}; nothing was sealed for {roughly(now - last)}", "flowstone audit seal")
    return Finding("ok", "audit log", text)


def _agreement(
    deployment: Deployment, connection: Connection, kept: Outside, entries: int, *, thorough: bool
) -> Iterator[Finding]:
    subject = "records and audit"
    if entries > SMALL and not thorough:
        yield Finding("not checked", subject, f"the log has {entries:,} entries: flowstone doctor --all, or {VERIFY}")
        return
    try:
        checked = verify(deployment, connection, kept, Asked(hashed=False)).checked
    except AuditError as error:
        yield Finding("fail", subject, error.message, error.hint or VERIFY)
        return
    yield _judged(subject, checked, entries)


def _judged(subject: str, checked: Findings, entries: int) -> Finding:
    if checked.findings:
        more = f", and {checked.found - 1:,} more" if checked.found > 1 else ""
        return Finding("fail", subject, f"{checked.findings[0].message}{more}", f"{VERIFY}, and change nothing before")
    if checked.incomplete:
        return Finding("not checked", subject, checked.incomplete[0])
    return Finding("ok", subject, f"all agree, in {entries:,} entries")


def _verified(deployment: Deployment, connection: Connection, now: int) -> Finding:
    subject = "last verified"
    last = events.newest(connection, deployment.settings.project, str(AuditVerified.name))
    if last is None:
        return Finding("not checked", subject, f"never, with the bytes of outputs: {VERIFY}")
    payload = last.payload or {}
    text = f"{roughly(now - last.at)} ago by {payload['actor']}: {payload['verdict']}"
    if payload["verdict"] == "TAMPERED":
        return Finding("fail", subject, f"{text}, {payload['findings']:,} findings", VERIFY)
    late = now - last.at > VERIFIED_WITHIN
    return Finding("warn", subject, text, f"{VERIFY}, each day from cron") if late else Finding("ok", subject, text)


def _anchored(deployment: Deployment, connection: Connection, size: int, now: int) -> Iterator[Finding]:
    wanted, receipts = deployment.settings.audit.anchors, audit_questions.receipts(connection)
    for name, behind in behind_of(size, receipts, wanted).items():
        last = receipts[name].at if name in receipts else 0
        if behind and now - last > ANCHORED_WITHIN:
            since = f"for {roughly(now - last)}" if last else "yet"
            text = f"{name} has not accepted the newest {behind:,} entries {since}"
            yield Finding("warn", "anchors", text, "flowstone audit seal says why")
            return
    names = [name for name in receipts if name != DEFAULT]
    yield Finding("ok", "anchors", ", ".join(names) if names else ALONE)
