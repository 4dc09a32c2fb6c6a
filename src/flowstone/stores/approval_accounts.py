"""The requests for approval of a run against its events and the votes: each was told once, and ended as people said."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, select

from flowstone.foundation.serialize import from_json
from flowstone.stores.tables import approval, approval_vote

ONE_REQUEST = "every request for approval is told once, and so is its end"
ONE_DECISION = "every decision is what people have voted"

ENDS = {
    "approved": "checkpoint.approved", "rejected": "checkpoint.rejected", "expired": "checkpoint.timeout",
    "invalidated": "checkpoint.invalidated", "cancelled": "checkpoint.cancelled",
}  # fmt: skip
"""The event of each status a request can end with, without ``flowstone.``."""


class Said(NamedTuple):
    """What an event says of a request."""

    name: str
    approval: str
    by_timeout: bool


class Request(NamedTuple):
    """What is compared of a request."""

    id: str
    status: str
    digest: str
    policy: str
    ended_at: int | None
    decided_by: str


class Requests:
    """The requests of one run, the votes on them, and what its events say."""

    def __init__(self, connection: Connection, run_id: str, told: Iterable[Said]) -> None:
        self._run_id = run_id
        self._told: dict[str, list[Said]] = defaultdict(list)
        for said in told:
            if said.approval and said.name.startswith("checkpoint."):
                self._told[said.approval].append(said)
        columns = [approval.c[name] for name in Request._fields]
        self._rows = [Request._make(row) for row in connection.execute(select(*columns).where(approval.c.run_id == run_id))]
        self._votes: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        if self._rows:
            said_by = select(approval_vote.c.approval, approval_vote.c.voter, approval_vote.c.verdict, approval_vote.c.digest)
            mine = said_by.join(approval, approval.c.id == approval_vote.c.approval).where(approval.c.run_id == run_id)
            for id, voter, verdict, digest in connection.execute(mine):
                self._votes[id].append((voter, verdict, digest))

    def untold(self) -> Iterator[str]:
        """The requests that are not told once, or whose end is not what was told of it."""
        rows = {row.id: row for row in self._rows}
        for id in {**rows, **self._told}:
            names = Counter(said.name for said in self._told.get(id, ()))
            ends = [name for name in names.elements() if name in ENDS.values()]
            row = rows.get(id)
            is_told = row is not None and names["checkpoint.requested"] == 1 and ends == _ends(row.status)
            if row is None or not is_told or (row.status == "pending") != (row.ended_at is None):
                yield self._at(id)

    def unvoted(self) -> Iterator[str]:
        """The requests whose votes are not those that were told, or do not make the decision."""
        for row in self._rows:
            told, votes = self._told.get(row.id, []), self._votes[row.id]
            counts = Counter(verdict for _, verdict, _ in votes)
            by_timeout = any(said.by_timeout for said in told)
            decides = {"approved": "approve", "rejected": "reject"}.get(row.status) if not by_timeout else None
            counted = sum(said.name == "checkpoint.voted" for said in told)
            expected = counted + (decides == "approve"), int(decides == "reject")
            decided = decides is None or (row.decided_by, decides, row.digest) in votes
            enough = decides != "approve" or counts["approve"] >= _quorum(row.policy)
            if (counts["approve"], counts["reject"]) != expected or not decided or not enough:
                yield self._at(row.id)

    def _at(self, id: str) -> str:
        return f"{id} of {self._run_id}"


def _ends(status: str) -> list[str]:
    return [ENDS[status]] if status in ENDS else []


def _quorum(policy: str) -> float:
    """How many must approve; nobody is enough for a policy that is none any more."""
    try:
        found: Any = from_json(policy)["quorum"]
    except (msgspec.MsgspecError, TypeError, KeyError):
        found = None
    return found if type(found) is int else float("inf")
