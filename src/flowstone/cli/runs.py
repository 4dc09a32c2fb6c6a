"""``flowstone runs``: what was asked for, when, by whom, and how it ended."""

from __future__ import annotations

import textwrap

import click

from flowstone import FlowStone
from flowstone.app.listings import RunView
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import WORDS, plain_of, say, say_json, say_rows, when, who
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import counted, seconds
from flowstone.stores.records import RunRecord
from flowstone.stores.runs import APPROVAL, DECIDED

LISTED = 3  # requests of a run

STATUSES = ("running", "waiting", "success", "partial", "failed", "cancelled")


@click.command()
@click.option("--status", type=click.Choice(STATUSES), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, help="At most so many; default: 20.")
@json_option
@click.pass_context
def runs(ctx: click.Context, status: str | None, limit: int, as_json: bool) -> None:
    """List runs, newest first."""
    flow = open_for_reading(ctx)
    found = flow.runs(limit=limit, status=status)
    if as_json:
        for run in found:
            say_json(plain_of(run))
        return
    if not found:
        say(f"No runs{f' with status {status}' if status else ' yet'}. Next: flowstone {'runs' if status else 'run'}")
        return
    asked = asked_by(flow, found)
    say_rows(
        (run.id, state(run), when(run.requested_at), took(run), steps(run, asked.get(run.id)), who(run.actor, run.identity))
        for run in found
    )
    say()
    say(f"One of them: flowstone show {found[0].id}")


def state(run: RunRecord) -> str:
    """The run's status, or ``lost`` where its process died and nobody has settled it yet."""
    return "lost" if run.lost else run.status


def took(run: RunRecord) -> str:
    """How long the run took, from its request to its end."""
    return seconds(run.ended_at - run.requested_at) if run.ended_at else ""


def asked_by(flow: FlowStone, found: list[RunRecord]) -> dict[str, list[str]]:
    """The open requests for approval of those runs that wait for people."""
    asked: dict[str, list[str]] = {}
    for run in found:
        if run.outcome.get("reason") == APPROVAL:
            asked[run.id] = [request.id for request in flow.approvals.requests(run=run.id)]
    return asked


def why_waits(run: RunRecord) -> str:
    """Why a run waits, in words."""
    reason = str(run.outcome.get("reason", ""))
    return {APPROVAL: "for people to approve", DECIDED: "to go on: people have decided"}.get(reason, reason)


def steps(run: RunRecord, asked: list[str] | None = None) -> str:
    """How the run's steps ended, or why it waits: *asked* are its open requests for approval."""
    if run.lost:
        return "its process died"
    if run.status == "failed" and not any(run.outcome.values()):
        return "could not be planned"
    if "reason" in run.outcome:
        return f"waits for {', '.join(asked[:LISTED])}{', ...' if len(asked) > LISTED else ''}" if asked else why_waits(run)
    return ", ".join(f"{count:,} {WORDS.get(name, name)}" for name, count in run.outcome.items() if count)


def recorded(view: RunView) -> list[str]:
    """What was recorded of a run, in lines of at most 100 columns.

    Every run has the first five figures; audit entries and requests for approval are told where there are some.
    """
    always = {
        "materialization": len(view.materializations), "attempt": len(view.attempts), "event": view.events,
        "lineage edge": len(view.edges), "error": len(view.errors),
    }  # fmt: skip
    some = {"audit entry": view.entries, "approval": len(view.approvals)}
    figures = {**always, **{word: number for word, number in some.items() if number}}
    said = ", ".join(counted(number, word).replace(" ", "\xa0") for word, number in figures.items())
    return [line.replace("\xa0", " ") for line in textwrap.wrap(f"Recorded  {said}", 100, subsequent_indent=" " * 10)]
