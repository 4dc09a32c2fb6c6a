"""Backups: written, checked and restored. The database is one file; the bytes of outputs go beside it when that is asked for."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from flowstone.app.copies import check_bytes, copy_bytes, given_up
from flowstone.app.wiring import Deployment
from flowstone.audit import acts
from flowstone.audit.acts import Act
from flowstone.audit.entries import Auditor, entry_of
from flowstone.events.catalogue import DbRestored
from flowstone.execution import lost
from flowstone.execution.run import Actor
from flowstone.foundation.errors import DatabaseError, StorageError, UsageError
from flowstone.foundation.settings import Settings
from flowstone.stores import audit, backups, migrations, processes
from flowstone.stores.database import Connection, Database
from flowstone.stores.sqlite import SqliteBackend
from flowstone.stores.tables import SCHEMA_VERSION


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup or a restored database holds, and what is wrong with it; ``verified`` is false when nobody looked."""

    schema: str
    rows: dict[str, int]
    verified: bool = False
    faults: list[str] = []
    """What the database says of itself, and rows that refer to nothing."""
    hashed: int = 0
    """How many current outputs had their bytes read and compared."""
    elsewhere: int = 0
    """How many current outputs have their bytes where no file is, in a process's memory."""
    wrong_bytes: list[str] = []
    """Current outputs whose bytes are missing or are not what was recorded."""

    @property
    def ok(self) -> bool:
        """Whether nothing wrong was found."""
        return not self.faults and not self.wrong_bytes


def back_up(deployment: Deployment, file: Path, folder: Path | None, *, overwrite: bool, verify: bool) -> Checked:
    """Write a backup to *file*, and the bytes of its outputs into *folder*; whole or not at all."""
    database, root = deployment.reading(), deployment.settings.outputs.path
    _may_write(file, database, overwrite=overwrite)
    part = file.with_name(f"{file.name}.{deployment.ids.new('part')}")
    try:
        rows = backups.write(database, part)
        if folder is not None:
            _copy_all(deployment, part, root, folder)
        done = check(part, folder or root) if verify else Checked(schema=SCHEMA_VERSION, rows=rows)
        if done.faults:
            raise DatabaseError(f"{database.backend.describe}: {done.faults[0]}", hint="no backup was written: flowstone doctor")
        _publish(part, file, overwrite=overwrite)
    except OSError as error:
        raise StorageError(f"{error.filename or file}: {error.strerror}", hint="choose another place for the backup") from error
    finally:
        part.unlink(missing_ok=True)
    return done


def check(file: Path, folder: Path) -> Checked:
    """Look at a backup as a whole: its database, its references, and the bytes of its current outputs in *folder*."""
    with _current_schema(file) as connection:
        faults = backups.faults(connection)
        return _checked(connection, faults, folder)


def restore(deployment: Deployment, file: Path, *, folder: Path | None, replace: bool, verify: bool, actor: Actor) -> Checked:
    """Fill the deployment's database from the backup *file*, and its outputs from *folder*, in one transaction."""
    settings = deployment.settings
    with _current_schema(file) as source:
        faults = backups.faults(source)
        if faults:
            raise DatabaseError(f"{file}: {faults[0]}", hint="this backup is damaged: use another one")
        deployment._make_folder()
        database = Database(settings.database_url, deployment.dispatcher, deployment.clock)
        with contextlib.closing(database):
            _refuse_working(deployment, database)
            if folder is not None:
                copy_bytes((o for o in backups.stored(source) if o.manager == "files"), folder, settings.outputs.path)
            told = {"file": str(file), "rows": sum(backups.rows(source).values()), "actor": actor.id, "identity": actor.source}
            happened = deployment.dispatcher.build(DbRestored, {"at": database.now(), **told})
            note = {
                "project": settings.project, "at": happened.at, "name": happened.name,
                "payload": msgspec.json.encode(happened).decode(),
            }  # fmt: skip

            def tell(connection: Connection) -> None:
                _audit(connection, settings, acts.db_restored(sum(backups.rows(source).values()), str(file)), actor, happened.at)

            rows = backups.fill(database.backend, source, replace=replace, note=note, then=tell)
            deployment.dispatcher.deliver(happened)
            if not verify:
                return Checked(schema=SCHEMA_VERSION, rows=rows)
            with database.reading() as connection:
                return _checked(connection, backups.faults(connection), settings.outputs.path)


