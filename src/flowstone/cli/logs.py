"""``flowstone logs``: what a run's assets logged and printed, kept per attempt."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import click

from flowstone.app.reading_logs import LEVELS, Chosen, Lines, Numbered
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import iso, place, say, say_raw
from flowstone.cli.reader import require_reader
from flowstone.cli.session import open_for_reading
from flowstone.events.context import Scope
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.serialize import to_json
from flowstone.observability.logs.shape import encoded, of_scope
from flowstone.stores.records import LogRecord


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--asset", metavar="ASSET", help="Only this asset's lines.")
@click.option("--partition", metavar="KEY", help="Only this partition's.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Only those of each asset's attempt N.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="Lines of this level and above.")
@click.option("--grep", metavar="REGEX", help="Lines in whose message this regular expression is found.")
@click.option("--context", "-C", type=click.IntRange(0), default=0, metavar="N", help="And N lines before and after each.")
@click.option("--follow", "-f", is_flag=True, help="Go on with the lines that come, until nobody works on RUN any more.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many lines.")
@json_option
@click.pass_context
def logs(  # noqa: PLR0913, PLR0917 - click hands over every option
    ctx: click.Context,
    run_id: str,
    asset: str | None,
    partition: str | None,
    attempt: int | None,
    level: str,
    grep: str | None,
    context: int,
    follow: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Print the lines of RUN in order: its assets' log lines, and what they printed."""
    flow = open_for_reading(ctx)
    chosen = Chosen(asset, partition, attempt, level, grep, context)
    lines = Lines(flow._deployment, run_id, chosen)
    found = islice(lines.follow(require_reader) if follow else lines.read(), limit)
    count = _say(found, lines.run.trace_id, with_gaps=context > 0, as_json=as_json)
    if as_json:
        return
    if not count:
        say(f"{lines.run.id} kept no {'such ' if chosen != Chosen(level='debug') else ''}lines.")
    if follow:
        dead = lines.run.status == "running" and not lines.is_worked_on()
        say(f"{lines.run.id} {'is not worked on: its process is dead' if dead else lines.run.status}")


def _say(found: Iterable[Numbered], trace_id: str, *, with_gaps: bool, as_json: bool) -> int:
    """Print the lines; return how many there were."""
    count, last = 0, -1
    for count, (number, line) in enumerate(found, 1):
        if as_json:
            say_raw(_json(line, trace_id))
            continue
        if with_gaps and count > 1 and number != last + 1:
            say("--")
        last = number
        say(_text(line))
    return count


def _json(line: LogRecord, trace_id: str) -> str:
    """The line in the shape every log line has."""
    scope = of_scope(Scope(line.run_id, line.asset, line.partition, line.attempt, trace_id))
    more = {"fields": line.fields} if line.fields else {}
    return encoded({"ts": iso(line.at), "level": line.level, "logger": line.logger, "msg": line.message, **scope, **more})


def _text(line: LogRecord) -> str:
    at = as_datetime(line.at).strftime("%H:%M:%S")
    own = line.logger == f"flowstone.asset.{line.asset}"
    fields = "".join(f" {name}={_value(value)}" for name, value in line.fields.items())
    where = f"{place(line.asset, line.partition)}#{line.attempt}"
    return f"{at} {line.level:<7} {where} {'' if own else f'{line.logger}: '}{line.message}{fields}"


def _value(value: object) -> str:
    return value if isinstance(value, str) else to_json(value)
