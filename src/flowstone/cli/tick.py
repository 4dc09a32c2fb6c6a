"""``flowstone tick``: the duties of this deployment, for cron or a timer."""

from __future__ import annotations

from contextlib import suppress

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import iso, say, say_json, say_rows, when
from flowstone.cli.session import open_for_reading, open_for_running
from flowstone.foundation.errors import LoadError


@click.command()
@json_option
@click.pass_context
def tick(ctx: click.Context, as_json: bool) -> None:
    """Do what is due: settle dead work, mark what is overdue, deliver messages, fold metrics, and once a day prune.

    Made for cron, on any number of machines: one does it, the others say so and leave. Imports the pipeline only to go on with a
    run that people have decided about.
    Exit codes: 0 done, or nothing to do; 1 a duty failed, the others were done.
    """
    flow = open_for_reading(ctx)
    if flow.approvals.runs_to_go_on():
        with suppress(LoadError):  # where its code is not at hand, the duty says how to go on
            flow = open_for_running(ctx)
    flow.export_telemetry()
    done = flow.tick()
    if as_json:
        since = {"since": iso(done.since), "host": done.host} if done.status == "busy" else {}
        say_json({"status": done.status, **since, "duties": [duty._asdict() for duty in done.duties]})
    elif done.status == "new":
        say("Nothing to do: there is no database yet. flowstone run creates it.")
    elif done.status == "busy":
        say(f"Another tick is running since {when(done.since)}, on {done.host}.")
    else:
        say_rows((duty.name, "" if duty.ok else "FAILED", duty.text) for duty in done.duties)
    if not done.ok:
        ctx.exit(1)
