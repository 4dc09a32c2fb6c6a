"""Names become path parts that are safe and stay apart."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstone.io_managers.naming import LONGEST, UNPARTITIONED, safe_name

NAMES = st.text(max_size=200) | st.text("ab:~@-._/ ", max_size=4)


@given(NAMES)
@example("..")
@example("\ud800")
def test_a_part_is_safe(name: str) -> None:
    """A part is ASCII, never empty, hidden, an option or a step up, and short enough for every file system."""
    part = safe_name(name)
    assert part.isascii()
    assert part[0] not in ".-~"
    assert part not in {"", ".", ".."}
    assert not set(part) & set("/\\:\0\n*?[]\"' ")
    assert len(part) <= LONGEST


@given(NAMES, NAMES)
@example("a:b", "a~b")
@example("", UNPARTITIONED)
def test_different_names_give_different_parts(one: str, other: str) -> None:
    """Two names share a part only if they are the same name."""
    assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("orders", "orders"),
        ("d:2026-11-23", "d~2026-11-23"),
        ("", "@none"),
        ("eu.west_1", "eu.west_1"),
        ("k" * LONGEST, "k" * LONGEST),
    ],
)
def test_ordinary_names_stay_readable(name: str, part: str) -> None:
    """Ordinary names and days can be read in the folder as they are."""
    assert safe_name(name) == part


def test_long_names_begin_readably() -> None:
    """A name that is too long keeps its beginning before the hash."""
    assert safe_name("k" * (LONGEST + 1)).startswith("k" * 40 + "@")
