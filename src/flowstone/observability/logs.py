"""One shape for every log line, FlowStone's and users': JSON or console text, one physical line per record.

Events are rendered into log lines here; events never ride inside logs. Nothing here touches the root logger unless
:func:`configure` is called, and only the command line calls it.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from flowstone.events.catalogue import ErrorRecorded, HandlerFailed, MaterializationException, ResourceFailed, RunSuspended
from flowstone.events.context import current
from flowstone.events.event import Event, attributes_of
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.serialize import to_json

_WARNINGS = (MaterializationException, RunSuspended, HandlerFailed, ResourceFailed)
_CONTROL = {code: f"\\x{code:02x}" for code in [*range(32), 127, *range(128, 160)]} | {
    10: "\\n",
    13: "\\r",
    9: "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_CONTROL |= {
    code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}  # turn text round

log = logging.getLogger("flowstone.events")
log.addHandler(logging.NullHandler())  # where nobody has configured logging, Python would print the warnings among them


def one_line(text: str) -> str:
    """Return *text* with control characters escaped: it cannot start a second line or move a terminal's cursor."""
    return text.translate(_CONTROL)


def log_event(happened: Event) -> None:
    """Render an event as one log record of logger ``flowstone.events``: an observer."""
    level = (
        logging.ERROR
        if isinstance(happened, ErrorRecorded)
        else logging.WARNING
        if isinstance(happened, _WARNINGS)
        else logging.INFO
    )
    if log.isEnabledFor(level):
        fields = {name: value for name, value in attributes_of(happened).items() if value != ""}
        log.log(level, "%s", sentence(happened, fields), extra={"flowstone": {"event": happened.name, **fields}})


def sentence(happened: Event, fields: dict[str, Any]) -> str:
    """The event's documentation and its fields as ``name=value``: readable, complete, greppable."""
    first = (type(happened).__doc__ or happened.name).splitlines()[0].rstrip(".")
    return first + "".join(f" {name}={value}" for name, value in fields.items() if name != "trace_id")


class _Formatter(logging.Formatter):
    """What both shapes share: the message and the traceback are redacted here, as captured lines are in their capture."""

    def __init__(self, redactor: Redactor | None = None) -> None:
        super().__init__()
        self._redactor = redactor or Redactor()

    def _message(self, record: logging.LogRecord) -> str:
        return self._redactor.text(record.getMessage())

    def _traceback(self, record: logging.LogRecord) -> str:
        return self._redactor.text(self.formatException(record.exc_info)) if record.exc_info else ""


class JsonFormatter(_Formatter):
    """One JSON object a line: ``ts level logger msg``, then the context and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": self._message(record),
        }
        scope = current.get()
        if scope is not None:
            line |= {
                "run_id": scope.run_id,
                "asset": scope.asset,
                "partition": scope.partition,
                "attempt": scope.attempt,
                "trace_id": scope.trace_id,
            }
        line |= getattr(record, "flowstone", {})
        if trace := self._traceback(record):
            line["traceback"] = trace
        try:
            return to_json(line)
        except (TypeError, ValueError):  # a value JSON cannot hold, half a surrogate pair: the line must not be lost for it
            return to_json({name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in line.items()})


class ConsoleFormatter(_Formatter):
    """One readable line: time, level, logger, message; control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of text."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        text = "\n".join(filter(None, (self._message(record), self._traceback(record))))
        return f"{at} {record.levelname.lower():7} {one_line(record.name)}  {one_line(text)}"


def configure(level: str, form: str, stream: TextIO | None = None, *, redactor: Redactor | None = None) -> logging.Handler:
    """Send log records of *level* and above to *stream* (default: standard error) as ``json`` or ``console`` lines, redacted."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(redactor) if form == "json" else ConsoleFormatter(redactor))
    handler.setLevel(level.upper())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler
