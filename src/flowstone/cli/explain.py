"""``flowstone explain``: why a value is what it is, from what the store knows; names the next command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from flowstone import FlowStone
from flowstone.app.conditions import Condition
from flowstone.app.explain import Explanation
from flowstone.cli.approval_words import ended, plain_request, waits
from flowstone.cli.errors import cure, headline
from flowstone.cli.grammar import json_option, partition_option
from flowstone.cli.lineage import label
from flowstone.cli.lines import option_of, place, plain_of, quoted, say, say_fields, say_json, sha, shown, when, who
from flowstone.cli.session import open_for_reading, reading
from flowstone.cli.show import asked_for
from flowstone.cli.words import counted, origin, seconds
from flowstone.events.catalogue import AssetInvalidated, OutputErased
from flowstone.execution.decision import short
from flowstone.execution.settlement import OBSERVED
from flowstone.stores import events, processes
from flowstone.stores.database import Connection
from flowstone.stores.liveness import hostname_of
from flowstone.stores.records import ApprovalRecord, ErrorRecord, EventRecord, OutputRecord, ProcessRecord

Field = tuple[str, str]
COMPARED = ("value", "source", "code", "config", "environment", "inputs")


class Evidence(NamedTuple):
    """What was recorded of the attempt that made the value, and of what came after it."""

    events: list[EventRecord]
    process: ProcessRecord | None
    newer: Condition | None
    """A newer partition of the asset than the one explained, when none was asked for."""
    withdrawn: EventRecord | None
    failed: list[ErrorRecord]
    """What failed upstream, when the newest run skipped the asset for that."""
    last_good: Condition | None


@click.command()
@click.argument("asset")
@partition_option
@json_option
@click.pass_context
def explain(ctx: click.Context, asset: str, partition: str | None, as_json: bool) -> None:
    """Say why the value of ASSET is what it is: when and by what it was made, from which inputs, whether it is outdated."""
    flow = open_for_reading(ctx)
    found = flow.explain(asset, partition=partition)
    evidence = _evidence(flow, found, asked=partition)
    if as_json:
        say_json(_plain(found, evidence))
        return
    say(_verdict(found, evidence))
    say_fields([*_value(found, evidence), *_since(found)])
    if found.output is not None:
        _compare(found)
    if evidence.newer is not None:
        name, key, state = evidence.newer.asset, evidence.newer.partition, evidence.newer.state
        say(f"Newer: {place(name, key)} is {state}: flowstone explain {quoted(name)}{option_of(key)}")
    if found.output is not None:
        again = f"flowstone run {quoted(asset)}{option_of(found.partition)} --dry-run"
        say(f"Not asked here: the code and the sources as they are now.  {again}")
    say(f"Next: {_next(found, evidence)}")


def _evidence(flow: FlowStone, found: Explanation, *, asked: str | None) -> Evidence:
    output, last = found.output, found.condition.last
    run_id = found.run.id if found.run else None
    recorded = flow.events(run_id=run_id, asset=found.asset, limit=10_000) if run_id else []
    mine = [event for event in recorded if event.payload.get("partition") == found.partition]
    process = None
    attempt = next((a for a in found.attempts if output is not None and a.number == output.attempt), None)
    if attempt is not None:
        with reading(flow) as connection:
            process = processes.find(connection, attempt.process)
    newest = flow.status(found.asset, newest=True)[0] if asked is None else None
    newer = newest if newest is not None and newest.partition != found.partition else None
    latest = flow.condition(found.asset) if output is None else None
    good = latest if latest is not None and latest.output is not None else None
    withdrawn = None
    if output is None and found.versions:
        with reading(flow) as connection:
            withdrawn = _withdrawal(connection, flow.settings.project, found)
    failed: list[ErrorRecord] = []
    if output is None and last is not None and last.reason == "upstream_failed":
        failed = _root(flow.errors(run_id=last.run_id, limit=1000), last.message)
    return Evidence(mine, process, newer, withdrawn, failed, good)


def _withdrawal(connection: Connection, project: str, found: Explanation) -> EventRecord | None:
    """The last time the asset's value was taken away on purpose."""
    kinds = (AssetInvalidated.name, OutputErased.name)
    told = [events.newest_outside_runs(connection, project, name, found.asset, found.partition) for name in kinds]
    return max((event for event in told if event is not None), key=lambda event: event.id, default=None)


def _root(errors: list[ErrorRecord], message: str) -> list[ErrorRecord]:
    """The last error of each upstream that *message* (``upstream rates failed``) names."""
    return list({(e.asset, e.partition): e for e in reversed(errors) if message == f"upstream {e.asset} failed"}.values())


