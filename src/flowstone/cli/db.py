"""``flowstone db``: the database and its schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from flowstone import FlowStone
from flowstone.cli.grammar import given, json_option
from flowstone.cli.lines import say, say_fields, say_json
from flowstone.cli.session import find, open_for_reading, reading
from flowstone.cli.words import bytes_of
from flowstone.foundation.errors import NotFoundError
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.settings import Settings
from flowstone.stores import crosschecks, dialects, migrations
from flowstone.stores.tables import SCHEMA_VERSION


@click.group()
def db() -> None:
    """Look at the database, or upgrade its schema."""


@db.command()
@json_option
@click.pass_context
def info(ctx: click.Context, as_json: bool) -> None:
    """Say which database it is, its schema, and how much is in it."""
    settings = find(given(ctx)).settings
    path = _existing(settings)
    with _speaking(settings):
        version = migrations.version(settings.database_url)
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) if path else 0
    rows = _rows(open_for_reading(ctx)) if version == SCHEMA_VERSION else {}
    url = Redactor(settings.redaction_patterns).text(settings.database_url)
    if as_json:
        say_json({"url": url, "schema": version, "needed_schema": SCHEMA_VERSION, "size": size, "rows": rows})
        return
    current = "current" if version == SCHEMA_VERSION else f"this FlowStone has {SCHEMA_VERSION}: flowstone db upgrade"
    say_fields([
        ("database", url), ("size", bytes_of(size)), ("schema", f"{version or 'none'}, {current}"),
        ("rows", ", ".join(f"{name} {count:,}" for name, count in rows.items())),
    ], indent="")  # fmt: skip


@db.command()
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Bring the database to the schema of this version of FlowStone; a current one is left as it is."""
    settings = find(given(ctx)).settings
    _existing(settings)
    with _speaking(settings):
        before, now = migrations.upgrade(settings.database_url)
    say(f"The schema is {now}; nothing to do." if before == now else f"The schema was {before or 'none'} and is {now} now.")


def _existing(settings: Settings) -> Path | None:
    """The database's file, ``None`` in memory; raises :class:`NotFoundError` before anything would create it."""
    backend = dialects.connect(settings.database_url)
    if not backend.exists():
        raise NotFoundError(f"there is no database yet at {backend.describe}", hint="flowstone run creates it")
    return None if backend.in_memory else Path(backend.path)


@contextmanager
def _speaking(settings: Settings) -> Iterator[None]:
    """Turn what the driver raises into one clear error."""
    try:
        yield
    except Exception as error:
        clear = dialects.explain(error, dialects.connect(settings.database_url).describe)
        if clear is None:
            raise
        raise clear from error


def _rows(flow: FlowStone) -> dict[str, int]:
    with reading(flow) as connection:
        return crosschecks.rows(connection)
