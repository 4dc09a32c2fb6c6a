"""Proofs from the order that is stored: that an entry is in the tree of a head, that one head is the beginning of another.

A subtree's hash is folded from leaf hashes once and kept for every 256 leaves; what a head remembers of its own right edge saves
half of the work. Nothing of it is believed: a proof is verified before it is given out.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from flowstone.audit.note import TreeHead
from flowstone.audit.tlog_proof import InclusionProof
from flowstone.audit.tree import (
    HASH_BYTES,
    Frontier,
    consistency_proof,
    hash_children,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from flowstone.foundation.errors import NotFoundError, ProofError
from flowstone.stores import audit_questions
from flowstone.stores.database import Connection
from flowstone.stores.records import AuditHeadRecord

TILE = 256


class Proofs:
    """Proofs against one tree head, for as long as *connection* sees one state."""

    def __init__(self, connection: Connection, origin: str, head: AuditHeadRecord) -> None:
        self._connection, self.note = connection, head.note
        self.head = TreeHead(origin, head.size, bytes(head.root))
        self._known: dict[tuple[int, int], bytes] = {}
        self._tile: tuple[int, list[bytes]] = -1, []
        begin = 0
        for place in range(0, len(head.peaks), HASH_BYTES):
            end = begin + (1 << ((head.size - begin).bit_length() - 1))
            self._known[begin, end] = bytes(head.peaks[place : place + HASH_BYTES])
            begin = end

    def inclusion(self, seq: int, leaf_hash: bytes) -> list[bytes]:
        """The hashes that lead from the entry at *seq* to the head's root; raises :class:`ProofError` when they do not."""
        if not 0 <= seq < self.head.size:
            raise NotFoundError(f"the tree head of {self.head.size} entries has no entry {seq}", hint="flowstone audit seal")
        proof = inclusion_proof(self.subtree, seq, self.head.size)
        self._proven(lambda: verify_inclusion(leaf_hash, seq, self.head.size, proof, self.head.root))
        return proof

    def of_entry(self, seq: int, leaf_hash: bytes, leaf: bytes) -> InclusionProof:
        """The whole proof of an entry, ready to be written down; its bytes ride along when they are there."""
        return InclusionProof(seq, tuple(self.inclusion(seq, leaf_hash)), self.note, leaf)

    def consistency(self, old: int, old_root: bytes | None = None) -> list[bytes]:
        """The hashes that show that the first *old* entries are the beginning of the head's; empty when they are all."""
        proof = consistency_proof(self.subtree, old, self.head.size)
        root = old_root or self.frontier(old).root()
        self._proven(lambda: verify_consistency(old, self.head.size, proof, root, self.head.root))
        return proof

    def frontier(self, size: int) -> Frontier:
        """The right edge of the tree of the first *size* entries."""
        peaks, begin = [], 0
        while begin < size:
            end = begin + (1 << ((size - begin).bit_length() - 1))
            peaks.append(self.subtree(begin, end))
            begin = end
        return Frontier(size, peaks)

    def subtree(self, begin: int, end: int) -> bytes:
        """The hash of the entries *begin* to (without) *end*, which span a subtree."""
        found = self._known.get((begin, end))
        if found is not None:
            return found
        size = end - begin
        if size & (size - 1):
            middle = begin + (1 << ((size - 1).bit_length() - 1))
            return hash_children(self.subtree(begin, middle), self.subtree(middle, end))
        if size <= TILE:
            return self._fold(begin, end, self._leaves(begin, end))
        self._fold_tiles(begin, end)
        return self._fold(begin, end, [self._known[place, place + TILE] for place in range(begin, end, TILE)])

    def _fold_tiles(self, begin: int, end: int) -> None:
        """Know the hash of every tile between *begin* and *end*."""
        for page in audit_questions.hashes(self._connection, begin, end):
            self._check_count(begin, min(end, begin + audit_questions.HASHES), len(page))
            for place in range(0, len(page), TILE):
                self._fold(begin + place, begin + place + TILE, page[place : place + TILE])
            begin += len(page)

    def _fold(self, begin: int, end: int, nodes: list[bytes]) -> bytes:
        """Know the hash of a complete subtree, given that of its parts."""
        while len(nodes) > 1:
            below = iter(nodes)
            nodes = [sha256(b"\x01" + left + right).digest() for left, right in zip(below, below, strict=True)]
            if end - begin > TILE:
                step = (end - begin) // len(nodes)
                self._known.update(((begin + n * step, begin + (n + 1) * step), node) for n, node in enumerate(nodes))
        if end - begin >= TILE:
            self._known[begin, end] = nodes[0]
        return nodes[0]

    def _leaves(self, begin: int, end: int) -> list[bytes]:
        """The leaf hashes of at most one tile, which is read as a whole and kept for the next question."""
        start = begin - begin % TILE
        if self._tile[0] != start:
            stop = min(start + TILE, self.head.size)
            found = [one for page in audit_questions.hashes(self._connection, start, stop) for one in page]
            self._check_count(start, stop, len(found))
            self._tile = start, found
        return self._tile[1][begin - start : end - start]

    @staticmethod
    def _check_count(begin: int, end: int, found: int) -> None:
        if found != end - begin:
            raise ProofError(f"of the entries {begin}-{end - 1} only {found} are in the order", hint="flowstone audit verify")

    def _proven(self, verify: Callable[[], None]) -> None:
        try:
            verify()
        except ProofError as error:
            message = f"what is stored does not lead to the tree head of {self.head.size} entries: {error.message}"
            raise ProofError(message, hint="flowstone audit verify") from error
