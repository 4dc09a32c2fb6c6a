"""Gets messages on their way: what records them, what delivers them, and the thread that does so beside a run."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable

from flowstone.events.event import Event
from flowstone.execution import lost
from flowstone.foundation.clock import Clock
from flowstone.foundation.errors import FlowStoneError
from flowstone.foundation.ids import Ids
from flowstone.foundation.settings import Settings
from flowstone.notifications.channels import Channel
from flowstone.notifications.delivery import Delivery
from flowstone.notifications.outbox import Outbox
from flowstone.stores import processes
from flowstone.stores.database import Database
from flowstone.stores.liveness import ProcessLocks

EXIT_SECONDS = 5.0
"""How long the end of a process may wait for its messages; what is left then is a tick's to deliver."""
HOOKS = "flowstone.notifications.hooks"
"""Loaded when a message is to be sent: it speaks HTTP and TLS, which takes a reading verb longer than its answer."""


def outbox_of(settings: Settings, ids: Ids) -> Outbox | None:
    """The recorder of messages; ``None`` where no channel listens, so that they cost nothing."""
    listening = {channel.name: channel.on for channel in settings.channels.values() if channel.on}
    return Outbox(settings.project, settings.environment or "", listening, ids) if listening else None


def channels_of(settings: Settings, resolve: Callable[[str], str], clock: Clock) -> dict[str, Channel]:
    """The channels of the settings, by name."""
    made = importlib.import_module(HOOKS).channel_of
    return {name: made(channel, resolve, clock.now_ns) for name, channel in settings.channels.items()}


def is_alive(database: Database, locks: ProcessLocks, process: str) -> bool:
    """Whether the process of that id lives."""
    with database.reading() as connection:
        found = processes.find(connection, process)
    return found is not None and found.ended_at is None and lost.is_alive(found, locks, database.now())


class Courier:
    """Delivers messages in a thread that lives while there is something to deliver; *make* gives it the delivery."""

    def __init__(self, make: Callable[[], Delivery], outbox: Outbox) -> None:
        self._make, self._outbox = make, outbox
        self._delivery: Delivery | None = None
        self._bell, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._deadline: float | None = None

    def wake(self, happened: Event | None = None) -> None:  # noqa: ARG002 - the signature of a handler
        """Deliver what is due, soon."""
        self._bell.set()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="flowstone-messages", daemon=True)
                self._thread.start()

    def close(self, seconds: float = EXIT_SECONDS) -> None:
        """Deliver what this process has caused, for at most *seconds*, and end."""
        self._deadline = time.monotonic() + seconds
        if self._outbox.has_news:
            self.wake()
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._bell.set()
            thread.join(max(0.0, self._deadline - time.monotonic()))
        if self._delivery is not None:
            self._delivery.let_go()

    def _serve(self) -> None:
        while time.monotonic() < self._until():
            self._bell.clear()
            self._outbox.has_news = False
            try:
                self._delivery = self._delivery or self._make()
                pause = self._delivery.deliver(self._until).retry_in
            except FlowStoneError:
                pause = None  # the store does not answer: a tick delivers what is left
            with self._lock:
                if not self._bell.is_set() and (pause is None or self._deadline is not None):
                    self._thread = None
                    return
            self._bell.wait(pause)

    def _until(self) -> float:
        return self._deadline if self._deadline is not None else time.monotonic() + 3_600.0