# -- the first line ------------------------------------------------------------------------------------------------------


def _verdict(found: Explanation, evidence: Evidence) -> str:
    name, condition = place(found.asset, found.partition), found.condition
    match condition.state:
        case "up to date":
            return f"{name} is current and up to date"
        case "outdated":
            return f"{name} is current but outdated: {'; '.join(condition.because)}"
        case "gone":
            return f"{name} is recorded, but {'; '.join(condition.because)}"
        case _:
            return f"{name} has no value: {_why_missing(found, evidence)}"


def _why_missing(found: Explanation, evidence: Evidence) -> str:
    last, text = found.condition.last, ""
    if evidence.withdrawn is not None and (last is None or last.status in ("success", "reused")):
        gone = evidence.withdrawn.payload
        erased = evidence.withdrawn.name == OutputErased.name
        done, why = ("erased", f": {gone['reason']}") if erased else ("invalidated", "")
        return f"{gone['output']} was {done} by {who(gone['actor'], gone['identity'])}, {when(evidence.withdrawn.at)}{why}"
    if last is None:
        return "it was never computed"
    if last.status == "failed":
        text = f"{last.run_id} failed: {_error_text(found, last.run_id) or last.message}, {counted(last.attempts, 'attempt')}"
    elif evidence.failed:
        first = evidence.failed[0]
        where = place(first.asset, first.partition)
        text = f"{last.run_id} failed in upstream {where}: {headline(first)}, {cure(first)} ({first.id})"
    elif last.status == "cancelled":
        text = f"{last.run_id} was {last.message}"
    elif found.asked is not None:
        text = f"{found.asked.output or 'computing it'} {_asked(found.asked)}"
    elif last.status == "skipped":
        text = f"{last.run_id} skipped it: {last.message}"
    else:
        died = found.last_run is not None and found.last_run.lost
        state = f"its process died; flowstone run --resume {last.run_id}" if died else last.status
        text = f"{last.run_id} has not finished it: {state}"
    good = evidence.last_good
    return f"{text}. Last good: {shown(good.partition)}" if good is not None else text


def _asked(asked: ApprovalRecord) -> str:
    """What becomes of a value, or of computing one, that people were asked about."""
    if asked.status == "pending":
        return f"waits for approval {asked.id}, {waits(asked)}"
    reason = f': "{asked.reason}"' if asked.status == "rejected" else ""
    return f"was {ended(asked)} ({asked.id}){reason}" if asked.status == "rejected" else f"{ended(asked)} ({asked.id})"


def _error_text(found: Explanation, run_id: str) -> str:
    error = next((error for error in found.errors if error.run_id == run_id), None)
    return f"{headline(error)}, {cure(error)} ({error.id})" if error else ""


# -- the fields ----------------------------------------------------------------------------------------------------------


def _value(found: Explanation, evidence: Evidence) -> Iterator[Field]:
    output, run = found.output, found.run
    if output is None or run is None:
        return
    rows = f"  {counted(output.rows, 'row')}" if output.rows is not None else ""
    what = f"{sha(output.digest)}  {counted(output.size, 'byte')}  {output.format}{rows}"
    if output.manager == OBSERVED:
        what = f"{output.location}  (observed, never computed here)"
    yield "value", f"{what}   {output.id}, version {output.version} of {found.versions}"
    yield "summary", output.summary
    attempt = next((a for a in found.attempts if a.number == output.attempt), None)
    if attempt is None:
        yield "observed", f"{run.id}, {when(output.created_at)}"
    else:
        took = f", {seconds(attempt.duration_ns)}" if attempt.duration_ns is not None else ""
        where = f", pid {evidence.process.pid} on {hostname_of(evidence.process.host)}" if evidence.process else ""
        yield "computed", f"{run.id} attempt {attempt.number}, {when(output.created_at)}{took}{where}"
    because = next((str(e.payload["because"]) for e in evidence.events if e.payload.get("because")), "")
    if found.approval is not None:
        reason = f': "{found.approval.reason}"' if found.approval.reason else ""
        yield "because", f"{ended(found.approval, found.votes)} ({found.approval.id}){reason}"
    yield "" if found.approval is not None else "because", because.replace("has no value yet", "it had no value yet")
    command = f" from `{run.provenance['command']}`" if run.provenance.get("command") else ""
    yield "requested by", f"{who(run.actor, run.identity)}{command}, for {asked_for(run)}"
    source = f"   source {short(output.source_version)}" if output.source_version else ""
    config = f"config {short(output.config)}" if output.config else "config none declared"
    python = f"   Python {run.provenance['python']}" if run.provenance.get("python") else ""
    yield "code", f"definition {short(output.definition)}   {config}{source}{python}"
    yield "", origin(run.provenance)
    for note in found.notes:
        yield "not seen", note
    yield from _inputs(found)
    failures = [error for error in found.errors if error.run_id == run.id]
    failed = f", {counted(len(failures), 'error')} {cure(failures[0])} ({failures[0].id})" if failures else ""
    yield "evidence", f"{counted(len(found.attempts), 'attempt')}{failed}, {counted(len(evidence.events), 'event')}"
    yield "", f"flowstone events --run {run.id} --asset {quoted(found.asset)}"


