"""``flowstone status``: which assets are up to date, told from the store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from flowstone.app.conditions import Condition
from flowstone.cli.approval_words import waits
from flowstone.cli.grammar import json_option, partition_option
from flowstone.cli.lines import iso, option_of, plain_of, say, say_json, say_rows, shown
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import counted

LISTED = 50


@click.command()
@click.argument("targets", nargs=-1, metavar="[ASSET]...")
@partition_option
@click.option("--all", "every", is_flag=True, help="Every partition.")
@json_option
@click.pass_context
def status(ctx: click.Context, targets: tuple[str, ...], partition: str | None, every: bool, as_json: bool) -> None:
    """Say which assets are up to date, outdated, missing or gone; of each its newest partition, of a named ASSET the last 50."""
    flow = open_for_reading(ctx)
    limit = None if every else LISTED
    conditions = flow.status(*targets, partition=partition, newest=not (targets or partition or every), limit=limit)
    if as_json:
        for condition in conditions:
            say_json(_plain(condition))
        return
    if not conditions:
        settings = flow.settings
        say(f"No assets yet: nothing was run in project {settings.project}, home {settings.home}. Next: flowstone run")
        return
    say_rows(_row(condition) for condition in conditions)
    say()
    counts = Counter(condition.state for condition in conditions)
    summed = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    say(f"{summed}. Compared with the code as it was last run; flowstone run --dry-run asks the code as it is now.")
    first = next((condition for condition in conditions if condition.state != "up to date"), None)
    asked = next((condition.asked for condition in conditions if condition.asked is not None), None)
    if asked is not None:
        say(f"Waits for people: flowstone approvals show {asked.id}")
    if first is not None:
        say(f"Why: flowstone explain {first.asset}{option_of(first.partition)}")


def _row(condition: Condition) -> tuple[str, ...]:
    text = "; ".join(condition.because) or (condition.output.summary if condition.output else "never computed")
    if condition.asked is not None:
        asked = f"waits for approval {condition.asked.id}, {waits(condition.asked)}"
        text = f"{text}; a newer version {asked}" if condition.output else asked
    more = counted(condition.others, "earlier partition") if condition.others else ""
    return condition.asset, shown(condition.partition), condition.state, " · ".join(part for part in (text, more) if part)


def _plain(condition: Condition) -> dict[str, Any]:
    output, last = condition.output, condition.last
    made = None
    if output is not None:
        made = {
            "id": output.id, "version": output.version, "digest": output.digest, "size": output.size, "rows": output.rows,
            "summary": output.summary, "run_id": output.run_id, "created_at": iso(output.created_at),
        }  # fmt: skip
    newest = {"run_id": last.run_id, "status": last.status, "reason": last.reason, "message": last.message} if last else None
    where = {"asset": condition.asset, "partition": condition.partition}
    found = {"state": condition.state, "because": list(condition.because), "output": made, "last": newest}
    asked = condition.asked.id if condition.asked else None
    return {**plain_of(where), **found, "others": condition.others, "approval": asked}
