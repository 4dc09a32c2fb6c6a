"""``flowstone notifications``: the messages to people, and whether a channel works."""

from __future__ import annotations

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import plain_of, say, say_json, say_rows, when
from flowstone.cli.session import open_for_reading
from flowstone.stores.records import NotificationRecord

STATUSES = ("pending", "delivered", "failed")


@click.group()
def notifications() -> None:
    """List the messages to people; try a channel."""


@notifications.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="At most so many; default: 50.")
@json_option
@click.pass_context
def list_(ctx: click.Context, status: str | None, limit: int, as_json: bool) -> None:
    """List messages, newest first: what about, for which channel, and whether it was delivered."""
    flow = open_for_reading(ctx)
    found = flow.notifications(status=status, limit=limit)
    if as_json:
        for record in found:
            say_json(plain_of(record))
        return
    if not found:
        channels = ", ".join(flow.settings.channels) or "none; add [notifications.NAME] to the settings"
        say(f"No{f' {status}' if status else ''} messages. Channels: {channels}.")
        return
    say_rows((r.id, when(r.at), r.channel, r.cause, r.payload["title"], _ending(r)) for r in found)
    if any(record.status == "pending" for record in found):
        say()
        say("Pending messages are delivered by runs, and by flowstone tick.")


@notifications.command()
@click.argument("channel", metavar="CHANNEL")
@click.pass_context
def test(ctx: click.Context, channel: str) -> None:
    """Send a trial message to CHANNEL, at once. Exit code 1 when it is not taken."""
    refusal = open_for_reading(ctx).try_channel(channel)
    if refusal:
        say(f"{channel} did not take the message: {refusal}")
        ctx.exit(1)
    say(f"{channel} took the message.")


def _ending(record: NotificationRecord) -> str:
    """What became of a message."""
    if record.status == "delivered":
        return "delivered" if record.tries == 1 else f"delivered at try {record.tries}"
    if record.status == "failed":
        return f"given up after {record.tries} tries: {record.message}"
    if not record.tries:
        return "pending"
    return f"pending, tried {record.tries}: {record.message or 'being sent'}"
