"""``flowstone events``: the event log, read by cursor."""

from __future__ import annotations

import re

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import iso, place, plain_of, quoted, say, say_json, say_rows
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import seconds
from flowstone.execution.decision import short
from flowstone.stores.records import EventRecord

_DIGEST = re.compile(r"[0-9a-f]{64}")
_APART = frozenset({"at", "trace_id", "asset", "partition", "run_id"})


@click.command()
@click.option("--after", type=click.IntRange(0), default=0, metavar="ID", help="Only events after this one: the cursor.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, help="At most so many; default: 100.")
@click.option("--run", "run_id", metavar="RUN", help="Only this run's.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Only events of this name, which may end in *; repeatable.")
@click.option("--asset", metavar="ASSET", help="Only this asset's.")
@json_option
@click.pass_context
def events(
    ctx: click.Context, after: int, limit: int, run_id: str | None, names: tuple[str, ...], asset: str | None, as_json: bool
) -> None:
    """Read the event log in order; the number before each event is the cursor to go on from."""
    found = open_for_reading(ctx).events(after=after, limit=limit, run_id=run_id, names=names, asset=asset)
    if as_json:
        for event in found:
            say_json(plain_of(event))
        return
    if not found:
        say("No events" + (f" after {after}." if after else "."))
        return
    say_rows(_row(event, with_run=run_id is None) for event in found)
    if len(found) == limit:
        chosen = [("--run", run_id), ("--asset", asset), *(("--name", name) for name in names)]
        options = "".join(f" {option} {quoted(value)}" for option, value in chosen if value)
        say()
        say(f"There may be more: flowstone events --after {found[-1].id} --limit {limit}{options}")


def _row(event: EventRecord, *, with_run: bool) -> tuple[str, ...]:
    fields = event.payload
    words = [f"{name}={_value(name, value)}" for name, value in fields.items() if name not in _APART and value != ""]
    run = [event.run_id] if with_run and event.run_id else []
    where = place(fields.get("asset", ""), fields.get("partition", ""))
    return str(event.id), iso(event.at), event.name, where, " ".join([*run, *words])


def _value(name: str, value: object) -> str:
    if name == "duration_ns" and isinstance(value, int):
        return f"{value} ({seconds(value)})"
    return short(value) if isinstance(value, str) and _DIGEST.fullmatch(value) else str(value)
