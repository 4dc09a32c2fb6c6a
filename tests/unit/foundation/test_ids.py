"""Identifiers carry their kind, do not collide, and can be replayed."""

from __future__ import annotations

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.ids import ALPHABET, Ids


def test_an_id_is_its_kind_and_twelve_unmistakable_characters():
    """An id is ``<kind>_`` and twelve characters of an alphabet without i, l, o and u."""
    assert len(set(ALPHABET)) == 32
    assert not set("ilouILOU") & set(ALPHABET)
    assert all(re.fullmatch(rf"run_[{ALPHABET}]{{12}}", Ids().new("run")) for _ in range(100))


def test_every_character_varies():
    """All sixty bits are used: each of the twelve places takes each of the 32 values."""
    ids = Ids(random.Random(1).randbytes)
    made = [ids.new("x")[2:] for _ in range(2_000)]

    assert all({text[place] for text in made} == set(ALPHABET) for place in range(12))


def test_a_hundred_thousand_ids_differ():
    """100,000 new ids are 100,000 different ones."""
    ids = Ids()

    assert len({ids.new("x") for _ in range(100_000)}) == 100_000


def test_a_seed_replays_the_same_ids():
    """Two sources with the same seed give the same ids in the same order, another seed gives others."""

    def made(seed):
        ids = Ids(random.Random(seed).randbytes)
        return [ids.new("run"), ids.trace_id(), ids.new("out")]

    assert made(7) == made(7)
    assert made(7) != made(8)


def test_a_trace_id_is_valid_even_from_nothing():
    """A trace id is 32 hexadecimal digits, and never all zero, which W3C forbids."""
    assert re.fullmatch(r"[0-9a-f]{32}", Ids().trace_id())
    assert Ids(lambda count: bytes(count)).trace_id() == "1" * 32


@given(st.lists(st.tuples(st.integers(0, 2**40 - 1), st.integers(0, 9)), min_size=2, max_size=20))
def test_numbered_ids_sort_like_their_numbers(numbers):
    """Ids of numbered rows differ when number or part differ, and sort by number and part."""
    made = [Ids.numbered("out", number, part) for number, part in numbers]

    assert [made[i] for i in sorted(range(len(numbers)), key=numbers.__getitem__)] == sorted(made)
    assert len(set(made)) == len(set(numbers))
