"""The channels that post: Slack, Teams, and webhooks that are signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowstone.foundation.channels import SECRET, ChannelSettings, check_url
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import UsageError
from flowstone.foundation.serialize import to_json
from flowstone.notifications import bodies, signing
from flowstone.notifications.channels import Channel, LogChannel
from flowstone.notifications.command import CommandChannel
from flowstone.notifications.message import Message
from flowstone.notifications.posting import Poster

_BODIES: dict[str, Callable[[str, Message], dict[str, Any]]] = {
    "slack": lambda _, message: bodies.slack(message),
    "teams": lambda _, message: bodies.teams(message),
    "webhook": bodies.plain,
}


class Hook:
    """Posts the body of its type; URL and secret are resolved each time, so that a new one counts at once."""

    def __init__(
        self, settings: ChannelSettings, poster: Poster, resolve: Callable[[str], str], now_ns: Callable[[], int]
    ) -> None:
        self._settings, self._poster, self._resolve, self._now_ns = settings, poster, resolve, now_ns

    def send(self, id: str, message: Message, seconds: float) -> None:
        settings = self._settings
        url = self._value(settings.url)
        check_url(f"notifications.{settings.name}.url", url)
        if url.startswith("http://") and not settings.allow_http:
            raise UsageError(
                f"notifications.{settings.name}.url is not encrypted (http://)", hint="use https://, or allow_http = true"
            )
        body = to_json(_BODIES[settings.type](id, message)).encode()
        headers = {"Idempotency-Key": id}
        if settings.secret:
            headers |= signing.headers(self._value(settings.secret), id, self._now_ns() // NANOSECONDS, body)
        self._poster.post(url, body, headers, seconds)

    def _value(self, given: str) -> str:
        return self._resolve(given.removeprefix(SECRET)) if given.startswith(SECRET) else given


def channel_of(settings: ChannelSettings, resolve: Callable[[str], str], now_ns: Callable[[], int]) -> Channel:
    """Return the channel that *settings* describe; *resolve* gives the value of a secret, *now_ns* the wall time."""
    if settings.type == "log":
        return LogChannel()
    if settings.type == "command":
        return CommandChannel(settings.command)
    return Hook(settings, Poster(allow_private=settings.allow_private), resolve, now_ns)
