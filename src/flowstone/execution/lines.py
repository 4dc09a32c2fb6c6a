"""Writes captured lines each second, so that a long attempt can be followed and a killed one has left its last words."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from flowstone.observability.logs.capture import Capture, Line
from flowstone.stores import logs
from flowstone.stores.database import Database, Transaction

EVERY_SECONDS = 1.0
log = logging.getLogger("flowstone.lines")


def add(tx: Transaction, lines: list[Line]) -> None:
    """Add captured lines to the store."""
    for line in lines:
        scope = line.scope
        logs.add(tx, {
            "run_id": scope.run_id, "asset": scope.asset, "partition": scope.partition, "attempt": scope.attempt,
            "at": line.at, "level": line.level, "logger": line.logger, "message": line.message, "fields": line.fields,
        })  # fmt: skip


def drop(capture: Capture, lines: list[Line], error: Exception) -> list[Line]:
    """Say that captured lines are lost, because of what the store answered; return what is left of them."""
    capture.lose(len(lines))
    log.warning("%d captured lines could not be stored: %s", len(lines), error)
    return []


class LineFlusher:
    """A thread that lives as long as a run and moves captured lines to the store."""

    def __init__(self, capture: Capture, database: Database) -> None:
        self._capture, self._database = capture, database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="flowstone-lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self.flush()

    def flush(self) -> None:
        """Write what was captured; lines the store refuses are lost and said."""
        with self._capture.writing:
            lines = self._capture.take()
            if not lines:
                return
            try:
                with self._database.transaction() as tx:
                    add(tx, lines)
            except Exception as refused:  # noqa: BLE001 - log lines never break work
                drop(self._capture, lines, refused)

    def _work(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self.flush()
