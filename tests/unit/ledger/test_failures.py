"""An exception becomes plain data of bounded size, without secrets, whatever it does when it is looked at."""

from __future__ import annotations

import pickle
import sys

import msgspec
import pytest

from flowstone.foundation.errors import FlowStoneError
from flowstone.foundation.redaction import Redactor
from flowstone.ledger.failures import describe

LARGEST = 64 * 1024
SECRET = "correct-horse-battery"


class MuteError(Exception):
    """Raises when it is shown."""

    def __str__(self):
        raise KeyboardInterrupt

    __repr__ = __str__


class LoudError(Exception):
    """Is shown as a very long text."""

    def __str__(self):
        return "ä" * 2_000_000


class CarelessError(FlowStoneError):
    """Does not call its parent, and has a type and a context that are none."""

    type = 7

    def __init__(self):
        self.context = 3


class HostileError(Exception):
    """Raises wherever it is looked at."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


def cyclic():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__context__ = second, first
    return first


def chain(length):
    error = None
    for number in range(length):
        following = ValueError(f"link {number}")
        following.__cause__ = error
        error = following
    return error


def noted():
    error = ValueError("with notes")
    error.__notes__ = ["x" * 200_000, 7]
    return error


def wide():
    return ExceptionGroup("many", [ValueError("y" * 1_000) for _ in range(2_000)])


def named():
    return FlowStoneError("full of context", **{f"name_{n}": "z" * 5_000 for n in range(200)})


CORPUS = {
    "mute": MuteError, "loud": LoudError, "careless": CarelessError, "hostile": HostileError, "cyclic": cyclic,
    "chain": lambda: chain(1_000), "notes": noted, "wide": wide, "context": named,
    "surrogates": lambda: ValueError("\ud800" * 50_000), "nul": lambda: ValueError("\0" * 50_000),
    "broken repr": lambda: KeyError(MuteError()), "huge repr": lambda: KeyError("k" * 5_000_000),
    "long name": lambda: type("N" * 10_000, (Exception,), {})(),
}  # fmt: skip


def raised(error):
    """The error as it is caught."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - that is what is asked for
        return caught


def size(failure):
    """Bytes of everything that is kept of it."""
    return len(msgspec.json.encode(failure)) if failure else 0


@pytest.mark.parametrize("name", CORPUS)
def test_anything_is_described_in_64_kib(name):
    """Errors that raise, never end or are huge when shown: plain data that fits 64 KiB, a database and a pipe."""
    failure = describe(raised(CORPUS[name]()), Redactor(), retryable=False, asset="orders")
    texts = [failure.type, failure.message, failure.traceback, *failure.context, *failure.context.values()]

    assert sum(len(text.encode()) for text in texts) <= LARGEST
    assert not any("\0" in text for text in texts)
    assert len(failure.fingerprint) == 16
    assert pickle.loads(pickle.dumps(failure)) == failure


def test_an_error_10000_frames_deep_keeps_its_innermost_frames():
    """A deep traceback is cut to its end, and to the error itself."""

    def fall(depth):
        if depth:
            fall(depth - 1)
        raise ValueError("the bottom")

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(12_000)
    try:
        fall(10_000)
    except ValueError as error:
        failure = describe(error, Redactor(), retryable=False)
    finally:
        sys.setrecursionlimit(limit)

    assert failure.traceback.rstrip().endswith("ValueError: the bottom")
    assert size(failure) <= LARGEST


@pytest.mark.parametrize("before", [0, 15_000 - 8, 14_890, 16_380, 32_760, 131_060, 262_140])
def test_no_cut_halves_a_secret(before):
    """Wherever a text is cut, no part of a secret is left of it: texts are redacted before they are cut."""
    redactor = Redactor(values=[SECRET])
    error = FlowStoneError("x" * before + SECRET + "y" * 300_000 + SECRET, login=SECRET, text="x" * (before % 1_000) + SECRET)
    kept = repr(describe(raised(error), redactor, retryable=False))

    assert SECRET[:6] not in kept
    assert SECRET[-7:] not in kept


def test_a_context_is_kept_as_far_as_it_fits():
    """What an error names is kept in order until 8 KiB are full; a value under a secret's name is masked."""
    failure = describe(raised(FlowStoneError("no", bucket="north", password="abc", **{f"n{i}": "v" * 3_000 for i in range(20)})),
                       Redactor(), retryable=False)  # fmt: skip

    assert failure.context["bucket"] == "north"
    assert failure.context["password"] == "[redacted]"
    assert 3 < len(failure.context) < 22


def test_only_the_users_part_of_a_traceback_is_kept():
    """A traceback begins with the first frame that is not FlowStone's."""
    namespace = {"__name__": "flowstone.execution.body"}
    exec("def call(function):\n    function()", namespace)

    def users():
        raise ValueError("no")

    try:
        namespace["call"](users)
    except ValueError as error:
        error.__traceback__ = error.__traceback__.tb_next
        failure = describe(error, Redactor(), retryable=True)

    assert "in call" not in failure.traceback
    assert "in users" in failure.traceback
