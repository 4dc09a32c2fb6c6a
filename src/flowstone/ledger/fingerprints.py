"""Fingerprints: equal for errors that fail alike, different for others, whichever process or thread they were raised in.

Pure functions of an exception; nothing here reads or writes records.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType

_READ, _KEPT = 4_000, 300  # characters of a message, before and after what varies is left out
_RECURRING = 5  # frames of one function in the traceback of an endless recursion
_FOLDERS = re.compile(r".*[\\/]", re.DOTALL)
_INSTALLED = re.compile(r"[\\/](?:site-packages|dist-packages)[\\/]")
_LIBRARY = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})

_DAY_AND_TIME = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|\s?[+-]\d\d:?\d\d)?)?"
_VARIABLE = re.compile(
    "|".join(
        (
            r"""(?<!\w)[bBrRuUfF]{0,2}(["'`])(?:\\.|(?!\1).|\1(?=\w))*(?:\1|\Z)""",  # a quoted text, though it may be cut
            r"\w+://[^\s'\"<>]+",
            rf"\b{_DAY_AND_TIME}\b",
            r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b",
            r"(?<![\w.])[A-Za-z]:\\[^\s'\",;:()\[\]]*",
            r"(?<![\w*])(?:~|\.{1,2})?(?:/[^\s/'\",;:()\[\]]+)+/?",
            r"(?<![\w/])[\w.-]+(?:/[\w.-]+)*/[\w-]+\.\w{1,8}\b",  # a relative path, known by its extension
            r"\b0[xX][0-9a-fA-F]+\b|\b[0-9a-fA-F]{8,}\b",
            r"\b(?=[a-zA-Z_]*\d)\w{12,}\b",  # an id: long, of letters and digits
            r"(?<!\w)[-+]?\d+(?:[.,:_]\d+)*(?:[eE][-+]?\d+)?|\d+(?:[.,:_]\d+)*",
        )
    ),
    re.DOTALL,
)
_LISTED = re.compile(r"\*(?:\s*,\s*\*)+")


def fingerprint(error: BaseException, kind: str, message: str, *, asset: str = "", outside: BaseException | None = None) -> str:
    """Sixteen hexadecimal digits made of what an error is and where it arose: not of values, line numbers or the way there.

    What counts: its *kind*, the innermost function of its traceback and the innermost one of users' code, the shape of its
    *message*, of a group the same of its first leaf, and of what it was raised from the innermost cause's type and place;
    *outside* is what was being handled anyway. What FlowStone finds itself, without users' code or a cause, counts for each
    *asset*; of what it finds from outside, a lost process or a timeout, the message says how and does not count.
    """
    try:
        parts = list(_parts(error, kind, message, asset, outside))
    except BaseException:  # noqa: BLE001 - users' classes may raise wherever they are looked at
        parts = [kind, asset]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def shape(message: str) -> str:
    """*message* without what varies from one occurrence to the next: numbers, times, quoted texts, paths, addresses, ids."""
    return _LISTED.sub("*", _VARIABLE.sub("*", message[:_READ]))[:_KEPT]


def _parts(error: BaseException, kind: str, message: str, asset: str, outside: BaseException | None) -> Iterator[str]:
    yield kind
    if error.__traceback__ is None:
        yield asset
        return
    yield from _places(error)
    if isinstance(error, BaseExceptionGroup):
        yield shape(error.message)  # its text says how many there are
    else:
        yield "" if isinstance(error, RecursionError) else shape(message)  # it says where the limit was met, which is chance
    leaf = error
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    if leaf is not error:
        yield from (type(leaf).__qualname__, *_places(leaf), shape(str(leaf)))
    cause = _innermost(leaf, outside)
    if cause is not leaf:
        yield from ("from", type(cause).__qualname__, *_places(cause))
    elif not any(_is_users(frame) for frame in _frames(leaf)):
        yield asset


def _innermost(error: BaseException, outside: BaseException | None) -> BaseException:
    """The first of the errors that led to *error*, which may be itself."""
    seen = {id(error)}
    while True:
        before = error.__context__ if error.__cause__ is None and not error.__suppress_context__ else error.__cause__
        if before is None or before is outside or id(before) in seen:
            return error
        seen.add(id(before))
        error = before


def _places(error: BaseException) -> tuple[str, ...]:
    """The innermost function, and the innermost of users' code; of an endless recursion those that call each other."""
    if isinstance(error, RecursionError):
        counts = Counter(_name(frame.f_code) for frame in _frames(error))
        return tuple(sorted(name for name, count in counts.items() if count >= _RECURRING))
    last = users = ""
    for frame in _frames(error):
        last = _name(frame.f_code)
        if _is_users(frame):
            users = last
    return last, users


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _name(code: CodeType) -> str:
    """``pipeline.py:orders``: the file without its folders, which differ from machine to machine."""
    file = code.co_filename
    generated = file.startswith("<") or "ipykernel" in file  # numbered anew in each session
    return f"{'' if generated else _FOLDERS.sub('', file)}:{code.co_qualname}"


def _is_users(frame: FrameType) -> bool:
    """Whether the frame runs users' code, neither FlowStone's nor a library's."""
    module = frame.f_globals.get("__name__")
    return not (isinstance(module, str) and module.startswith("flowstone.")) and _is_users_file(frame.f_code.co_filename)


@lru_cache(maxsize=4096)
def _is_users_file(file: str) -> bool:
    return not (_INSTALLED.search(file) or file.startswith(_LIBRARY) or file.startswith("<frozen"))
