"""``flowstone lineage``: exact outputs and what they were made from, as a tree."""

from __future__ import annotations

from typing import Literal

import click

from flowstone.cli.grammar import json_option, partition_option
from flowstone.cli.lines import option_of, place, plain_of, quoted, say, say_json, sha
from flowstone.cli.session import open_for_reading
from flowstone.ledger.lineage import Walk
from flowstone.stores.records import OutputRecord

Direction = Literal["upstream", "downstream", "impact"]


@click.command()
@click.argument("asset")
@partition_option
@click.option("--downstream", "direction", flag_value="downstream", help="What was ever made from the value, instead.")
@click.option("--impact", "direction", flag_value="impact", help="What is current now and was made from the value, instead.")
@json_option
@click.pass_context
def lineage(ctx: click.Context, asset: str, partition: str | None, direction: Direction | None, as_json: bool) -> None:
    """Show what the current value of ASSET was made from: exact versions, with their digests."""
    walk = open_for_reading(ctx).lineage(asset, partition=partition, direction=direction or "upstream")
    if as_json:
        outputs, edges = ([plain_of(record) for record in records] for records in (walk.outputs.values(), walk.edges))
        say_json({"start": walk.start.id, "direction": direction or "upstream", "outputs": outputs, "edges": edges})
        return
    _draw(walk, down=direction is not None)
    if not walk.edges:
        say("  it was made from nothing else" if direction is None else "  nothing was made from it")
    say()
    command = f"{quoted(asset)}{option_of(walk.start.partition)}"
    say(
        f"What it was made from: flowstone lineage {command}"
        if direction
        else f"Made from it: flowstone lineage {command} --downstream"
    )


def label(output: OutputRecord) -> str:
    """``findings 2026-11-23 v1  sha256 77f0..  out_9d2k``."""
    return f"{place(output.asset, output.partition)} v{output.version}  {sha(output.digest)}  {output.id}"


def _draw(walk: Walk, *, down: bool) -> None:
    """Print the tree depth first; a value that stands above already is named, not repeated. Chains may be of any length."""
    nearer: dict[str, list[tuple[str, str]]] = {}
    for edge in walk.edges:
        here, there = (edge.upstream, edge.downstream) if down else (edge.downstream, edge.upstream)
        nearer.setdefault(here, []).append((edge.parameter, there))
    arrow = "->" if down else "<-"
    drawn: set[str] = set()
    pending = [(walk.start.id, 0, "")]
    while pending:
        id, depth, parameter = pending.pop()
        output = walk.outputs[id]
        alias = f"  as {parameter}" if parameter and not down and parameter != output.asset else ""
        again = "  (shown above)" if id in drawn and id in nearer else ""
        say(f"{'  ' + '   ' * (depth - 1) + f'{arrow} ' if depth else ''}{label(output)}{alias}{again}")
        if id not in drawn:
            drawn.add(id)
            pending += [(there, depth + 1, name) for name, there in reversed(nearer.get(id, []))]
