"""``flowstone show``: one run, one error or one output, by its id or the beginning of it."""

from __future__ import annotations

from typing import Any

import click

from flowstone import FlowStone
from flowstone.app.listings import RunView
from flowstone.cli.approval_words import ended, plain_request, waits
from flowstone.cli.errors import headline, show_error, show_group
from flowstone.cli.grammar import json_option
from flowstone.cli.lineage import label
from flowstone.cli.lines import WORDS, place, plain_of, quoted, say, say_fields, say_json, say_rows, shown, when, who
from flowstone.cli.runs import recorded, state, took, why_waits
from flowstone.cli.session import open_for_reading, reading
from flowstone.cli.words import bytes_of, counted, origin, seconds
from flowstone.execution.decision import short
from flowstone.execution.settlement import OBSERVED
from flowstone.foundation.errors import NotFoundError
from flowstone.ledger.lineage import Walk, walk
from flowstone.stores import outputs
from flowstone.stores.records import ApprovalRecord, AttemptRecord, ErrorRecord, MaterializationRecord, OutputRecord, RunRecord


@click.command()
@click.argument("id")
@json_option
@click.pass_context
def show(ctx: click.Context, id: str, as_json: bool) -> None:
    """Show the run (run_), error (err_), group of errors (grp_) or output (out_) with this ID; its beginning is enough."""
    flow = open_for_reading(ctx)
    kind = id.partition("_")[0] if "_" in id else ""
    if kind == "run":
        view = flow.show(id)
        say_json(_plain_run(view)) if as_json else _say_run(view)
    elif kind == "grp":
        show_group(flow, id, as_json=as_json)
    elif kind == "err":
        show_error(flow, id, as_json=as_json)
    elif kind == "out":
        _show_output(flow, id, as_json=as_json)
    else:
        raise NotFoundError(
            f"{id!r} is no id", hint="ids begin with run_, err_, grp_ or out_; flowstone runs and flowstone errors list them"
        )


# -- runs ---------------------------------------------------------------------------------------------------------------


def asked_for(run: RunRecord) -> str:
    """What the run was requested to do."""
    request = run.request
    words = [", ".join(request.get("targets") or ["every asset"])]
    words += [f"partition {request['partition']}"] if request.get("partition") else []
    words += ["by force"] if request.get("force") else []
    return "; ".join([*words, *(["without what they need"] if request.get("deps") is False else [])])


def _say_run(view: RunView) -> None:
    run = view.run
    ended = f", took {took(run)}" if run.ended_at else ""
    say(f"{run.id}  {state(run)}  pipeline {run.pipeline}  {when(run.requested_at)}{ended}")
    made_by = run.provenance
    say_fields([
        ("asked for", asked_for(run)),
        ("requested by", who(run.actor, run.identity)),
        ("on", "{host}, pid {pid}, Python {python}, FlowStone {flowstone}".format_map(made_by)),
        ("code", origin(made_by)),
        ("definition", short(run.definition)),
        ("lost", "its process died; what it was doing is settled when the run goes on" if run.lost else ""),
        ("waits", why_waits(run)),
        ("failed", _before(view)),
        ("cancelled" if run.status == "cancelled" else "asked to end", view.cancel.removeprefix("cancelled ")),
    ])  # fmt: skip
    say()
    rows = {(row.asset, row.partition): row for row in view.materializations}
    attempts: dict[int, list[AttemptRecord]] = {}
    for attempt in view.attempts:
        attempts.setdefault(attempt.materialization, []).append(attempt)
    made = {output.id: output for output in view.outputs}
    failed = {(error.asset, error.partition): error for error in reversed(view.errors)}
    asked = {request.place: request for request in view.approvals}
    unbegun = "not begun" if run.ended_at else "pending"
    say_rows(
        _step(rows[step], attempts, made, failed, asked.get(step), lost=run.lost) if step in rows else (place(*step), unbegun, "")
        for step in view.steps
    )
    say()
    for line in recorded(view):
        say(line)
    say(_next(view))


def _before(view: RunView) -> str:
    """What stopped the run and was no attempt's."""
    stopped = [error for error in view.errors if not error.attempt]
    return f"{headline(stopped[0])}  ({stopped[0].id})" if stopped else ""


