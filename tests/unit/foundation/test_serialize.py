"""One JSON encoder, and a canonical form that digests are taken of."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.serialize import canonical, digest_of, from_json, to_json

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(plain)
def test_plain_values_come_back(value):
    """What JSON can hold is read back equal, from the compact and from the canonical form."""
    assert from_json(to_json(value)) == value
    assert from_json(canonical(value)) == value


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_the_canonical_form_forgets_the_order_of_keys(value):
    """Equal dictionaries have equal canonical bytes and digests, however they were filled."""
    turned = dict(reversed(value.items()))

    assert canonical(turned) == canonical(value)
    assert digest_of(turned) == digest_of(value)


def test_the_canonical_form_is_the_documented_one():
    """Keys sorted at every depth, no white space, UTF-8, order of lists kept."""
    assert canonical({"b": [2, 1], "a": {"ü": None, "A": 1.5}}) == '{"a":{"A":1.5,"ü":null},"b":[2,1]}'.encode()


def test_a_digest_is_the_sha256_of_the_canonical_form():
    """The digest can be computed with any SHA-256, and differs for text and number."""
    assert digest_of({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert digest_of(1) != digest_of("1")


def test_what_json_cannot_hold_is_refused():
    """An object without a JSON form is a ``TypeError``, malformed text a ``ValueError``."""
    with pytest.raises(TypeError):
        to_json(object())
    with pytest.raises(ValueError, match="truncated"):
        from_json("{")
