"""What the value of a setting may be: each check returns the value as it is used, or raises a :class:`SettingsError`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flowstone.foundation.durations import parse_duration, show_duration
from flowstone.foundation.errors import SettingsError, did_you_mean

ALL = "all"


def a_text(key: str, value: Any) -> str:
    """Text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{key} = {value!r}: a text is needed")
    return value


def a_number(key: str, value: Any) -> int:
    """A whole number of at least 0; from an environment variable it comes as text."""
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if type(number) is not int or number < 0:
        raise SettingsError(f"{key} = {value!r}: a whole number of at least 0 is needed")
    return number


def a_secret(key: str, value: Any) -> str:
    """The name of a secret, ``secret:NAME``; whatever else it is, it is not told again."""
    if not (isinstance(value, str) and value.startswith("secret:") and value.removeprefix("secret:").isidentifier()):
        raise SettingsError(
            f"{key} must name a secret, not be one", hint=f'{key} = "secret:NAME": the environment variable or mounted file NAME'
        )
    return value


def texts(key: str, value: Any) -> tuple[str, ...]:
    """A list of texts; one text stands for a list of one."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise SettingsError(f"{key} = {value!r}: a list of texts is needed")
    return tuple(value)


def patterns(key: str, value: Any) -> tuple[str, ...]:
    """A list of regular expressions."""
    for pattern in texts(key, value):
        try:
            re.compile(pattern)
        except re.error as error:
            raise SettingsError(f"{key}: {pattern!r} is no regular expression: {error}") from error
    return texts(key, value)


def a_flag(key: str, value: Any) -> bool:
    """Return *value* as true or false: as TOML has it, or as text."""
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise SettingsError(f"{key} = {value!r} is neither true nor false", hint=f"{key} = true")
    return found


def one_of(*allowed: str) -> Callable[[str, Any], str]:
    """One of *allowed*."""

    def check(key: str, value: Any) -> str:
        if value not in allowed:
            raise SettingsError(
                f"{key} = {value!r}: one of {', '.join(allowed)} is needed", hint=did_you_mean(str(value), allowed)
            )
        return str(value)

    return check


def a_length(key: str, value: Any) -> str:
    """A length of time in its shortest text."""
    try:
        return show_duration(parse_duration(value if isinstance(value, str) else repr(value)))
    except ValueError as error:
        raise SettingsError(f"{key} = {value!r}: a length of time is needed", hint=str(error)) from error


def a_length_or_all(key: str, value: Any) -> str:
    """A length of time in its shortest text, or ``all``."""
    if value == ALL:
        return ALL
    try:
        return show_duration(parse_duration(value if isinstance(value, str) else repr(value)))
    except ValueError as error:
        raise SettingsError(f"{key} = {value!r}: a length of time or {ALL!r} is needed", hint=str(error)) from error


def a_count_or_all(key: str, value: Any) -> int | str:
    """A whole number of at least 1, or ``all``."""
    if value == ALL:
        return ALL
    try:
        count = a_number(key, value)
    except SettingsError:
        count = 0
    if not count:
        raise SettingsError(f"{key} = {value!r}: a whole number of at least 1, or {ALL!r}, is needed")
    return count
