"""What observers did not see: counted exactly, whoever lost it, told once.

Handlers count for themselves and are asked; everybody else who drops something says so with :meth:`Losses.add`. The wiring
records what was lost since the last time as ``flowstone.telemetry.lost``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from flowstone.foundation.forks import renew_in_children

SAID_EVERY_NS = 60_000_000_000

log = logging.getLogger("flowstone.losses")


class Loss(NamedTuple):
    """How many events, lines or measurements a *sink* (handler, queue, exporter) did not see, and why."""

    sink: str
    reason: str
    lost: int


class Losses:
    """The one account of what was lost in this process."""

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        self._clock = monotonic_ns
        self._lock = threading.Lock()
        self._added: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._said: dict[tuple[str, str], tuple[int, int]] = {}  # when it was logged, and how many were lost by then
        self._counters: list[Callable[[], Iterable[Loss]]] = []
        renew_in_children(self)

    def add(self, sink: str, reason: str, count: int = 1) -> None:
        """Say that *sink* lost *count*: ``dropped``, ``quarantined``, ``failed``, ``too_deep`` or ``refused``; any thread may.

        The first loss is logged at once, later ones at most once a minute. Not to be called while a lock is held that logging or
        a handler may need.
        """
        if count <= 0:
            return
        with self._lock:
            total = self._added[sink, reason] = self._added.get((sink, reason), 0) + count
        self.say(sink, reason, total)

    def watch(self, counter: Callable[[], Iterable[Loss]]) -> None:
        """Ask *counter* for the totals of those who count for themselves, whenever somebody asks here."""
        self._counters.append(counter)

    def keep(self, final: Iterable[Loss]) -> None:
        """Keep the last totals of somebody who was watched and is not any more."""
        with self._lock:
            for sink, reason, lost in final:
                if lost:
                    self._added[sink, reason] = self._added.get((sink, reason), 0) + lost

    def totals(self) -> list[Loss]:
        """Everything that was lost since the process began, by sink and reason."""
        return [Loss(*key, lost) for key, lost in sorted(self._sums().items())]

    def take(self) -> list[Loss]:
        """What was lost since the last call; whoever takes it tells it."""
        sums = self._sums()
        with self._lock:
            found = [Loss(*key, lost - self._told.get(key, 0)) for key, lost in sorted(sums.items())]
            self._told |= {key: max(lost, self._told.get(key, 0)) for key, lost in sums.items()}
        return [loss for loss in found if loss.lost > 0]

    def give_back(self, losses: Iterable[Loss]) -> None:
        """Undo a :meth:`take` whose losses could not be told: the next one gives them again."""
        with self._lock:
            for sink, reason, lost in losses:
                self._told[sink, reason] -= lost

    def forgive(self, sinks: Collection[str], most: int) -> None:
        """Count as told what *sinks* lost since, at most *most* each: the news of their own losses makes no news."""
        sums = self._sums()
        with self._lock:
            for key, lost in sums.items():
                if key[0] in sinks and 0 < lost - self._told.get(key, 0) <= most:
                    self._told[key] = lost

    def say(self, sink: str, reason: str, total: int) -> None:
        """Log that *sink* has lost *total* until now, unless that was said less than a minute ago."""
        now, (at, before) = self._clock(), self._said.get((sink, reason), (None, 0))
        if at is not None and now - at < SAID_EVERY_NS:
            return
        self._said[sink, reason] = now, total
        log.warning("telemetry lost: %s did not see %d (%s), %d in all", sink, total - before, reason, total)

    def renew(self) -> None:
        """Begin with an open lock after a fork."""
        self._lock = threading.Lock()

    def _sums(self) -> dict[tuple[str, str], int]:
        with self._lock:
            sums = dict(self._added)
        for counter in self._counters:
            for sink, reason, lost in counter():
                if lost:
                    sums[sink, reason] = sums.get((sink, reason), 0) + lost
        return sums
