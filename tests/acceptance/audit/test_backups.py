"""Backups hold the audit log, whichever database they came from, and a restored one goes on."""

from __future__ import annotations

import pytest

from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.errors import UsageError
from flowstone.stores import append_only, backups
from flowstone.stores.database import Database
from flowstone.stores.tables import SCHEMA_VERSION


def restore(world, file, target, *, replace=False):
    """Fill the database of *target* from the backup *file*."""
    note = {"project": "shop", "at": 1, "name": "flowstone.db.restored", "run_id": None, "payload": "{}"}
    with backups.opened(file) as source:
        backups.fill(target.backend, source, replace=replace, note=note)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restored_log_is_intact_and_goes_on(world, request, tmp_path, kind):
    """A backup restored into either kind of database has every entry, place, head and disclosure; guards and sealer work on."""
    world.live(25)
    world.hold()
    backups.write(world.database, tmp_path / "backup.db")
    url = f"sqlite:///{tmp_path / 'new.db'}" if kind == "sqlite" else request.getfixturevalue("new_postgres_url")()
    target = Database(url, Dispatcher(world.clock), world.clock)
    restore(world, tmp_path / "backup.db", target)
    target.close()
    other = world.copied(url, tmp_path)

    checked = other.verify()
    assert (checked.verdict, checked.findings, checked.unsealed) == ("INTACT", [], 1)
    other.live(10)
    checked = other.verify()
    assert (checked.verdict, checked.findings, checked.unsealed) == ("INTACT", [], 0)
    other.close()


def test_a_log_can_be_replaced_by_a_restore(world, tmp_path):
    """Although its tables are append-only, the owner's restore replaces a log that goes on; without being told to it does not."""
    world.live(10)
    backups.write(world.database, tmp_path / "backup.db")
    size = world.verify().entries
    world.live(10)
    with pytest.raises(UsageError, match="is not empty"):
        restore(world, tmp_path / "backup.db", world.database)
    restore(world, tmp_path / "backup.db", world.database, replace=True)

    with world.database.reading() as connection:
        assert append_only.differences(connection) == []
    assert world.database.schema_version() == SCHEMA_VERSION
    checked = world.verify()
    assert (checked.entries, checked.told.keys()) == (size, {"truncated"})