def _audit(connection: Connection, settings: Settings, act: Act, actor: Actor, at: int) -> None:
    """Tell the log that was restored of the restore, if there is one and it goes on."""
    found = audit.incarnations(connection)
    if found and settings.audit.enabled:
        auditor = Auditor(found[0][1], settings.project)
        auditor.append_within(connection, entry_of(act, actor=actor.id, identity=actor.source, at=at))


@contextmanager
def _current_schema(file: Path) -> Iterator[Connection]:
    """The backup, upgraded in a copy when its schema is older than ours; the file itself is only read."""
    with backups.opened(file) as connection:
        version = migrations.version(connection)
        if version == SCHEMA_VERSION:
            yield connection
            return
    with TemporaryDirectory() as folder:
        copy = shutil.copyfile(file, Path(folder, "backup.db"))
        with contextlib.closing(SqliteBackend(str(copy))) as backend:
            migrations.upgrade(backend)
        with backups.opened(copy) as connection:
            yield connection


def _checked(connection: Connection, faults: list[str], folder: Path) -> Checked:
    current = list(backups.stored(connection, current_only=True))
    files = [output for output in current if output.manager == "files"]
    memory = [output for output in current if output.manager == "memory"]
    return Checked(
        schema=SCHEMA_VERSION, rows=backups.rows(connection), verified=True, faults=faults, hashed=len(files),
        elsewhere=len(memory), wrong_bytes=[wrong for _, wrong in check_bytes(files, folder)],
    )  # fmt: skip


def _copy_all(deployment: Deployment, part: Path, root: Path, folder: Path) -> None:
    """Copy the bytes of the backup's outputs; what has been collected or erased meanwhile is recorded as gone there too."""
    with backups.opened(part) as connection:
        wanted = [output for output in backups.stored(connection) if output.manager == "files"]
    missing = copy_bytes(wanted, root, folder)
    now = given_up(deployment.reading(), [output.id for output in missing])
    gone = {id: (record.gone, record.gone_at or 0) for id, record in now.items()}
    for output in missing:
        if output.current and output.id in gone:
            raise StorageError(
                f"{output.asset} was replaced and given up while the backup ran ({output.location})",
                hint="try again; a higher retention.outputs keeps versions longer",
            )
    backups.mark_gone(part, gone)


def _may_write(file: Path, database: Database, *, overwrite: bool) -> None:
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}", hint="make it, or choose another place")
    if not database.backend.in_memory and database.backend.path and file.exists() and file.samefile(database.backend.path):
        raise UsageError(f"{file} is the database itself", hint="choose another file")
    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists", hint="choose another file, or give --force")


def _publish(part: Path, file: Path, *, overwrite: bool) -> None:
    """Give the finished backup its name; without *overwrite* never in place of another file."""
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if overwrite:
        part.replace(file)
        return
    try:
        file.hardlink_to(part)
    except FileExistsError as error:
        raise UsageError(f"{file} exists", hint="choose another file, or give --force") from error
    except OSError:  # a file system without hard links
        part.replace(file)


def _refuse_working(deployment: Deployment, database: Database) -> None:
    """Refuse to replace what a living process works on."""
    with database.reading() as connection:
        alive = [p for p in processes.not_ended(connection) if lost.is_alive(p, deployment.locks, database.now())]
    if alive:
        raise UsageError(
            f"process {alive[0].pid} uses {database.backend.describe}",
            hint="let it end, or stop it: flowstone runs --status running",
        )
