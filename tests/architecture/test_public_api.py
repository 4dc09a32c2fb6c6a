"""The public names and their signatures, compared with ``public_api.txt``: a change is seen in review, never by accident."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import flowstone

SNAPSHOT = Path(__file__).with_name("public_api.txt")
WRITE = os.environ.get("FLOWSTONE_WRITE_API") == "1"


def signature(thing: object) -> str:
    """The signature as text, the same on every Python and without addresses; empty for what cannot be called."""
    try:
        text = str(inspect.signature(thing))
    except (TypeError, ValueError):
        return ""
    return re.sub(r"<(\w+) ([\w.<>]+) at 0x[0-9a-f]+>", r"<\1 \2>", text).replace("typing.", "")


def members(cls: type) -> Iterator[str]:
    """One line for each public method, property and class method of *cls* that no other public name has."""
    ours = [base for base in cls.__mro__[1:] if base.__module__.startswith("flowstone.")]
    hidden = [base for base in reversed(ours) if base.__name__ not in flowstone.__all__]
    for name, value in sorted({name: value for base in [*hidden, cls] for name, value in vars(base).items()}.items()):
        if name.startswith("_"):
            continue
        if isinstance(value, classmethod | staticmethod):
            yield f"    {name}{signature(value.__func__)}"
        elif inspect.isfunction(value):
            yield f"    {name}{signature(value)}"
        elif isinstance(value, property) or inspect.ismemberdescriptor(value):
            yield f"    {name}"


def lines(name: str) -> Iterator[str]:
    """The public name *name* as it stands in the snapshot."""
    thing = getattr(flowstone, name)
    if inspect.isclass(thing):
        bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
        yield f"class {name}({bases}){'' if issubclass(thing, BaseException) else signature(thing)}"
        yield from members(thing)
    elif callable(thing):
        yield f"def {name}{signature(thing)}"
        yield from (f"    overload {signature(variant)}" for variant in typing.get_overloads(thing))
    else:
        yield f"{name}: {type(thing).__name__}"


def test_the_public_api_is_the_recorded_one():
    """Names and signatures are those of the snapshot; ``make api`` records a wanted change."""
    now = "".join(f"{line}\n" for name in sorted(flowstone.__all__) for line in lines(name))
    if WRITE:
        SNAPSHOT.write_text(now, encoding="utf-8")
    recorded = SNAPSHOT.read_text(encoding="utf-8") if SNAPSHOT.exists() else ""
    changes = "\n".join(difflib.unified_diff(recorded.splitlines(), now.splitlines(), "recorded", "now", lineterm="", n=0))

    assert changes == "", f"the public API changed; if that is wanted: make api\n{changes}"


def test_every_public_name_is_there_once_and_documented():
    """``__all__`` has no repetition, every name in it can be reached, and each class and function has a docstring."""
    names = list(flowstone.__all__)

    assert sorted(set(names)) == sorted(names)
    assert [name for name in names if not hasattr(flowstone, name)] == []
    assert [name for name in names if callable(getattr(flowstone, name)) and not inspect.getdoc(getattr(flowstone, name))] == []
    assert set(names) <= set(dir(flowstone))
