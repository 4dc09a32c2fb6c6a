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
    handlers: str = ""
    """JSON: the figures of its observers and what they lost, as it told them last; empty when it has told nothing."""


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
    lost: bool = False
    """Whether it says ``running`` while the process that worked on it is dead: it can be resumed."""


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


class ApprovalRecord(Record, frozen=True, kw_only=True):
    """A request for approval, and what became of it."""

    id: str
    project: str
    kind: str
    """``after``: about a candidate; ``before``: about computing one; ``weakening``: about a gate that protects less."""
    status: str
    pipeline: str
    asset: str
    partition: str
    run_id: str
    trace_id: str
    materialization: int
    output: str
    digest: str
    policy: dict[str, Any]
    facts: dict[str, Any]
    requester: str
    identity: str
    requested_at: int
    deadline: int | None
    next_at: int | None
    reminders: int
    escalated_at: int | None
    ended_at: int | None
    decided_by: str
    decided_identity: str
    reason: str
    version: int

    @property
    def place(self) -> tuple[str, str]:
        """The asset and its encoded partition."""
        return (self.asset, self.partition)


class VoteRecord(msgspec.Struct, frozen=True):
    """What one person said to a request."""

    id: int
    approval: str
    decision: str
    verdict: str
    voter: str
    identity: str
    comment: str
    digest: str
    at: int
    seen: dict[str, Any]
    signature: str
    key: str


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
    """One recorded error of one attempt; of what stopped a run before or between attempts ``asset`` is empty, ``attempt`` 0."""

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
    """The attempt that succeeded after it; 0 when none did."""
    context: dict[str, Any]
    traceback: str
    at: int
    definition: str = ""
    """The digest of the asset's definition as it was then; empty when it is not known."""
    tries: int = 0
    """How many attempts the asset had then; 0 when that is not known."""


class ErrorGroupRecord(Record, frozen=True, kw_only=True):
    """Errors that fail alike, counted for good; ``type``, ``message`` and ``asset`` are those of the newest one."""

    id: str
    fingerprint: str
    type: str
    message: str
    asset: str
    status: str
    """``open``, ``resolved`` or ``muted``; one that came back after it was resolved is open, and says who had resolved it."""
    errors: int
    cured: int
    """How many of them a later attempt cured."""
    first_error: str
    last_error: str
    first_at: int
    last_at: int
    decided_at: int | None
    decided_by: str
    identity: str
    reason: str
    assets: list[str] = []
    """Those of its newest errors, the newest first."""


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
    fields: dict[str, Any] = {}
    """What the caller gave as ``extra=``."""


class PipelineRecord(Record, frozen=True, kw_only=True):
    """One version of a pipeline's definition."""

    project: str
    name: str
    digest: str
    definition: dict[str, Any]
    created_at: int
    last_used_at: int


class AuditHeadRecord(Record, frozen=True, kw_only=True):
    """A tree head: how many entries, the root of their tree, and the note that says so."""

    size: int
    prev_size: int
    root: bytes
    peaks: bytes
    """The roots of its complete subtrees, largest first, so that the next head need not begin at 0."""
    note: str
    at: int


class OverdueRecord(Record, frozen=True, kw_only=True):
    """A value that was late; ``met_at`` when it was found to be there, or nobody waited for it any more."""

    asset: str
    partition: str
    due_at: int
    at: int
    """When it was said; of one that is due again and again, since when it has been late on end."""
    met_at: int | None


class NotificationRecord(Record, frozen=True, kw_only=True):
    """A message for one channel: ``pending``, ``delivered`` or ``failed``; ``message`` is what went wrong last."""

    id: str
    channel: str
    cause: str
    subject: str
    payload: dict[str, Any]
    status: str
    tries: int
    at: int
    not_before: int | None
    ended_at: int | None
    process: str
    message: str


class TickRecord(Record, frozen=True, kw_only=True):
    """When the duties of a project were last done, by whom; ``did`` is what each of them said, and what is being done now."""

    at: int
    process: str
    host: str
    did: dict[str, Any]
