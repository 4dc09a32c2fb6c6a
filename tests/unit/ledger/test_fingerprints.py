"""Errors that fail alike have one fingerprint, errors that do not have different ones."""

from __future__ import annotations

import json
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.errors import AttemptTimeoutError, FlowStoneError, StorageError, WorkerLostError
from flowstone.ledger.fingerprints import fingerprint, shape

WORDS = ("connection refused by", "unknown column", "cannot parse", "no such table", "value out of range in", "denied for user")
VARIABLE = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(str),
    st.from_regex(r"0x[0-9a-f]{4,16}", fullmatch=True),
    st.uuids().map(str),
    st.uuids().map(lambda value: value.hex),
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda value: value.replace(tzinfo=UTC).isoformat()),
    st.dates().map(str),
    st.text("abcdefghij '\n", min_size=0, max_size=30).map(repr),
    st.lists(st.sampled_from(["eu", "us", "total"]), min_size=1, max_size=4).map(lambda names: ", ".join(map(repr, names))),
    st.from_regex(r"(/[a-z]{1,8}){2,5}\.csv", fullmatch=True),
    st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){1,3}\.parquet", fullmatch=True),
    st.from_regex(r"https://[a-z]{3,8}\.example/[a-z]{1,8}\?q=[a-z]{1,4}", fullmatch=True),
    st.from_regex(r"(run|err|out)_(?=[a-z]*[0-9])[0-9a-hjkmnp-tv-z]{12}", fullmatch=True),
)


def caught(function, *arguments):
    """What the function raises."""
    try:
        function(*arguments)
    except BaseException as error:  # noqa: BLE001 - that is what is asked for
        return error
    raise AssertionError(f"{function} raised nothing")


def print_of(error, asset="orders"):
    """The fingerprint as an attempt's failure gets it."""
    kind = error.type if isinstance(error, FlowStoneError) else type(error).__qualname__
    return fingerprint(error, kind, str(error), asset=asset)


def refuse(message):
    raise ValueError(message)


def refuse_elsewhere(message):
    raise ValueError(message)


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), data=st.data())
def test_what_varies_is_left_out(words, data):
    """Numbers, times, paths, addresses, ids and quoted texts between the words of a message make no other error."""
    first, second = (" ".join(part for word in words for part in (word, data.draw(VARIABLE))) for _ in range(2))

    assert shape(first) == shape(second)
    assert print_of(caught(refuse, first)) == print_of(caught(refuse, second))


@given(words=st.lists(st.sampled_from(WORDS), min_size=2, max_size=2, unique=True), value=VARIABLE)
def test_words_are_not_left_out(words, value):
    """Messages with other words are other errors, whatever their values are."""
    first, second = (f"{word} {value}" for word in words)

    assert print_of(caught(refuse, first)) != print_of(caught(refuse, second))


SHAPES = {
    "can't read file '/srv/in put.csv' line 5": "can't read file * line *",
    "it's 'it's' again": "it's * again",
    "the users' files": "the users' files",
    "and/or read/write": "and/or read/write",
    "took 1,234.5 s": "took * s",
    "b'\\x00' is no text": "* is no text",
    "'a text that was cut": "*",
    "missing: 'a', 'b', 'c'": "missing: *",
    "[Errno 2] No such file or directory: 'x'": "[Errno *] No such file or directory: *",
    "<Thing object at 0x7f00deadbeef>": "<Thing object at *>",
    "C:\\Users\\ann\\in.csv is open": "* is open",
    "division by zero": "division by zero",
}


@pytest.mark.parametrize("message", SHAPES)
def test_shapes(message):
    """What is left of a message is its words, in the order they have."""
    assert shape(message) == SHAPES[message]


def test_a_long_message_is_read_as_far_as_its_beginning():
    """What follows a long quoted value counts as if it were short; what lies behind 4,000 characters does not count."""
    assert shape(f"bad value '{'x' * 3_000}' in column") == shape("bad value 'x' in column")
    assert shape("word " * 2_000) == shape("word " * 3_000)


# -- places -----------------------------------------------------------------------------------------------------------------


def at_two_lines(number):
    if number:
        raise ValueError("no")
    raise ValueError("no")


def test_line_numbers_do_not_count():
    """The same error of the same function is the same error wherever in it it was raised."""
    assert print_of(caught(at_two_lines, 0)) == print_of(caught(at_two_lines, 1))


def test_another_function_or_type_is_another_error():
    """The type and the function that raised it tell errors with one message apart."""
    found = {print_of(caught(refuse, "no")), print_of(caught(refuse_elsewhere, "no")), print_of(caught(int, "no"))}

    assert len(found) == 3


def down(depth):
    if depth:
        down(depth - 1)
    raise KeyError("bottom")


def test_depth_does_not_count():
    """How often a function called itself before it raised makes no other error."""
    assert print_of(caught(down, 3)) == print_of(caught(down, 400))


def ping(depth):
    return pong(depth + 1)


def pong(depth):
    return ping(depth + 1) if depth >= 0 else abs(depth)


def lonely(depth):
    return lonely(depth + 1)


def test_an_endless_recursion_is_the_functions_that_recur():
    """Where the limit is met is chance: two functions that call each other are one error, whichever was called first."""
    sys.setrecursionlimit(limit := sys.getrecursionlimit())
    found = [print_of(caught(start, 0)) for start in (ping, pong)]
    sys.setrecursionlimit(limit + 1)
    found.append(print_of(caught(ping, 0)))
    sys.setrecursionlimit(limit)

    assert len(set(found)) == 1
    assert print_of(caught(lonely, 0)) not in found


