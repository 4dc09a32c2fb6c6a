"""Traces as W3C Trace Context has them: ids, the ``traceparent`` header, and what makes code part of a trace.

Span ids are computed from what they stand for, so that other processes, links, log lines and exemplars know them without being
told. Nothing here needs OpenTelemetry; what records spans implements :class:`Tracing`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

SAMPLED = 0x01
_HEADER = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", re.ASCII)
MAX_MEMBERS = 32  # of a tracestate


class Trace(NamedTuple):
    """One span as others refer to it: 32 and 16 hexadecimal digits, W3C flags, and what vendors carry along."""

    trace_id: str
    span_id: str
    flags: int = SAMPLED
    state: str = ""

    @property
    def header(self) -> str:
        """The value of a ``traceparent`` header."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


class Attempt(NamedTuple):
    """Which attempt: *partition* is the encoded key."""

    run_id: str
    asset: str
    partition: str
    attempt: int


def span_id_of(run_id: str, asset: str, partition: str, attempt: int) -> str:
    """Return the span id of an attempt: 16 hexadecimal digits, the same in every process."""
    return _digest(run_id, asset, partition, attempt)


def run_span_id(run_id: str, resumed_at: int = 0) -> str:
    """Return the span id of a run, or of the part of it that began when it was resumed (nanoseconds since the epoch)."""
    return _digest(run_id, resumed_at)


def trace_of(happened: Any) -> Trace | None:
    """The span an event is about: its attempt's, else its run's; ``None`` for what happens outside runs."""
    if not happened.trace_id:
        return None
    if attempt := getattr(happened, "attempt", 0):
        place = getattr(happened, "asset", ""), getattr(happened, "partition", "")
        return Trace(happened.trace_id, span_id_of(happened.run_id, *place, attempt))
    return Trace(happened.trace_id, run_span_id(happened.run_id)) if happened.run_id else None


def run_trace(run_id: str, trace_id: str, request: Mapping[str, Any]) -> Trace:
    """The run's own span, of a run that was requested as *request* says: whoever asked for it decides about sampling."""
    parent = parent_of(request)
    return Trace(trace_id, run_span_id(run_id), parent.flags if parent else SAMPLED, parent.state if parent else "")


def parent_of(request: Mapping[str, Any]) -> Trace | None:
    """The span that asked for a run, as :func:`requested_by` stored it with the request."""
    return parse_traceparent(request.get("traceparent"), request.get("tracestate"))


def requested_by(parent: Trace | None) -> dict[str, str]:
    """What is stored with a run's request of the span that asked for it."""
    if parent is None:
        return {}
    return {"traceparent": parent.header} | ({"tracestate": parent.state} if parent.state else {})


def _digest(*parts: str | int) -> str:
    text = "\0".join([str(part) for part in parts])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest().replace("0" * 16, "1" * 16)


def parse_traceparent(header: str | None, state: str | None = None) -> Trace | None:
    """Return what a ``traceparent`` header, and the ``tracestate`` beside it, say; ``None`` for what is not valid.

    As https://www.w3.org/TR/trace-context/ has it: an invalid state is left out, an invalid header ignored with its state.
    """
    found = _HEADER.fullmatch(header.strip()) if header else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Trace(trace_id, span_id, int(flags, 16) & (0x03 if version == "00" else SAMPLED), _valid_state(state or ""))


def _valid_state(state: str) -> str:
    members = [member.strip() for member in state.split(",") if member.strip()]
    keys = {member.partition("=")[0] for member in members}
    valid = len(members) <= MAX_MEMBERS and len(keys) == len(members) and all(map(_MEMBER.fullmatch, members))
    return ",".join(members) if valid else ""


class RunFacts(NamedTuple):
    """What the record knows of a run and its events do not say."""

    pipeline: str
    trace_id: str
    parent: Trace | None
    """The span that asked for the run."""
    began_at: int
    """When it was requested, or resumed the last time."""
    resumed_at: int
    """0 for a run that was never resumed."""
    suspended: bool
    """Whether it was suspended and not resumed since."""


class Inside(Protocol):
    """A span of users' own that is being recorded."""

    def begin(self) -> None:
        """The code it stands for begins; never raises."""
        ...

    def end(self, fields: Mapping[str, Any], error: BaseException | None) -> None:
        """The code has ended, with the *fields* of its stop event, or with *error*; never raises."""
        ...


class Tracing(Protocol):
    """Records spans, where they are wanted. None of its methods raises."""

    def produced(self, attempt: Attempt, producers: Iterable[Attempt]) -> None:
        """Say which attempts made the inputs of one that is about to begin."""
        ...

    def trace_of(self, attempt: Attempt, trace: Trace) -> Trace:
        """Return *trace*, the attempt's span as it is known, as it is recorded."""
        ...

    def around(self, attempt: Attempt, trace: Trace) -> AbstractContextManager[None]:
        """Make the code of a body, here and now, part of the attempt's span."""
        ...

    def span(self, name: str, fields: Mapping[str, Any], texts: tuple[str, ...]) -> Inside:
        """A span of users' own, of the code around it; *texts* names the fields that may hold anything."""
        ...

    def forget(self, run_id: str) -> None:
        """Nothing more of the run happens in this process."""
        ...
