"""Telling the log of what is done, in the transaction that does it; where auditing is off, nothing is told or asked."""

from __future__ import annotations

from typing import NamedTuple

from flowstone.audit.acts import Act
from flowstone.audit.entries import Auditor, entry_of
from flowstone.stores.database import Transaction

ONLY = 1
"""The version of a subject that is told of once: whoever knows that spares the question for the last one."""


class Who(NamedTuple):
    """Who did it: an opaque id, and where it comes from (``os``, ``asserted`` or ``authenticated``)."""

    actor: str
    identity: str


NOBODY = Who("", "")
"""Who only looks."""


class Recorder:
    """Appends the entries of acts through *auditor*; without one nothing is audited."""

    def __init__(self, auditor: Auditor | None = None) -> None:
        self._auditor = auditor
        self.is_on = auditor is not None
        self.told = 0
        """How often something was told, whatever became of the transaction: who seals looks whether it has grown."""

    def tell(
        self, tx: Transaction, act: Act, who: Who, at: int, *, version: int | None = None, run_id: str = "", trace_id: str = ""
    ) -> None:
        """Append the entry of *act*, after the change itself.

        *version* is that of the subject, without one the next. Raises :class:`AuditUnavailableError`, now or when the transaction
        ends: then nothing was changed.
        """
        if self._auditor is None:
            return
        actor, identity = who
        self._auditor.append(
            tx, entry_of(act, actor=actor, identity=identity, at=at, version=version, run_id=run_id, trace_id=trace_id)
        )
        self.told += 1
