"""The half of a gate that holds the store: a run asks people, and what becomes of everybody who waits for their answer."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flowstone.approvals import transitions
from flowstone.approvals.eligibility import Person
from flowstone.approvals.transitions import Question
from flowstone.audit import approval_acts
from flowstone.audit.acts import Act
from flowstone.audit.recorder import ONLY, Who
from flowstone.events.catalogue import MaterializationCancelled, MaterializationDecided, MaterializationReused
from flowstone.execution.decision import Facts, Made
from flowstone.execution.outcome import Asked
from flowstone.execution.plan import Place
from flowstone.execution.services import Services
from flowstone.foundation.serialize import digest_of, from_json
from flowstone.stores import approvals, materializations, runs
from flowstone.stores.database import Transaction
from flowstone.stores.records import ApprovalRecord, OutputRecord, VoteRecord

LISTED = 50
"""Names of dependants, and inputs, that a request keeps."""
SAME = "candidate"
"""Why a step waits that would compute exactly what people are asked about: once they agree it takes that."""


class Matter(NamedTuple):
    """What people are asked about: the kind of the request, the place, the output if there is one, and the digest of it."""

    kind: str
    place: Place
    output: str
    digest: str


class Requester(NamedTuple):
    """The run that asks, and on whose behalf; *author* is that of the commit it runs, an e-mail address."""

    pipeline: str
    run_id: str
    trace_id: str
    who: Who
    author: str = ""


def binding(facts: Facts) -> str:
    """What a decision before the computation is about: the digest of all that would go into it."""
    return digest_of(["before", *facts])


def config_of(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
    """For each config value an asset declares the digest of what it is now, and that of its default."""
    return {name: [digest_of(given.get(name, default)), digest_of(default)] for name, default in declared.items()}


def config_changed(facts: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether a config value is another one than when people were asked."""
    kept = facts.get("config", {}).items()
    return any((digest_of(given[name]) if name in given else default) != then for name, (then, default) in kept)


class Asking:
    """Asks on behalf of one run."""

    def __init__(self, services: Services, requester: Requester) -> None:
        self._services, self._requester = services, requester

    def about(  # noqa: PLR0913 - what a request is made of
        self,
        tx: Transaction,
        id: str,
        row: int,
        candidate: OutputRecord,
        asked: Asked,
        policy: Mapping[str, Any],
        *,
        inputs: Iterable[tuple[str, str]],
        config: Mapping[str, Any],
        base: str,
        dependants: Iterable[str],
        now: int,
    ) -> ApprovalRecord:
        """Ask about a *candidate* that was stored; an older open question about the same place is void."""
        facts = {
            "message": asked.message, "context": from_json(asked.context) if asked.context else {},
            "changes": from_json(asked.changes) if asked.changes else {}, "base": base,
            "config": config_of(config, self._services.config), "host": socket.gethostname(), **self._common(dependants),
        }  # fmt: skip
        matter = Matter("after", (candidate.asset, candidate.partition), candidate.id, candidate.digest)
        made = self._ask(tx, id, row, matter, facts, policy, now)
        self._tell(tx, approval_acts.requested(made, candidate, inputs), now)
        return made

    def before(  # noqa: PLR0913 - what a request is made of
        self,
        tx: Transaction,
        id: str,
        row: int,
        place: Place,
        facts: Facts,
        inputs: Iterable[Made],
        policy: Mapping[str, Any],
        *,
        because: str,
        dependants: Iterable[str],
        now: int,
    ) -> ApprovalRecord:
        """Ask whether something may be computed, from exactly what would go into it now."""
        told = {
            "message": str(policy["message"]), "because": because, "made_of": facts._asdict(),
            "inputs": [list(made) for made in inputs][:LISTED], **self._common(dependants),
        }  # fmt: skip
        made = self._ask(tx, id, row, Matter("before", place, "", binding(facts)), told, policy, now)
        self._tell(tx, approval_acts.requested(made), now)
        return made

    def weakening(
        self,
        tx: Transaction,
        id: str,
        row: int,
        place: Place,
        digest: str,
        old: Mapping[str, Any],
        facts: Mapping[str, Any],
        now: int,
    ) -> ApprovalRecord:
        """Ask, by the *old* policy of a gate, whether it may protect less; *digest* is that of the new one."""
        made = self._ask(tx, id, row, Matter("weakening", place, "", digest), {**facts, **self._common(())}, old, now)
        self._tell(tx, approval_acts.requested(made), now)
        return made

    def _common(self, dependants: Iterable[str]) -> dict[str, Any]:
        who, names = self._requester.who, sorted(set(dependants))
        return {
            "dependants": names[:LISTED], "dependants_count": len(names), "author": self._requester.author,
            "machine": self._services.people.is_machine(who.actor),
        }  # fmt: skip

    def _ask(
        self, tx: Transaction, id: str, row: int, matter: Matter, facts: Mapping[str, Any], policy: Mapping[str, Any], now: int
    ) -> ApprovalRecord:
        services, by, (kind, place, output, digest) = self._services, self._requester, matter
        redacted = services.dispatcher.redactor.value(dict(facts))
        question = Question(
            kind, by.pipeline, *place, by.run_id, by.trace_id, row, output, digest, redacted, by.who.actor, by.who.identity
        )
        while (made := transitions.ask(tx, services.project, id, question, policy, now)) is None:
            older = approvals.locked_at(tx, services.project, *place)
            if older is not None:
                what = f"a newer candidate, {output}," if output else "a newer request"
                why = f"{what} of {by.run_id} took its place"
                end(tx, services, older, "invalidated", Person(*by.who), why, now, asking=row)
        return made

    def _tell(self, tx: Transaction, act: Act, now: int) -> None:
        by = self._requester
        self._services.audit.tell(tx, act, by.who, now, version=ONLY, run_id=by.run_id, trace_id=by.trace_id)


