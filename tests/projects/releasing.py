"""What an honest history has of approvals: requests, votes, some of them signed, reminders, and every way a request ends."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flowstone.approvals import transitions
from flowstone.approvals.eligibility import Person
from flowstone.approvals.transitions import Ballot, Question
from flowstone.assets.approval import Approval
from flowstone.audit import acts, approval_acts
from flowstone.audit.acts import micro
from flowstone.foundation.signatures.allowed_signers import Signers
from flowstone.foundation.signatures.keys import public_key_of
from flowstone.foundation.signatures.sshsig import sign
from flowstone.foundation.signatures.statement import NAMESPACE, Statement
from flowstone.stores import approvals, lineage, materializations, outputs

PEOPLE = ("ann", "bob", "eve")
KEYS = {name: Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number, name in enumerate(PEOPLE)}
PUBLIC = {
    name: public_key_of(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
    for name, key in KEYS.items()
}
SIGNERS = Signers.parse("".join(f"{name} {key}\n" for name, key in PUBLIC.items()), "signers")
PLACES = [("bom", partition) for partition in ("", "mon", "k" * 200)]


class Releasing:
    """What happens to requests in a ``World``; each has a run of its own, which ends when it is answered."""

    def ask(self) -> None:
        """A run asks about a candidate, or before it computes anything."""
        place = self.random.choice(PLACES)
        with self.database.transaction() as tx:
            older = approvals.locked_at(tx, "shop", *place)
        if older is None and self.list_keys() is None:
            self.asks(place, self.random.choice(["after", "after", "after", "before"]))

    def list_keys(self) -> None:
        """The first time, it is told whose keys are whose."""
        if not self.are_keys_listed and self.is_audited:
            self.are_keys_listed = True
            with self.database.transaction() as tx:
                self.audit(tx, approval_acts.signers_changed("", "0" * 64, SIGNERS.pairs(), ()))

    def asks(self, place, kind, *, signed=None, quorum=None) -> str:
        """Ask about *place*; return the id of the request."""
        before = self.run, self.made
        self.request_run()
        (run, _), (self.run, self.made) = (self.run, self.made), before
        id, now, inputs = self.ids.new("apr"), self.database.now(), [("i0", each) for each in self.current()[:1]]
        signed = self.random.random() < 0.4 if signed is None else signed
        policy = Approval(
            "May we?", ["group:reviewers"], quorum=quorum or self.random.choice([1, 2]), assurance="signed" if signed else "os",
            on_timeout="escalate", escalate_to=["boss"],
        ).describe()  # fmt: skip
        with self.database.transaction() as tx:
            row = materializations.claim_new(tx, "shop", run, *place)
            candidate = self._candidate(tx, row, run, place, inputs, now) if kind == "after" else None
            if candidate is None:
                materializations.settle(tx, row, "waiting")
            question = Question(
                kind, "p", *place, run, "0" * 31 + "1", row, candidate.id if candidate else "",
                candidate.digest if candidate else "b" * 64, {"message": "May we?", "rows": 7}, "dev", "os",
            )  # fmt: skip
            asked = transitions.ask(tx, "shop", id, question, policy, now)
            self.audit(tx, approval_acts.requested(asked, candidate, inputs), run_id=run, version=1)
        return id

    def _candidate(self, tx, row, run, place, inputs, now):
        attempt = materializations.begin_attempt(tx, row, 1, "proc_1", now)
        before, self.run = self.run, run
        record = self._record(row, *place, now)
        self.run = before
        materializations.settle_attempt(tx, attempt, "proc_1", "waiting", now, 5)
        materializations.settle(tx, row, "waiting", output=record.id)
        outputs.add(tx, {**{name: getattr(record, name) for name in record.__struct_fields__}, "project": "shop"})
        for parameter, upstream in inputs:
            lineage.add(tx, record.id, parameter, upstream)
        return record

    def decided(self):
        """One request of each kind: approved by signatures and by time, rejected, expired, and two that are open; sealed."""
        for id in self.pending():
            self.answers(id, "cancel")
        self.list_keys()
        for how in ("approve", "time", "reject", "expire", "approve"):
            self.answers(self.asks(PLACES[0], "after", signed=True, quorum=2), how)
        self.votes_yes(self.asks(PLACES[1], "after", quorum=2))
        self.asks(PLACES[2], "before")
        self.seal()
        return self

    def pending(self) -> list[str]:
        """The open requests."""
        with self.database.reading() as connection:
            return sorted(each.id for each in approvals.listed(connection, "shop"))

    def answer(self) -> None:
        """One of the open requests is answered, by people or by time."""
        if self.pending():
            self.answers(self.random.choice(self.pending()), self.random.choice(
                ["approve", "approve", "reject", "expire", "invalidate", "cancel", "time", "remind", "escalate"]
            ))  # fmt: skip

    def vote(self) -> None:
        """Somebody agrees with one of the open requests, and more people are needed."""
        for id in [id for id in self.pending() if self._needs_more(id)][:1]:
            self.votes_yes(id)

    def answers(self, id, how) -> None:
        """What becomes of the request."""
        with self.database.reading() as connection:
            output = approvals.find(connection, "shop", id).output
            made = (
                outputs.find(connection, [output]).get(output),
                [(edge.parameter, edge.upstream) for edge in lineage.edges_into(connection, [output])],
            )
        while how == "approve" and self._needs_more(id):
            self.votes_yes(id)
        with self.database.transaction() as tx:
            asked, now = approvals.locked(tx, id), self.database.now()
            if how in ("remind", "escalate"):
                assert getattr(transitions, how)(tx, asked, now)
                act = {"remind": approval_acts.REMINDED, "escalate": approval_acts.ESCALATED}[how]
                self.audit_about(tx, approval_acts.moved(approvals.locked(tx, id), act), "flowstone")
                return
            said = self._vote(tx, asked, how, now) if how in ("approve", "reject") else None
            by = Person(said.voter if said else "flowstone", "os")
            status = {"approve": "approved", "time": "approved", "reject": "rejected", "expire": "expired",
                      "invalidate": "invalidated", "cancel": "cancelled"}[how]  # fmt: skip
            reason = said.comment if said else f"by {how}"
            assert transitions.end(tx, asked, status, by, reason, now, votes=[said] if said else ())
            asked = approvals.locked(tx, id)
            self.audit_about(tx, approval_acts.ended(asked, said), by.id)
            self._settle(tx, asked, status, reason, *made)
        before, self.run = self.run, asked.run_id
        self.end_run("success" if status == "approved" else "failed")
        self.run = before

    def _needs_more(self, id) -> bool:
        with self.database.reading() as connection:
            return approvals.find(connection, "shop", id).policy["quorum"] > len(approvals.votes(connection, [id])[id]) + 1

    def votes_yes(self, id) -> None:
        """Somebody says yes, and more people are needed."""
        with self.database.transaction() as tx:
            asked, now = approvals.locked(tx, id), self.database.now()
            said = self._vote(tx, asked, "approve", now)
            assert transitions.counted(tx, asked, said, 1, now)
            self.audit_about(tx, approval_acts.voted(approvals.locked(tx, id), said), said.voter)

    def _vote(self, tx, asked, verdict, now):
        """What the next person says, signed where the policy wants it."""
        person = PEOPLE[len(approvals.votes_in(tx, asked.id))]
        comment, signature, key = self.random.choice(["fine by Ann", "", "looked at it"]), "", ""
        if asked.policy["assurance"] == "signed":
            statement = Statement(
                approval=asked.id, project="shop", asset=asked.asset, partition=asked.partition, verdict=verdict,
                digest=asked.digest, comment=comment, actor=person, at=micro(now),
            )  # fmt: skip
            signature, key = sign(KEYS[person], statement.text(), NAMESPACE), PUBLIC[person].fingerprint
        ballot = Ballot(self.ids.new("dec"), verdict, comment, Person(person, "os", key), {"rows": 7}, signature, now)
        return transitions.vote(tx, asked, ballot, now)

    def _settle(self, tx, asked, status, reason, record, edges) -> None:
        row = asked.materialization
        if status == "approved" and asked.kind == "after":
            materializations.decide(tx, row, "success", output=asked.output)
            outputs.point(tx, "shop", *asked.place, asked.output)
            self.audit(tx, acts.succeeded(row, record, edges, 1), run_id=asked.run_id, version=1)
        elif status in ("rejected", "expired"):
            materializations.decide(tx, row, status, reason=status, message=reason)
        else:  # the run would go on; here it ends with it
            materializations.decide(tx, row, "cancelled", reason="cancelled", message=reason)

    def refuse(self) -> None:
        """Somebody who may not decide tries to."""
        for id in self.pending()[:1]:
            with self.database.transaction() as tx:
                self.audit(tx, approval_acts.refused(approvals.locked(tx, id), "not_approver", "eve is not asked"))

    def audit_about(self, tx, act, actor) -> None:
        """Append the entry of what became of a request."""
        asked = approvals.locked(tx, act.subject.partition(":")[2])
        self.audit(tx, act, run_id=asked.run_id, version=asked.version, actor=actor)
