"""The decision of a person, or of time: one transaction with its vote, its entry, its events and what it means for runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowstone.approvals import eligibility, transitions
from flowstone.approvals.eligibility import Person, Refusal
from flowstone.approvals.policy import policy_of
from flowstone.approvals.transitions import Ballot
from flowstone.audit import acts, approval_acts
from flowstone.audit.recorder import ONLY, Who
from flowstone.events.catalogue import CheckpointRefused
from flowstone.execution import asking, closing
from flowstone.execution.services import Services
from flowstone.execution.session import as_output
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import (
    AlreadyDecidedError,
    ApprovalError,
    CandidateChangedError,
    CorruptOutputError,
    MissingOutputError,
    StorageError,
)
from flowstone.foundation.serialize import from_json
from flowstone.stores import approvals, lineage, materializations, outputs, pipelines
from flowstone.stores.database import Connection, Transaction
from flowstone.stores.records import ApprovalRecord, MaterializationRecord, OutputRecord, VoteRecord

CLOCK = "flowstone"
"""Who acts when time does."""


class Decided(NamedTuple):
    """A request as it is after a vote, the vote, and the runs that may go on."""

    approval: ApprovalRecord
    vote: VoteRecord | None
    runs: tuple[str, ...] = ()
    again: bool = False
    """Whether the same decision was there already: nothing changed."""


class _RefusedError(Exception):
    """Undoes the transaction of somebody who may not decide."""

    def __init__(self, refusal: Refusal, kind: type[ApprovalError] = ApprovalError) -> None:
        self.refusal, self.kind = refusal, kind


class _Candidate(NamedTuple):
    """What does not change of a candidate, read before the transaction."""

    output: OutputRecord
    edges: Sequence[tuple[str, str]]
    made: MaterializationRecord


class Deciding:
    """Decisions about the requests of one project."""

    def __init__(self, services: Services) -> None:
        self._services, self._database, self._project = services, services.database, services.project

    # -- people ---------------------------------------------------------------------------------------------------------

    def vote(self, id: str, ballot: Ballot, *, older: bool = False) -> Decided:
        """Say yes or no. *older*: a yes may replace a current output that is newer than the candidate.

        Raises :class:`AlreadyDecidedError` when it comes too late, :class:`ApprovalError` for somebody who may not decide, and
        :class:`CandidateChangedError` when the stored bytes are not those that were asked about: the request is void then.
        """
        asked = self._read(id)
        if asked.status == "pending" and (asked.deadline or 0) <= self._database.now():
            self.settle_due(asked.id)
        candidate = self._candidate(asked)
        changed = self._changed_bytes(candidate) if candidate is not None and asked.status == "pending" else ""
        try:
            with self._database.transaction(power=True) as tx:
                decided = self._void(tx, asked, changed, ballot) or self._vote(tx, asked.id, ballot, candidate, older=older)
        except _RefusedError as refused:
            raise self._refuse(asked.id, refused, ballot.person) from None
        for run_id in decided.runs:
            closing.close(self._services, run_id)
        if decided.approval.status == "invalidated":
            hint = f"flowstone run --resume {asked.run_id} computes it again"
            raise CandidateChangedError(f"{asked.id} is void: {decided.approval.reason}", hint=hint)
        return decided

    def cancel(self, id: str, person: Person, reason: str) -> Decided:
        """Take the question back: its step ends as cancelled. Only who requested the run, or who may decide, can do that."""
        asked = self._read(id)
        try:
            with self._database.transaction(power=True) as tx:
                row, votes, now = self._locked(tx, asked.id), approvals.votes_in(tx, asked.id), self._database.now()
                if person.id != row.requester:
                    self._require(eligibility.refusal(row, policy_of(row.policy), person, votes, self._services.people))
                ended = self._end(tx, row, "cancelled", person, reason, now)
        except _RefusedError as refused:
            raise self._refuse(asked.id, refused, person) from None
        for run_id in ended.runs:
            closing.close(self._services, run_id)
        return ended

    # -- time -----------------------------------------------------------------------------------------------------------

    def settle_due(self, id: str | None = None) -> list[ApprovalRecord]:
        """Do what the time has come for, of one request or of all; return them as they are now. Safe on many machines at once."""
        with self._database.reading() as connection:
            late = approvals.due(connection, self._project, self._database.now())
        done: list[ApprovalRecord] = []
        for asked in late:
            if id is None or asked.id == id:
                done += self._settle_due(asked)
        return done

    def _settle_due(self, seen: ApprovalRecord) -> list[ApprovalRecord]:
        candidate, policy = self._candidate(seen), policy_of(seen.policy)
        approving = policy.on_timeout == "approve"
        changed = self._changed_bytes(candidate) if candidate is not None and approving else ""
        with self._database.transaction(power=True) as tx:
            row, now = approvals.locked(tx, seen.id), self._database.now()
            if row is None or row.version != seen.version or row.status != "pending":
                return []  # a person, or another clock, was faster
            clock, freed = Person(CLOCK, "os"), tuple[str, ...]()
            if now < (row.deadline or 0) or policy.on_timeout == "remind":
                if transitions.remind(tx, row, now):
                    self._tell_moved(tx, row.id, approval_acts.REMINDED, now)
            elif policy.on_timeout == "escalate" and row.escalated_at is None:
                if transitions.escalate(tx, row, now):
                    self._tell_moved(tx, row.id, approval_acts.ESCALATED, now)
            elif approving and changed:
                asking.void(tx, self._services, row, clock, changed, now)
            elif approving:
                freed = self._approve(tx, row, clock, "nobody decided in time", now, candidate, ()).runs
            else:
                freed = self._end(tx, row, "expired", clock, "nobody decided in time", now).runs
        for run_id in freed:
            closing.close(self._services, run_id)
        return [self._read(seen.id)]

    # -- inside the transaction -----------------------------------------------------------------------------------------

    def _vote(self, tx: Transaction, id: str, ballot: Ballot, candidate: _Candidate | None, *, older: bool) -> Decided:
        row, votes, now = self._known(tx, id), approvals.votes_in(tx, id), self._database.now()
        for said in votes:
            if said.decision == ballot.decision:
                if (said.voter, said.verdict) != (ballot.person.id, ballot.verdict):
                    text = f"the decision {ballot.decision!r} is taken: {said.voter} said {said.verdict}"
                    raise _RefusedError(Refusal("already_decided", text, "decide under another id"), AlreadyDecidedError)
                return Decided(row, said, again=True)
        self._require_open(row, now)
        policy = policy_of(row.policy)
        self._require(eligibility.refusal(row, policy, ballot.person, votes, self._services.people))
        if ballot.verdict == "approve" and candidate is not None:
            stale = self._stale(tx, row, candidate)
            if stale:
                return self._void(tx, row, stale, ballot) or Decided(row, None)
            if not older and outputs.is_overtaken(tx, candidate.output.id):
                text = f"a newer version of {row.asset} than this candidate is current"
                raise _RefusedError(Refusal("older", text, "--older makes the older one current all the same"))
        said_now = transitions.vote(tx, row, ballot, now)
        if said_now is None:
            raise _RefusedError(Refusal("voted", f"{ballot.person.id} has voted already", f"flowstone approvals show {id}"))
        agreed = [*(vote for vote in votes if vote.verdict == "approve"), said_now]
        if ballot.verdict == "reject":
            return self._end(tx, row, "rejected", ballot.person, ballot.comment, now, said_now)
        if len(agreed) < eligibility.needed(row, policy):
            transitions.counted(tx, row, said_now, len(agreed), now)
            row = self._known(tx, id)
            self._tell(tx, approval_acts.voted(row, said_now), row, Who(*ballot.person[:2]), now)
            return Decided(row, said_now)
        return self._approve(tx, row, ballot.person, ballot.comment, now, candidate, agreed)

    def _approve(
        self,
        tx: Transaction,
        row: ApprovalRecord,
        by: Person,
        reason: str,
        now: int,
        candidate: _Candidate | None,
        votes: Sequence[VoteRecord],
    ) -> Decided:
        """The candidate becomes current, with the entry of the decision and that of its materialization."""
        decided = self._end(tx, row, "approved", by, reason, now, votes[-1] if votes else None, votes)
        if candidate is not None:
            made, output = candidate.made, candidate.output
            outputs.point(tx, self._project, output.asset, output.partition, output.id)
            act = acts.succeeded(made.id, output, candidate.edges, made.attempts, made.later)
            who = Who(row.requester, row.identity)
            self._services.audit.tell(tx, act, who, now, version=ONLY, run_id=row.run_id, trace_id=row.trace_id)
        return decided

    def _end(
        self,
        tx: Transaction,
        row: ApprovalRecord,
        status: str,
        by: Person,
        reason: str,
        now: int,
        said: VoteRecord | None = None,
        votes: Sequence[VoteRecord] = (),
    ) -> Decided:
        if not transitions.end(tx, row, status, by, reason, now, votes=votes):
            raise _RefusedError(self._late(self._known(tx, row.id)), AlreadyDecidedError)
        ended = self._known(tx, row.id)
        self._tell(tx, approval_acts.ended(ended, said), ended, Who(by.id, by.identity), now)
        return Decided(ended, said, tuple(asking.release(tx, self._services, row, status, reason, now)))

    def _void(self, tx: Transaction, seen: ApprovalRecord, why: str, ballot: Ballot) -> Decided | None:
        """End a request whose subject has changed, ``None`` when it has not, or has ended."""
        row = self._known(tx, seen.id) if why else None
        if row is None or row.status != "pending":
            return None
        asking.void(tx, self._services, row, ballot.person, why, self._database.now())
        return Decided(self._known(tx, seen.id), None)

    def _stale(self, tx: Transaction, row: ApprovalRecord, candidate: _Candidate) -> str:
        """What of *invalidate_on* has changed since people were asked; empty when nothing has."""
        watched, made = policy_of(row.policy).invalidate_on, candidate.output
        if "code" in watched:
            newest = pipelines.last_used(tx, self._project, row.pipeline)
            known = from_json(pipelines.text_of(tx, newest.id))["assets"] if newest is not None else []
            if any(asset["name"] == row.asset and asset["digest"] != made.definition for asset in known):
                return "the code of the asset has changed since people were asked"
        if "config" in watched and asking.config_changed(row.facts, self._services.config):
            return "the configuration of the asset has changed since people were asked"
        if "inputs" in watched and any(outputs.has_changed(tx, upstream) for _, upstream in candidate.edges):
            return "an input has another current value since people were asked"
        return ""

    def _known(self, tx: Transaction, id: str) -> ApprovalRecord:
        row = approvals.locked(tx, id)
        assert row is not None  # requests are never deleted while they are referred to
        return row

    def _locked(self, tx: Transaction, id: str) -> ApprovalRecord:
        row = self._known(tx, id)
        self._require_open(row, self._database.now())
        return row

    def _require_open(self, row: ApprovalRecord, now: int) -> None:
        if row.status != "pending":
            raise _RefusedError(self._late(row), AlreadyDecidedError)
        if row.deadline is not None and row.deadline <= now:
            raise _RefusedError(Refusal("late", f"the time of {row.id} was up", "flowstone tick settles it"), AlreadyDecidedError)

    @staticmethod
    def _require(refusal: Refusal | None) -> None:
        if refusal is not None:
            raise _RefusedError(refusal)

    @staticmethod
    def _late(row: ApprovalRecord) -> Refusal:
        when = as_datetime(row.ended_at or 0).strftime("%d %b %Y %H:%M UTC")
        by = f"{row.decided_by} " if row.decided_by != CLOCK else ""
        verb = {"approved": "approved it", "rejected": "rejected it", "cancelled": "cancelled it"}.get(row.status) if by else None
        told = f"{by}{verb} {when}" if verb else f"it {'has ' if row.status == 'expired' else 'was '}{row.status} {when}"
        return Refusal("already_decided", f"Already decided: {told}. Nothing changed", f"flowstone approvals show {row.id}")

    # -- around the transaction -----------------------------------------------------------------------------------------

    def _read(self, id: str) -> ApprovalRecord:
        with self._database.reading() as connection:
            return approvals.find(connection, self._project, id)

    def _candidate(self, asked: ApprovalRecord) -> _Candidate | None:
        if asked.kind != "after":
            return None
        with self._database.reading() as connection:
            return self._read_candidate(connection, asked)

    @staticmethod
    def _read_candidate(connection: Connection, asked: ApprovalRecord) -> _Candidate:
        output = outputs.find(connection, [asked.output])[asked.output]
        edges = [(edge.parameter, edge.upstream) for edge in lineage.edges_into(connection, [asked.output])]
        (made,) = materializations.find(connection, [asked.materialization])
        return _Candidate(output, edges, made)

    def _changed_bytes(self, candidate: _Candidate) -> str:
        """What is wrong with the stored bytes, where this machine can see them at all."""
        output = as_output(candidate.output)
        manager = self._services.io.get(output.manager)
        path = manager.path(output)
        if manager.one_process and not manager.exists(output):
            return ""  # in the memory of another process
        if path is not None and not any(parent.is_dir() for parent in list(path.parents)[:4]):
            return ""  # this machine has not the folder: it decides upon what was stored with the request
        try:
            manager.read_bytes(output)
        except CorruptOutputError:
            return "the stored bytes are not those that people were asked about"
        except MissingOutputError:
            return "the stored bytes are gone"
        except StorageError as error:
            raise ApprovalError(f"the stored bytes could not be checked: {error.message}", hint=error.hint) from error
        return ""

    def _tell(self, tx: Transaction, act: acts.Act, row: ApprovalRecord, who: Who, now: int) -> None:
        self._services.audit.tell(tx, act, who, now, version=row.version, run_id=row.run_id, trace_id=row.trace_id)

    def _tell_moved(self, tx: Transaction, id: str, action: str, now: int) -> None:
        row = self._known(tx, id)
        self._tell(tx, approval_acts.moved(row, action), row, Who(CLOCK, "os"), now)

    def _refuse(self, id: str, refused: _RefusedError, person: Person) -> ApprovalError:
        """Record that somebody was refused; return the error that tells them."""
        (reason, message, hint), now = refused.refusal, self._database.now()
        with self._database.transaction() as tx:
            row = self._known(tx, id)
            tx.emit(
                CheckpointRefused, at=now, approval=row.id, kind=row.kind, asset=row.asset, partition=row.partition,
                run_id=row.run_id, trace_id=row.trace_id, reason=reason, message=message, actor=person.id, identity=person.identity,
            )  # fmt: skip
            who = Who(person.id, person.identity)
            act = approval_acts.refused(row, reason, message)
            self._services.audit.tell(tx, act, who, now, run_id=row.run_id, trace_id=row.trace_id)
        return refused.kind(message, hint=hint, approval=row.id, reason=reason)
