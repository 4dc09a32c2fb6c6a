"""``flowstone logs``: what a run's assets logged and printed, kept per attempt."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import place, plain_of, say, say_json
from flowstone.cli.session import open_for_reading, reading
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import UsageError
from flowstone.stores import logs as lines
from flowstone.stores import runs
from flowstone.stores.database import Connection
from flowstone.stores.records import LogRecord

PAGE = 5_000
LEVELS = ("debug", "info", "warning", "error", "critical")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--asset", metavar="ASSET", help="Only this asset's lines.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="Lines of this level and above.")
@click.option("--grep", metavar="REGEX", help="Lines whose message matches this regular expression.")
@json_option
@click.pass_context
def logs(ctx: click.Context, run_id: str, asset: str | None, level: str, grep: str | None, as_json: bool) -> None:
    """Print the lines of RUN in order: its assets' log lines, and what they printed."""
    pattern = _pattern(grep)
    least = logging.getLevelNamesMapping()[level.upper()]
    flow = open_for_reading(ctx)
    count = 0
    with reading(flow) as connection:
        run = runs.find(connection, flow.settings.project, run_id)
        for line in _lines(connection, run.id, asset):
            if _level(line) < least or (pattern and not pattern.search(line.message)):
                continue
            count += 1
            if as_json:
                say_json(plain_of(line))
            else:
                at = as_datetime(line.at).strftime("%H:%M:%S")
                say(f"{at} {line.level:<7} {place(line.asset, line.partition)}#{line.attempt} {_origin(line)}{line.message}")
    if not count and not as_json:
        say(f"{run.id} kept no {'such ' if asset or grep or level != 'debug' else ''}lines.")


def _pattern(grep: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(grep) if grep is not None else None
    except re.error as error:
        hint = "escape special characters with \\"
        raise UsageError(f"--grep {grep!r} is no regular expression: {error}", hint=hint) from error


def _lines(connection: Connection, run_id: str, asset: str | None) -> Iterator[LogRecord]:
    after = 0
    while page := lines.read(connection, run_id, asset=asset, after=after, limit=PAGE):
        yield from page
        after = page[-1].id


def _level(line: LogRecord) -> int:
    return logging.getLevelNamesMapping().get(line.level.upper(), logging.INFO)


def _origin(line: LogRecord) -> str:
    """Where the line comes from, unless it is the asset's own logger."""
    return "" if line.logger == f"flowstone.asset.{line.asset}" else f"{line.logger}: "
