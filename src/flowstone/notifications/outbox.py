"""The recorder that writes messages in the transaction of their cause: no cause without its message, and none without a cause."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flowstone.events.event import Event
from flowstone.foundation.ids import Ids
from flowstone.foundation.serialize import to_json
from flowstone.foundation.texts import storable_in
from flowstone.notifications.message import CAUSING, Message, draft
from flowstone.stores import notifications
from flowstone.stores.database import Transaction


class Outbox:
    """Adds one message for each channel that listens to a cause; *listening* are the causes of each channel by its name."""

    def __init__(self, project: str, environment: str, listening: Mapping[str, tuple[str, ...]], ids: Ids) -> None:
        self._project, self._environment, self._listening, self._ids = project, environment, listening, ids
        self.has_news = False
        """Whether something was added since somebody has set this back."""

    def record(self, happened: Event, tx: Transaction) -> None:
        """Add the messages that *happened* causes."""
        if not isinstance(happened, CAUSING):
            return
        drafted = draft(happened, self._project, tx)
        if drafted is None:
            return
        channels = [name for name, causes in self._listening.items() if drafted.cause in causes]
        if not channels:
            return
        message = Message(
            cause=drafted.cause, project=self._project, environment=self._environment, title=drafted.title,
            facts=drafted.facts, command=drafted.command, at=happened.at,
        )  # fmt: skip
        payload = to_json(storable_in(msgspec.to_builtins(message)))
        self.has_news = True
        for channel in channels:
            notifications.add(tx, {
                "id": self._ids.new("ntf"), "project": self._project, "channel": channel, "cause": drafted.cause,
                "subject": drafted.subject, "payload": payload, "at": happened.at,
            })  # fmt: skip
