"""The ambient context of a piece of work: which run, asset, partition and attempt the current code belongs to.

Only log capture reads it. Observers take identity from the event itself.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """Who the current code works for; *partition* is the encoded key."""

    run_id: str
    asset: str
    partition: str
    attempt: int
    trace_id: str = ""


current: ContextVar[Scope | None] = ContextVar("flowstone_scope", default=None)
