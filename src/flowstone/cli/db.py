"""``flowstone db``: the database, its schema, what goes and what is backed up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from flowstone import FlowStone
from flowstone.cli.backups import backup, restore, verify
from flowstone.cli.grammar import given, json_option
from flowstone.cli.lines import say, say_fields, say_json
from flowstone.cli.prune import prune
from flowstone.cli.session import find, open_for_reading, reading
from flowstone.cli.words import bytes_of
from flowstone.foundation.errors import NotFoundError
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.settings import Settings
from flowstone.stores import crosschecks, dialects, migrations
from flowstone.stores.tables import SCHEMA_VERSION


@click.group()
def db() -> None:
    """Look at the database; prune, back up, restore and upgrade it."""


for command in (prune, backup, restore, verify):
    db.add_command(command)


@db.command()
@json_option
@click.pass_context
def info(ctx: click.Context, as_json: bool) -> None:
    """Say which database it is, its schema, and how much is in it."""
    settings = find(given(ctx)).settings
    with _existing(settings) as backend:
        size = backend.size()
        with backend.reading() as connection:
            version = migrations.version(connection)
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
    with _existing(settings) as backend:
        before, now, copy = migrations.upgrade(backend)
    say(f"The schema is {now}; nothing to do." if before == now else f"The schema was {before or 'none'} and is {now} now.")
    if copy is not None:
        say(f"The database as it was: {copy}")


@contextmanager
def _existing(settings: Settings) -> Iterator[dialects.Backend]:
    """The database, which must be there; what its driver raises becomes one clear error."""
    backend = dialects.connect(settings.database_url)
    try:
        if not backend.exists():
            raise NotFoundError(f"there is no database yet at {backend.describe}", hint="flowstone run creates it")
        yield backend
    except Exception as error:
        clear = backend.explain(error)
        if clear is None:
            raise
        raise clear from error
    finally:
        backend.close()


def _rows(flow: FlowStone) -> dict[str, int]:
    with reading(flow) as connection:
        return crosschecks.rows(connection)
