"""One shape for every log line, FlowStone's and users': JSON or console text, one physical line per record.

Events are rendered into log lines here; events never ride inside logs. Nothing here touches the root logger unless
:func:`configure` is called, and only the command line calls it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple, TextIO

from flowstone.events.catalogue import (
    AssetOverdue,
    CheckpointEscalated,
    CheckpointRefused,
    CheckpointTimeout,
    ControlWeakened,
    ErrorGroupRegressed,
    ErrorRecorded,
    HandlerFailed,
    MaterializationException,
    NotificationFailed,
    ResourceFailed,
    RunResumed,
    RunStart,
    RunStop,
    RunSuspended,
    TelemetryLost,
)
from flowstone.events.context import Scope, current
from flowstone.events.event import Event, attributes_of
from flowstone.events.trace import span_id_of
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.serialize import to_json
from flowstone.foundation.texts import storable
from flowstone.observability.logs.lines import Line
from flowstone.observability.logs.records import MAX_FIELD, capped, ends_of, extras_of, plain, text_of, trace_of

MAX_RECORD = 65_536
"""Bytes of one JSON line."""
FIELDS = (
    "ts", "level", "logger", "event", "msg", "run_id", "asset", "partition", "attempt", "type", "fingerprint", "retryable",
    "cured", "trace_id", "span_id", "pipeline", "environment", "host", "pid", "worker", "version", "actor",
)  # fmt: skip
"""The fields of a line that mean the same in each, in this order; an event's others follow, a caller's own are in ``fields``."""
_OURS = frozenset(
    {"ts", "level", "logger", "event", "msg", "span_id", "environment", "host", "pid", "worker", "version", "fields"}
)
"""What no event's field may be taken for."""
_SCOPE = ("run_id", "asset", "partition", "attempt")

