"""Where messages go: the tables ``[notifications.NAME]`` of the settings, checked. Names and secrets are the operator's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from flowstone.foundation.checks import one_of, texts
from flowstone.foundation.errors import SettingsError, did_you_mean

GROUP = "notifications"
SECRET = "secret:"
TYPES = ("slack", "teams", "webhook", "command", "log")
CAUSES = {
    "run.failed": "a run ended failed",
    "run.partial": "a run ended partial: some targets are there",
    "run.recovered": "the first run of a pipeline that succeeds after one that did not",
    "asset.overdue": "a value was not there by its due time",
    "error_group.opened": "an error that resembles none seen before",
    "error_group.regressed": "an error came back after its group was resolved",
    "telemetry.lost": "observers did not see everything",
    "checkpoint.requested": "people are asked to approve something",
    "checkpoint.reminded": "people who were asked have not decided yet",
    "checkpoint.escalated": "nobody decided in time: others are asked as well",
    "checkpoint.decided": "it was approved, rejected, expired, void by what changed meanwhile, or cancelled",
    "control.weakened": "something that protects data, its history or its release does so less than before",
}
"""What a message can be about."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")


@dataclass(frozen=True)
class ChannelSettings:
    """One channel; ``url`` and ``secret`` may be references, resolved when a message is sent."""

    name: str
    type: str
    on: tuple[str, ...] = tuple(CAUSES)
    url: str = ""
    secret: str = ""
    command: tuple[str, ...] = ()
    allow_private: bool = False
    allow_http: bool = False

    def rows(self) -> dict[str, Any]:
        """Each key that says something and its value, fit to be shown: of a URL that is written out the place alone."""
        url = self.url if self.url.startswith(SECRET) or not self.url else f"{place_of(self.url)}/***"
        shown = {
            "type": self.type, "on": list(self.on), "url": url, "secret": self.secret, "command": list(self.command),
            "allow_private": self.allow_private, "allow_http": self.allow_http,
        }  # fmt: skip
        return {f"{GROUP}.{self.name}.{key}": value for key, value in shown.items() if value or key == "on"}


def _causes(key: str, value: Any) -> tuple[str, ...]:
    found = texts(key, value)
    for cause in found:
        if cause not in CAUSES:
            hint = did_you_mean(cause, CAUSES) or f"known: {', '.join(CAUSES)}"
            raise SettingsError(f"{key}: {cause!r} is nothing a message can be about", hint=hint)
    return tuple(dict.fromkeys(found))


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{key} = {value!r}: true or false is needed")
    return value


def _reference(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.removeprefix(SECRET) or not value.startswith(SECRET):
        raise SettingsError(f"{key}: a reference to a secret is needed, not its value", hint=f'write {key} = "secret:NAME"')
    return value


def _url(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{key} = {value!r}: a text is needed", hint='write "secret:NAME" or "https://..."')
    return value if value.startswith(SECRET) else check_url(key, value)


def _words(key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not texts(key, value) or not value[0]:
        raise SettingsError(
            f"{key} = {value!r}: a list of words is needed; no shell reads it", hint='["/usr/bin/page", "--team", "data"]'
        )
    return tuple(value)


_KEYS: dict[str, Callable[[str, Any], Any]] = {
    "type": one_of(*TYPES),
    "on": _causes,
    "url": _url,
    "secret": _reference,
    "command": _words,
    "allow_private": _flag,
    "allow_http": _flag,
}
_NEEDED = {"slack": ("url",), "teams": ("url",), "webhook": ("url", "secret"), "command": ("command",), "log": ()}
_POSTED = ("allow_private", "allow_http", "url")
_TAKEN = {"slack": _POSTED, "teams": _POSTED, "webhook": (*_POSTED, "secret"), "command": ("command",), "log": tuple(_KEYS)}
"""What each type reads. ``log`` minds nothing, so that an environment can make it of any channel."""


def check_url(key: str, url: str) -> str:
    """Return *url*; raises :class:`SettingsError`, which does not repeat it, unless a message could be posted to it."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise SettingsError(f"{key} is no URL: {error}", hint='write "https://host/path" or "secret:NAME"') from error
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise SettingsError(f"{key} is no https:// URL", hint='write "https://host/path" or "secret:NAME"')
    if parts.username is not None or parts.password is not None:
        raise SettingsError(
            f"{key} has a user or a password in it", hint="use an address without them; sign webhooks with secret="
        )
    if not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(f"{key} has characters no URL has", hint="percent-encode them")
    return url


def place_of(url: str) -> str:
    """The scheme and host of a URL, without what may be secret."""
    parts: SplitResult = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def is_key(key: str) -> bool:
    """Whether *key* is one of a channel: ``notifications.NAME.KEY``."""
    return key.startswith(f"{GROUP}.")


def flatten(table: Any, where: str) -> dict[str, Any]:
    """Return the tables ``[notifications.NAME]`` as dotted keys; raises :class:`SettingsError` for what is no such table."""
    flat: dict[str, Any] = {}
    for name, channel in table.items() if isinstance(table, dict) else [("NAME", table)]:
        if not isinstance(channel, dict):
            raise SettingsError(f"{where}: {GROUP}.{name} = {channel!r} must be a table", hint=f"write [{GROUP}.NAME]")
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"{where}: {name!r} cannot name a channel", hint="use lower-case letters, digits, _ and -, a letter first"
            )
        for key, value in channel.items():
            if key not in _KEYS:
                hint = did_you_mean(key, _KEYS) or f"known: {', '.join(_KEYS)}"
                raise SettingsError(f"{where}: unknown setting '{GROUP}.{name}.{key}'", hint=hint)
            flat[f"{GROUP}.{name}.{key}"] = value
    return flat


def parse_channels(values: Mapping[str, Any]) -> dict[str, ChannelSettings]:
    """Return the channels of the dotted *values*, by name; raises :class:`SettingsError` for what cannot be."""
    given: dict[str, dict[str, Any]] = {}
    for full, value in values.items():
        if is_key(full):
            _, name, key = full.split(".")
            given.setdefault(name, {})[key] = _KEYS[key](full, value)
    for name, channel in given.items():
        kind = channel.get("type")
        if kind is None:
            raise SettingsError(f"{GROUP}.{name} has no type", hint=f"one of {', '.join(TYPES)}")
        for key in _NEEDED[kind]:
            if key not in channel:
                raise SettingsError(
                    f"{GROUP}.{name} is of type {kind} and has no {key}", hint=f"add {key} = ... to [{GROUP}.{name}]"
                )
        for key in channel:
            if key not in ("type", "on", *_TAKEN[kind]):
                raise SettingsError(f"{GROUP}.{name}.{key} means nothing for type {kind}", hint="remove it")
        if channel.get("url", "").startswith("http://") and not channel.get("allow_http"):
            raise SettingsError(
                f"{GROUP}.{name}.url is not encrypted (http://)",
                hint="use https://, or allow_http = true where you know the network",
            )
    return {name: ChannelSettings(name, **channel) for name, channel in given.items()}