def end(  # noqa: PLR0913 - what the entry of an end says
    tx: Transaction,
    services: Services,
    asked: ApprovalRecord,
    status: str,
    by: Person,
    reason: str,
    now: int,
    votes: Sequence[VoteRecord] = (),
    *,
    asking: int = 0,
) -> tuple[ApprovalRecord, list[str]]:
    """End a request that this transaction has locked, with its entry; return it as it is then, and the runs that may go on.

    The last of *votes* has decided it; without any it has ended by itself, or by somebody who is no voter. The step *asking*
    takes its place: it waits for the request that it is about to make, and not for this one.
    """
    won = transitions.end(tx, asked, status, by, reason, now, votes=votes)
    ended = approvals.locked(tx, asked.id)
    assert won  # it is locked, and as it was read
    assert ended is not None
    act = approval_acts.ended(ended, votes[-1] if votes else None)
    who = Who(by.id, by.identity)
    services.audit.tell(tx, act, who, now, run_id=ended.run_id, trace_id=ended.trace_id)
    return ended, release(tx, services, asked, status, reason, now, asking=asking)


def release(
    tx: Transaction, services: Services, asked: ApprovalRecord, status: str, message: str, now: int, *, asking: int = 0
) -> list[str]:
    """Settle everybody who waits for the request that has ended as *status*; return the runs that may go on.

    The request's own step ends with it, unless it is to be decided again. Others have waited for the same answer: what was
    approved they can take, what was refused is refused for them, too.
    """
    project, place = services.project, asked.place
    traces = lock_waiting(tx, project, [place])
    published = status == "approved" and asked.kind == "after"
    freed = []
    for row, run_id, reason in materializations.waiting_at(tx, project, *place):
        if row == asking:
            continue
        trace_id = traces.get(run_id) or runs.lock(tx, run_id)
        where = {"at": now, "asset": asked.asset, "partition": asked.partition, "run_id": run_id, "trace_id": trace_id}
        own = row == asked.materialization
        if status in ("rejected", "expired"):
            materializations.decide(tx, row, status, reason=status, message=message)
            tx.emit(MaterializationDecided, approval=asked.id, outcome=status, **where)
        elif own and published:
            materializations.decide(tx, row, "success", output=asked.output)
            tx.emit(MaterializationDecided, approval=asked.id, outcome="success", output=asked.output, **where)
        elif published and reason == SAME:
            because = f"approved as {asked.id}"
            materializations.decide(tx, row, "reused", message=because, output=asked.output)
            tx.emit(MaterializationReused, output=asked.output, because=because, **where)
        elif own and status == "cancelled":
            materializations.decide(tx, row, "cancelled", reason="cancelled", message=message)
            tx.emit(MaterializationCancelled, message=message, **where)
        else:
            materializations.decide(tx, row, "retrying", not_before=now)
        runs.decided(tx, run_id)
        freed.append(run_id)
    return list(dict.fromkeys(freed))


def lock_waiting(tx: Transaction, project: str, places: Iterable[Place], *more: str) -> dict[str, str]:
    """Lock the runs that wait for answers about *places*, and *more* of them, in the order in which everybody locks runs.

    A run that is being put aside then sees the decision, or the decision sees the run put aside. Returns their traces.
    """
    waiting = {run_id for place in places for _, run_id, _ in materializations.waiting_at(tx, project, *place)}
    return {run_id: runs.lock(tx, run_id) for run_id in sorted({*waiting, *more})}
