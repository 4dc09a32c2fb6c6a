"""Examines the store: does every start have its ending, do records and evidence agree, is anything left behind?"""

from __future__ import annotations

from flowstone.app import approval_health, audit_health, growth, watching
from flowstone.app.copies import given_up
from flowstone.app.findings import Finding
from flowstone.app.metrics import definitions
from flowstone.app.wiring import Deployment
from flowstone.execution import lost
from flowstone.execution.session import as_output
from flowstone.execution.settlement import OBSERVED
from flowstone.foundation.sizes import bytes_of
from flowstone.stores import accounts, crosschecks, group_accounts, materializations, outputs, processes, runs
from flowstone.stores.database import Connection
from flowstone.stores.dialects import Backend
from flowstone.stores.records import OutputRecord
from flowstone.stores.tables import SCHEMA_VERSION

LISTED = 5
FOLDED = "every metric has seen all events"
RUNS, OUTPUTS, BYTES = 100, 20_000, 256 * 2**20
"""What is examined unless all is: the newest runs, so many current outputs, the inside of a database of this size."""
EVENTS, GROUPS, ERRORS = 5_000, 100, 200
"""And one by one: so many events of these runs, the groups with the newest errors, those with so many errors."""
ALL = 2**31 - 1


def examine(deployment: Deployment, *, thorough: bool = False) -> list[Finding]:
    """Return the findings in a fixed order; reads only. *thorough*: all runs and outputs, and the inside of any database."""
    project = deployment.settings.project
    database = deployment.reading()
    findings = [Finding("ok", "database", f"{database.backend.describe}, schema {SCHEMA_VERSION}, current")]
    with database.reading() as connection:
        findings.append(_integrity(database.backend, connection, thorough=thorough))
        findings += _endings(deployment, connection)
        counts = runs.counts(connection, project)
        chosen = ALL if thorough else RUNS
        some = f" in the newest {RUNS} of {sum(counts.values()):,} runs" if sum(counts.values()) > chosen else ""
        findings += [_agree(*row, some) for row in crosschecks.disagreements(connection, project, chosen)]
        findings += _one_by_one(connection, project, sum(counts.values()), thorough=thorough)
        findings += _waiting(connection, project, counts)
        current = list(outputs.current_of(connection, project, limit=ALL if thorough else OUTPUTS).values())
    findings.append(_bytes(deployment, current))
    findings += approval_health.findings(deployment)
    findings += audit_health.findings(deployment, thorough=thorough)
    findings += watching.findings(deployment)
    findings += growth.findings(deployment, thorough=thorough)
    findings.append(Finding("not checked", "digests", "stored bytes are re-hashed when they are loaded, not here"))
    return findings


def _integrity(backend: Backend, connection: Connection, *, thorough: bool) -> Finding:
    if not thorough and backend.size() > BYTES:
        text = f"the database has {bytes_of(backend.size())}: flowstone doctor --all reads it"
        return Finding("not checked", "integrity", text)
    answer = backend.integrity(connection)
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


def _agree(subject: str, count: int, example: str, some: str) -> Finding:
    if count:
        return Finding(
            "fail",
            subject,
            f"{count:,}{some}, for example {example}",
            "the record was changed outside FlowStone, or this is a bug: report it",
        )
    return Finding("ok", subject, f"all agree{some}")


def _one_by_one(connection: Connection, project: str, runs: int, *, thorough: bool) -> list[Finding]:
    """What disagrees although the numbers may agree: each attempt, error and group against its own events."""
    pruned = accounts.last_prune(connection, project)
    found = accounts.examine(
        connection, project, most_runs=ALL if thorough else RUNS, most_events=ALL if thorough else EVENTS, errors_since=pruned
    )
    groups, errors = (ALL, ALL) if thorough else (GROUPS, ERRORS)
    wrong = [(subject, len(places), places[0]) for subject, places in found.found.items() if places]
    wrong += group_accounts.disagreements(
        connection, project, most_runs=ALL if thorough else RUNS, groups=groups, most_errors=errors, pruned=pruned
    )
    misplaced = crosschecks.misplaced(
        connection, project, {metric.name for metric in definitions(connection, project)}, pruned=pruned > 0
    )
    wrong += [(FOLDED, len(misplaced), misplaced[0])] if misplaced else []
    if wrong:
        return [_agree(*row, "") for row in wrong]
    all_ = "" if thorough or found.runs == runs else f" of {runs:,}; flowstone doctor --all compares all that were not pruned"
    examined = f"{found.runs:,} run{'' if found.runs == 1 else 's'}"
    text = f"attempts, errors, groups and metrics agree with their events, in {examined}{all_}"
    return [Finding("ok", "one by one", text)]


def _waiting(connection: Connection, project: str, counts: dict[str, int]) -> list[Finding]:
    waiting = runs.left(connection, project, LISTED)
    if not waiting:
        return [
            Finding(
                "ok",
                "runs",
                ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items())) or "none yet",
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
    since = given_up(deployment.reading(), [output.id for output in gone])  # after they were asked for
    stored, gone = ([output for output in each if output.id not in since] for each in (stored, gone))
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
