"""Texts that every database holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.redaction import Redactor
from flowstone.foundation.texts import storable, storable_in

texts = st.text(st.characters(codec=None), max_size=20) | st.text("a\0\ud800\udcff\\x", max_size=8)
values = st.recursive(
    texts | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8
)


@given(texts)
def test_a_storable_text_has_nothing_a_database_refuses(text):
    """It is UTF-8 without NUL; a text that was so before is returned as it was, and so is every text the second time."""
    made = storable(text)

    assert b"\0" not in made.encode()
    assert storable(made) == made
    if "\0" not in text and text.isprintable():
        assert made == text


@given(values)
def test_every_text_inside_a_value_is_made_storable(value):
    """Texts in lists and under names, and the names themselves, at any depth; anything else stays."""
    assert [text for text in texts_in(storable_in(value)) if storable(text) != text] == []
    assert [storable(text) for text in texts_in(value)] == texts_in(storable_in(value))


def texts_in(value):
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for name, item in value.items() for text in [name, *texts_in(item)]]
    return [text for item in value for text in texts_in(item)] if isinstance(value, list) else []


def test_what_is_redacted_is_storable():
    """What people and programs write goes through the redactor: it escapes what a database refuses."""
    assert Redactor().text("a\0b \ud800") == "a\\x00b \\ud800"
