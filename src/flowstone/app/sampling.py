"""Samples for auditors: outputs that everybody chooses alike who knows the seed, each with the evidence of its run."""

from __future__ import annotations

import hashlib
import heapq
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from flowstone.app.audit_views import EntryView, views
from flowstone.audit.acts import SUCCEEDED
from flowstone.audit.bundles import VERIFIER
from flowstone.foundation.errors import NotFoundError, UsageError
from flowstone.stores import audit_questions
from flowstone.stores.audit_questions import Wanted
from flowstone.stores.database import Connection

PAGE = 1_000
RULE = "the outputs with the smallest SHA-256 of: seed, newline, output id"


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """One output of a sample, the entry that tells of it, and the file with the evidence of its run."""

    output: str
    run_id: str
    seq: int
    at: int
    file: str


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """How a sample was drawn, from how many, and what was drawn."""

    asset: str
    seed: str
    population: int
    rule: str
    chosen: list[Chosen]


def choose(connection: Connection, project: str, asset: str, count: int, seed: str, wanted: Wanted) -> Sample:
    """Choose *count* of the outputs of *asset* that the log tells of, within the times of *wanted*."""
    if count < 1:
        raise UsageError(f"a sample of {count} outputs", hint="--n 25")
    population = 0
    best: list[tuple[int, int, EntryView]] = []
    for entry in _outputs(connection, wanted._replace(project=project, asset=asset, action=SUCCEEDED)):
        population += 1
        rank = int.from_bytes(hashlib.sha256(f"{seed}\n{entry.data['output']}".encode()).digest(), "big")
        heapq.heappush(best, (-rank, population, entry))
        if len(best) > count:
            heapq.heappop(best)
    if not best:
        raise NotFoundError(f"the audit log tells of no output of {asset!r} then", hint=f"flowstone audit list --asset {asset}")
    drawn = [entry for _, _, entry in sorted(best, key=lambda one: -one[0])]
    chosen = [_chosen(entry) for entry in drawn]
    return Sample(asset=asset, seed=seed, population=population, rule=RULE, chosen=chosen)


def write(sample: Sample, folder: Path, evidence: Callable[[str, Path], object]) -> Sample:
    """Write the evidence of every run of *sample*, what was drawn, and the program that verifies it, to a new *folder*."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(f"{folder} exists", hint="choose another folder") from error
    for run_id in dict.fromkeys(one.run_id for one in sample.chosen):
        evidence(run_id, folder / f"{run_id}.evidence")
    (folder / "sample.json").write_bytes(msgspec.json.format(msgspec.json.encode(sample), indent=2) + b"\n")
    shutil.copyfile(VERIFIER, folder / VERIFIER.name)
    return sample


def _chosen(entry: EntryView) -> Chosen:
    output, run_id = entry.data["output"], entry.run_id
    return Chosen(output=output, run_id=run_id, seq=entry.seq or 0, at=entry.at or 0, file=f"{run_id}.evidence")


def _outputs(connection: Connection, wanted: Wanted) -> Iterator[EntryView]:
    begin = 0
    while rows := audit_questions.matching(connection, wanted, begin=begin, limit=PAGE):
        yield from (entry for entry in views(connection, rows) if "output" in entry.data)
        begin = (rows[-1].seq or 0) + 1