def _inputs(found: Explanation) -> Iterator[Field]:
    if found.lineage is None or found.output is None:
        return
    outputs = found.lineage.outputs
    behind: dict[str, list[str]] = {}
    for edge in found.lineage.edges:
        behind.setdefault(edge.downstream, []).append(outputs[edge.upstream].asset)
    direct = [edge for edge in found.lineage.edges if edge.downstream == found.output.id]
    for i, edge in enumerate(direct):
        further = f"   <- {', '.join(behind[edge.upstream])}" if edge.upstream in behind else ""
        yield "inputs" if i == 0 else "", f"{label(outputs[edge.upstream])}{further}"
    if not direct:
        yield "inputs", "none"


def _since(found: Explanation) -> Iterator[Field]:
    """What the newest run did with the asset, when it did not make the value."""
    last, run = found.condition.last, found.last_run
    if found.output is None or last is None or run is None:
        return
    if found.asked is not None:
        yield "since then", f"{run.id}: {found.asked.output or 'computing it'} {_asked(found.asked)}"
    elif last.status == "failed":
        yield "since then", f"{run.id} failed: {_error_text(found, run.id) or last.message}"
    elif last.status == "reused":
        yield "since then", f"{run.id} reused it, {when(run.requested_at)}"
    else:
        yield "since then", f"{run.id}: {last.status}" + (f", {last.message}" if last.message else "")


# -- the comparison and the next command ---------------------------------------------------------------------------------


def _compare(found: Explanation) -> None:
    if found.before is None:
        say("The first version: there is nothing to compare it with.")
        return
    before: OutputRecord = found.before
    say(f"Compared with version {before.version} ({before.run_id}, {when(before.created_at)})")
    say_fields((change.what, change.text) for change in found.changes)
    changed = {change.what for change in found.changes}
    unchanged = [what for what in COMPARED if what not in changed and (what != "source" or before.source_version)]
    say_fields([("the same", ", ".join(unchanged))])


def _next(found: Explanation, evidence: Evidence) -> str:
    target = f"{quoted(found.asset)}{option_of(found.partition)}"
    if found.asked is not None and found.asked.status == "pending":
        return f"flowstone approvals show {found.asked.id}"
    match found.condition.state:
        case "up to date":
            return f"flowstone get {target}    flowstone lineage {target} --downstream"
        case "outdated" | "gone":
            return f"flowstone run {target}"
    last = found.condition.last
    if evidence.failed:
        return f"flowstone show {evidence.failed[0].id}    then flowstone run {target}"
    error = next((error for error in found.errors if last is not None and error.run_id == last.run_id), None)
    return f"flowstone show {error.id}    then flowstone run {target}" if error else f"flowstone run {target}"


def _plain(found: Explanation, evidence: Evidence) -> dict[str, Any]:
    walked, output, last = found.lineage, found.output, found.condition.last
    direct = [edge for edge in walked.edges if output and edge.downstream == output.id] if walked else []
    made_from = (
        [{"parameter": edge.parameter, "output": plain_of(walked.outputs[edge.upstream])} for edge in direct] if walked else []
    )
    return {
        **plain_of({"asset": found.asset, "partition": found.partition}),
        "state": found.condition.state,
        "because": list(found.condition.because),
        "output": plain_of(output) if output else None,
        "versions": found.versions,
        "run": plain_of(found.run) if found.run else None,
        "attempts": [plain_of(attempt) for attempt in found.attempts],
        "inputs": made_from,
        "before": plain_of(found.before) if found.before else None,
        "notes": found.notes,
        "changes": [change._asdict() for change in found.changes],
        "errors": [plain_of(error) for error in [*found.errors, *evidence.failed]],
        "last": plain_of(last) if last else None,
        "approval": plain_request(found.approval) if found.approval else None,
        "asked": plain_request(found.asked) if found.asked else None,
        "events": len(evidence.events),
    }
