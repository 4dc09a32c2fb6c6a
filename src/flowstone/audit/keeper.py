"""The keeper of one log: what acts upon the log itself are done with, and who does them."""

from __future__ import annotations

from typing import NamedTuple

from flowstone.audit.acts import Act
from flowstone.audit.anchoring import Anchoring, Anchors
from flowstone.audit.entries import Auditor, entry_of
from flowstone.audit.sealing import Sealed, Sealer
from flowstone.stores.database import Database, Transaction


class Keeper(NamedTuple):
    """One log, what seals and anchors it, and who acts; ``project`` is the one whose entries tell of it."""

    database: Database
    sealer: Sealer
    anchors: Anchors
    project: str
    actor: str
    identity: str

    @property
    def origin(self) -> str:
        """The log's permanent origin."""
        return self.sealer.origin

    def append(self, tx: Transaction, act: Act, at: int) -> None:
        """Append the entry of an act upon the log, in the transaction of the act."""
        Auditor(self.origin, self.project).append(tx, entry_of(act, actor=self.actor, identity=self.identity, at=at))

    def seal(self, *, force: bool = True) -> tuple[list[Sealed], list[Anchoring]]:
        """Seal what is not sealed and give the newest head to the anchors that do not have it."""
        sealed = self.sealer.seal()
        return sealed, self.anchors.write(force=force)
