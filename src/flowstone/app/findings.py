"""What an examination says."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the examination: ``ok``, ``warn``, ``fail`` or ``not checked``; *fix* is a command or an action."""

    level: str
    subject: str
    text: str
    fix: str = ""
