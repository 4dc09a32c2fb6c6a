"""The text that is signed for a decision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.errors import SignatureError
from flowstone.foundation.signatures.statement import HEADING, Statement, read

FIELDS = ("approval", "project", "asset", "partition", "verdict", "digest", "comment", "actor")
LAST = 253_402_300_799_999_999
texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.text(
    'a"\\\n\r\t\0\x85\u2028\u202e\u2066\u200b\ufeff\U000e0041\U0001f600:', max_size=8
)
statements = st.builds(Statement, **dict.fromkeys(FIELDS, texts), at=st.integers(0, LAST))


def a_statement(**given_):
    return Statement(**dict.fromkeys(FIELDS, "x") | {"at": 1_000_000} | given_)


def test_a_person_can_read_what_is_signed():
    """One line says each thing, letters of every language as they are, and the time as people write it."""
    statement = Statement(
        approval="apr_1", project="shop", asset="bill", partition="2026-11-23", verdict="approved", digest="51ab",
        comment='grün, "日本" \\', actor="jo", at=1_795_430_640_000_001,
    )  # fmt: skip

    assert statement.text().decode() == (
        "flowstone decision v1\n"
        'approval: "apr_1"\n'
        'project: "shop"\n'
        'asset: "bill"\n'
        'partition: "2026-11-23"\n'
        'verdict: "approved"\n'
        'digest: "51ab"\n'
        'comment: "grün, \\"日本\\" \\\\"\n'
        'actor: "jo"\n'
        'at: "2026-11-23T10:44:00.000001Z"\n'
    )


@given(statements)
def test_what_was_written_is_read_back(statement):
    """Whatever the fields hold, and whatever the time; so two statements never have one text."""
    assert read(statement.text()) == statement


@given(statements)
def test_a_statement_has_a_line_for_each_field_and_shows_what_it_holds(statement):
    """Nothing in a field begins a line, turns the direction of the text or hides in it."""
    text = statement.text().decode()

    assert text.startswith(HEADING + "\n")
    assert [line.partition(": ")[0] for line in text.splitlines()[1:]] == [*FIELDS, "at"]
    assert not set(text) & set("\r\t\0\x85\u2028\u202e\u2066\u200b\ufeff\U000e0041")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("half", ["\ud83d", "a\udcff"])
def test_half_a_surrogate_pair_is_refused(field, half):
    """It has no bytes that could be signed."""
    with pytest.raises(SignatureError, match="half a surrogate pair"):
        a_statement(**{field: half}).text()


@pytest.mark.parametrize("at", [-1, LAST + 1])
def test_a_time_without_a_date_is_refused(at):
    """A time is between 1970 and 9999."""
    with pytest.raises(SignatureError, match="no time between 1970 and 9999"):
        a_statement(at=at).text()


CHANGES = {
    "nothing": lambda text: b"",
    "no newline at the end": lambda text: text[:-1],
    "a newline more": lambda text: text + b"\n",
    "a line more": lambda text: text + b'more: "x"\n',
    "another heading": lambda text: text.replace(b"v1", b"v2"),
    "a field missing": lambda text: text.replace(b'comment: "x"\n', b""),
    "two fields exchanged": lambda text: text.replace(b'asset: "x"\npartition: "x"\n', b'partition: "x"\nasset: "x"\n'),
    "no value": lambda text: text.replace(b'comment: "x"', b"comment: "),
    "a value that is no text": lambda text: text.replace(b'comment: "x"', b"comment: 1"),
    "a letter escaped": lambda text: text.replace(b'comment: "x"', b'comment: "\\u0078"'),
    "a space more": lambda text: text.replace(b'comment: "x"', b'comment:  "x"'),
    "half a surrogate pair": lambda text: text.replace(b'comment: "x"', b'comment: "\\ud800"'),
    "a letter hidden": lambda text: text.replace(b'comment: "x"', b'comment: "x\xe2\x80\xae"'),
    "no UTF-8": lambda text: text.replace(b'comment: "x"', b'comment: "\xff"'),
    "a time cut short": lambda text: text.replace(b".000000Z", b".0Z"),
    "a time before 1970": lambda text: text.replace(b"1970", b"1969"),
    "a day that is none": lambda text: text.replace(b"1970-01-01", b"1970-02-30"),
    "depth": lambda text: text.replace(b'"x"', b"[" * 100_000),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_text_is_no_statement(change):
    """What differs from what is written in anything is not read."""
    text = a_statement().text()
    assert read(text) == a_statement()

    assert change(text) != text
    with pytest.raises(SignatureError):
        read(change(text))


@given(st.binary(max_size=80))
def test_any_other_bytes_are_refused_with_that_error(data):
    """Whatever follows the heading, if anything does."""
    for text in (data, HEADING.encode() + b"\n" + data):
        with pytest.raises(SignatureError):
            read(text)
