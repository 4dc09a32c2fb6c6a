"""Approvals as users have them: what people are asked, what they may decide, and deciding it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from flowstone.app import approval_policy, approval_signing, approval_views, deciders
from flowstone.app.approval_policy import Gate, Violation
from flowstone.app.approval_preview import preview
from flowstone.app.approval_signing import Signed
from flowstone.app.approval_views import ApprovalView
from flowstone.app.found import Found
from flowstone.app.wiring import Deployment
from flowstone.approvals.eligibility import Person, Refusal
from flowstone.approvals.transitions import Ballot
from flowstone.execution import custody
from flowstone.execution.deciding import Deciding
from flowstone.execution.run import Actor
from flowstone.execution.services import Services
from flowstone.execution.verdicts import Decided
from flowstone.foundation.errors import SignatureError, UsageError
from flowstone.foundation.signatures.statement import Statement
from flowstone.stores import approvals, outputs, runs
from flowstone.stores.records import ApprovalRecord, VoteRecord

MAX_COMMENT = 2_000
VERDICTS = ("approve", "reject")


class Told(NamedTuple):
    """A request, and what people have said to it."""

    request: ApprovalRecord
    votes: list[VoteRecord]


class Approvals:
    """The requests for approval of one project, and deciding about them as this actor.

    An *id* may be the beginning of one.
    """

    def __init__(self, deployment: Deployment, actor: Actor) -> None:
        self._deployment, self.actor = deployment, actor
        self._shown: dict[str, str] = {}
        """The requests that were looked at through this object, and the digest of the preview that was shown."""

    # -- asking ---------------------------------------------------------------------------------------------------------

    def requests(
        self, *, status: str | None = "pending", asset: str | None = None, run: str | None = None, limit: int = 50
    ) -> list[ApprovalRecord]:
        """The requests that are pending, the oldest first; with another *status*, or ``None`` for all, the newest first."""
        with self._reading() as connection:
            run_id = runs.find(connection, self._project, run).id if run else None
            return approvals.listed(connection, self._project, status=status, asset=asset, run_id=run_id, limit=limit)

    def runs_to_go_on(self) -> list[str]:
        """The runs that people have decided about and nobody has resumed yet."""
        if self._deployment.is_new():
            return []
        with self._reading() as connection:
            return [run.id for run in runs.to_go_on(connection, self._project)]

    def find(self, id: str) -> ApprovalRecord:
        """The request *id*."""
        with self._reading() as connection:
            return approvals.find(connection, self._project, id)

    def votes(self, id: str) -> list[VoteRecord]:
        """What people have said to the request, in their order."""
        with self._reading() as connection:
            found = approvals.find(connection, self._project, id).id
            return approvals.votes(connection, [found])[found]

    def show(self, id: str, *, as_decided: bool = False, preview: bool = False) -> ApprovalView:
        """Everything to decide upon: which bytes, made from what, what has changed, what follows, whether this actor may decide.

        *as_decided*: only what was stored when people were asked and decided. With a *preview* the beginning of the candidate is
        loaded; reading a sensitive one is audited. That it was looked at is kept with a decision through this object.
        """
        if as_decided and preview:
            raise UsageError("a preview is of the present, as_decided of the past", hint="leave one of them out")
        found = approval_views.view(self._deployment, id, None if as_decided else self._person())
        if preview:
            found = msgspec.structs.replace(found, preview=self._preview(found))
        if not as_decided:
            looked_at = found.preview.digest if found.preview else self._shown.get(found.request.id, "")
            self._shown[found.request.id] = looked_at
        return found

    def history(self, asset: str, *, partition: Any = None, limit: int = 100) -> list[Told]:
        """Every request about the asset, or one partition of it, and the votes on it; the newest first."""
        found = Found(self._deployment, None)
        found.partitions(asset)  # raises for an unknown asset
        encoded = found.partition(asset, partition) if partition is not None else None
        with self._reading() as connection:
            asked = approvals.listed(connection, self._project, status=None, asset=asset, partition=encoded, limit=limit)
            votes = approvals.votes(connection, [one.id for one in asked])
        return [Told(one, votes[one.id]) for one in asked]

    def policy(self) -> list[Gate]:
        """The gates in force: those of the newest stored definitions."""
        return approval_policy.gates(self._deployment)

    def violations(self) -> list[Violation]:
        """What breaks the gates in force: decisions they would refuse, current values nobody approved, gates nobody keeps."""
        return approval_policy.violations(self._deployment)

    # -- deciding -------------------------------------------------------------------------------------------------------

    def approve(
        self,
        id: str,
        comment: str = "",
        *,
        decision: str | None = None,
        older: bool = False,
        sign: str | Path | None = None,
        signature: str | None = None,
        statement: bytes | None = None,
    ) -> Decided:
        """Say yes: once enough people have, exactly the bytes that were asked about become current.

        *decision* is an id of the caller's choice: the same one again is the same decision. *older*: although a newer version is
        current. *sign* is the file of this actor's SSH key; a *signature* that was made elsewhere comes with the *statement* that
        was signed. Raises :class:`AlreadyDecidedError`, :class:`CandidateChangedError` and, for somebody who may not decide,
        :class:`ApprovalError`; each attempt is recorded.
        """
        return self._vote(id, "approve", comment, decision, _Proof(sign, signature, statement), older=older)

    def reject(
        self,
        id: str,
        comment: str = "",
        *,
        decision: str | None = None,
        sign: str | Path | None = None,
        signature: str | None = None,
        statement: bytes | None = None,
    ) -> Decided:
        """Say no, and why: what was asked about never becomes current, and what depends on it is skipped."""
        return self._vote(id, "reject", comment, decision, _Proof(sign, signature, statement), older=False)

    def cancel(self, id: str, reason: str) -> Decided:
        """Take the question back: its step ends as cancelled."""
        return Deciding(self._services()).cancel(self.find(id).id, self._person(), self._said(reason))

    def statement(self, id: str, verdict: str, comment: str = "") -> bytes:
        """The exact bytes that this actor signs elsewhere, now: ``ssh-keygen -Y sign -n flowstone-decision``."""
        if verdict not in VERDICTS:
            raise UsageError(f"verdict {verdict!r} is not known", hint=f"one of {', '.join(VERDICTS)}")
        said = self._said(comment) if comment or verdict == "reject" else ""
        return self._statement(self.find(id), verdict, said).text()

    def _vote(self, id: str, verdict: str, comment: str, decision: str | None, proof: _Proof, *, older: bool) -> Decided:
        services, asked, person = self._services(), self.find(id), self._person()
        try:
            signed = self._signed(asked, verdict, comment, proof)
        except SignatureError as error:
            refusal = Refusal("signature", error.message, error.hint or "sign what flowstone approvals statement prints")
            raise Deciding(services).refuse(asked.id, refusal, person) from error
        if signed is None:
            said = self._said(comment) if comment or verdict == "reject" else ""
            ballot = Ballot(decision or services.ids.new("dec"), verdict, said, person, self._seen(asked))
        else:
            chosen, project = self._deployment.settings.approvals, self._project
            deciders.compare_signers(chosen.allowed_signers, project, services.database, services.audit, self._deployment.who)
            text, signature, key = signed
            by, at = person._replace(key=key), text.at * 1_000
            ballot = Ballot(decision or services.ids.new("dec"), verdict, text.comment, by, self._seen(asked), signature, at)
        return Deciding(services).vote(asked.id, ballot, older=older)

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _signed(self, asked: ApprovalRecord, verdict: str, comment: str, proof: _Proof) -> Signed | None:
        """The signature that proves the decision, checked; ``None`` where it is not signed."""
        key, signature, given = proof
        if key is None and signature is None and given is None:
            return None
        if (signature is None) != (given is None) or (key is not None and signature is not None):
            hint = "sign=KEY, or signature=TEXT with the statement=BYTES that were signed"
            raise UsageError("a signature and the statement it is of belong together", hint=hint)
        if key is not None:
            said = self._said(comment) if comment or verdict == "reject" else ""
            text = self._statement(asked, verdict, said)
            signature = approval_signing.sign(Path(key).expanduser(), text)
        else:
            assert given is not None
            text = approval_signing.read(asked, verdict, given)
            self._require_own(text, comment)
        assert signature is not None
        now = self._deployment.reading().now()
        return approval_signing.checked(self._deployment.settings.approvals, asked, text, signature, now)

    def _require_own(self, text: Statement, comment: str) -> None:
        """Refuse a statement of somebody else, or with another comment than is given or could be stored."""
        if text.actor != self.actor.id:
            raise SignatureError(f"{text.actor} signed it, and {self.actor.id} decides", hint=f"--as {text.actor}")
        if comment and comment != text.comment:
            raise SignatureError("another comment was signed", hint="leave out -m: the comment is in what was signed")
        if text.comment and self._said(text.comment) != text.comment:
            hint = "sign what flowstone approvals statement prints"
            raise SignatureError("the comment that was signed holds what is not stored, such as a secret", hint=hint)

    def _statement(self, asked: ApprovalRecord, verdict: str, comment: str) -> Statement:
        return approval_signing.statement(asked, verdict, comment, self.actor.id, self._deployment.reading().now())

    def _seen(self, asked: ApprovalRecord) -> Mapping[str, Any]:
        """What the person could know beside the request: whether its bytes could be checked, and what was newer."""
        with self._reading() as connection:
            candidate = outputs.find(connection, [asked.output]).get(asked.output) if asked.output else None
            told = approval_views.newer(self._deployment, connection, asked, candidate)
        host = str(asked.facts.get("host", ""))
        checked = custody.is_reachable(self._deployment.io, candidate, host) if candidate is not None else None
        seen: dict[str, Any] = {"shown": asked.id in self._shown, "newer": told}
        if checked is not None:
            seen["bytes"] = "match" if checked else "unreachable"  # others are void, and no vote is taken
        if self._shown.get(asked.id):
            seen["preview"] = self._shown[asked.id]
        return seen

    def _preview(self, found: ApprovalView) -> Any:
        if found.candidate is None:
            raise UsageError(f"{found.request.id} is about no value: there is nothing to preview", hint="leave out --preview")
        return preview(self._deployment, found.candidate)

    def _said(self, comment: str) -> str:
        if not comment.strip() or len(comment) > MAX_COMMENT:
            raise UsageError(f"a comment of 1 to {MAX_COMMENT:,} characters is needed", hint="-m 'why'")
        return self._deployment.redactor.text(comment)

    def _person(self) -> Person:
        return Person(self.actor.id, self.actor.source)

    @property
    def _project(self) -> str:
        return self._deployment.settings.project

    def _reading(self) -> Any:
        return self._deployment.reading().reading()

    def _services(self) -> Services:
        return self._deployment.existing()


class _Proof(NamedTuple):
    """How a decision is proven, if it is: a key to sign with, or a signature and what it is of."""

    key: str | Path | None
    signature: str | None
    statement: bytes | None
