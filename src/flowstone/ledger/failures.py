"""The error recorder: one row per failed attempt, with traceback and fingerprint, mirrored as ``flowstone.error``."""

from __future__ import annotations

import hashlib
import re
import traceback
from types import TracebackType
from typing import Any, NamedTuple

from flowstone.events.catalogue import ErrorRecorded
from flowstone.events.spans import message_of
from flowstone.foundation.errors import FlowStoneError
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.serialize import to_json
from flowstone.stores import errors
from flowstone.stores.database import Transaction

MAX_TRACEBACK = 32_768
MAX_FRAMES = 50
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|\d+|'[^']*'|\"[^\"]*\"")


class Failure(NamedTuple):
    """What is known of an exception once it is caught: plain data, fit for another process."""

    type: str
    message: str
    fingerprint: str
    retryable: bool
    traceback: str
    context: dict[str, Any]


def describe(error: BaseException, *, retryable: bool) -> Failure:
    """Return the plain data of *error*: never raises, whatever its ``__str__`` does or however deep its traceback is."""
    kind = error.type if isinstance(error, FlowStoneError) else type(error).__qualname__
    message = message_of(error)
    known = getattr(error, "context", {}) if isinstance(error, FlowStoneError) else {}  # a subclass may not have called ours
    context = {key: message_of(value) for key, value in known.items()}
    return Failure(kind, message, fingerprint(error, kind, message), retryable, _trace(error), context)


def fingerprint(error: BaseException, kind: str, message: str) -> str:
    """Sixteen hexadecimal digits that are equal for errors that fail alike: the type, the innermost function of the traceback,
    and the message with its numbers, quoted parts and addresses left out.
    """
    last, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        last, trace = f"{code.co_filename.rpartition('/')[2]}:{code.co_qualname}", trace.tb_next
    shape = _VARIABLE.sub("*", message[:500])
    return hashlib.sha256(f"{kind}\0{last}\0{shape}".encode("utf-8", "replace")).hexdigest()[:16]


def _users_part(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame that is not FlowStone's own; all of it when there is no such frame."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("flowstone."):
        trace = trace.tb_next
    return trace or error.__traceback__


def _trace(error: BaseException) -> str:
    try:
        shown = traceback.TracebackException(type(error), error, _users_part(error), limit=-MAX_FRAMES, compact=True)
        text = "".join(shown.format())
    except BaseException as failure:  # noqa: BLE001 - formatting calls user code (__str__, __repr__, __notes__)
        text = (
            "".join(traceback.format_tb(error.__traceback__, -MAX_FRAMES))
            + f"{type(error).__qualname__}: <{type(failure).__name__} while formatting>"
        )
    return text if len(text) <= MAX_TRACEBACK else text[: MAX_TRACEBACK // 2] + "\n[...]\n" + text[-MAX_TRACEBACK // 2 :]


def record(tx: Transaction, redactor: Redactor, failure: Failure, id: str, project: str, at: int, where: dict[str, Any]) -> None:
    """Add the error's row and emit ``flowstone.error``; *where* names run_id, asset, partition, attempt and trace_id."""
    place = {name: where[name] for name in ("run_id", "asset", "partition", "attempt")}
    values = {
        "id": id,
        "project": project,
        "type": failure.type,
        "message": redactor.text(failure.message),
        "fingerprint": failure.fingerprint,
        "retryable": int(failure.retryable),
        "context": to_json(redactor.value(failure.context)),
        "traceback": redactor.text(failure.traceback, MAX_TRACEBACK + 100),
        "at": at,
    }
    errors.add(tx, {**values, **place})
    tx.emit(
        ErrorRecorded,
        type=failure.type,
        retryable=failure.retryable,
        error=id,
        fingerprint=failure.fingerprint,
        message=failure.message,
        **where,
    )
