"""Are the files what was installed: every hashed file of every RECORD is hashed again and compared.

RECORD (https://packaging.python.org/specifications/recording-installed-packages/) is a plain list beside the files. It is
not signed, so a match means "as installed", never "as published". What cannot be compared is counted by reason and is
never counted as a match.
"""

# Paths are strings here: tens of thousands pass through, and a Path for each costs more than its hash.
# ruff: noqa: PTH114, PTH116, PTH118, PTH119, PTH123

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

from packaging.utils import canonicalize_name

from flowstone_demo import distributions
from flowstone_demo import environment as environments
from flowstone_demo.environment import Environment

NO_HASH = "no hash"
NO_RECORD = "no RECORD"
EDITABLE = "editable install"
OUTSIDE = "outside the environment"
UNREADABLE = "unreadable"
UNSUPPORTED = "unsupported hash"
BAD_LINE = "bad RECORD line"

_ALGORITHMS = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_CHUNK = 1 << 20
# A link is looked at before it is followed, and a pipe must not hold the review up.
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class RecordedFile(NamedTuple):
    """One file that RECORD gives a hash for."""

    distribution: int  # position in Records.distributions
    listed: str  # as RECORD spells it
    place: str  # where it is
    algorithm: str
    digest: str


class DistributionIntegrity(TypedDict):
    """How one distribution's listed files fared; *reason* says why it cannot be checked as a whole."""

    name: str
    version: str
    listed: int
    ok: int
    differs: int
    missing: int
    cannot_check: dict[str, int]
    reason: str


class FileProblem(TypedDict):
    """One file that differs from its record or is gone."""

    distribution: str
    version: str
    path: str
    problem: str  # "differs" or "missing"
    algorithm: str
    recorded: str
    found: str


class Integrity(TypedDict):
    """The result: ``listed == ok + differs + missing + sum(cannot_check.values())``."""

    listed: int
    hashed: int
    ok: int
    differs: int
    missing: int
    cannot_check: dict[str, int]
    unhashed_bytecode: int
    files: list[FileProblem]
    distributions: list[DistributionIntegrity]


@dataclass
class Records:
    """Everything the RECORD files of one environment say, and what is already known not to be checkable."""

    roots: tuple[str, ...]
    distributions: list[DistributionIntegrity] = field(default_factory=list)
    files: list[RecordedFile] = field(default_factory=list)
    unhashed_bytecode: int = 0
    contents: bytes = b""  # digest over the RECORD files themselves


def read_records(environment: Environment) -> Records:
    """Return what every RECORD in *environment* lists; only files inside the environment are ever opened."""
    records = Records(roots=tuple(os.path.realpath(root) for root in (environment.prefix, *environment.bases)))
    folders: dict[str, str | None] = {}
    digest = hashlib.sha256()
    for site, folder in environments.metadata_folders(environment):
        metadata = distributions.read_metadata(folder)
        unnamed = (environments.printable(os.path.basename(folder)), "")
        entry = _entry(*(distributions.identify(metadata) if metadata else unnamed))
        records.distributions.append(entry)
        try:
            with open(os.path.join(folder, "RECORD"), "rb") as file:
                content = file.read()
        except OSError:
            entry["reason"] = NO_RECORD
            continue
        digest.update(folder.encode(errors="surrogateescape") + b"\0" + content)
        if distributions.direct_url(folder)[1]:
            entry["reason"] = EDITABLE
        _read_lines(records, entry, site, content, folders)
    records.contents = digest.digest()
    return records


def fingerprint(environment: Environment) -> str:
    """Return a short digest over every RECORD and the path, size and modification time of every hashed file."""
    records = read_records(environment)
    digest = hashlib.sha256(records.contents + repr(sorted(_no_records(records))).encode())
    for file in records.files:
        try:
            found = os.lstat(file.place)
            if stat.S_ISLNK(found.st_mode):
                found = os.stat(file.place)
            stamp = f"{file.place}\0{found.st_size}\0{found.st_mtime_ns}\0"
        except OSError:
            stamp = f"{file.place}\0missing\0"
        digest.update(stamp.encode(errors="surrogateescape"))
    return digest.hexdigest()[:12]


def check(records: Records, track: Callable[[Sequence[RecordedFile]], Iterable[RecordedFile]] = iter) -> Integrity:
    """Hash every recorded file again and return what was found; *track* sees the files pass and may show progress."""
    problems: list[FileProblem] = []
    entries = [entry.copy() for entry in records.distributions]
    for entry in entries:
        entry["cannot_check"] = dict(entry["cannot_check"])
    for file in track(records.files):
        entry = entries[file.distribution]
        found = _hash(file, records.roots)
        if found == file.digest:
            entry["ok"] += 1
        elif found in (OUTSIDE, UNREADABLE):
            _cannot(entry, found)
        else:
            problem = "differs" if found else "missing"
            entry["differs" if found else "missing"] += 1
            problems.append(
                {
                    "distribution": entry["name"],
                    "version": entry["version"],
                    "path": environments.printable(file.listed),
                    "problem": problem,
                    "algorithm": file.algorithm,
                    "recorded": file.digest,
                    "found": found,
                }
            )
    return _result(entries, problems, records.unhashed_bytecode)


