"""The beginning of a candidate, for whoever decides: bounded, without secrets, and in lines that cannot move a cursor."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from flowstone.app.found import Found
from flowstone.app.sensitive import tell_read
from flowstone.app.wiring import Deployment
from flowstone.execution.marks import showing
from flowstone.execution.tables import table_of
from flowstone.foundation.errors import StorageError
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.sizes import bytes_of
from flowstone.io_managers.frames import kind_of
from flowstone.observability.logs.shape import one_line
from flowstone.stores.records import OutputRecord

LINES, CHARACTERS, WIDEST = 40, 4_000, 200
LARGEST = 256 * 1024 * 1024
"""Bytes of a candidate that is loaded to be looked at."""
ROWS, COLUMNS, CELL = 20, 8, 30


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of the value; *digest* is the SHA-256 of exactly that. *note* says why there is nothing, or not all."""

    lines: list[str]
    digest: str
    note: str = ""


def preview(deployment: Deployment, record: OutputRecord) -> Preview:
    """Load the value and show its beginning; that a sensitive one was looked at is audited before. Nothing is unpickled."""
    if record.gone:
        return _made([], f"its bytes were {record.gone}")
    if record.size > LARGEST:
        return _made([], f"{bytes_of(record.size)} are too much to be looked at here: {record.location}")
    try:
        value = Found(deployment, None).value_of(record)
    except StorageError as error:
        return _made([], error.message)
    tell_read(deployment, None, record)
    return _bounded(*_lines(value, deployment.redactor))


def _lines(value: Any, redactor: Redactor) -> tuple[list[str], str]:
    """The value as lines of text without secrets, at least as many as are shown, and what is to be said beside."""
    if kind_of(type(value)) is not None:
        return _rows(value, redactor)
    if isinstance(value, str):
        total = value.count("\n") + 1
        ahead = "\n".join(value[: 64 * CHARACTERS].split("\n", LINES)[:LINES])
        lines = redactor.text(ahead, limit=4 * CHARACTERS).split("\n")
        return lines, f"the first {LINES} of {total:,} lines" if total > LINES else ""
    if isinstance(value, bytes | bytearray | memoryview):
        return [], f"{bytes_of(len(value))} that are no text"
    try:
        plain = redactor.value(msgspec.to_builtins(value, str_keys=True))
        return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode().split("\n"), ""
    except (TypeError, ValueError, RecursionError):
        return [], f"values of the type {type(value).__name__} are not shown"


def _rows(value: Any, redactor: Redactor) -> tuple[list[str], str]:
    table = table_of(value, showing(redactor.text))
    names = list(table.columns)[:COLUMNS]
    if table.rows is None:
        return [f"{name}: {kind}" for name, kind in table.columns.items()], "its rows are not computed yet"
    records = table.records(names, min(ROWS, table.rows))
    rows = [[str(redactor.value(str(record[name]), name)) for name in names] for record in records]
    cells = [[cell if len(cell) <= CELL else f"{cell[: CELL - 2]}.." for cell in row] for row in [names, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    all_shown = table.rows <= ROWS and len(table.columns) <= COLUMNS
    size = f"{table.rows:,} rows, {len(table.columns):,} columns"
    return lines, "" if all_shown else f"{size}; the first {len(rows)} rows and {len(names)} columns are shown"


def _bounded(lines: list[str], note: str) -> Preview:
    """The first lines, each in one line of a terminal."""
    shown, room = [], CHARACTERS
    for line in map(one_line, lines[:LINES]):
        part = line if len(line) <= WIDEST else f"{line[: WIDEST - 2]}.."
        if len(part) > room:
            break
        shown.append(part)
        room -= len(part)
    if not note and len(shown) < len(lines):
        note = f"the first {len(shown):,} of {len(lines):,} lines"
    return _made(shown, note)


def _made(lines: list[str], note: str) -> Preview:
    return Preview(lines=lines, note=note, digest=hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else "")
