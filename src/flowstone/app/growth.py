"""How large everything is, how fast it grows, how long there is room; and whether files of outputs and records agree."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from flowstone.app.findings import Finding
from flowstone.app.orphans import Orphans
from flowstone.app.wiring import Deployment
from flowstone.execution.session import as_output
from flowstone.foundation.clock import DAY
from flowstone.foundation.sizes import bytes_of
from flowstone.stores import figures, outputs, retention
from flowstone.stores.database import Database

WINDOW = 7 * DAY
LOOKED = 20_000  # files, and outputs, that are looked at one by one unless all are
ALL = 2**31 - 1
SOON = 30  # days of room below which it is a warning
STEPS = (10**9, 10**10, 10**11, 10**12, 10**13)


class Growth(NamedTuple):
    """Bytes now and bytes a day, of the database and of output files; the rates are told from the last *days*."""

    database: int
    files: int
    days: float
    database_rate: float
    files_rate: float
    free: int

    def days_until(self, more: int) -> float | None:
        """In how many days *more* bytes are added at this rate; ``None`` when nothing grows."""
        rate = self.database_rate + self.files_rate
        return more / rate if rate > 0 else None


class Folder(NamedTuple):
    """What the folder of outputs holds: files and bytes by their state, and the bytes on the disk, shared ones once.

    Of a large folder it is a part: then ``on_disk`` is what the records say.
    """

    files: Counter[str]
    bytes: Counter[str]
    on_disk: int
    is_part: bool


def findings(deployment: Deployment, *, thorough: bool) -> list[Finding]:
    """What is kept, what is left over in the folder of outputs, and for how long there is room; *thorough*: of every file."""
    database, root = deployment.reading(), deployment.settings.outputs.path
    folder = look_at(database, root, None if thorough else LOOKED)
    kept = [f"{key.removeprefix('retention.')} {value}" for key, value, _ in deployment.settings.rows() if "retention." in key]
    return [
        Finding("ok", "retention", f"kept: {', '.join(kept)}; flowstone db prune --dry-run says what would go"),
        _left_over(folder),
        _older(deployment, database, ALL if thorough else LOOKED),
        _forecast(measure(database, root, folder.on_disk)),
    ]


def look_at(database: Database, root: Path, limit: int | None) -> Folder:
    """Read the folder once: every file, or the first *limit*."""
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    inodes: dict[tuple[int, int], int] = {}
    found = Orphans(root, database, database.now()).every()
    for file, state in islice(found, limit):
        files[state] += 1
        sizes[state] += file.size
        inodes[file.inode] = file.size
    is_part = next(found, None) is not None
    if not is_part:
        return Folder(files, sizes, sum(inodes.values()), is_part)
    with database.reading() as connection:
        return Folder(files, sizes, figures.kept_bytes(connection), is_part)


def measure(database: Database, root: Path, on_disk: int) -> Growth:
    """Measure the store now; the rates are those of the last seven days, or of as long as there are events."""
    now, size = database.now(), database.backend.size()
    with database.reading() as connection:
        since = max(now - WINDOW, figures.first_event_at(connection) or now)
        written = figures.written_since(connection, since)
    days = (now - since) / DAY
    each = size / written.all_events if written.all_events else 0.0
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    return Growth(
        size, on_disk, days, each * written.events / days if days else 0.0, written.output_bytes / days if days else 0.0,
        shutil.disk_usage(place).free,
    )  # fmt: skip


def _left_over(folder: Folder) -> Finding:
    lost = folder.files["orphan"] + folder.files["left over"]
    more = f"; not more than the first {LOOKED:,} files were looked at: flowstone doctor --all" if folder.is_part else ""
    if folder.files["foreign"]:
        verb = "is" if folder.files["foreign"] == 1 else "are"
        more = f"; {folder.files['foreign']:,} {verb} not this database's and {verb} left alone{more}"
    if not lost:
        return Finding("ok", "output files", f"{_files(folder.files['used'])}, nothing left over{more}")
    size = bytes_of(folder.bytes["orphan"] + folder.bytes["left over"])
    return Finding("warn", "output files", f"{_files(lost)} that nothing refers to, {size}{more}", "flowstone db prune")


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _older(deployment: Deployment, database: Database, limit: int) -> Finding:
    """Whether older versions that are recorded as kept have their bytes; the current ones have a finding of their own."""
    project = deployment.settings.project
    with database.reading() as connection:
        kept = retention.newest_kept(connection, project, "files", limit + 1)
        current = {record.id for record in outputs.current_of(connection, project).values()}
    stored = [record for record in kept[:limit] if record.id not in current]
    lost = [record for record in stored if not deployment.io.get("files").exists(as_output(record))]
    more = f"; not more than the newest {limit:,} outputs were looked at: flowstone doctor --all" if len(kept) > limit else ""
    if not lost:
        return Finding("ok", "older versions", f"{len(stored):,} of {len(stored):,} kept ones have their bytes{more}")
    first = f"{lost[0].asset} version {lost[0].version} ({lost[0].location})"
    return Finding(
        "warn", "older versions", f"{len(lost):,} of {len(stored):,} kept ones have lost theirs, for example {first}{more}",
        "restore the outputs folder from a backup",
    )  # fmt: skip


def _forecast(growth: Growth) -> Finding:
    total = growth.database + growth.files
    now = f"database {bytes_of(growth.database)}, outputs {bytes_of(growth.files)}, {bytes_of(growth.free)} free"
    if growth.days < 1:
        return Finding("ok", "growth", f"{now}; a forecast needs a day of records")
    day = f"{now}; a day adds {_signed(growth.database_rate)} and {_signed(growth.files_rate)}"
    until_full = growth.days_until(growth.free)
    if until_full is None:
        return Finding("ok", "growth", f"{day}: it does not grow")
    step = next((step for step in STEPS if step > total), None)
    until_step = growth.days_until(step - total) if step else None
    told = f": {bytes_of(step)} in {_days(until_step)}" if step and until_step is not None and until_step < until_full else ""
    full = f"the disk is full in {_days(until_full)}"
    if until_full < SOON:
        return Finding("warn", "growth", f"{day}{told}; {full}", "flowstone db prune --dry-run, or keep less: retention.*")
    return Finding("ok", "growth", f"{day}{told}; {full}")


def _signed(rate: float) -> str:
    return bytes_of(round(rate)) if rate >= 0 else f"-{bytes_of(round(-rate))}"


def _days(days: float) -> str:
    if days < 2 * 365:
        return f"{days:,.0f} days" if round(days) != 1 else "1 day"
    return f"{days / 365:,.0f} years" if days < 365 * 1000 else "more than 1,000 years"
