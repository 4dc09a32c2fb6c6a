"""``flowstone cancel``: end a run for good, whoever works on it."""

from __future__ import annotations

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import plain_of, say, say_json
from flowstone.cli.session import open_for_reading

WAIT_SECONDS = 60.0


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--reason", metavar="TEXT", default="", help="Why; it is kept with the run.")
@click.option(
    "--wait",
    is_flag=False,
    flag_value=WAIT_SECONDS,
    default=0.0,
    type=click.FloatRange(0),
    metavar="[=SECONDS]",
    help=f"Wait for its end, at most {WAIT_SECONDS:.0f} s or so many; without it a running run is only asked to end.",
)
@json_option
@click.pass_context
def cancel(ctx: click.Context, run_id: str, reason: str, wait: float, as_json: bool) -> None:
    """End RUN for good: at once when it waits, else by the process that works on it; what it has finished is kept.

    Exit codes: 0 it is cancelled, or asked to end; 1 it had not ended after --wait; 2 it had ended before.
    """  # fmt: skip
    flow = open_for_reading(ctx)
    run = flow.cancel(run_id, reason=reason, wait=wait)
    if as_json:
        say_json(plain_of(run))
    elif run.status == "cancelled":
        say(f"Cancelled: {run.id}. What it has finished is kept: flowstone show {run.id}")
    elif wait:
        say(f"Not ended after {wait:g} s: {run.id} was asked to end. flowstone show {run.id}")
    else:
        say(f"Asked to end: {run.id}; the process that works on it ends it within about a second. flowstone show {run.id}")
    if wait and run.status != "cancelled":
        ctx.exit(1)
