"""``flowstone db prune``: what retention does not keep goes."""

from __future__ import annotations

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import say, say_json, say_rows
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import bytes_of

_KEPT_BY = {
    "outputs": "retention.outputs", "events": "retention.events", "logs": "retention.logs", "errors": "retention.errors",
    "messages": "retention.events",
}  # fmt: skip
_NOUNS = {
    "outputs": "superseded outputs", "events": "events of ended runs", "logs": "captured lines of ended runs",
    "errors": "errors of ended runs", "messages": "messages delivered or given up",
    "processes": "rows of processes that ended", "files": "files nothing refers to",
}  # fmt: skip


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
@click.pass_context
def prune(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Remove superseded outputs, old events, lines and errors, and files nothing refers to, as the settings say.

    Held things, what runs that have not ended need, the newest event and every record of an output stay.
    """
    flow = open_for_reading(ctx)
    done = flow.prune(dry_run=dry_run)
    if as_json:
        say_json({"dry_run": dry_run, **{part.kind: {"removed": part.removed, "bytes": part.bytes} for part in done}})
        return
    kept = {key: value for key, value, _ in flow.settings.rows()}
    say("Would go (nothing was changed):" if dry_run else "Gone:")
    say_rows(
        (_NOUNS[part.kind], f"{part.removed:,}", bytes_of(part.bytes) if part.bytes else "", _rule(part.kind, kept))
        for part in done
    )
    if dry_run and any(part.removed for part in done):
        say("Do it: flowstone db prune")


def _rule(kind: str, kept: dict[str, object]) -> str:
    return f"{_KEPT_BY[kind]} is {kept[_KEPT_BY[kind]]}" if kind in _KEPT_BY else ""
