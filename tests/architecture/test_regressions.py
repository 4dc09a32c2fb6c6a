"""Every weakness of the system this one follows is mended and tested, or said to wait for its subject."""

from __future__ import annotations

import ast
import re

import pytest

WEAKNESSES = frozenset(range(1, 41))


@pytest.fixture(scope="module")
def regressions(tests):
    """The modules of regression tests."""
    return [module for module in tests if module.name.startswith("tests/regression/")]


@pytest.fixture(scope="module")
def tested(regressions):
    """The numbers that have a test named after them."""
    names = [node.name for module in regressions for node in module.functions()]
    return {int(found[1]) for name in names if (found := re.match(r"test_w_(\d\d)_", name))}


@pytest.fixture(scope="module")
def waiting(regressions):
    """Number → what it waits for, from the tables in the modules' docstrings."""
    text = "\n".join(ast.get_docstring(module.tree) or "" for module in regressions)
    return {int(number): why for number, why in re.findall(r"^\| W-(\d\d) \|[^|]+\| ([^|]+) \|$", text, re.MULTILINE)}


def test_every_weakness_is_tested_or_waits(tested, waiting):
    """Each number from 1 to 40 has a test, or stands in the table with what it waits for; none is in both."""
    assert tested | waiting.keys() == WEAKNESSES
    assert tested & waiting.keys() == set()


def test_what_waits_says_for_what(waiting):
    """A weakness waits for an issue, by its number or by its subject."""
    assert [number for number, why in waiting.items() if "issue" not in why] == []


def test_regressions_are_named_after_their_weakness(regressions):
    """Every test among the regressions carries the number of a weakness."""
    unnamed = [
        f"{module.at(node)}: {node.name}"
        for module in regressions
        for node in module.functions()
        if node.name.startswith("test_") and not re.match(r"test_w_\d\d_[a-z]", node.name)
    ]

    assert unnamed == []