def summary(result: Integrity) -> str:
    """Return how many files were hashed and how many differ, in words."""
    missing = f", {result['missing']:,} missing" if result["missing"] else ""
    differ = f"{result['differs']:,} differ{'s' if result['differs'] == 1 else ''}" if result["differs"] else "none differs"
    return f"{result['hashed']:,} of {result['listed']:,} files hashed, {differ}{missing}"


def _entry(name: str, version: str) -> DistributionIntegrity:
    return {
        "name": name, "version": version, "listed": 0, "ok": 0, "differs": 0, "missing": 0, "cannot_check": {}, "reason": "",
    }  # fmt: skip


def _no_records(records: Records) -> list[tuple[str, str]]:
    return [(entry["name"], entry["version"]) for entry in records.distributions if entry["reason"] == NO_RECORD]


def _cannot(entry: DistributionIntegrity, reason: str) -> None:
    entry["cannot_check"][reason] = entry["cannot_check"].get(reason, 0) + 1


def _read_lines(
    records: Records, entry: DistributionIntegrity, site: str, content: bytes, folders: dict[str, str | None]
) -> None:
    number = len(records.distributions) - 1
    for row in _rows(content):
        entry["listed"] += 1
        read = _read_line(row, entry["reason"])
        if isinstance(read, str):
            _cannot(entry, read)
            records.unhashed_bytecode += read == NO_HASH and row[0].endswith(".pyc")
            continue
        listed, algorithm, digest = read
        folder, name = os.path.split(os.path.join(site, listed))
        if folder not in folders:
            real = os.path.realpath(folder)
            folders[folder] = real if _inside(real, records.roots) else None
        inside = folders[folder]
        if inside is None or name in ("", ".", ".."):
            _cannot(entry, OUTSIDE)
        else:
            records.files.append(RecordedFile(number, listed, os.path.join(inside, name), algorithm, digest))


def _rows(content: bytes) -> Iterable[list[str]]:
    reader = csv.reader(io.StringIO(content.decode("utf-8", errors="surrogateescape"), newline=""))
    while True:
        try:
            if row := next(reader):
                yield row
        except StopIteration:
            return
        except csv.Error as error:
            yield [f"unreadable line: {error}"]


def _read_line(row: list[str], whole: str) -> str | tuple[str, str, str]:
    """Return path, algorithm and hexadecimal digest of one RECORD line, or the reason why it cannot be checked."""
    if len(row) != 3 or not row[0] or "\0" in row[0]:
        return BAD_LINE
    if whole:
        return whole
    path, said, _ = row
    if not said:
        return NO_HASH
    algorithm, _, encoded = said.partition("=")
    if algorithm not in _ALGORITHMS:
        return UNSUPPORTED
    size = _ALGORITHMS[algorithm]().digest_size
    try:
        if len(encoded) == 2 * size:  # some distributions' packagers write hexadecimal where base64 is specified
            return path, algorithm, bytes.fromhex(encoded).hex()
        digest = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return BAD_LINE
    return (path, algorithm, digest.hex()) if len(digest) == size else BAD_LINE


def _inside(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def _hash(file: RecordedFile, roots: tuple[str, ...]) -> str:
    """Return the file's hexadecimal digest, ``""`` if it is not there, else the reason why it cannot be read."""
    try:
        descriptor = os.open(file.place, _OPEN)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno != errno.ELOOP:
            return "" if error.errno == errno.ENOTDIR else UNREADABLE
        real = os.path.realpath(file.place)
        if os.path.islink(real):
            return UNREADABLE
        return _hash(file._replace(place=real), roots) if _inside(real, roots) else OUTSIDE
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return UNREADABLE
        digest = _ALGORITHMS[file.algorithm]()
        while chunk := os.read(descriptor, _CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
    except OSError:
        return UNREADABLE
    finally:
        os.close(descriptor)


def _result(entries: list[DistributionIntegrity], problems: list[FileProblem], unhashed_bytecode: int) -> Integrity:
    cannot: Counter[str] = Counter()
    for entry in entries:
        entry["cannot_check"] = dict(sorted(entry["cannot_check"].items()))
        cannot.update(entry["cannot_check"])
    ok = sum(entry["ok"] for entry in entries)
    differs = sum(entry["differs"] for entry in entries)
    return {
        "listed": sum(entry["listed"] for entry in entries),
        "hashed": ok + differs,
        "ok": ok,
        "differs": differs,
        "missing": sum(entry["missing"] for entry in entries),
        "cannot_check": dict(sorted(cannot.items())),
        "unhashed_bytecode": unhashed_bytecode,
        "files": sorted(problems, key=lambda each: (canonicalize_name(each["distribution"]), each["problem"], each["path"])),
        "distributions": sorted(entries, key=lambda entry: (canonicalize_name(entry["name"]), entry["version"])),
    }
