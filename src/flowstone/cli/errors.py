"""``flowstone errors``: what failed, and whether a retry cured it."""

from __future__ import annotations

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import place, plain_of, say, say_json, say_rows
from flowstone.cli.session import open_for_reading
from flowstone.stores.records import ErrorRecord


@click.command()
@click.argument("asset", required=False, metavar="[ASSET]")
@click.option("--run", "run_id", metavar="RUN", help="Only this run's.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="At most so many; default: 50.")
@json_option
@click.pass_context
def errors(ctx: click.Context, asset: str | None, run_id: str | None, limit: int, as_json: bool) -> None:
    """List errors, newest first: one for each attempt that failed."""
    found = open_for_reading(ctx).errors(run_id=run_id, asset=asset, limit=limit)
    if as_json:
        for error in found:
            say_json(plain_of(error))
        return
    if not found:
        say(f"No errors{f' of {asset}' if asset else ''} are recorded.")
        return
    say_rows((e.id, place(e.asset, e.partition), f"attempt {e.attempt}", cure(e), headline(e)) for e in found)
    say()
    say(f"One of them, with its traceback: flowstone show {found[0].id}")


def cure(error: ErrorRecord) -> str:
    """Whether a later attempt succeeded."""
    return f"cured by attempt {error.cured}" if error.cured else "not cured"


def headline(error: ErrorRecord) -> str:
    """The error's type and message."""
    return f"{error.type}: {error.message}" if error.message else error.type
