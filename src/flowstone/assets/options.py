"""The checks of the options an asset is declared with, and the form they are kept in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from flowstone.assets.approval import Approval
from flowstone.assets.due import parse_due
from flowstone.assets.mappings import PartitionMapping
from flowstone.assets.partitions import Partitions
from flowstone.assets.policies import Retry, retry_policy
from flowstone.foundation.errors import ValidationError
from flowstone.foundation.serialize import canonical

EXECUTORS = ("inline", "thread", "process")
NOTHING: Mapping[str, Any] = MappingProxyType({})
MAX_NAME = 200

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def name_of(name: str | None, function: Callable[..., Any] | None, kind: str = "asset") -> str:
    """Return the name of an asset or resource, by default its *function*'s; raises ``ValidationError`` unless it is usable."""
    chosen = name if name is not None else getattr(function, "__name__", None)
    if isinstance(chosen, str) and len(chosen) <= MAX_NAME and _NAME.fullmatch(chosen):
        return chosen
    shown = repr(chosen) if len(repr(chosen)) <= MAX_NAME else repr(chosen)[:60] + "..."
    raise ValidationError(
        f"{shown} cannot name {'an' if kind == 'asset' else 'a'} {kind}",
        hint=f'use letters, digits and _, not a digit first, at most {MAX_NAME}: @{kind}(name="orders")',
    )


def check(name: str, given: Mapping[str, Any], kind: str = "asset") -> dict[str, Any]:
    """Return *given* as the fields of an asset or resource; raises ``ValidationError`` naming it and the option."""
    checked = {}
    for option, value in given.items():
        field, normalize = _CHECKS[option]
        try:
            checked[field] = normalize(value)
        except ValidationError as error:
            raise ValidationError(f"{kind} {name!r}: {option}: {error.message}", hint=error.hint) from error
        except _WrongOptionError as error:
            raise ValidationError(f"{kind} {name!r}: {option}={_short(value)}: not {error}", hint=f"pass {error}") from None
    return checked


class _WrongOptionError(Exception):
    """The option is not what the text says."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _WrongOptionError("a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise _WrongOptionError('a list of texts, for example ["finance"]')
    if not all(isinstance(item, str) and item for item in value):
        raise _WrongOptionError('a list of texts, for example ["finance"]')
    return tuple(sorted(value)) if isinstance(value, set | frozenset) else tuple(value)


def _asset_name(value: Any) -> str | None:
    """The name meant by an asset or its name; assets are known by what they have, their module is above this one."""
    if isinstance(value, str):
        return value
    name = getattr(value, "name", None)
    return name if isinstance(name, str) and hasattr(value, "parameters") else None


def _deps(value: Any) -> dict[str, str]:
    wanted = 'a mapping of parameter names to assets or their names, for example {"o": orders}'
    if not isinstance(value, Mapping):
        raise _WrongOptionError(wanted)
    names = {parameter: _asset_name(target) for parameter, target in value.items() if isinstance(parameter, str)}
    known = {parameter: target for parameter, target in names.items() if target is not None}
    if len(known) < len(value):
        raise _WrongOptionError(wanted)
    return known


def _after(value: Any) -> tuple[str, ...]:
    names = [_asset_name(item) for item in value] if isinstance(value, list | tuple) else [None]
    known = [name for name in names if name is not None]
    if len(known) < len(names):
        raise _WrongOptionError('a list of assets or their names, for example ["orders"]')
    return tuple(dict.fromkeys(known))


def _partitions(value: Any) -> Partitions:
    if not isinstance(value, Partitions):
        raise _WrongOptionError('partitions, for example Daily("2026-01-01")')
    return value


def _mapping(value: Any) -> dict[str, PartitionMapping]:
    wanted = 'a mapping of parameter names to partition mappings, for example {"previous": latest_before()}'
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _WrongOptionError(wanted)
    if any(isinstance(item, type) or not isinstance(item, PartitionMapping) for item in value.values()):
        raise _WrongOptionError(wanted)
    return dict(value)


def _retries(value: Any) -> Retry:
    if isinstance(value, bool) or not isinstance(value, Retry | int):
        raise _WrongOptionError("a number of attempts or a Retry(...)")
    return retry_policy(value)


def _config(value: Any) -> Mapping[str, Any]:
    wanted = 'a mapping of names to plain values, for example {"currency": "EUR", "key": "secret:API_KEY"}'
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        raise _WrongOptionError(wanted)
    try:
        canonical(dict(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise _WrongOptionError(wanted) from error
    return MappingProxyType(dict(value))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongOptionError("True or False")
    return value


def _function(value: Any) -> Callable[..., str]:
    if not callable(value) or isinstance(value, type):
        raise _WrongOptionError("a function that returns a short text")
    return value  # type: ignore[no-any-return]


def _health(value: Any) -> Callable[..., object]:
    if not callable(value):
        raise _WrongOptionError("a function of the open value")
    return value  # type: ignore[no-any-return]


def _scope(value: Any) -> str:
    if value not in ("process", "run"):
        raise _WrongOptionError('"process" or "run"')
    return str(value)


def executor(value: Any) -> str:
    """Return *value*, the name of an executor; raises ``ValidationError`` for anything else."""
    if value not in EXECUTORS:
        raise ValidationError(f"{value!r} is no executor", hint=f"one of {', '.join(EXECUTORS)}")
    return str(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _WrongOptionError("a whole number of at least 1")
    return value


def _approval(value: Any) -> Approval:
    if not isinstance(value, Approval):
        raise _WrongOptionError('an Approval(...), for example Approval("May we publish?", approvers=["group:reviewers"])')
    return value


def _seconds(value: Any) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise _WrongOptionError("a number of seconds above 0, or a timedelta")
    return float(seconds)


_CHECKS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "deps": ("deps", _deps),
    "after": ("after", _after),
    "partitions": ("partitions", _partitions),
    "mapping": ("mapping", _mapping),
    "retries": ("retries", _retries),
    "code_version": ("code_version", _text),
    "config": ("config", _config),
    "source": ("source", _flag),
    "sensitive": ("sensitive", _flag),
    "version": ("version", _function),
    "io": ("io", _text),
    "format": ("format", _text),
    "executor": ("executor", executor),
    "concurrency": ("concurrency", _count),
    "timeout": ("timeout", _seconds),
    "due": ("due", parse_due),
    "approval": ("approval", _approval),
    "scope": ("scope", _scope),
    "limit": ("limit", _count),
    "health": ("health", _health),
    "description": ("given_description", _text),
    "tags": ("tags", _texts),
    "owners": ("owners", _texts),
}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
