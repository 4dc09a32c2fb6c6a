"""Lengths of time as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.durations import parse_duration, show_duration

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 90 * 86_400), ("12h", 43_200), ("30s", 30), ("1.5s", 1.5), ("5m", 300), ("5min", 300), ("2w", 14 * 86_400),
     ("250ms", 0.25), (" 10 s ", 10), ("0s", 0)],
)  # fmt: skip
def test_a_number_and_a_unit_are_a_length(text, seconds):
    """Each unit stands for its number of seconds."""
    assert parse_duration(text) == seconds * SECOND


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1 day", "1d2h", "1e3s", "nan s", "40000d", "\uff11d"])
def test_anything_else_is_refused(text):
    """A text without a unit, below zero, or longer than a hundred years is an error that quotes it."""
    with pytest.raises(ValueError, match=r"no length of time|more than a hundred years"):
        parse_duration(text)


@given(st.integers(0, 3_000_000_000))
def test_a_length_is_shown_as_a_text_that_means_it(milliseconds):
    """What is shown can be read again, and is the same length."""
    length = milliseconds * 1_000_000

    assert parse_duration(show_duration(length)) == length


def test_the_largest_unit_that_fits_is_shown():
    """Ninety days are not a number of seconds."""
    shown = [show_duration(seconds * SECOND) for seconds in (90 * 86_400, 129_600, 90, 0)]

    assert shown == ["90d", "36h", "90s", "0s"]
