"""The Merkle tree: RFC 6962's vectors, proofs against a naive tree, and what is no proof."""

from __future__ import annotations

import functools
import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.audit.tree import (
    EMPTY,
    Frontier,
    consistency_proof,
    hash_children,
    hash_leaf,
    inclusion_proof,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from flowstone.foundation.errors import ProofError

REFERENCE = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
"""The leaves and roots the Certificate Transparency reference implementation is tested with."""
HASHES = [hash_leaf(str(number).encode()) for number in range(1_101)]


def naive(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive(leaves[:k]) + naive(leaves[k:])).digest()


def subtree(begin: int, end: int) -> bytes:
    """The hash of a range of the leaves."""
    return naive(HASHES[begin:end])


@pytest.mark.parametrize("size", ROOTS)
def test_reference_roots(size):
    """The reference leaves have the reference roots, byte for byte."""
    assert root_of(map(hash_leaf, REFERENCE[:size])).hex() == ROOTS[size]


def test_every_size_has_the_root_of_the_definition():
    """A tree that grows leaf by leaf has, at each size up to 1,100, the root of RFC 6962's recursive definition."""
    frontier = Frontier()
    for size, leaf_hash in enumerate(HASHES):
        if size < 130 or size % 97 == 0 or size > 1_090:
            assert frontier.root() == naive(HASHES[:size])
        frontier.add(leaf_hash)
        frontier = Frontier(frontier.size, frontier.peaks)
    assert frontier.root() == naive(HASHES)


def test_every_leaf_of_small_trees_is_proven():
    """In each tree of up to 40 leaves each leaf has a proof, and it proves no other leaf or place."""
    for size in range(1, 41):
        root = naive(HASHES[:size])
        for index in range(size):
            proof = inclusion_proof(subtree, index, size)
            verify_inclusion(HASHES[index], index, size, proof, root)
            for other in {0, size - 1, (index + 1) % size} - {index}:
                with pytest.raises(ProofError):
                    verify_inclusion(HASHES[index], other, size, proof, root)
                with pytest.raises(ProofError):
                    verify_inclusion(HASHES[other], index, size, proof, root)


def test_every_beginning_of_small_trees_is_proven():
    """Each tree of up to 40 leaves is proven to go on from each smaller one, and from no other root."""
    for new in range(1, 41):
        for old in range(1, new + 1):
            proof = consistency_proof(subtree, old, new)
            verify_consistency(old, new, proof, naive(HASHES[:old]), naive(HASHES[:new]))
            with pytest.raises(ProofError):
                verify_consistency(old, new, proof, naive(HASHES[1 : old + 1]), naive(HASHES[:new]))


@given(st.integers(1, 300), st.data())
def test_a_changed_proof_proves_nothing(size, data):
    """A proof with a bit flipped, a hash dropped, doubled, added or moved, or another index or size, is refused."""
    index = data.draw(st.integers(0, size - 1))
    root, proof = naive(HASHES[:size]), inclusion_proof(subtree, index, size)
    kind = data.draw(st.sampled_from(["bit", "drop", "double", "add", "swap", "index", "size", "length"]))
    changed, at, of = list(proof), index, size
    place = data.draw(st.integers(0, max(0, len(proof) - 1)))
    if kind == "index":
        at = data.draw(st.integers(0, size + 3).filter(lambda other: other != index))
    elif kind == "size":
        of = data.draw(st.integers(0, 2 * size + 2).filter(lambda other: len(path_of(index, other)) != len(proof)))
    elif kind == "add" or not proof:
        changed.insert(place, data.draw(st.sampled_from([root, HASHES[0], bytes(32)])))
    elif kind == "bit":
        flipped = bytearray(proof[place])
        flipped[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
        changed[place] = bytes(flipped)
    elif kind == "drop":
        del changed[place]
    elif kind == "double":
        changed.insert(place, proof[place])
    elif kind == "length":
        changed[place] = proof[place][:-1]
    else:
        changed.reverse()
        if changed == proof:
            changed.append(bytes(32))
    with pytest.raises(ProofError):
        verify_inclusion(HASHES[index], at, of, changed, root)


def path_of(index: int, size: int) -> list[bytes]:
    """The proof a tree of that size has for the leaf; none when it has no such leaf."""
    return inclusion_proof(lambda begin, end: bytes(32), index, size) if index < size else []


@pytest.mark.prove
def test_a_hundred_thousand_changed_proofs_prove_nothing():
    """Of 100,000 proofs of inclusion and of consistency in which a bit, a hash or a number is changed, none is taken."""
    rng = random.Random(6962)
    known = functools.cache(subtree)
    for _ in range(50_000):
        size = rng.randrange(2, 400)
        index, old = rng.randrange(size), rng.randrange(1, size)
        whole, part = known(0, size), known(0, old)
        proof = inclusion_proof(known, index, size)
        verify_inclusion(HASHES[index], index, size, proof, whole)
        number, changed = mutated(rng, index, proof, size)
        with pytest.raises(ProofError):
            verify_inclusion(HASHES[index], number, size, changed, whole)
        proof = consistency_proof(known, old, size)
        verify_consistency(old, size, proof, part, whole)
        number, changed = mutated(rng, old, proof, size)
        with pytest.raises(ProofError):
            verify_consistency(number, size, changed, part, whole)


def mutated(rng: random.Random, number: int, proof: list[bytes], size: int) -> tuple[int, list[bytes]]:
    """Another number, or the proof with a bit, a length or a hash changed, dropped, doubled, moved or added."""
    kind = rng.choice(["number", "bit", "length", "drop", "double", "add", "move"])
    place, changed = rng.randrange(len(proof)) if proof else 0, list(proof)
    if kind == "number":
        return rng.choice([other for other in (number - 1, number + 1, 0, size, -1, size + number) if other != number]), changed
    if kind == "bit":
        hash_ = bytearray(changed[place])
        hash_[rng.randrange(32)] ^= 1 << rng.randrange(8)
        changed[place] = bytes(hash_)
    elif kind == "length":
        changed[place] = changed[place] + b"x" if rng.random() < 0.5 else changed[place][:-1]
    elif kind == "drop":
        del changed[place]
    elif kind == "double":
        changed.insert(place, changed[place])
    elif kind == "move" and len(changed) > 1:
        changed.append(changed.pop(rng.randrange(len(changed) - 1)))
    else:
        changed.insert(place, rng.choice([HASHES[0], bytes(32), rng.randbytes(32)]))
    return number, changed


def test_an_inner_node_is_no_leaf():
    """The second preimage that works on trees without prefixes, an inner node given as a leaf, is refused."""
    leaves = [b"one", b"two"]
    bare = [hashlib.sha256(leaf).digest() for leaf in leaves]
    forged = bare[0] + bare[1]  # a leaf nobody has added, with the root of the tree of both
    assert hashlib.sha256(forged).digest() == hashlib.sha256(b"".join(bare)).digest()

    left, right = map(hash_leaf, leaves)
    with pytest.raises(ProofError):
        verify_inclusion(hash_leaf(left + right), 0, 1, [], hash_children(left, right))


def test_what_is_no_tree_is_refused():
    """A leaf outside the tree, a beginning longer than the whole, short hashes and peaks that do not fit are refused."""
    for call in (
        lambda: inclusion_proof(subtree, 5, 5),
        lambda: inclusion_proof(subtree, -1, 5),
        lambda: consistency_proof(subtree, 0, 5),
        lambda: consistency_proof(subtree, 6, 5),
        lambda: verify_inclusion(b"short", 0, 1, [], b"short"),
        lambda: verify_consistency(3, 3, [HASHES[0]], naive(HASHES[:3]), naive(HASHES[:3])),
        lambda: verify_consistency(3, 7, [], naive(HASHES[:3]), naive(HASHES[:7])),
        lambda: Frontier(3, [HASHES[0]]),
        lambda: Frontier(1, [b"short"]),
    ):
        with pytest.raises(ProofError):
            call()
    assert Frontier().root() == EMPTY