_WARNINGS: tuple[type[Event], ...] = (
    AssetOverdue, CheckpointEscalated, CheckpointRefused, CheckpointTimeout, ControlWeakened, ErrorGroupRegressed,
    HandlerFailed, MaterializationException, NotificationFailed, ResourceFailed, RunSuspended, TelemetryLost,
)  # fmt: skip
_LEVELS: dict[type[Event], int] = {**dict.fromkeys(_WARNINGS, logging.WARNING), ErrorRecorded: logging.ERROR}
_TURNING = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))  # turn text round
_CONTROL = {code: f"\\x{code:02x}" for code in [*range(32), 127, *range(128, 160)]} | {
    10: "\\n",
    13: "\\r",
    9: "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_CONTROL |= {code: f"\\u{code:04x}" for code in _TURNING}
_RAW = re.compile("[" + "".join(map(chr, (*range(127, 160), 0x2028, 0x2029, *_TURNING))) + "]")

log = logging.getLogger("flowstone.events")
log.addHandler(logging.NullHandler())  # where nobody has configured logging, Python would print the warnings among them


def one_line(text: str) -> str:
    """Return *text* with control characters escaped: it cannot start a second line or move a terminal's cursor."""
    return text.translate(_CONTROL)


def one_json_line(text: str) -> str:
    """Return JSON *text* with the control characters escaped that JSON allows in texts: it is the same value, in one line."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _RAW.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Told(NamedTuple):
    """The event a record of ``flowstone.events`` was made of: its name, its fields without the empty ones, and what we add."""

    name: str
    fields: dict[str, Any]
    more: Mapping[str, Any] = MappingProxyType({})


def log_events(place: Mapping[str, Any] = MappingProxyType({})) -> Callable[[Event], None]:
    """An observer that renders each event as one log record of logger ``flowstone.events``.

    The line of a run's start also has what *place* says of where its state is kept, and that of its end the exit code.
    """

    def log_event(happened: Event) -> None:
        level = level_of(happened)
        if log.isEnabledFor(level):
            fields = {name: value for name, value in attributes_of(happened).items() if value != ""}
            told = Told(happened.name, fields, _more(happened))
            log.log(level, "%s", sentence(happened, {**fields, **told.more}), extra={"flowstone_event": told})

    def _more(happened: Event) -> Mapping[str, Any]:
        if isinstance(happened, RunStart | RunResumed):
            return known
        return {"exit_code": 0 if happened.outcome == "success" else 1} if isinstance(happened, RunStop) else {}

    known = {name: value for name, value in place.items() if value != ""}
    return log_event


log_event = log_events()
"""The observer without a place."""


def level_of(happened: Event) -> int:
    """How loud the event's log line is."""
    if isinstance(happened, RunSuspended) and happened.reason == "approval":
        return logging.INFO  # people are asked, nothing has gone wrong
    return _LEVELS.get(type(happened), logging.INFO)


def sentence(happened: Event, fields: dict[str, Any]) -> str:
    """The event's documentation and its fields as ``name=value``: readable, complete, greppable, and text any stream takes."""
    first = (type(happened).__doc__ or happened.name).splitlines()[0].rstrip(".")
    return storable(first + "".join(f" {name}={value}" for name, value in fields.items() if name != "trace_id"))


class _Formatter(logging.Formatter):
    """What both shapes share: the message and the traceback are redacted here, as captured lines are in their capture."""

    def __init__(self, redactor: Redactor | None = None, about: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__()
        self._redactor, self._about = redactor or Redactor(), dict(about)

    def _message(self, record: logging.LogRecord) -> str:
        return self._redactor.text(text_of(record))

    def _traceback(self, record: logging.LogRecord) -> str:
        trace = trace_of(record)
        return ends_of(trace, self._redactor) if trace else ""


class JsonFormatter(_Formatter):
    """One JSON object a line, with :data:`FIELDS` first; *about* says what holds for every line of the process.

    A field has at most 8 KiB and a line 64 KiB; what was cut says so with ``truncated``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line = self._about | {"pid": record.process}
        told = getattr(record, "flowstone_event", None)
        event, fields, more = told if isinstance(told, Told) else Told("", {})
        captured = getattr(record, "flowstone_line", None)
        given = captured.given if isinstance(captured, Line) else extras_of(record, self._redactor)
        scope = captured.scope if isinstance(captured, Line) else current.get()
        if scope is not None:
            line |= of_scope(scope)
        line |= {name: value for name, value in fields.items() if name not in _OURS} | dict(more)
        line |= {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
            "msg": self._message(record),
            "traceback": self._traceback(record),
        }
        if event and fields.get("attempt"):
            line["span_id"] = span_id_of(fields["run_id"], fields["asset"], fields.get("partition", ""), fields["attempt"])
        own = {name: value for name, value in fields.items() if name in _OURS} | given
        return encoded(line | {"fields": own} if own else line)


def of_scope(scope: Scope) -> dict[str, Any]:
    """The fields of a line that belongs to an attempt."""
    known = {name: getattr(scope, name) for name in _SCOPE}
    return {**known, "trace_id": scope.trace_id, "span_id": span_id_of(**known)}


def encoded(line: Mapping[str, Any]) -> str:
    """One JSON line of *line*'s fields, those that are empty left out, within :data:`MAX_FIELD` and :data:`MAX_RECORD`."""
    known = {name: line[name] for name in FIELDS if name in line}
    present = {name: value for name, value in (known | dict(line)).items() if value != "" or name == "msg"}
    most, text = MAX_FIELD, _encoded(present, MAX_FIELD)
    while len(text.encode()) > MAX_RECORD:
        most //= 4
        kept = present if most > 100 else {name: present[name] for name in FIELDS if name in present}
        text = _encoded({**kept, "truncated": True}, most)
    return text


def _encoded(present: Mapping[str, Any], most: int) -> str:
    short = {name: _short(value, most) for name, value in present.items()}
    if any(short[name] is not value for name, value in present.items()):
        short["truncated"] = True
    try:
        return one_json_line(to_json(short))
    except (TypeError, ValueError, OverflowError, RecursionError):  # what JSON cannot hold: the line must not be lost for it
        return one_json_line(to_json({name: _short(plain(value), most) for name, value in short.items()}))


def _short(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return capped(value, most)
    if isinstance(value, bool | int | float) or value is None:
        return value
    try:
        text = to_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return value
    return value if len(text) * 4 <= most or len(text.encode()) <= most else capped(text, most)


class ConsoleFormatter(_Formatter):
    """One readable line: time, level, logger, message; control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of text."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        text = "\n".join(filter(None, (capped(self._message(record)), self._traceback(record))))
        return f"{at} {record.levelname.lower():7} {one_line(capped(record.name, 200))}  {one_line(text)}"


def configure(
    level: str,
    form: str,
    stream: TextIO | None = None,
    *,
    redactor: Redactor | None = None,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> logging.Handler:
    """Send log records of *level* and above to *stream* (default: standard error) as ``json`` or ``console`` lines, redacted.

    *about* holds for every JSON line: ``pipeline``, ``environment``, ``host``, ``worker``, ``version``.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(redactor, about) if form == "json" else ConsoleFormatter(redactor))
    handler.setLevel(level.upper())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler


def relay(handler: logging.Handler, *, prints: bool) -> Callable[[Line], None]:
    """A listener that has *handler* show the captured lines that were no log records here; *prints* among them or not."""

    def show(line: Line) -> None:
        level = logging.getLevelNamesMapping().get(line.level.upper(), logging.INFO)
        if level < handler.level or (not prints and line.logger in ("stdout", "stderr")):
            return
        made = {"name": line.logger, "levelno": level, "levelname": line.level.upper(), "msg": line.message}
        handler.handle(logging.makeLogRecord({**made, "created": line.at / 1e9, "flowstone_line": line}))

    return show
