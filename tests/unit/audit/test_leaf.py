"""The bytes of an audit entry: canonical, bounded, and nobody's name in them."""

from __future__ import annotations

import json
import re

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from flowstone.audit import leaf as leaves
from flowstone.audit.leaf import MAX_INTEGER, Disclosure, canonical, commitment, disclose, leaf, read
from flowstone.foundation.errors import LeafError

FIELDS = {
    "origin": "laptop/1f0c", "project": "shop", "subject": "materialization:7", "version": 1, "at": 1_790_000_000_000_000,
    "actor": "dev", "identity": "os", "action": "materialization.succeeded", "outcome": "success", "data": {"digest": "ab"},
}  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
keys = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True), inner, max_size=4)
    ),
    max_leaves=12,
)


def is_flat(value: object, depth: int = 0) -> bool:
    """Whether a value nests as deep as entries may."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth <= leaves.MAX_DEPTH and all(is_flat(item, depth + 1) for item in inner)


@given(values.filter(is_flat))
def test_canonical_is_rfc_8785(value):
    """What is written is byte for byte what an independent implementation of RFC 8785 writes."""
    assert canonical(value) == rfc8785.dumps(value)


@given(values.filter(is_flat))
def test_an_entry_comes_back(value):
    """The fields of an entry are read from its bytes as they were given."""
    made = leaf({**FIELDS, "data": {"value": value}})

    assert read(made)["data"] == {"value": value}


REFUSED = {
    "a float": 1.5, "infinity": float("inf"), "not a number": float("nan"), "2**53": 2**53, "bytes": b"x", "a set": {1},
    "half a surrogate": "a\ud800", "a capital key": {"A": 1}, "a number as a key": {1: 1}, "an empty key": {"": 1},
    "ten thousand deep": json.loads("[" * 900 + "]" * 900), "16 kB": "x" * 20_000,
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_programs_could_disagree_on_is_refused(name):
    """Nothing enters an entry that two readers of JSON could read differently, or that has no bound."""
    with pytest.raises(LeafError):
        leaf({**FIELDS, "data": {"value": REFUSED[name]}})


FORGED = {
    "a key twice": b'{"v":1,"v":1}',
    "spaces": leaf(FIELDS).replace(b",", b", "),
    "another order": leaf(FIELDS)[:-1].replace(b'"actor":"dev",', b"") + b',"actor":"dev"}',
    "an escape that is not needed": leaf(FIELDS).replace(b'"dev"', b'"d\\u0065v"'),
    "another version": leaf(FIELDS).replace(b'"v":1', b'"v":2'),
    "an unknown field": leaf(FIELDS)[:-1] + b',"zz":1}',
    "a missing field": leaf(FIELDS).replace(b',"v":1', b""),
    "a float": leaf(FIELDS).replace(b'"version":1', b'"version":1.0'),
    "true for one": leaf(FIELDS).replace(b'"v":1', b'"v":true'),
    "a text for a number": leaf(FIELDS).replace(b'"version":1', b'"version":"1"'),
    "a number for a text": leaf(FIELDS).replace(b'"dev"', b"7"),
    "a list for its data": leaf(FIELDS).replace(b'{"digest":"ab"}', b"[]"),
    "a number for a run": leaf({**FIELDS, "run": "r"}).replace(b'"run":"r"', b'"run":7'),
    "a list of commitments": leaf({**FIELDS, "run": "r"}).replace(b'"data"', b'"commit":[],"data"'),
    "a commitment that is no text": leaf({**FIELDS, "run": "r"}).replace(b'"data"', b'"commit":{"reason":7},"data"'),
    "a list": b"[]",
    "no JSON": b"\xff\x00",
    "not a number": leaf(FIELDS).replace(b'"version":1', b'"version":NaN'),
    "too long": b" " * 20_000,
    "too deep": b"[" * 10_000,
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_bytes_this_version_would_not_have_written_are_refused(name):
    """An entry is read only when writing it again gives the same bytes."""
    with pytest.raises(LeafError):
        read(FORGED[name])


def test_an_entry_is_one_line():
    """Newlines and control characters in values are escaped: an export has one entry a line."""
    made = leaf({**FIELDS, "data": {"text": "a\nb\r\x1b[31m\x00\u2028"}})

    assert not re.search(rb"[\x00-\x1f]", made)


def test_a_commitment_binds_field_and_value():
    """A disclosure fits its own commitment only: another field, value or key gives another one."""
    one = disclose("reason", "ticket 4711")
    others = [
        one._replace(field="name"), one._replace(value="ticket 4712"), disclose("reason", "ticket 4711"),
        one._replace(salt=bytes(32)),
    ]  # fmt: skip

    assert commitment(one) == commitment(Disclosure(*one))
    assert commitment(one) not in {commitment(other) for other in others}


def test_what_is_disclosed_is_not_in_the_entry():
    """The value of a disclosure is nowhere in the bytes, and a dictionary of guesses does not find it without the key."""
    secret = disclose("reason", "flu")
    made = leaf(FIELDS, (secret,))
    guesses = ["flu", "cold", *map(str, range(1_000))]

    assert b"flu" not in made
    assert read(made)["commit"] == {"reason": commitment(secret)}
    assert all(commitment(Disclosure("reason", bytes(32), guess)) != commitment(secret) for guess in guesses)
