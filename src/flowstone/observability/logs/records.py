"""What a log record says, as plain and bounded data, whatever is in it: nothing here raises.

A record may hold objects whose ``__str__`` raises, cyclic causes, tracebacks ten thousand frames deep and megabytes of text.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from flowstone.foundation.errors import message_of
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.serialize import to_json

MAX_FIELD = 8_192
"""Bytes of one field of a line, in UTF-8."""
MAX_FRAMES = 50
MAX_CHAIN = 50  # exceptions of one chain
MAX_TRACE = 1_000_000
_MAX_DEPTH, _MAX_ITEMS = 5, 100
_MARK = "... [cut]"
_BEYOND = 10**18  # whole numbers beyond this are not the same in every JSON reader
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "flowstone_event", "flowstone_line"}


def text_of(record: logging.LogRecord) -> str:
    """The record's message, also when its arguments do not fit or cannot be shown."""
    try:
        return record.getMessage()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a malformed log call, or a text that raises, must not fail the attempt
        try:
            said = repr(record.msg)
        except Exception:  # noqa: BLE001
            said = f"<{type(record.msg).__name__}>"
        return f"{said} (could not be formatted: {type(error).__name__})"


def trace_of(record: logging.LogRecord) -> str:
    """The traceback the record carries, the innermost frames of it, else its stack, else nothing."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is None:
        return record.stack_info or ""
    try:
        _require_short_chain(error)
        shown = traceback.TracebackException(
            type(error), error, error.__traceback__, limit=-MAX_FRAMES, compact=True, max_group_depth=5
        )
        return "".join(shown.format()).rstrip("\n")
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # noqa: BLE001 - formatting calls user code (__str__, __notes__)
        frames = "".join(traceback.format_tb(error.__traceback__, -MAX_FRAMES))
        return f"{frames}{type(error).__qualname__}: {message_of(error)} <{type(failure).__name__} while formatting>"


def _require_short_chain(error: BaseException) -> None:
    """Raise :class:`RecursionError` for a chain of causes too long to be worth showing."""
    seen, ahead = {id(error)}, [error]
    while ahead:
        one = ahead.pop()
        for further in (one.__cause__, one.__context__):
            if further is not None and id(further) not in seen:
                seen.add(id(further))
                ahead.append(further)
        if len(seen) > MAX_CHAIN:
            raise RecursionError


def extras_of(record: logging.LogRecord, redactor: Redactor) -> dict[str, Any]:
    """What the caller gave as ``extra=``, as plain values without secrets; together at most :data:`MAX_FIELD` bytes of JSON."""
    found = vars(record)
    names = found.keys() - _USUAL
    if not names:
        return {}
    try:
        kept = redactor.value(plain({name: found[name] for name in found if name in names}))
        return kept if len(to_json(kept).encode()) <= MAX_FIELD else _fitted(kept)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a value of the user's may raise whatever is asked of it
        return {"unreadable": type(error).__name__}


def plain(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """*value* as JSON can hold it: what it cannot is told as text, and what is deeper or longer than anybody reads is cut."""
    match value:
        case None | bool() | str():
            return value
        case Integral():
            number = int(value)
            return number if -_BEYOND < number < _BEYOND else f"a number of {number.bit_length()} bits"
        case Real():
            measured = float(value)
            return measured if math.isfinite(measured) else str(measured)
        case Mapping() | list() | tuple() | set() | frozenset() if depth == 0:
            return "..."
        case Mapping():
            items = list(zip(value.items(), range(_MAX_ITEMS), strict=False))
            return {message_of(name)[:200]: plain(item, depth - 1) for (name, item), _ in items}
        case list() | tuple() | set() | frozenset():
            return [plain(item, depth - 1) for item, _ in zip(value, range(_MAX_ITEMS), strict=False)]
    return message_of(value)


def capped(text: str, most: int = MAX_FIELD) -> str:
    """*text*, or its beginning where it is longer than *most* bytes."""
    if len(text) * 4 <= most:
        return text
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= most:
        return text
    return data[: most - len(_MARK)].decode("utf-8", "ignore") + _MARK


def ends_of(text: str, redactor: Redactor, most: int = MAX_FIELD) -> str:
    """A traceback without secrets: all of it, or its beginning and its longer end where it has more than *most* bytes."""
    text = redactor.text(text, MAX_TRACE)  # before it is cut: half a secret is not recognized
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= most:
        return text
    mark = b"\n[...]\n"
    first = most // 4
    return (data[:first] + mark + data[first + len(mark) - most :]).decode("utf-8", "ignore")


def _fitted(fields: dict[str, Any]) -> dict[str, Any]:
    """As many of the *fields* as fit, long values cut."""
    kept: dict[str, Any] = {"truncated": True}
    room = MAX_FIELD - 100
    for name, value in fields.items():
        item = (
            value if isinstance(value, int | float | bool) else capped(value if isinstance(value, str) else to_json(value), 500)
        )
        room -= len(to_json({name: item}).encode())
        if room < 0:
            break
        kept[name] = item
    return kept
