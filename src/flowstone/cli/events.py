"""``flowstone events``: the event log, read by cursor, or followed."""

from __future__ import annotations

import re
from typing import NamedTuple

import click

from flowstone import FlowStone
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import iso, place, plain_of, quoted, say, say_json, say_rows
from flowstone.cli.reader import require_reader
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import seconds
from flowstone.execution.decision import short
from flowstone.foundation.errors import UsageError
from flowstone.stores.records import EventRecord

_DIGEST = re.compile(r"[0-9a-f]{64}")
_APART = frozenset({"at", "trace_id", "asset", "partition", "run_id"})
_LIMIT = 100


class _Wanted(NamedTuple):
    """Which events are asked for."""

    run_id: str | None
    names: tuple[str, ...]
    asset: str | None


@click.command()
@click.option("--after", metavar="CURSOR", help="Only events after this one: the text before it. 0 is the beginning.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), help=f"At most so many; default: {_LIMIT}.")
@click.option("--follow", "-f", is_flag=True, help="Print events as they are recorded, from now or --after, until Ctrl-C.")
@click.option("--run", "run_id", metavar="RUN", help="Only this run's.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Only events of this name, which may end in *; repeatable.")
@click.option("--asset", metavar="ASSET", help="Only this asset's.")
@json_option
@click.pass_context
def events(
    ctx: click.Context,
    after: str | None,
    limit: int | None,
    follow: bool,
    run_id: str | None,
    names: tuple[str, ...],
    asset: str | None,
    as_json: bool,
) -> None:
    """Read the event log in order; the text before each event is the cursor to go on from."""
    if follow and limit is not None:
        raise UsageError("--follow does not end: --limit cannot go with it", hint="flowstone events --follow | head")
    flow, wanted = open_for_reading(ctx), _Wanted(run_id, names, asset)
    if follow:
        _follow(flow, after, wanted, as_json=as_json)
    else:
        _print(flow, after, limit or _LIMIT, wanted, as_json=as_json)


def _print(flow: FlowStone, after: str | None, limit: int, wanted: _Wanted, *, as_json: bool) -> None:
    found = flow.events(after=after, limit=limit, **wanted._asdict())
    if as_json:
        for event in found:
            say_json(plain_of(event))
        return
    if not found:
        say("No events" + (f" after {after}." if after else "."))
        return
    say_rows(_row(event, with_run=wanted.run_id is None) for event in found)
    if len(found) == limit:
        chosen = [("--run", wanted.run_id), ("--asset", wanted.asset), *(("--name", name) for name in wanted.names)]
        options = "".join(f" {option} {quoted(value)}" for option, value in chosen if value)
        say()
        say(f"There may be more: flowstone events --after {found[-1].cursor} --limit {limit}{options}")


def _follow(flow: FlowStone, after: str | None, wanted: _Wanted, *, as_json: bool) -> None:
    for event in flow.follow(after=after, idle=require_reader, **wanted._asdict()):
        if as_json:
            say_json(plain_of(event))
        else:
            say_rows([_row(event, with_run=wanted.run_id is None)])


def _row(event: EventRecord, *, with_run: bool) -> tuple[str, ...]:
    fields = event.payload
    words = [f"{name}={_value(name, value)}" for name, value in fields.items() if name not in _APART and value != ""]
    run = [event.run_id] if with_run and event.run_id else []
    where = place(fields.get("asset", ""), fields.get("partition", ""))
    return event.cursor, iso(event.at), event.name, where, " ".join([*run, *words])


def _value(name: str, value: object) -> str:
    if name == "duration_ns" and isinstance(value, int):
        return f"{value} ({seconds(value)})"
    return short(value) if isinstance(value, str) and _DIGEST.fullmatch(value) else str(value)
