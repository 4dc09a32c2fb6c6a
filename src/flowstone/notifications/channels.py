"""What a channel is: something that takes a message, or says why it did not."""

from __future__ import annotations

import logging
from typing import Protocol

from flowstone.notifications.message import Message

_logger = logging.getLogger("flowstone.notifications")


class Undelivered(Exception):  # noqa: N818 - what became of the message
    """The channel did not take the message; *wait* seconds are asked for before it is tried again."""

    def __init__(self, text: str, *, wait: float = 0.0) -> None:
        super().__init__(text)
        self.text, self.wait = text, wait


class Channel(Protocol):
    """Where messages go."""

    def send(self, id: str, message: Message, seconds: float) -> None:
        """Send *message* within about *seconds*; returns when it was taken. *id* is the same when it is sent again.

        Raises :class:`Undelivered`, or any other exception, when it was not taken.
        """
        ...


class LogChannel:
    """Writes messages as lines of the logger ``flowstone.notifications``."""

    @staticmethod
    def send(id: str, message: Message, seconds: float) -> None:  # noqa: ARG004 - the signature of a channel
        _logger.warning("%s (%s) next: %s", message.title, ", ".join(message.facts.values()), message.command)