def read_json():
    json.loads("{")


def read_other_json():
    json.loads("{")


def test_a_librarys_error_counts_for_who_called_it():
    """The same error inside the same library is another one when other code of ours called it."""
    assert print_of(caught(read_json)) != print_of(caught(read_other_json))


@pytest.mark.parametrize("name", ["<string>", "/home/ann/ipykernel_812/2217.py"])
def test_a_session_is_no_place(name):
    """Code of a notebook or of ``exec`` is known by its functions: its file is numbered anew in each session."""
    spaces = [{"__name__": "__main__"} for _ in range(2)]
    for number, space in enumerate(spaces):
        exec(compile("def cell():\n    raise ValueError('no')", name.replace("812", str(number)), "exec"), space)

    assert print_of(caught(spaces[0]["cell"])) == print_of(caught(spaces[1]["cell"]))


# -- groups and causes --------------------------------------------------------------------------------------------------------


def grouped(*messages):
    raise ExceptionGroup("unhandled errors", [caught(refuse, message) for message in messages])


def grouped_elsewhere(*messages):
    raise ExceptionGroup("unhandled errors", [caught(refuse_elsewhere, message) for message in messages])


def nested(message):
    raise ExceptionGroup("unhandled errors", [caught(grouped, message)])


def test_a_group_is_its_first_leaf():
    """A group of errors counts with its first leaf, however deep that is; how many there are and the others do not count."""
    alike = print_of(caught(grouped, "no route", "and another"))

    assert print_of(caught(grouped, "no route")) == alike
    assert print_of(caught(grouped, "no name")) != alike
    assert print_of(caught(nested, "no route")) != print_of(caught(nested, "no name"))
    leaves = [error.exceptions[0] for error in (caught(grouped, "no"), caught(grouped_elsewhere, "no"))]
    assert print_of(leaves[0]) != print_of(leaves[1])


def wrap(error, *, explicitly=True):
    try:
        raise error
    except Exception as cause:
        if explicitly:
            raise RuntimeError("the load failed") from cause
        raise RuntimeError("the load failed")  # noqa: B904 - as users write it


@pytest.mark.parametrize("explicitly", [True, False])
def test_the_innermost_cause_counts(explicitly):
    """One message raised from different causes is different errors, said with ``from`` or not; the cause's message is not."""
    prints = [
        print_of(caught(lambda e=error: wrap(e, explicitly=explicitly))) for error in (KeyError("a"), KeyError("b"), OSError(1))
    ]

    assert prints[0] == prints[1] != prints[2]


def test_what_was_being_handled_anyway_is_no_cause():
    """An attempt that runs while its caller handles an error has the same errors as any other."""

    def alone():
        raise ValueError("no")

    plain = print_of(caught(alone))
    try:
        raise OSError("the caller's own")
    except OSError as outside:
        error = caught(alone)
        inside = fingerprint(error, "ValueError", "no", asset="orders", outside=outside)

    assert error.__context__ is not None
    assert inside == plain


def store(number, reason):
    try:
        raise reason
    except OSError as error:
        raise StorageError(f"could not store asset 'a{number}': {error.strerror} (/srv/a{number})") from error


def test_a_wrapped_storage_error_keeps_its_origin():
    """A full disk is one error for every asset; a refused permission is another one."""
    full = [print_of(caught(store, number, OSError(28, "No space left on device")), f"a{number}") for number in (1, 2)]
    denied = print_of(caught(store, 1, PermissionError(13, "Permission denied")), "a1")

    assert full[0] == full[1] != denied


def test_what_is_seen_from_outside_counts_for_each_asset():
    """A lost process and a timeout say how they were noticed: that is no part of them, and the asset is."""
    lost = [WorkerLostError(text) for text in ("process 7 on north died", "attempt 1: killed by signal 9")]

    assert print_of(lost[0]) == print_of(lost[1])
    assert len({print_of(lost[0]), print_of(lost[0], "rates"), print_of(AttemptTimeoutError("30 s"))}) == 3


class BrokenError(Exception):
    """An exception that raises wherever it is looked at."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


def test_a_class_that_cannot_be_looked_at_has_a_fingerprint():
    """Users' classes may raise anywhere: there is always a fingerprint, and it is the same each time."""
    found = {fingerprint(BrokenError(), "BrokenError", "?", asset="orders") for _ in range(2)}

    assert len(found) == 1
    assert all(len(text) == 16 for text in found)


def test_cyclic_causes_end():
    """Errors that are each other's cause have a fingerprint."""
    first, second = caught(refuse, "first"), caught(refuse_elsewhere, "second")
    first.__cause__, second.__cause__ = second, first

    assert len({print_of(first), print_of(second)}) == 2


def test_where_the_code_is_kept_does_not_count(tmp_path):
    """The same file in another folder raises the same errors: machines keep code in different places."""
    found = []
    for folder in ("here", str(uuid.UUID(int=7))):
        file = Path(tmp_path, folder, "pipeline.py")
        file.parent.mkdir()
        space = {"__name__": "pipeline"}
        exec(compile("def load():\n    raise ValueError('no')", str(file), "exec"), space)
        found.append(print_of(caught(space["load"])))

    assert found[0] == found[1]
