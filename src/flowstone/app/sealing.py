"""Sealing in the life of a process: at the end of a run, every second while something is new, and when the process ends.

It never fails what has been done: what could not be sealed now is sealed by the next process, or by ``flowstone tick``.
"""

from __future__ import annotations

import logging
import threading

from flowstone.audit.anchoring import Anchoring, Anchors
from flowstone.audit.anchors import sinks
from flowstone.audit.keeper import Keeper
from flowstone.audit.known import KnownLogs
from flowstone.audit.origins import permanent
from flowstone.audit.recorder import Recorder, Who
from flowstone.audit.sealing import Sealed, Sealer
from flowstone.audit.state import state_of
from flowstone.events.catalogue import AuditRollbackDetected
from flowstone.foundation.errors import FlowStoneError, RollbackDetectedError
from flowstone.foundation.settings import Settings
from flowstone.stores import audit
from flowstone.stores.database import Database

log = logging.getLogger("flowstone.audit")


class Sealing:
    """Seals and anchors what *recorder* has told of, where this process is one that does."""

    def __init__(self, settings: Settings, database: Database, recorder: Recorder, who: Who) -> None:
        self._settings, self._database, self._recorder, self._who = settings, database, recorder, who
        self._lock = threading.Lock()
        self._sealed = 0
        self._failed = ""
        self.fault: RollbackDetectedError | None = None
        """Why the log cannot be gone on with, as it was found when this process began."""

    @property
    def _is_ours(self) -> bool:
        return self._recorder.is_on and self._settings.audit.seal == "auto" and not self._database.backend.in_memory

    def check(self) -> None:
        """Compare the log with the newest head that was signed here and with its anchors; say it when it does not go on."""
        if not self._recorder.is_on or self._database.backend.in_memory:
            return
        try:
            keeper = self._keeper()
            if keeper is not None and keeper.sealer.state.head() is not None:
                keeper.sealer.require_log_goes_on()
                keeper.anchors.require_log_goes_on()
        except RollbackDetectedError as error:
            self.fault = error
            log.error("%s; %s", error.message, error.hint)  # noqa: TRY400 - it is no fault of this program
            with self._database.transaction() as tx:
                tx.emit(AuditRollbackDetected, message=error.message)
        except (FlowStoneError, OSError) as error:
            log.warning("the audit log could not be compared with what was signed: %s", error)

    def require(self) -> None:
        """Raise what :meth:`check` found, where nothing may run then (``audit.strict``)."""
        if self.fault is not None and self._settings.audit.strict:
            raise self.fault

    def seal(self, *, wait: bool = True, last: bool = False) -> None:
        """Seal what is new since the last time, if this process is to; *last*: and give the head to all anchors."""
        if not self._is_ours or self.fault is not None or self._recorder.told == self._sealed:
            return
        if not self._lock.acquire(blocking=wait):
            return
        try:
            told = self._recorder.told
            keeper = self._keeper()
            if keeper is not None:
                _, anchored = keeper.seal(force=last)
                self._complain("; ".join(f"anchor {one.sink}: {one.error}" for one in anchored if one.error))
            self._sealed = told
        except Exception as error:  # noqa: BLE001 - what was done is done, whatever happens here
            self._complain(error.message if isinstance(error, FlowStoneError) else str(error))
        finally:
            self._lock.release()

    def seal_now(self) -> tuple[list[Sealed], list[Anchoring]]:
        """Seal whatever is not sealed, whoever wrote it, and give the head to all anchors; raises what prevents that.

        What is in memory is not sealed: nobody else can change it, and nothing of it is to stay.
        """
        keeper = self._keeper() if not self._database.backend.in_memory else None
        return keeper.seal() if keeper is not None else ([], [])

    def _complain(self, text: str) -> None:
        """Say once what goes wrong again and again."""
        if text and text != self._failed:
            log.warning("the audit log: %s", text)
        self._failed = text

    def _keeper(self) -> Keeper | None:
        """The keeper of the log that this user knows the database to have; ``None`` where there is no log."""
        known, place = KnownLogs(self._settings.audit.state), self._database.backend.describe
        origin = known.origin(place)
        if origin is None:
            with self._database.reading() as connection:
                found = audit.incarnations(connection)
            if not found:
                return None
            origin = permanent(found[0][1])
            known.remember(place, origin)
        return keeper_of(self._settings, self._database, origin, self._who)


def keeper_of(settings: Settings, database: Database, origin: str, who: Who) -> Keeper:
    """The keeper of the log *origin*, with the anchors of the settings."""
    state = state_of(permanent(origin), folder=settings.audit.state)
    anchors = Anchors(database, sinks(settings.audit.anchors, state))
    return Keeper(database, Sealer(database, state, origin), anchors, settings.project, who.actor, who.identity)
