"""The policy of a request, as it was declared when people were asked: later changes of the code do not change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What :meth:`flowstone.assets.approval.Approval.describe` gives, read back."""

    message: str
    approvers: tuple[str, ...]
    quorum: int
    four_eyes: bool
    not_author: bool
    timeout_ns: int
    on_timeout: str
    escalate_to: tuple[str, ...]
    when: str
    assurance: str
    invalidate_on: tuple[str, ...]

    @property
    def asked(self) -> str:
        """Who is asked, in words: ``group reviewers, ann``."""
        names = [f"group {name[6:]}" if name.startswith("group:") else name for name in self.approvers]
        return ", ".join(names) or "anybody"


def policy_of(stored: Mapping[str, Any]) -> Policy:
    """The policy that was *stored*."""
    return msgspec.convert(stored, Policy)
