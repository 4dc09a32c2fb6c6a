"""What people are asked about: the stored bytes, and what has changed since they were asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowstone.approvals.policy import policy_of
from flowstone.execution import asking, custody
from flowstone.execution.services import Services
from flowstone.foundation.errors import ApprovalError, StorageError
from flowstone.foundation.serialize import from_json
from flowstone.stores import lineage, materializations, outputs, pipelines
from flowstone.stores.database import Connection, Transaction
from flowstone.stores.records import ApprovalRecord, MaterializationRecord, OutputRecord


class Candidate(NamedTuple):
    """What does not change of a candidate, read before the transaction."""

    output: OutputRecord
    edges: Sequence[tuple[str, str]]
    made: MaterializationRecord


def of(services: Services, asked: ApprovalRecord) -> Candidate | None:
    """The candidate of a request; ``None`` where people are asked about something else."""
    if asked.kind != "after":
        return None
    with services.database.reading() as connection:
        return _read(connection, asked)


def _read(connection: Connection, asked: ApprovalRecord) -> Candidate:
    output = outputs.find(connection, [asked.output])[asked.output]
    edges = [(edge.parameter, edge.upstream) for edge in lineage.edges_into(connection, [asked.output])]
    (made,) = materializations.find(connection, [asked.materialization])
    return Candidate(output, edges, made)


def changed_bytes(services: Services, asked: ApprovalRecord, candidate: Candidate | None) -> str:
    """What is wrong with the stored bytes; a machine that cannot see them decides upon what was stored with the request.

    Raises :class:`ApprovalError` for bytes that are there and cannot be read.
    """
    if candidate is None:
        return ""
    if candidate.output.digest != asked.digest:
        return "the record of the candidate is not of the bytes that people were asked about"
    try:
        return custody.FAULTS.get(custody.check(services.io, candidate.output, str(asked.facts.get("host", ""))), "")
    except StorageError as error:
        raise ApprovalError(f"the stored bytes could not be checked: {error.message}", hint=error.hint) from error


def stale(tx: Transaction, services: Services, row: ApprovalRecord, candidate: Candidate) -> str:
    """What of *invalidate_on* has changed since people were asked; empty when nothing has."""
    watched, made = policy_of(row.policy).invalidate_on, candidate.output
    if "code" in watched:
        newest = pipelines.last_used(tx, services.project, row.pipeline)
        known = from_json(pipelines.text_of(tx, newest.id))["assets"] if newest is not None else []
        if any(asset["name"] == row.asset and asset["digest"] != made.definition for asset in known):
            return "the code of the asset has changed since people were asked"
    if "config" in watched and asking.config_changed(row.facts, services.config):
        return "the configuration of the asset has changed since people were asked"
    if "inputs" in watched and any(outputs.has_changed(tx, upstream) for _, upstream in candidate.edges):
        return "an input has another current value since people were asked"
    return ""
