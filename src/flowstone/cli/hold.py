"""``flowstone hold``: what must not be collected, erased or pruned."""

from __future__ import annotations

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import place, plain_of, say, say_json, say_rows, when, who
from flowstone.cli.session import open_for_reading
from flowstone.stores.records import HoldRecord


@click.group()
def hold() -> None:
    """Hold what must not be collected, erased or pruned, until it is released."""


@hold.command()
@click.argument("asset", required=False, metavar="[ASSET]")
@click.option("--partition", metavar="KEY", help="Only this partition of ASSET.")
@click.option("--output", "output", metavar="OUTPUT", help="One output instead of an asset.")
@click.option("--run", "run_id", metavar="RUN", help="What a run made or reused, and its events, lines and errors.")
@click.option("--reason", metavar="TEXT", required=True, help="Why it is kept.")
@json_option
@click.pass_context
def add(
    ctx: click.Context, asset: str | None, partition: str | None, output: str | None, run_id: str | None, reason: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Hold every output of ASSET, now and later, or one --output, or what belongs to a --run."""
    record = open_for_reading(ctx).hold(asset, partition=partition, output=output, run_id=run_id, reason=reason)
    if as_json:
        say_json(plain_of(record))
        return
    say(f"Held: {held(record)} ({record.id}).")
    say(f"When it is not needed any more: flowstone hold release {record.id} --reason TEXT")


@hold.command("list")
@click.option("--released", is_flag=True, help="Those that were released as well.")
@json_option
@click.pass_context
def list_(ctx: click.Context, released: bool, as_json: bool) -> None:
    """List holds, oldest first."""
    found = open_for_reading(ctx).holds(released=released)
    if as_json:
        for record in found:
            say_json(plain_of(record))
        return
    if not found:
        say("Nothing is held.")
        return
    say_rows((r.id, held(r), when(r.at), who(r.actor, r.identity), r.reason, _released(r)) for r in found)


@hold.command()
@click.argument("hold_id", metavar="HOLD")
@click.option("--reason", metavar="TEXT", required=True, help="Why it is not needed any more.")
@click.pass_context
def release(ctx: click.Context, hold_id: str, reason: str) -> None:
    """Release HOLD: what it kept is treated like everything else from now on."""
    record = open_for_reading(ctx).release(hold_id, reason=reason)
    say(f"Released: {held(record)} ({record.id}).")


def held(record: HoldRecord) -> str:
    """What a hold is on."""
    if record.run_id:
        return record.run_id
    return (
        f"{record.output} of {place(record.asset, record.partition)}" if record.output else place(record.asset, record.partition)
    )


def _released(record: HoldRecord) -> str:
    return f"released {when(record.released_at)} by {record.released_by}" if record.released_at else ""
