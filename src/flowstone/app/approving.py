"""Approvals as users have them: what people are asked, what they may decide, and deciding it."""

from __future__ import annotations

from flowstone.app.wiring import Deployment
from flowstone.approvals.eligibility import Person
from flowstone.approvals.transitions import Ballot
from flowstone.execution.deciding import Decided, Deciding
from flowstone.execution.run import Actor
from flowstone.execution.services import Services
from flowstone.foundation.errors import UsageError
from flowstone.stores import approvals, runs
from flowstone.stores.records import ApprovalRecord, VoteRecord

MAX_COMMENT = 2_000


class Approvals:
    """The requests for approval of one project, and deciding about them as this actor."""

    def __init__(self, deployment: Deployment, actor: Actor) -> None:
        self._deployment, self._actor = deployment, actor

    # -- asking ---------------------------------------------------------------------------------------------------------

    def requests(
        self, *, status: str | None = "pending", asset: str | None = None, run: str | None = None, limit: int = 50
    ) -> list[ApprovalRecord]:
        """The requests that are pending, the oldest first; with another *status*, or ``None`` for all, the newest first."""
        with self._deployment.reading().reading() as connection:
            project = self._deployment.settings.project
            return approvals.listed(connection, project, status=status, asset=asset, run_id=run, limit=limit)

    def runs_to_go_on(self) -> list[str]:
        """The runs that people have decided about and nobody has resumed yet."""
        if self._deployment.is_new():
            return []
        with self._deployment.reading().reading() as connection:
            return [run.id for run in runs.to_go_on(connection, self._deployment.settings.project)]

    def find(self, id: str) -> ApprovalRecord:
        """The request with this id, or an unambiguous beginning of it."""
        with self._deployment.reading().reading() as connection:
            return approvals.find(connection, self._deployment.settings.project, id)

    def votes(self, id: str) -> list[VoteRecord]:
        """What people have said to the request, in their order."""
        with self._deployment.reading().reading() as connection:
            return approvals.votes(connection, [id])[id]

    # -- deciding -------------------------------------------------------------------------------------------------------

    def approve(self, id: str, comment: str = "", *, decision: str | None = None, older: bool = False) -> Decided:
        """Say yes: once enough people have, exactly the bytes that were asked about become current.

        *decision* is an id of the caller's choice: the same one again is the same decision. *older*: although a newer version is
        current. Raises :class:`AlreadyDecidedError`, :class:`CandidateChangedError` and, for somebody who may not decide,
        :class:`ApprovalError`; each attempt is recorded.
        """
        return self._vote(id, "approve", comment, decision, older=older)

    def reject(self, id: str, comment: str, *, decision: str | None = None) -> Decided:
        """Say no: what was asked about never becomes current, and what depends on it is skipped."""
        return self._vote(id, "reject", comment, decision, older=False)

    def cancel(self, id: str, reason: str) -> Decided:
        """Take the question back: its step ends as cancelled."""
        deciding = Deciding(self._services())
        return deciding.cancel(self.find(id).id, Person(self._actor.id, self._actor.source), self._said(reason))

    def _vote(self, id: str, verdict: str, comment: str, decision: str | None, *, older: bool) -> Decided:
        services, asked, said = self._services(), self.find(id), self._said(comment) if comment or verdict == "reject" else ""
        person = Person(self._actor.id, self._actor.source)
        ballot = Ballot(decision or services.ids.new("dec"), verdict, said, person, {})
        return Deciding(services).vote(asked.id, ballot, older=older)

    def _said(self, comment: str) -> str:
        if not comment.strip() or len(comment) > MAX_COMMENT:
            raise UsageError(f"a comment of 1 to {MAX_COMMENT:,} characters is needed", hint="-m 'why'")
        return self._deployment.redactor.text(comment)

    def _services(self) -> Services:
        return self._deployment.existing()
