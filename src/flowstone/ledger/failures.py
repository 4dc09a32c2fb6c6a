"""The error recorder: one row for each error, with traceback and fingerprint, in its group, mirrored as ``flowstone.error``."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any, NamedTuple

from flowstone.events.catalogue import ErrorRecorded
from flowstone.events.spans import message_of
from flowstone.foundation.errors import FlowStoneError
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.serialize import to_json
from flowstone.ledger import error_groups
from flowstone.ledger.fingerprints import fingerprint
from flowstone.stores import errors
from flowstone.stores.database import Transaction

MAX_TYPE, MAX_MESSAGE, MAX_TRACEBACK, MAX_CONTEXT = 256, 15_000, 32_768, 8_192
"""Bytes kept of the parts of an error: 64 KiB hold all of it."""
MAX_FRAMES = 50
_REDACTED_AT_ONCE = 8 * MAX_TRACEBACK  # of a longer text the middle goes first: it would be cut out anyway
_CUT = "\n[...]\n"
_traceback: Any = BaseException.__dict__["__traceback__"]  # whatever the error's class does to its attributes


class Failure(NamedTuple):
    """What is known of an exception once it is caught: plain data, redacted and bounded, fit for another process."""

    type: str
    message: str
    fingerprint: str
    retryable: bool
    traceback: str
    context: dict[str, Any]


def describe(
    error: BaseException, redactor: Redactor, *, retryable: bool, asset: str = "", outside: BaseException | None = None
) -> Failure:
    """Return the plain data of *error*: never raises, whatever its ``__str__`` does or however deep its traceback is.

    *asset*: whose attempt it ended; *outside*: what was being handled when that attempt began.
    """
    message = message_of(error)
    kind = _kind(error)
    found = fingerprint(error, kind, message, asset=asset, outside=outside)
    return Failure(
        _bounded(redactor.text(kind), MAX_TYPE),
        _bounded(redactor.text(message, MAX_MESSAGE - 100), MAX_MESSAGE),  # and how much more there was
        found,
        retryable,
        _trace(error, redactor),
        _context(error, redactor),
    )


def _is_ours(error: BaseException) -> bool:
    return issubclass(type(error), FlowStoneError)  # isinstance asks the error for its class


def _kind(error: BaseException) -> str:
    kind = getattr(error, "type", None) if _is_ours(error) else None
    return kind if isinstance(kind, str) else type(error).__qualname__


def _context(error: BaseException, redactor: Redactor) -> dict[str, str]:
    """What the error names, as far as it fits."""
    known = getattr(error, "context", None) if _is_ours(error) else None  # it may not have called our __init__
    kept: dict[str, str] = {}
    if isinstance(known, dict):
        for name, value in known.items():
            text = redactor.value(message_of(value), str(name))
            more = {**kept, redactor.text(str(name), 200): _bounded(text, 1_000)}
            if len(to_json(more)) > MAX_CONTEXT:
                break
            kept = more
    return kept


def _users_part(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame that is not FlowStone's own; all of it when there is no such frame."""
    whole: TracebackType | None = _traceback.__get__(error)
    trace = whole
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("flowstone."):
        trace = trace.tb_next
    return trace or whole


def _trace(error: BaseException, redactor: Redactor) -> str:
    try:
        shown = traceback.TracebackException(type(error), error, _users_part(error), limit=-MAX_FRAMES, compact=True)
        text = "".join(shown.format())
    except BaseException as failure:  # noqa: BLE001 - formatting calls user code (__str__, __repr__, __notes__)
        text = (
            "".join(traceback.format_tb(_traceback.__get__(error), -MAX_FRAMES))
            + f"{type(error).__qualname__}: <{type(failure).__name__} while formatting>"
        )
    return _without_middle(redactor.text(_without_middle(text, _REDACTED_AT_ONCE), 2 * _REDACTED_AT_ONCE), MAX_TRACEBACK)


def _without_middle(text: str, most: int) -> str:
    """*text*, or its beginning and its end where it has more than *most* bytes."""
    if len(text) <= most // 4:
        return text
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= most:
        return text
    half = (most - len(_CUT)) // 2
    return data[:half].decode("utf-8", "ignore") + _CUT + data[-half:].decode("utf-8", "ignore")


def _bounded(text: str, most: int) -> str:
    """*text*, cut to *most* bytes."""
    data = text.encode("utf-8", "backslashreplace") if len(text) > most // 4 else b""
    return text if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "..."


def record(
    tx: Transaction,
    redactor: Redactor,
    failure: Failure,
    id: str,
    project: str,
    at: int,
    where: dict[str, Any],
    definition: str = "",
) -> None:
    """Add the error's row, count it in its group, and emit ``flowstone.error``.

    *where* names run_id, asset, partition, attempt and trace_id; *definition* is the digest of the asset's definition.
    """
    place = {name: where[name] for name in ("run_id", "asset", "partition", "attempt")}
    values = {
        "id": id,
        "project": project,
        "type": failure.type,
        "message": _bounded(redactor.text(failure.message), MAX_MESSAGE),
        "fingerprint": failure.fingerprint,
        "retryable": int(failure.retryable),
        "context": to_json(redactor.value(failure.context)),
        "traceback": _without_middle(redactor.text(failure.traceback, MAX_TRACEBACK), MAX_TRACEBACK),
        "at": at,
        "definition": definition,
        **place,
    }
    errors.add(tx, values)
    tx.emit(
        ErrorRecorded,
        at=at,
        type=failure.type,
        retryable=failure.retryable,
        error=id,
        fingerprint=failure.fingerprint,
        message=failure.message,
        **where,
    )
    error_groups.record(tx, project, values, where["trace_id"])
