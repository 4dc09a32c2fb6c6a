"""Pruning: entries go into an archive that is verified, an entry tells of it, and only then their bytes are deleted.

Their hashes stay, so that the tree is whole and an entry of the archive is still proven by any head. What begins at a multiple
of 256 and is sealed and anchored may go; the newest entry of every subject that has versions stays.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from flowstone.audit.acts import pruned
from flowstone.audit.export import Range, export_range, proofs_of
from flowstone.audit.keeper import Keeper
from flowstone.audit.note import PublicKey
from flowstone.audit.offline import verify_export
from flowstone.audit.proofs import TILE
from flowstone.audit.tlog_proof import encoded
from flowstone.foundation.errors import AuditError, UsageError
from flowstone.stores import audit_changes, audit_questions

PAGE = 2_048


class Pruned(NamedTuple):
    """Entries *begin* to (without) *below* are in *archive*; *deleted* of them have no bytes in the database any more."""

    begin: int
    below: int
    archive: str
    digest: str
    deleted: int


def boundary(keeper: Keeper, before: int | None = None) -> tuple[int, int]:
    """The entries that may be pruned: from the first one that is not, to the last multiple of 256 that an anchor has seen.

    With *before*, in nanoseconds, only entries that are older.
    """
    with keeper.database.reading() as connection:
        begin = max((prune.below for prune in audit_questions.prunes(connection)), default=0)
        anchored = max((receipt.size for receipt in audit_questions.receipts(connection).values()), default=0)
        head = audit_questions.head(connection)
        end = min(anchored, head.size if head else 0)
        if before is not None:
            end = min(end, audit_questions.first_since(connection, before, begin, end))
    return begin, max(begin, end - end % TILE)


def prune(keeper: Keeper, archive: Path, keys: Sequence[PublicKey], before: int | None = None) -> Pruned:
    """Write what may be pruned to *archive*, verify it with *keys* as anybody would, say so in the log, and delete the bytes.

    What a prune before was killed at is finished first.
    """
    finish(keeper)
    begin, below = boundary(keeper, before)
    if below == begin:
        raise UsageError(
            f"nothing can be pruned: fewer than {TILE} entries from {begin} on are sealed, anchored and old enough",
            hint="flowstone audit head shows what is sealed and anchored",
        )
    with keeper.database.reading() as connection:
        proofs = proofs_of(connection)
        origin, root = proofs.head.origin, proofs.frontier(below).root()
        until = audit_questions.newest_time(connection, begin, below)
        with _written(archive) as (file, part):
            for line in export_range(connection, Range(begin, below)):
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
            digest = _verify(part, origin, keys, Range(begin, below))
    now = keeper.database.now()
    with keeper.database.transaction(power=True) as tx:
        keeper.append(tx, pruned(below, encoded(root), digest, until // 1_000), now)
        audit_changes.begin_prune(tx, below, str(archive), digest, now)
    keeper.seal()  # before anything is deleted, what tells of it is signed
    return Pruned(begin, below, str(archive), digest, finish(keeper))


def finish(keeper: Keeper) -> int:
    """Delete the bytes of entries that prunes have told of; return how many there were."""
    with keeper.database.reading() as connection:
        below = max((prune.below for prune in audit_questions.prunes(connection)), default=0)
    deleted = 0
    for place in range(0, below, PAGE):
        with keeper.database.transaction() as tx:
            deleted += audit_changes.delete_pruned(tx, place, min(place + PAGE, below))
    return deleted


def _verify(path: Path, origin: str, keys: Sequence[PublicKey], asked: Range) -> str:
    """The SHA-256 of an archive that proves all it should; raises :class:`AuditError` for one that does not."""
    report = verify_export(path, origin, keys, begin=asked.begin or 0, end=asked.end)
    told = [finding.message for finding in report.findings] + report.incomplete
    if report.told or len(report.incomplete) > (report.redacted_elsewhere > 0):
        raise AuditError(f"the archive was written and does not prove the entries: {told[0]}", hint="nothing was pruned")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _written(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file that gets its name when all of it is on the disk, and never takes the place of another one."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file, part
        if path.exists():
            raise UsageError(f"{path} exists", hint="choose another file for the archive")
        part.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise UsageError(f"{error.filename or path}: {error.strerror}", hint="choose another place for the archive") from error
    finally:
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
