"""The decision of a person: one transaction with its vote, its entry, its events and what it means for runs."""

from __future__ import annotations

from functools import partial

from flowstone.approvals import eligibility, transitions
from flowstone.approvals.eligibility import Person, Refusal
from flowstone.approvals.policy import policy_of
from flowstone.approvals.transitions import Ballot
from flowstone.audit import approval_acts
from flowstone.audit.recorder import Who
from flowstone.events.catalogue import CheckpointRefused
from flowstone.execution import candidates, expiring, proving, weakened
from flowstone.execution.candidates import Candidate
from flowstone.execution.services import Services
from flowstone.execution.verdicts import Decided, Verdicts, close, insisting, known, late
from flowstone.foundation.errors import AlreadyDecidedError, ApprovalError, CandidateChangedError
from flowstone.stores import approvals, outputs
from flowstone.stores.database import Transaction
from flowstone.stores.records import ApprovalRecord

LATE = "late"


class _RefusedError(Exception):
    """Undoes the transaction of somebody who may not decide."""

    def __init__(self, refusal: Refusal, kind: type[ApprovalError] = ApprovalError) -> None:
        self.refusal, self.kind = refusal, kind


class Deciding:
    """Decisions about the requests of one project."""

    def __init__(self, services: Services) -> None:
        self._services, self._database, self._project = services, services.database, services.project
        self._verdicts = Verdicts(services)

    def vote(self, id: str, ballot: Ballot, *, older: bool = False) -> Decided:
        """Say yes or no. *older*: a yes may replace a current output that is newer than the candidate.

        Raises :class:`AlreadyDecidedError` when it comes too late, :class:`ApprovalError` for somebody who may not decide, and
        :class:`CandidateChangedError` when the stored bytes are not those that were asked about: the request is void then.
        """
        asked = self._read(id)
        if asked.status == "pending" and (asked.deadline or 0) <= self._database.now():
            expiring.settle_due(self._services, asked.id)
        candidate = candidates.of(self._services, asked)
        changed = candidates.changed_bytes(self._services, asked, candidate) if asked.status == "pending" else ""
        try:
            decided = insisting(lambda: self._voted(asked.id, ballot, candidate, changed, older=older))
        except _RefusedError as refused:
            if refused.refusal.reason == LATE and expiring.settle_due(self._services, asked.id):
                return self.vote(id, ballot, older=older)  # its time was up just now, or there is more of it
            raise self._refuse(asked.id, refused, ballot.person) from None
        close(self._services, decided)
        if (decided.approval.kind, decided.approval.status) == (weakened.KIND, "approved"):
            self._spare(decided.approval, ballot.person)
        if decided.vote is None:
            hint = f"flowstone run --resume {asked.run_id} computes it again"
            raise CandidateChangedError(f"{asked.id} is void: {decided.approval.reason}", hint=hint)
        return decided

    def cancel(self, id: str, person: Person, reason: str) -> Decided:
        """Take the question back: its step ends as cancelled. Only who requested the run, or who may decide, can do that."""
        asked = self._read(id)
        try:
            decided = insisting(lambda: self._cancelled(asked.id, person, reason))
        except _RefusedError as refused:
            if refused.refusal.reason == LATE and expiring.settle_due(self._services, asked.id):
                return self.cancel(id, person, reason)
            raise self._refuse(asked.id, refused, person) from None
        close(self._services, decided)
        return decided

    def refuse(self, id: str, refusal: Refusal, person: Person) -> ApprovalError:
        """Record that somebody's attempt was refused before it could be made; return the error that tells them."""
        return self._refuse(id, _RefusedError(refusal), person)

    def _spare(self, given: ApprovalRecord, by: Person) -> None:
        """End what other partitions still ask about the same weaker gate: it has been let through for all of them."""
        with self._database.reading() as connection:
            pending = approvals.listed(connection, self._project, kind=weakened.KIND, asset=given.asset, limit=None)
        for other in pending:
            if other.digest == given.digest:
                close(self._services, insisting(partial(self._spared, other.id, given, by)))

    # -- inside the transaction -----------------------------------------------------------------------------------------

    def _voted(self, id: str, ballot: Ballot, candidate: Candidate | None, changed: str, *, older: bool) -> Decided:
        with self._database.transaction(power=True) as tx:
            row, votes, now = known(tx, id), approvals.votes_in(tx, id), self._database.now()
            for said in votes:
                if said.decision == ballot.decision:
                    if (said.voter, said.verdict) != (ballot.person.id, ballot.verdict):
                        text = f"the decision {ballot.decision!r} is taken: {said.voter} said {said.verdict}"
                        refusal = Refusal("already_decided", text, "decide under another id")
                        raise _RefusedError(refusal, AlreadyDecidedError)
                    return Decided(row, said, again=True)
            self._require_open(row, now)
            self._require(proving.unproven(row, ballot, now))
            policy = policy_of(row.policy)
            self._require(eligibility.refusal(row, policy, ballot.person, votes, self._services.people))
            why = changed or self._stale(tx, row, ballot, candidate, older=older)
            if why:
                return self._verdicts.void(tx, row, ballot.person, why, now)
            said_now = transitions.vote(tx, row, ballot, now)
            assert said_now is not None  # the request is locked, and neither this person nor this decision is there
            if ballot.verdict == "reject":
                return self._verdicts.end(tx, row, "rejected", ballot.person, ballot.comment, now, votes=[said_now])
            agreed = [*votes, said_now]  # one no would have ended it
            if len(agreed) >= eligibility.needed(row, policy):
                return self._verdicts.approve(tx, row, ballot.person, ballot.comment, now, candidate, agreed)
            transitions.counted(tx, row, said_now, len(agreed), now)
            row = known(tx, id)
            self._verdicts.tell(tx, approval_acts.voted(row, said_now), row, Who(*ballot.person[:2]), now)
            return Decided(row, said_now)

    def _stale(self, tx: Transaction, row: ApprovalRecord, ballot: Ballot, candidate: Candidate | None, *, older: bool) -> str:
        """Why a yes makes the request void; raises where it is refused because a newer version is current."""
        if ballot.verdict != "approve" or candidate is None:
            return ""
        why = candidates.stale(tx, self._services, row, candidate)
        if not why and not older and outputs.is_overtaken(tx, candidate.output.id):
            text = f"a newer version of {row.asset} than this candidate is current"
            raise _RefusedError(Refusal("older", text, "--older makes the older one current all the same"))
        return why

    def _cancelled(self, id: str, person: Person, reason: str) -> Decided:
        with self._database.transaction(power=True) as tx:
            row, now = known(tx, id), self._database.now()
            self._require_open(row, now)
            if not eligibility.is_requester(row, person, self._services.people):
                votes = approvals.votes_in(tx, id)
                self._require(eligibility.refusal(row, policy_of(row.policy), person, votes, self._services.people))
            return self._verdicts.end(tx, row, "cancelled", person, reason, now)

    def _spared(self, id: str, given: ApprovalRecord, by: Person) -> Decided:
        with self._database.transaction(power=True) as tx:
            row = known(tx, id)
            if row.status != "pending":
                return Decided(row, None)
            return self._verdicts.void(tx, row, by, f"the gate was let through as {given.id}", self._database.now())

    @staticmethod
    def _require_open(row: ApprovalRecord, now: int) -> None:
        if row.status != "pending":
            refusal = Refusal("already_decided", late(row), f"flowstone approvals show {row.id}")
            raise _RefusedError(refusal, AlreadyDecidedError)
        if row.deadline is not None and row.deadline <= now:
            raise _RefusedError(Refusal(LATE, f"the time of {row.id} was up", "flowstone tick settles it"), AlreadyDecidedError)

    @staticmethod
    def _require(refusal: Refusal | None) -> None:
        if refusal is not None:
            raise _RefusedError(refusal)

    # -- around the transaction -----------------------------------------------------------------------------------------

    def _read(self, id: str) -> ApprovalRecord:
        with self._database.reading() as connection:
            return approvals.find(connection, self._project, id)

    def _refuse(self, id: str, refused: _RefusedError, person: Person) -> ApprovalError:
        """Record that somebody was refused; return the error that tells them."""
        insisting(lambda: self._refused(id, refused.refusal, person))
        reason, message, hint = refused.refusal
        return refused.kind(message, hint=hint, approval=id, reason=reason)

    def _refused(self, id: str, refusal: Refusal, person: Person) -> None:
        (reason, message, _), now = refusal, self._database.now()
        with self._database.transaction() as tx:
            row = known(tx, id)
            tx.emit(
                CheckpointRefused, at=now, approval=row.id, kind=row.kind, asset=row.asset, partition=row.partition,
                run_id=row.run_id, trace_id=row.trace_id, reason=reason, message=message, actor=person.id,
                identity=person.identity,
            )  # fmt: skip
            who, act = Who(person.id, person.identity), approval_acts.refused(row, reason, message)
            self._services.audit.tell(tx, act, who, now, run_id=row.run_id, trace_id=row.trace_id)
