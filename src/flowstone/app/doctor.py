"""Examines the store: does every start have its ending, do records and evidence agree, is anything left behind?"""

from __future__ import annotations

from typing import NamedTuple

from flowstone.app.wiring import Deployment
from flowstone.execution import lost
from flowstone.execution.session import as_output
from flowstone.execution.settlement import OBSERVED
from flowstone.stores import crosschecks, materializations, outputs, processes, runs
from flowstone.stores.database import Connection
from flowstone.stores.records import OutputRecord
from flowstone.stores.tables import SCHEMA_VERSION

LISTED = 5


class Finding(NamedTuple):
    """One line of the examination: ``ok``, ``warn``, ``fail`` or ``not checked``; *fix* is a command or an action."""

    level: str
    subject: str
    text: str
    fix: str = ""


def examine(deployment: Deployment) -> list[Finding]:
    """Return the findings in a fixed order; reads only."""
    project = deployment.settings.project
    database = deployment.reading()
    findings = [Finding("ok", "database", f"{database.backend.describe}, schema {SCHEMA_VERSION}, current")]
    with database.reading() as connection:
        findings.append(_integrity(database.backend.integrity(connection)))
        findings += _endings(deployment, connection)
        findings += [_agree(*row) for row in crosschecks.disagreements(connection)]
        findings += _waiting(connection, project)
        current = list(outputs.current_of(connection, project).values())
    findings.append(_bytes(deployment, current))
    findings.append(Finding("not checked", "digests", "stored bytes are re-hashed when they are loaded, not here"))
    return findings


def _integrity(answer: str) -> Finding:
    if answer == "ok":
        return Finding("ok", "integrity", "the database's own check found nothing")
    return Finding("fail", "integrity", answer, "keep the file, restore a backup")


def _endings(deployment: Deployment, connection: Connection) -> list[Finding]:
    running, now = materializations.running_attempts(connection), deployment.reading().now()
    alive = {p.id for p in processes.not_ended(connection) if lost.is_alive(p, deployment.locks, now)}
    dead = [attempt for attempt in running if attempt.process not in alive]
    total = crosschecks.attempts(connection)
    if dead:
        where = ", ".join(f"{attempt.run_id} {attempt.asset}" for attempt in dead[:LISTED])
        return [
            Finding(
                "fail",
                "every start has its ending",
                f"{len(dead)} of {total:,} attempts were left by dead processes: {where}",
                f"flowstone run --resume {dead[0].run_id}",
            )
        ]
    return [Finding("ok", "every start has its ending", f"{total:,} attempts, {len(running)} running, 0 open in dead processes")]


def _agree(subject: str, count: int, example: str) -> Finding:
    if count:
        return Finding(
            "fail",
            subject,
            f"{count:,}, for example {example}",
            "the record was changed outside FlowStone, or this is a bug: report it",
        )
    return Finding("ok", subject, "all agree")


def _waiting(connection: Connection, project: str) -> list[Finding]:
    waiting = runs.recent(connection, project, limit=LISTED, status="waiting")
    if not waiting:
        return [
            Finding(
                "ok",
                "runs",
                ", ".join(f"{count:,} {status}" for status, count in sorted(runs.counts(connection, project).items()))
                or "none yet",
            )
        ]
    return [
        Finding(
            "warn", "runs", f"{run.id} waits to be resumed ({run.outcome.get('reason', '')})", f"flowstone run --resume {run.id}"
        )
        for run in waiting
    ]


def _bytes(deployment: Deployment, current: list[OutputRecord]) -> Finding:
    stored = [output for output in current if output.manager != OBSERVED]
    gone = [output for output in stored if not deployment.io.get(output.manager).exists(as_output(output))]
    if not gone:
        return Finding(
            "ok", "stored bytes", f"{len(stored):,} of {len(stored):,} current outputs are there with their recorded size"
        )
    memory = [output for output in gone if output.manager == "memory"]
    if len(memory) == len(gone):
        return Finding("ok", "stored bytes", f"{len(gone):,} of {len(stored):,} lived in the memory of a process that has ended")
    first = next(output for output in gone if output.manager != "memory")
    return Finding(
        "fail",
        "stored bytes",
        f"{len(gone) - len(memory):,} of {len(stored):,} current outputs have lost theirs: {first.asset} ({first.location})",
        f"flowstone run {first.asset}",
    )
