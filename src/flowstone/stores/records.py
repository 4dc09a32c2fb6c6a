"""What queries return: frozen records, JSON-able. Times are integer nanoseconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One row, with the columns somebody asks for."""

    @classmethod
    def of(cls, row: Mapping[Any, Any], **more: Any) -> Self:
        """Return the record of *row*; columns the record does not have are left out."""
        fields = cls.__struct_fields__
        return cls(**{name: row[name] for name in fields if name in row and name not in more}, **more)


class ProcessRecord(Record, frozen=True, kw_only=True):
    """A process that held the store."""

    id: str
    host: str
    pid: int
    started_at: int
    heartbeat_at: int
    ended_at: int | None


class RunRecord(Record, frozen=True, kw_only=True):
    """One request: targets x partitions."""

    id: str
    project: str
    pipeline: str
    definition: str
    status: str
    request: dict[str, Any]
    actor: str
    identity: str
    trace_id: str
    provenance: dict[str, Any]
    process: str
    outcome: dict[str, Any]
    requested_at: int
    ended_at: int | None
    cancel_requested_at: int | None


class MaterializationRecord(Record, frozen=True, kw_only=True):
    """One asset x partition in a run."""

    id: int
    run_id: str
    asset: str
    partition: str
    status: str
    attempts: int
    later: int
    not_before: int | None
    reason: str
    message: str
    output: str


class AttemptRecord(Record, frozen=True, kw_only=True):
    """One try at a materialization."""

    id: int
    materialization: int
    asset: str
    partition: str
    run_id: str
    number: int
    process: str
    status: str
    started_at: int
    ended_at: int | None
    duration_ns: int | None
    error: str


class OutputRecord(Record, frozen=True, kw_only=True):
    """Stored bytes and what they were made from."""

    id: str
    asset: str
    partition: str
    version: int
    run_id: str
    attempt: int
    manager: str
    location: str
    format: str
    digest: str
    size: int
    rows: int | None
    schema: str | None
    definition: str
    config: str
    inputs: str
    source_version: str
    summary: str
    created_at: int
    gone: str = ""
    """Why its bytes are not there any more: ``collected`` or ``erased``; empty while they are kept."""
    gone_at: int | None = None


class HoldRecord(Record, frozen=True, kw_only=True):
    """What must not be collected, erased or pruned: an output, an asset or one of its partitions, a run; empty stands for any."""

    id: str
    asset: str
    partition: str
    output: str
    run_id: str
    reason: str
    actor: str
    identity: str
    at: int
    released_at: int | None
    released_by: str


class EdgeRecord(Record, frozen=True, kw_only=True):
    """An exact upstream output that went into a downstream output."""

    downstream: str
    parameter: str
    upstream: str


class EventRecord(Record, frozen=True, kw_only=True):
    """One recorded event; ``cursor`` is where to go on reading from when it has been read."""

    id: int
    cursor: str
    at: int
    name: str
    run_id: str | None
    payload: dict[str, Any]


class ErrorRecord(Record, frozen=True, kw_only=True):
    """One recorded error of one attempt."""

    id: str
    run_id: str
    asset: str
    partition: str
    attempt: int
    type: str
    message: str
    fingerprint: str
    retryable: bool
    cured: int
    context: dict[str, Any]
    traceback: str
    at: int


class LogRecord(Record, frozen=True, kw_only=True):
    """One captured line: of a logger, or of ``print`` (logger ``stdout`` or ``stderr``)."""

    id: int
    run_id: str
    asset: str
    partition: str
    attempt: int
    at: int
    level: str
    logger: str
    message: str


class PipelineRecord(Record, frozen=True, kw_only=True):
    """One version of a pipeline's definition."""

    project: str
    name: str
    digest: str
    definition: dict[str, Any]
    created_at: int
    last_used_at: int
