"""How lines come out: aligned words for people, JSON for programs. Nothing that is printed can move a terminal's cursor."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from flowstone.assets.keys import decode_key, display_key
from flowstone.execution.decision import short
from flowstone.foundation.clock import as_datetime
from flowstone.observability.logs.shape import one_json_line, one_line

WORDS = {"success": "done"}
"""Stored statuses that people know by another word."""

_WIDEST = 40  # of a column that is not the last
_TIMES = frozenset({"at", "not_before"})


def say(text: str = "") -> None:
    """Print one line; control characters in it are escaped."""
    click.echo(one_line(text))


def say_rows(rows: Iterable[Sequence[str]], indent: str = "  ") -> None:
    """Print rows as aligned columns; on a terminal the last column is cut at its edge, elsewhere nothing is cut."""
    cleaned = [[one_line(cell) for cell in row] for row in rows]
    columns = max(map(len, cleaned), default=0)
    widths = [min(_WIDEST, max(len(row[i]) for row in cleaned if len(row) > i)) for i in range(columns)]
    room = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None
    for row in cleaned:
        line = indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        click.echo(line if room is None or len(line) <= room else line[: room - 2] + "..")


def say_fields(fields: Iterable[tuple[str, str]], indent: str = "  ") -> None:
    """Print ``name  value`` lines with aligned values; fields without a value are left out."""
    for name, value in fields:
        if value:
            say(f"{indent}{name:<12} {value}")


def say_json(value: Any, indent: int = 0) -> None:
    """Print *value* as JSON, in one line unless *indent* is given; what JSON does not know is printed as text."""
    encoded = msgspec.json.encode(value, enc_hook=_plain)
    say_raw((msgspec.json.format(encoded, indent=indent) if indent else encoded).decode())


def say_raw(text: str) -> None:
    """Print JSON *text*; control characters that JSON allows in texts are escaped."""
    click.echo(one_json_line(text))


def plain_of(record: msgspec.Struct | Mapping[str, Any]) -> dict[str, Any]:
    """A record as plain values: instants as ISO 8601 in UTC, the partition as people read it and, beside it, its encoded key."""
    fields = record if isinstance(record, Mapping) else msgspec.structs.asdict(record)
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "partition":
            plain["partition"], plain["partition_key"] = shown(value) or None, value
        elif isinstance(value, int) and (name in _TIMES or name.endswith("_at")):
            plain[name] = iso(value)
        else:
            plain[name] = value
    return plain


def iso(nanoseconds: int) -> str:
    """The instant as ISO 8601 text in UTC."""
    return as_datetime(nanoseconds).isoformat(timespec="microseconds").replace("+00:00", "Z")


def when(nanoseconds: int) -> str:
    """The instant as people read it, to the second, in UTC."""
    return as_datetime(nanoseconds).strftime("%Y-%m-%d %H:%M:%S UTC")


def moment(nanoseconds: int) -> str:
    """The instant as people plan by it, in this machine's time zone: ``30 Nov 10:02 CET``, with its year unless it is this."""
    at = as_datetime(nanoseconds).astimezone()
    return f"{at.day} {at.strftime('%b %H:%M %Z' if at.year == datetime.now(UTC).year else '%b %Y %H:%M %Z')}"


def shown(partition: str) -> str:
    """An encoded partition as people read it; empty when the asset has none."""
    return display_key(decode_key(partition)) if partition else ""


def place(asset: str, partition: str) -> str:
    """``orders``, or ``orders 2026-11-23``."""
    return f"{asset} {shown(partition)}".strip() if partition else asset


def option_of(partition: str) -> str:
    """The ``--partition`` a printed command needs, with the space before it; quoted where a shell asks for it."""
    return f" --partition {quoted(shown(partition))}" if partition else ""


def quoted(text: str) -> str:
    """*text* as one word of a shell command."""
    return shlex.quote(text)


def sha(digest: str) -> str:
    """``sha256 51abe04d..``."""
    return f"sha256 {short(digest)}"


def who(actor: str, identity: str) -> str:
    """``dev (OS user)``."""
    return f"{actor} ({'OS user' if identity == 'os' else identity})"


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)  # a number of a numerical library
    return item() if callable(item) else str(value)
