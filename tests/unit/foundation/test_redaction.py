"""Secrets leave no trace, and text without secrets is left alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstone.foundation import redaction
from flowstone.foundation.redaction import LIMIT, MASK, Redactor
from flowstone.foundation.texts import storable

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\n-----END RSA PRIVATE KEY-----"

SECRETS = [
    "password=hunter2",
    "PASSWORD : hunter2",
    "db_password='hunter2 and more'",
    'my-api-key = "hunter2"',
    "{'token': 'hunter2', 'a': 1}",
    '{"access_token":"hunter2","a":1}',
    '{\\"password\\": \\"hunter2\\"}',
    "tokens: ['hunter2']",
    "{'password': 'hunter2",
    "AWS_SECRET_ACCESS_KEY=hunter2/x+y",
    "Authorization: Bearer hunter2.abc.def",
    "authorization: Basic aHVudGVyMg==hunter2",
    "curl -H 'bearer hunter2hunter2'",
    "postgresql://user:hunter2@db.example/x",
    "https://:hunter2@example.org",
    "redis+tls://a:hunter2%40b@c:1/0 failed",
    "passphrase:\thunter2",
    "Set-Cookie: hunter2; Path=/",
    "credentials=hunter2",
    "?user=a&api_key=hunter2&page=2",
    "ghp_hunter2hunter2hunter2hunter2x",
    "xoxb-hunter2-12345",
    KEY,
    KEY.removesuffix("-----END RSA PRIVATE KEY-----"),
]
PLAIN = [
    "",
    "3 orders in 2 regions",
    "12 tests passed: 3 failed, passed=12",
    "primary_key=7 and sort key: region",
    "the secret of success",
    "a token was used, and a password given",
    "https://example.org/a?page=2",
    "see https://example.org:8080/path",
    "user@example.org",
    "monkey: business",
    "tokenization and passengers",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_masked(text):
    """Each known shape of a secret is masked, in the middle of a text as well, and what surrounds it stays."""
    for given_text in (text, f"before {text}"):
        clean = Redactor().text(given_text)
        assert "hunter2" not in clean
        assert MASK in clean
    assert Redactor().text(f"before {text}\nafter").startswith("before ")


@pytest.mark.parametrize("text", PLAIN)
def test_plain_texts_stay(text):
    """Texts that only speak of such things are left as they are."""
    assert Redactor().text(text) == text


def test_an_aws_key_is_masked_by_its_shape():
    """An access key id is known by its shape alone."""
    assert Redactor().text("id AKIA" + "A1B2" * 4 + " used") == f"id {MASK} used"


def test_the_name_stays_readable():
    """What is masked keeps its name, so that a reader knows what was there."""
    assert Redactor().text("user=ann password=hunter2 page=3") == f"user=ann password={MASK} page=3"
    assert Redactor().text("postgresql://ann:hunter2@db/x") == f"postgresql://ann:{MASK}@db/x"


@given(st.text())
@example("a" * (LIMIT - 1) + "é")
def test_text_without_hints_is_unchanged(text):
    """Text with none of the words and signs that hint at a secret comes back as it is, but for what no database holds."""
    if not redaction._HINT.search(text) and len(text) <= LIMIT:
        assert Redactor().text(text) == storable(text)


secrets = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=40).filter(lambda t: t not in MASK)


@given(st.text(max_size=50), secrets, st.text(max_size=50))
def test_known_values_never_survive(before, secret, after):
    """A resolved secret is masked wherever it stands, whatever surrounds it."""
    clean = Redactor(values=[secret]).text(f"{before}{secret}{after}")

    assert secret not in clean


@given(st.text(max_size=30), st.sampled_from(["password=", "token: ", '"api_key": "', "Authorization: Bearer "]), secrets)
def test_named_values_never_survive(before, name, secret):
    """The value after a secret-sounding name is masked, whatever stands before."""
    clean = Redactor().text(f"{before} {name}{secret} end")

    assert secret not in clean.removeprefix(before)
    assert clean.endswith("end")


@given(st.integers(0, 80), st.sampled_from(["password=hunter2hunter2", "a://b:hunter2hunter2@c", "known-hunter2-value"]))
def test_no_secret_is_cut_in_two(offset, secret):
    """A secret that stands across the limit leaves no beginning of itself before the cut."""
    text = "." * (200 - offset) + secret + " " + "." * 100
    clean = Redactor(values=["known-hunter2-value"]).text(text, limit=200)

    assert "hun" not in clean
    assert clean.endswith(f"... [{len(text) - 200} more characters]")


def test_long_texts_are_cut_and_say_so():
    """A text over the limit is cut to it and says how much is missing; one of exactly the limit is not."""
    assert Redactor().text("x" * LIMIT) == "x" * LIMIT
    assert Redactor().text("x" * (LIMIT + 5)) == "x" * LIMIT + "... [5 more characters]"


def test_one_value_may_be_part_of_another():
    """The longer of two known values is masked first, so that no rest of it stays."""
    for values in (["hunter", "hunter2-more"], ["hunter2-more", "hunter"]):
        assert Redactor(values=values).text("a hunter2-more b hunter c") == f"a {MASK} b {MASK} c"


def test_short_values_are_left():
    """A value under four characters is not masked: it would mask half the language."""
    assert Redactor(values=["the"]).text("the end") == "the end"


def test_own_patterns_are_masked_whole():
    """A further pattern masks its whole match."""
    assert Redactor(patterns=[r"\bDE\d{4}\b"]).text("iban DE1234.") == f"iban {MASK}."


def test_values_are_redacted_at_any_depth():
    """Texts inside lists and dictionaries are redacted, what stands under a secret's name is masked whole, others stay."""
    value = {
        "a": ["token=x1", ("b", {"password": "p", "n": 1})],
        "tokens": ["x", "y"],
        "credentials": {"user": "u"},
        "none": None,
    }

    assert Redactor().value(value) == {
        "a": [f"token={MASK}", ["b", {"password": MASK, "n": 1}]], "tokens": MASK, "credentials": MASK, "none": None,
    }  # fmt: skip
    assert Redactor().value("x", "password") == MASK
    assert Redactor().value(None, "password") is None
    assert Redactor().value(3, "passed") == 3


def test_half_a_surrogate_pair_is_escaped():
    """Text that no store can hold is made storable, not an error."""
    assert Redactor().text("a\ud800b") == "a\\ud800b"


HOSTILE = {
    "dashes": "a-" * 8_000 + " pass",
    "names": "pass" * 4_000,
    "one word": "a" * 16_000 + "://",
    "quotes": "password=" + '"' * 16_000,
    "spaces": "password" + " " * 16_000,
    "brackets": "token=" + "[" * 16_000,
    "keys": "-----BEGIN A PRIVATE KEY-----" * 500,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_takes_long(kind):
    """The longest text of the worst shape is redacted in well under a quarter of a second."""
    began = time.perf_counter()
    Redactor().text(HOSTILE[kind])

    assert time.perf_counter() - began < 0.25


def test_every_default_shape_is_hinted_at():
    """The quick look that decides whether to search finds every secret of the corpus."""
    assert [text for text in SECRETS if not redaction._HINT.search(text)] == []
