"""Sealing: entries get their place in the tree, and a head over all of them is signed. One sealer at a time, and never a fork.

Whatever is sealed is read back and hashed again from its stored bytes. A head is signed only when it goes on from the newest one
that was signed here before: that is remembered outside the database, and whatever follows it is hashed again as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flowstone.audit.note import Signer, TreeHead, parse, sign
from flowstone.audit.origins import permanent
from flowstone.audit.state import PinnedKey, State, head_in
from flowstone.audit.tree import HASH_BYTES, Frontier, hash_leaf
from flowstone.foundation.errors import ProofError, RollbackDetectedError
from flowstone.stores import audit
from flowstone.stores.database import Database, Transaction
from flowstone.stores.records import AuditHeadRecord

LOCK = "flowstone.audit.seal"
_RESTORED = 'keep the file; if you restored it yourself: flowstone audit reincarnate --reason "..."'


class Sealed(NamedTuple):
    """A head that was made, how many entries it added, and its note (only its text where there is no key)."""

    head: TreeHead
    added: int
    note: str


class Sealer:
    """Seals the log *origin*, which is its keeper's own word and not the database's."""

    def __init__(self, database: Database, state: State, origin: str) -> None:
        self._database, self.state, self.origin = database, state, permanent(origin)

    def seal(self, signers: Sequence[Signer] | None = None, *, anew: bool = False) -> list[Sealed]:
        """Seal every entry that is committed, in batches of one transaction each; empty when there was none.

        *signers* sign instead of the keeper's key, as when it is rotated. *anew* goes on from whatever the database has, after a
        restore that was meant. Raises :class:`RollbackDetectedError` when the database does not go on from what was signed here.
        """
        done: list[Sealed] = []
        while (sealed := self._seal_batch(signers, anew=anew)) is not None:
            self.state.remember(sealed.note)
            done.append(sealed)
            if sealed.added < audit.PAGE:
                break
        return done

    def require_log_goes_on(self) -> None:
        """Raise :class:`RollbackDetectedError` when the database does not go on from what was signed here."""
        note = self.state.head()  # before the database is asked: others commit first, and remember after that
        with self._database.transaction() as tx:
            incarnations = audit.incarnations(tx)
            if incarnations:
                self._check_remembered(tx, incarnations[-1][1], audit.last_head(tx), note)

    def _seal_batch(self, signers: Sequence[Signer] | None, *, anew: bool) -> Sealed | None:
        with self._database.transaction(power=True) as tx:
            tx.lock(LOCK)
            incarnations = audit.incarnations(tx)
            if not incarnations:
                return None
            origin, last = incarnations[-1][1], audit.last_head(tx)
            if not anew:
                self._check_remembered(tx, origin, last, self.state.head())
            entries = audit.unsealed(tx)
            if not entries:
                return None
            if signers is None:
                signers = self._signers(tx)
            if signers and last is not None:
                self._check_whole(tx, last, signers)
            frontier = frontier_of(last)
            seals = []
            for number, leaf in entries:
                digest = hash_leaf(leaf)
                seals.append((frontier.size, number, digest))
                frontier.add(digest)
            head = TreeHead(origin, frontier.size, frontier.root())
            note = sign(head.text(), signers) if signers else head.text()
            audit.add_seals(tx, seals)
            audit.add_head(tx, AuditHeadRecord(
                size=head.size, prev_size=last.size if last else 0, root=head.root, peaks=b"".join(frontier.peaks), note=note,
                at=self._database.now(),
            ))  # fmt: skip
        return Sealed(head, len(entries), note)

    def _signers(self, tx: Transaction) -> list[Signer]:
        """The keeper's key. It is made for a log that nobody has signed; one that was signed elsewhere is not signed here."""
        signer = self.state.key(self.origin, create=False)
        if signer is None and not audit.is_signed(tx):
            signer = self.state.key(self.origin, create=True)
        if signer is None:
            return []
        if not self.state.pinned():
            self.state.pin([PinnedKey(signer.public, 0, None)])
        return [signer]

    def _check_remembered(self, tx: Transaction, origin: str, last: AuditHeadRecord | None, note: str | None) -> None:
        """Refuse a database whose log is another one, or does not go on from the newest head that was made here."""
        if permanent(origin) != self.origin:
            raise RollbackDetectedError(f"the database has the audit log {origin}, not {self.origin}", hint=_RESTORED)
        if note is None:
            return
        remembered = head_in(note)
        if remembered.origin != origin:
            told = f"the database says its log is {origin}, its keeper has signed {remembered.origin}"
            raise RollbackDetectedError(told, hint=_RESTORED)
        found = audit.head_of_size(tx, remembered.size)
        if found is None or found.root != remembered.root:
            raise RollbackDetectedError(
                f"the audit log ends at {last.size if last else 0}, but its keeper has signed {remembered.size} entries: "
                "the database was rolled back, or its log rewritten",
                hint=_RESTORED,
            )

    def _check_whole(self, tx: Transaction, last: AuditHeadRecord, signers: Iterable[Signer]) -> None:
        """Hash again what lies between the newest head that is known to be this keeper's and *last*."""
        keys = [pin.key for pin in self.state.pinned()] + [signer.public for signer in signers]
        try:
            if "\n\n" in last.note and parse(last.note).signed_by(keys):
                head = head_in(last.note)
                if (head.size, head.root) == (last.size, last.root):
                    return
        except ProofError as error:
            raise RollbackDetectedError(f"tree head {last.size}: {error.message}", hint="flowstone audit verify") from error
        note = self.state.head()
        known = audit.head_of_size(tx, head_in(note).size) if note is not None else None
        frontier = frontier_of(known)
        for leaf, leaf_hash in audit.sealed_leaves(tx, frontier.size, last.size):
            frontier.add(hash_leaf(leaf) if leaf is not None else leaf_hash)
        if (frontier.size, frontier.root()) != (last.size, last.root):
            raise RollbackDetectedError(
                f"the entries are not those of tree head {last.size}: the log was changed since the last one signed here",
                hint="flowstone audit verify",
            )


def frontier_of(head: AuditHeadRecord | None) -> Frontier:
    """The frontier a head was made with; it is proven by the head's own root."""
    if head is None:
        return Frontier()
    peaks = [head.peaks[place : place + HASH_BYTES] for place in range(0, len(head.peaks), HASH_BYTES)]
    frontier = Frontier(head.size, peaks)
    if frontier.root() != head.root:
        told = f"the frontier of tree head {head.size} is not that of its root"
        raise RollbackDetectedError(told, hint="flowstone audit verify")
    return frontier