def _step(
    row: MaterializationRecord,
    attempts: dict[int, list[AttemptRecord]],
    made: dict[str, OutputRecord],
    failed: dict[tuple[str, str], ErrorRecord],
    asked: ApprovalRecord | None,
    *,
    lost: bool,
) -> tuple[str, ...]:
    step, tries = (row.asset, row.partition), attempts.get(row.id, [])
    text = row.message or (_about(made[row.output]) if row.output in made else "")
    more = [text]
    if row.status == "failed" and step in failed:
        more = [f"{headline(failed[step])}  ({failed[step].id})"]
    if row.status == "waiting" and asked is not None:
        more = [waits(asked)]
    if tries and tries[-1].duration_ns is not None:
        more.append(seconds(tries[-1].duration_ns))
    if len(tries) > 1:
        more.append(f"attempt {tries[-1].number}")
    if asked is not None:
        more.append(asked.id if asked.status == "pending" else f"{ended(asked)} ({asked.id})")
    status = "lost" if lost and row.status == "running" else WORDS.get(row.status, row.status)
    return place(*step), status, "   ".join(part for part in more if part)


def _about(output: OutputRecord) -> str:
    return output.summary or (f"version {output.location}" if output.manager == OBSERVED else bytes_of(output.size))


def _next(view: RunView) -> str:
    run = view.run
    pending = [asked for asked in view.approvals if asked.status == "pending"]
    if run.status == "waiting" and pending:
        return f"Next: flowstone approvals show {pending[0].id}    when people have decided: flowstone run --resume {run.id}"
    if run.status == "waiting" or run.lost:
        return f"Go on with it: flowstone run --resume {run.id}"
    if view.errors:
        return f"Next: flowstone errors --run {run.id}    flowstone logs {run.id}    flowstone events --run {run.id}"
    return f"Next: flowstone logs {run.id}    flowstone events --run {run.id}"


def _plain_run(view: RunView) -> dict[str, Any]:
    steps = [{"asset": asset, "partition": shown(key) or None, "partition_key": key} for asset, key in view.steps]
    listed = ("materializations", "attempts", "outputs", "edges", "errors")
    lists = {name: [plain_of(record) for record in getattr(view, name)] for name in listed}
    lists["approvals"] = [plain_request(asked) for asked in view.approvals]
    return {"run": plain_of(view.run), "steps": steps, **lists, "events": view.events, "cancel": view.cancel or None}


# -- outputs ------------------------------------------------------------------------------------------------------------


def _show_output(flow: FlowStone, id: str, *, as_json: bool) -> None:
    project = flow.settings.project
    with reading(flow) as connection:
        output = outputs.one(connection, project, id)
        current = outputs.current(connection, project, output.asset, output.partition)
        made_from = walk(connection, output, depth=1)
    is_current = current is not None and current.id == output.id
    if as_json:
        inputs = [{"parameter": edge.parameter, "output": plain_of(made_from.outputs[edge.upstream])} for edge in made_from.edges]
        say_json({"output": plain_of(output), "current": is_current, "inputs": inputs})
    else:
        _say_output(output, made_from, is_current=is_current)


def _say_output(output: OutputRecord, made_from: Walk, *, is_current: bool) -> None:
    state = "the current version" if is_current else "not the current version"
    say(f"{output.id}  {place(output.asset, output.partition)} version {output.version}, {state}")
    rows = f", {counted(output.rows, 'row')}" if output.rows is not None else ""
    say_fields([
        ("value", f"sha256 {output.digest}"),
        ("", f"{counted(output.size, 'byte')}, {output.format}{rows}"),
        ("summary", output.summary),
        ("stored", f"{output.manager}  {output.location}  {when(output.created_at)}"),
        ("bytes", f"{output.gone} {when(output.gone_at or 0)}: record and digest stay" if output.gone else ""),
        ("made by", f"{output.run_id} attempt {output.attempt}" if output.attempt else output.run_id),
        ("definition", short(output.definition)),
        ("config", short(output.config)),
        ("source", short(output.source_version)),
        *(("inputs" if i == 0 else "", label(made_from.outputs[edge.upstream])) for i, edge in enumerate(made_from.edges)),
    ])  # fmt: skip
    if output.gone:
        return
    say()
    keep = f"flowstone get {quoted(output.asset)} --run {output.run_id}"
    say(f"Its value: {keep}{f' --partition {quoted(shown(output.partition))}' if output.partition else ''}")
