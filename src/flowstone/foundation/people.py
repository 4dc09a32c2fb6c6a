"""Settings of who decides: groups of people, names that are no people, and how decisions are proven."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowstone.foundation.errors import SettingsError
from flowstone.foundation.serialize import from_json

MACHINES = ("ci", "cron", "github-actions", "gitlab-ci", "jenkins", "scheduler")
"""Names that are taken for no people unless others are set."""


@dataclass(frozen=True)
class ApprovalSettings:
    """Who decides; ``groups`` are people by the name of their group, ``machines`` names that are no people."""

    allow_asserted: bool = False
    allowed_signers: Path | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    machines: tuple[str, ...] = MACHINES


def groups(key: str, value: Any) -> dict[str, tuple[str, ...]]:
    """The people of each group; raises :class:`SettingsError` for anything but a table of lists of names.

    From an environment variable it comes as the text of a JSON object.
    """
    hint = 'for example reviewers = ["ann", "bob"] under [approvals.groups]; in a variable {"reviewers": ["ann", "bob"]}'
    if isinstance(value, str):
        with suppress(ValueError):
            value = from_json(value)
    if not isinstance(value, Mapping):
        raise SettingsError(f"{key} = {value!r} must be a table", hint=hint)
    found = {}
    for name, members in value.items():
        if isinstance(members, str) or not isinstance(members, list | tuple) or not members:
            raise SettingsError(f"{key}.{name} = {members!r} must be a list of names", hint=hint)
        if not all(
            isinstance(member, str) and member.strip() == member and member.isprintable() and member for member in members
        ):
            raise SettingsError(f"{key}.{name} = {members!r}: every name must be a printable text", hint=hint)
        found[str(name)] = tuple(dict.fromkeys(members))
    return found
