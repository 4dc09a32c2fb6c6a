"""``flowstone invalidate``: withdraw a value; its bytes stay."""

from __future__ import annotations

import click

from flowstone.cli.grammar import partition_option
from flowstone.cli.lines import option_of, place, quoted, say
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import counted
from flowstone.foundation.errors import UsageError


@click.command()
@click.argument("asset")
@partition_option
@click.pass_context
def invalidate(ctx: click.Context, asset: str, partition: str | None) -> None:
    """Withdraw the current value of ASSET: nobody gets it any more, what was made from it becomes outdated, its bytes stay."""
    flow = open_for_reading(ctx)
    affected = flow.lineage(asset, partition=partition, direction="impact")
    value = affected.start
    if not flow.invalidate(asset, partition=value.partition or None):
        hint = f"flowstone explain {quoted(asset)}{option_of(value.partition)}"
        raise UsageError(f"{place(asset, value.partition)} was invalidated by somebody else just now", hint=hint)
    name = place(asset, value.partition)
    say(f"Withdrawn: {name} version {value.version} ({value.id}). Its bytes stay: flowstone show {value.id}")
    outdated = [place(output.asset, output.partition) for output in affected.outputs.values() if output.id != value.id]
    if outdated:
        listed = ", ".join(outdated[:10]) + (f" and {len(outdated) - 10:,} more" if len(outdated) > 10 else "")
        say(f"Outdated by it: {counted(len(outdated), 'value')}: {listed}")
    say(f"Compute it again: flowstone run {quoted(asset)}{option_of(value.partition)}")
