"""How an attempt can end, as plain data. Only ``concluding`` decides what an end means, and only ``step`` writes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstone.events.event import Event
from flowstone.io_managers import Output
from flowstone.ledger.failures import Failure


@dataclass(frozen=True, slots=True)
class Asked:
    """People are to be asked about the stored value: in which words, what beside it, and how it differs from the current one.

    ``context`` and ``changes`` are JSON texts.
    """

    message: str
    context: str
    changes: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The value is stored; where people are *asked* about it first, it is a candidate and not the current output yet."""

    output: Output
    summary: str = ""
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """User code called ``ctx.skip``."""

    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """User code, IO or the source's version function raised; *retry* tells whether the policy wants another attempt."""

    failure: Failure
    retry: bool


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The attempt took longer than its asset allows and was ended."""

    failure: Failure
    retry: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The child process that ran the attempt died."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Postponed:
    """User code raised ``RetryLater``: try again after *after* seconds; no attempt is spent."""

    failure: Failure
    after: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt was interrupted."""

    failure: Failure


Outcome = Stored | Skipped | Failed | TimedOut | Lost | Postponed | Cancelled


@dataclass(slots=True)
class Report:
    """What the body half of a step tells the half that holds the store.

    ``shown`` are events observers have already seen (io); ``told`` are users' events, shown when the attempt is settled.
    """

    outcome: Outcome
    duration_ns: int
    shown: list[Event] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
