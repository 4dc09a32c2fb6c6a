"""Every error FlowStone raises: one tree, each named by its consequence.

An error's text is its message, else the first line of its class docstring. ``hint`` says what to do about it, ``context``
names the things involved, ``retryable`` says whether the same call can succeed later. HTTP status and exit code are mapped
at the doors, never here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar


class FlowStoneError(Exception):
    """Something FlowStone was asked to do could not be done."""

    type: ClassVar[str] = "flowstone_error"
    retryable: bool = False

    def __init__(self, message: str | None = None, *, hint: str | None = None, **context: Any) -> None:
        self.message = message or (type(self).__doc__ or type(self).__name__).splitlines()[0]
        self.hint = hint
        self.context = context
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.context))


def _rebuild(cls: type[FlowStoneError], message: str, hint: str | None, context: dict[str, Any]) -> FlowStoneError:
    error = cls.__new__(cls)
    FlowStoneError.__init__(error, message, hint=hint, **context)
    return error


class UsageError(FlowStoneError):
    """The request was not understood."""

    type = "usage_error"


class SettingsError(UsageError):
    """A setting is unknown or has a value it cannot have."""

    type = "settings_error"


class LoadError(UsageError):
    """The pipeline's code could not be loaded."""

    type = "load_failed"


class NotFoundError(UsageError):
    """The thing asked for does not exist."""

    type = "not_found"


class HeldError(UsageError):
    """It is held: it must not be erased until the hold is released."""

    type = "held"


class ApprovalError(UsageError):
    """The decision is not one that this person can make now."""

    type = "approval_refused"


class AlreadyDecidedError(ApprovalError):
    """It is decided already; nothing changed."""

    type = "already_decided"


class CandidateChangedError(ApprovalError):
    """What was asked about is not what it was: the request is void."""

    type = "candidate_changed"


class SignatureError(UsageError):
    """The signature does not prove who made it."""

    type = "signature_refused"


class PartitionError(UsageError):
    """The partition key is not one this asset has."""

    type = "partition_invalid"


class ValidationError(UsageError):
    """The pipeline is not valid; every problem is listed."""

    type = "pipeline_invalid"

    def __init__(
        self, message: str | None = None, *, problems: Iterable[str] = (), hint: str | None = None, **context: Any
    ) -> None:
        self.problems = tuple(problems)
        if message is None and self.problems:
            count = len(self.problems)
            message = f"{count} problem{'s' if count != 1 else ''} found:\n" + "\n".join(f"  - {p}" for p in self.problems)
        super().__init__(message, hint=hint, **context)


class ExecutionError(FlowStoneError):
    """A materialization failed in user code."""

    type = "execution_failed"


class StorageError(FlowStoneError):
    """A value could not be stored or loaded."""

    type = "io_failed"


class TransientStorageError(StorageError):
    """The storage did not answer in time; the same call may succeed later."""

    type = "io_unavailable"
    retryable = True


class FormatError(StorageError):
    """No format can hold this value."""

    type = "format_unsupported"


class CorruptOutputError(StorageError):
    """The stored bytes are not the bytes that were recorded."""

    type = "output_corrupt"


class MissingOutputError(StorageError):
    """The stored bytes are gone."""

    type = "output_missing"


class DependencyError(FlowStoneError):
    """A required upstream value is missing."""

    type = "dependency_not_ready"


class PlanError(FlowStoneError):
    """The run could not be planned: a mapping or partitions of the pipeline raised."""

    type = "plan_failed"


class ResourceError(FlowStoneError):
    """A resource that the asset needs could not be opened."""

    type = "resource_unavailable"
    retryable = True


class WorkerLostError(FlowStoneError):
    """The process that ran the attempt died before it could say how it ended."""

    type = "worker_lost"
    retryable = True


class AttemptTimeoutError(ExecutionError):
    """The attempt took longer than its asset allows; its process was ended."""

    type = "timeout"
    retryable = True


class CodeMismatchError(ExecutionError):
    """The code on disk is not the code this run was planned with."""

    type = "code_mismatch"


class RecordError(FlowStoneError):
    """The record of a finished step could not be written; the run stops and its code is not repeated here."""

    type = "record_failed"


class DatabaseError(FlowStoneError):
    """The database could not be used."""

    type = "database_failed"


class SchemaError(DatabaseError):
    """The database has another schema than this version of FlowStone."""

    type = "schema_mismatch"


class DamagedError(DatabaseError):
    """The database cannot be read to its end: its file or its pages are damaged."""

    type = "database_damaged"


class HandlerError(UsageError):
    """The handler cannot be attached or detached."""

    type = "handler_invalid"


class EventError(UsageError):
    """The event's declaration or its fields are wrong."""

    type = "event_invalid"


class MetricError(UsageError):
    """The metric's definition is wrong: it would never count, or count something else."""

    type = "metric_invalid"


class RunFailedError(FlowStoneError):
    """The run did not succeed."""

    type = "run_failed"


class RetryLater(Exception):  # noqa: N818 - a request, named by what happens next
    """Raised by user code: the outside is not ready; try again after *after* seconds without spending an attempt."""

    def __init__(self, after: float, message: str = "not ready yet") -> None:
        if not after > 0:
            raise ValueError(f"RetryLater(after={after!r}): after is a number of seconds above 0")
        self.after = float(after)
        super().__init__(message)


class GiveUp(Exception):  # noqa: N818 - a request, named by what happens next
    """Raised by user code: retrying cannot help; the materialization fails now."""


def message_of(error: object) -> str:
    """The error's text, also when its ``__str__`` raises."""
    try:
        return str(error)
    except BaseException as failure:  # noqa: BLE001 - user code may raise anything here, and the ending must still be told
        return f"<no text: its __str__ raised {type(failure).__name__}>"


def did_you_mean(given: str, known: Iterable[str]) -> str | None:
    """The hint ``did you mean 'x'?`` for the closest known name, or ``None``."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None


class AuditError(FlowStoneError):
    """The audit log could not do what it was asked to."""

    type = "audit_error"


class ProofError(AuditError):
    """What was given does not prove what it should."""

    type = "not_proven"


class LeafError(AuditError):
    """An audit entry holds what its format does not allow."""

    type = "leaf_refused"


class RollbackDetectedError(AuditError):
    """The audit log does not go on from what was signed before."""

    type = "audit_rollback"


class AuditUnavailableError(DatabaseError):
    """The audit entry of a change could not be written, so the change was undone."""

    type = "audit_unavailable"
