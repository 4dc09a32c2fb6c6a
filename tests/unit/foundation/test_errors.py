"""Errors say what is wrong and what to do, and survive the way from one process to another."""

from __future__ import annotations

import pickle

import pytest

from flowstone.foundation import errors
from flowstone.foundation.errors import FlowStoneError, GiveUp, RetryLater, ValidationError, WorkerLostError, did_you_mean

TREE = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, FlowStoneError)]


def test_an_error_says_its_message_else_its_documentation():
    """Without a message the text is the first line of the class's docstring; the hint is a line of its own."""
    assert str(WorkerLostError()) == WorkerLostError.__doc__.splitlines()[0]
    assert str(FlowStoneError("no", hint="do it", asset="x")) == "no\n  do it"
    assert FlowStoneError("no", asset="x").context == {"asset": "x"}


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling(cls):
    """Class, message, hint and context are the same on the other side."""
    error = cls("no", hint="do it", asset="x", number=3)
    back = pickle.loads(pickle.dumps(error))

    assert type(back) is cls
    assert (back.message, back.hint, back.context, str(back)) == (error.message, error.hint, error.context, str(error))


def test_every_error_has_a_type_of_its_own():
    """No two classes share the type that is recorded."""
    types = [cls.type for cls in TREE]

    assert sorted(set(types)) == sorted(types)


def test_validation_lists_every_problem():
    """All problems are listed and counted at once."""
    assert str(ValidationError(problems=["a", "b"])) == "2 problems found:\n  - a\n  - b"
    assert str(ValidationError(problems=["a"])).startswith("1 problem found")


def test_retry_later_needs_a_time():
    """``RetryLater`` is refused without a number of seconds above 0."""
    assert RetryLater(2).after == 2.0
    for after in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="number of seconds above 0"):
            RetryLater(after)
    assert not issubclass(GiveUp, FlowStoneError)


def test_the_closest_name_is_suggested():
    """A name close to a known one is suggested; one that is like none is not."""
    assert did_you_mean("ordrs", ["orders", "refunds"]) == "did you mean 'orders'?"
    assert did_you_mean("zzz", ["orders"]) is None
