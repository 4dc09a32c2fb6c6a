"""What somebody should look at: groups of errors. Every method is a thin call of its room."""

from __future__ import annotations

from typing import get_args

from flowstone.app import deciding
from flowstone.app.questions import Questions
from flowstone.execution.run import Actor
from flowstone.foundation.errors import UsageError
from flowstone.ledger import error_groups as groups
from flowstone.stores.records import ErrorGroupRecord


class Attention(Questions):
    """The questions of :class:`FlowStone`, and errors that fail alike."""

    _actor: Actor

    def error_groups(
        self, *, status: deciding.Status | None = "open", asset: str | None = None, limit: int = 50
    ) -> list[ErrorGroupRecord]:
        """Errors that fail alike, those with the newest errors first; *status* ``None``: resolved and muted ones too."""
        if status not in (None, *get_args(deciding.Status)):
            raise UsageError(f"status {status!r} is not known", hint=f"one of {', '.join(get_args(deciding.Status))}, or None")
        with self._deployment.reading().reading() as connection:
            return groups.listed(connection, self.settings.project, status=status, asset=asset, limit=limit)

    def error_group(self, id: str) -> groups.ErrorGroupView:
        """One group, its newest errors, and the assets, partitions and versions of the code they arose in.

        *id* (``grp_…``, or the fingerprint of an error) may be the beginning of one.
        """
        with self._deployment.reading().reading() as connection:
            return groups.view(connection, self.settings.project, id)

    def resolve_errors(self, group: str, *, reason: str) -> ErrorGroupRecord:
        """Say that the cause of a group of errors is gone; when one comes again, the group opens by itself."""
        return deciding.decide(self._deployment, self._actor, group, "resolved", reason)

    def mute_errors(self, group: str, *, reason: str) -> ErrorGroupRecord:
        """Hear no more of a group of errors; they are recorded and counted all the same."""
        return deciding.decide(self._deployment, self._actor, group, "muted", reason)

    def reopen_errors(self, group: str, *, reason: str) -> ErrorGroupRecord:
        """Open a resolved or muted group of errors again."""
        return deciding.decide(self._deployment, self._actor, group, "open", reason)
