"""``flowstone get``: a stored value, printed for people, as JSON, or as the stored bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from flowstone.cli.frames import Frame
from flowstone.cli.grammar import json_option, partition_option
from flowstone.cli.lines import quoted, say, say_json
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import counted
from flowstone.foundation.errors import UsageError
from flowstone.observability.logs.shape import one_line


@click.command()
@click.argument("asset")
@partition_option
@click.option("--run", "run_id", metavar="RUN", help="The value this run made or reused, instead of the current one.")
@click.option("-o", "--output", "file", metavar="FILE", help="Write the stored bytes to FILE, unchanged; - is standard output.")
@json_option
@click.pass_context
def get(ctx: click.Context, asset: str, partition: str | None, run_id: str | None, file: str | None, as_json: bool) -> None:
    """Print the value of ASSET: text as it is, data as JSON, the beginning of a table. With --json, one object a row."""
    if file is not None and as_json:
        raise UsageError("-o writes the stored bytes, --json prints the value", hint="leave one of them out")
    flow = open_for_reading(ctx)
    if file is not None:
        _save(flow.get_bytes(asset, partition=partition, run_id=run_id), file)
        return
    value = flow.get(asset, partition=partition, run_id=run_id)
    frame = Frame.of(value)
    if frame is not None and as_json:
        for row in frame.rows():
            say_json(row)
    elif frame is not None:
        frame.say(f"All of it: flowstone get {quoted(asset)} --json    The stored file: flowstone get {quoted(asset)} -o FILE")
    elif isinstance(value, bytes | bytearray | memoryview):
        _say_bytes(bytes(value), asset, as_json=as_json)
    elif as_json:
        say_json(value)
    else:
        _say_value(value)


def _save(content: bytes, file: str) -> None:
    if file == "-":
        _write(content)
        return
    try:
        Path(file).write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}", hint="choose another file") from error
    click.echo(f"wrote {counted(len(content), 'byte')} to {one_line(file)}", err=True)


def _say_bytes(content: bytes, asset: str, *, as_json: bool) -> None:
    if as_json:
        raise UsageError(f"the value of {asset} is bytes, which JSON cannot hold", hint=f"flowstone get {quoted(asset)} -o FILE")
    if sys.stdout.isatty():
        say(f"{counted(len(content), 'byte')}: flowstone get {quoted(asset)} -o FILE")
    else:
        _write(content)


def _say_value(value: Any) -> None:
    if isinstance(value, str):
        click.echo("\n".join(map(one_line, value.split("\n"))) if sys.stdout.isatty() else value)
    elif isinstance(value, dict | list | int | float | bool) or value is None:
        say_json(value, indent=2)
    else:
        for line in str(value).split("\n"):
            say(line)


def _write(content: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
