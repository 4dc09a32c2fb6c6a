"""Delivers what is in the outbox: each message by one process at a time, at least once, tried again for some hours.

A claim lasts a minute, or until its process is dead. A process that dies between sending and saying so has the message sent
again, under the same id.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from flowstone.events.catalogue import NotificationDelivered, NotificationFailed
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import FlowStoneError
from flowstone.notifications.channels import Channel, Undelivered
from flowstone.notifications.message import Message
from flowstone.stores import notifications
from flowstone.stores.database import Database
from flowstone.stores.records import NotificationRecord

SEND_SECONDS = 10.0
CLAIM_SECONDS = 60
TRIES = 12  # over about six hours
FIRST_DELAY, FACTOR, LONGEST_DELAY = 10, 3, 3_600
PAGE = 500


@dataclass
class Delivered:
    """What one pass did; ``retry_in`` are the seconds until something of it is tried again."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    elsewhere: int = 0
    """Messages for channels that are not configured here: somebody else may know them."""
    retry_in: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Delivery:
    """Delivers one project's messages; *alive* tells whether the process of that id still lives."""

    def __init__(
        self, project: str, database: Database, channels: Mapping[str, Channel], process: str, alive: Callable[[str], bool]
    ) -> None:
        self._project, self._database, self._channels = project, database, channels
        self._process, self._alive = process, alive
        self._let_go = threading.Event()

    def deliver(self, until: Callable[[], float]) -> Delivered:
        """Deliver what is due, each channel in a thread of its own; return at the time of ``time.monotonic`` *until* says.

        A channel that does not take a message is left alone for the rest of the pass.
        """
        done = Delivered()
        if self._let_go.is_set():
            return done
        due: dict[str, list[NotificationRecord]] = defaultdict(list)
        for record in self._due():
            if record.channel in self._channels:
                due[record.channel].append(record)
            else:
                done.elsewhere += 1
        threads = [
            threading.Thread(target=self._serve, args=(records, done, until), name=f"flowstone-{name}", daemon=True)
            for name, records in due.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and time.monotonic() < until():
                thread.join(max(0.0, min(0.5, until() - time.monotonic())))
        return done

    def let_go(self) -> None:
        """Touch the database no more: what is being sent now is somebody else's to send again."""
        self._let_go.set()

    def _due(self) -> list[NotificationRecord]:
        now, dead = self._database.now(), {}
        with self._database.reading() as connection:
            found = notifications.pending(connection, self._project, PAGE)
        for process in {record.process for record in found if record.process and (record.not_before or 0) > now}:
            dead[process] = not self._alive(process)
        return [record for record in found if (record.not_before or 0) <= now or dead.get(record.process)]

    def _serve(self, records: list[NotificationRecord], done: Delivered, until: Callable[[], float]) -> None:
        try:
            for record in records:
                if until() - time.monotonic() <= 0 or self._let_go.is_set() or not self._one(record, done, until):
                    return
        except FlowStoneError:
            return  # the store does not answer: the claim ends by itself, and the message is sent by the next who looks

    def _one(self, record: NotificationRecord, done: Delivered, until: Callable[[], float]) -> bool:
        """Deliver one message, if nobody else does; return whether the channel is well."""
        database = self._database
        with database.transaction() as tx:
            lease = database.now() + CLAIM_SECONDS * NANOSECONDS
            if not notifications.claim(tx, record, self._process, lease):
                return True
        began = database.dispatcher.monotonic_ns()
        try:
            message = msgspec.convert(record.payload, Message)
            self._channels[record.channel].send(record.id, message, min(SEND_SECONDS, max(1.0, until() - time.monotonic())))
        except Exception as error:  # noqa: BLE001 - a channel may fail in many ways, and none of them may end the loop
            self._fail(record, error, done)
            return False
        if self._let_go.is_set():
            return False
        with database.transaction() as tx:
            if notifications.settle(tx, record, self._process, status="delivered", now=database.now()):
                took = database.dispatcher.monotonic_ns() - began
                tx.emit(NotificationDelivered, duration_ns=took, **_told(record))
        with done.lock:
            done.delivered += 1
        return True

    def _fail(self, record: NotificationRecord, error: Exception, done: Delivered) -> None:
        if self._let_go.is_set():
            return
        database = self._database
        kind, text = describe(error)
        tries = record.tries + 1
        wait = max(min(float(FIRST_DELAY * FACTOR ** (tries - 1)), LONGEST_DELAY), getattr(error, "wait", 0.0))
        final, now = tries >= TRIES, database.now()
        status, later = ("failed", None) if final else ("pending", now + round(wait * NANOSECONDS))
        with database.transaction() as tx:
            said = database.dispatcher.redactor.text(text)
            if notifications.settle(tx, record, self._process, status=status, now=now, text=said, later=later):
                tx.emit(NotificationFailed, final=final, type=kind, message=text, **_told(record))
        with done.lock:
            done.failed += 1
            done.given_up += final
            done.retry_in = done.retry_in if final else min(wait, done.retry_in or wait)


def describe(error: Exception) -> tuple[str, str]:
    """The type and one line of what went wrong, without what a foreign exception says of itself."""
    if isinstance(error, Undelivered):
        return "undelivered", error.text
    if isinstance(error, FlowStoneError):
        return error.type, error.message
    return type(error).__name__, f"{type(error).__name__} while it was sent"


def _told(record: NotificationRecord) -> dict[str, object]:
    return {"notification": record.id, "channel": record.channel, "cause": record.cause, "tries": record.tries + 1}
