"""``flowstone status``: which assets are up to date, told from the store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from flowstone.app.conditions import Condition
from flowstone.cli.grammar import json_option, partition_option
from flowstone.cli.lines import iso, option_of, plain_of, say, say_json, say_rows, shown
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import counted
from flowstone.foundation.errors import NotFoundError, PartitionError, did_you_mean

LISTED = 20


@click.command()
@click.argument("targets", nargs=-1, metavar="[ASSET]...")
@partition_option
@json_option
@click.pass_context
def status(ctx: click.Context, targets: tuple[str, ...], partition: str | None, as_json: bool) -> None:
    """Say which assets are up to date, outdated, missing or gone; of each its newest partition, of a named ASSET every one."""
    flow = open_for_reading(ctx)
    conditions = choose(flow.status(), targets, partition)
    if as_json:
        for condition in conditions:
            say_json(_plain(condition))
        return
    if not conditions:
        settings = flow.settings
        say(f"No assets yet: nothing was run in project {settings.project}, home {settings.home}. Next: flowstone run")
        return
    listed = conditions if targets or partition else _newest(conditions)
    others = Counter(condition.asset for condition in conditions)
    say_rows(_row(condition, 0 if targets or partition else others[condition.asset] - 1) for condition in listed)
    say()
    counts = Counter(condition.state for condition in listed)
    summed = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    say(f"{summed}. Compared with the code as it was last run; flowstone run --dry-run asks the code as it is now.")
    first = next((condition for condition in listed if condition.state != "up to date"), None)
    if first is not None:
        say(f"Why: flowstone explain {first.asset}{option_of(first.partition)}")


def choose(conditions: list[Condition], targets: tuple[str, ...], partition: str | None) -> list[Condition]:
    """The conditions of *targets* (default: of all) and *partition*; raises for names and keys nobody knows."""
    known = {condition.asset for condition in conditions}
    for name in targets:
        if name not in known:
            hint = did_you_mean(name, known) or f"known: {', '.join(sorted(known)[:LISTED]) or 'none; run something first'}"
            raise NotFoundError(f"there is no asset {name!r}", hint=hint)
    chosen = [condition for condition in conditions if not targets or condition.asset in targets]
    if partition is None:
        return chosen
    found = [condition for condition in chosen if partition in (condition.partition, shown(condition.partition)) and partition]
    if not found:
        keys = dict.fromkeys(shown(condition.partition) for condition in chosen if condition.partition)
        raise PartitionError(
            f"nothing is known of partition {partition!r}", hint=f"known: {', '.join(list(keys)[:LISTED]) or 'none'}"
        )
    return found


def _newest(conditions: list[Condition]) -> list[Condition]:
    """The first condition of each asset: its newest partition."""
    return list({condition.asset: condition for condition in reversed(conditions)}.values())[::-1]


def _row(condition: Condition, others: int) -> tuple[str, ...]:
    text = "; ".join(condition.because) or (condition.output.summary if condition.output else "never computed")
    more = counted(others, "earlier partition") if others else ""
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
    return {**plain_of(where), "state": condition.state, "because": list(condition.because), "output": made, "last": newest}
