"""The Merkle tree of RFC 6962, section 2.1: roots, inclusion and consistency proofs, over SHA-256.

A leaf's hash is ``SHA-256(0x00 || leaf)``, an inner node's ``SHA-256(0x01 || left || right)``: neither can pass for the other.
The tree of ``n`` leaves has the largest power of two smaller than ``n`` on its left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256 as _sha256

from flowstone.foundation.errors import ProofError

HASH_BYTES = 32
EMPTY = _sha256(b"").digest()
"""The root of the tree without leaves."""

Subtree = Callable[[int, int], bytes]
"""The hash of the leaves from the first number to (without) the second, which span a subtree: its left edge is aligned."""


def hash_leaf(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return _sha256(b"\x00" + leaf).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return _sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: all that is needed to add leaves and to know the root; 32 bytes for each bit of its size.

    *peaks* are the roots of its complete subtrees, largest first, as :attr:`peaks` gave them.
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or size.bit_count() != len(peaks) or any(len(peak) != HASH_BYTES for peak in peaks):
            raise ProofError(f"{len(peaks)} peaks are no frontier of a tree of {size} leaves")
        self.size = size
        self.peaks = list(peaks)

    def add(self, leaf_hash: bytes) -> None:
        """Add a leaf by its hash."""
        size, peaks, node = self.size, self.peaks, leaf_hash
        while size & 1:
            node = _sha256(b"\x01" + peaks.pop() + node).digest()
            size >>= 1
        peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree as it is."""
        if not self.peaks:
            return EMPTY
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = hash_children(peak, node)
        return node


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root of the tree of these leaves."""
    frontier = Frontier()
    for leaf_hash in leaf_hashes:
        frontier.add(leaf_hash)
    return frontier.root()


def inclusion_proof(subtree: Subtree, index: int, size: int) -> list[bytes]:
    """The hashes that lead from the leaf *index* to the root of the tree of *size* leaves, nearest first."""
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    proof: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(subtree(middle, end))
            end = middle
        else:
            proof.append(subtree(begin, middle))
            begin = middle
    return proof[::-1]


def consistency_proof(subtree: Subtree, old: int, new: int) -> list[bytes]:
    """The hashes that show that the tree of *old* leaves is the beginning of that of *new* leaves."""
    if not 0 < old <= new:
        raise ProofError(f"there is no proof that a tree of {old} leaves is the beginning of one of {new}")
    proof: list[bytes] = []
    begin, end, whole = 0, new, True
    while old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(subtree(middle, end))
            end = middle
        else:
            proof.append(subtree(begin, middle))
            begin, whole = middle, False
    if not whole:
        proof.append(subtree(begin, end))
    return proof[::-1]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise :class:`ProofError` unless *proof* leads from the leaf to *root*; by RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    _check_hashes([leaf_hash, root, *proof])
    node, place, last = leaf_hash, index, size - 1
    for sibling in proof:
        if last == 0:
            raise ProofError("the proof has more hashes than the tree has levels")
        if place & 1 or place == last:
            node = hash_children(sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = hash_children(node, sibling)
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ProofError("the proof has fewer hashes than the tree has levels")
    if node != root:
        raise ProofError(f"the proof of leaf {index} does not lead to the root of the tree of {size} leaves")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raise :class:`ProofError` unless the tree of *old* leaves is the beginning of that of *new*.

    By RFC 9162, section 2.1.4.2.
    """
    if not 0 < old <= new:
        raise ProofError(f"there is no proof that a tree of {old} leaves is the beginning of one of {new}")
    _check_hashes([old_root, new_root, *proof])
    if old == new:
        if proof or old_root != new_root:
            raise ProofError(f"two trees of {old} leaves have different roots")
        return
    path = list(proof)
    if not old & (old - 1):
        path.insert(0, old_root)
    if not path:
        raise ProofError("the proof has no hashes")
    if _both_roots(old, new, path) != (old_root, new_root):
        raise ProofError(f"the tree of {old} leaves is not the beginning of the tree of {new}")


def _both_roots(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of the smaller and the larger tree that a consistency proof leads to."""
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the proof has more hashes than the tree has levels")
        if place & 1 or place == last:
            before, after = hash_children(sibling, before), hash_children(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = hash_children(after, sibling)
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ProofError("the proof has fewer hashes than the tree has levels")
    return before, after


def _split(size: int) -> int:
    """The largest power of two smaller than *size*."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofError(f"a hash has {HASH_BYTES} bytes")
