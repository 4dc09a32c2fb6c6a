"""What an annotation asks for, without importing the library it comes from."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

_NOT_GIVEN = (None, inspect.Parameter.empty)


def given(annotation: Any) -> Any:
    """Return *annotation*, or ``None`` where there is none or it was never resolved."""
    if isinstance(annotation, str | typing.ForwardRef | typing.TypeVar) or any(annotation is none for none in _NOT_GIVEN):
        return None
    return annotation


def _is_plain(annotation: Any) -> bool:
    """Whether it is a class and nothing else, as most annotations are: it stands for itself."""
    return type(annotation) is type and annotation is not object and annotation is not inspect.Parameter.empty


def wanted(annotation: Any) -> Any:
    """Return the one type *annotation* stands for: aliases, ``Annotated``, ``NewType`` and ``| None`` are looked through.

    ``Any`` for ``object``; a union of several types stays as it is; ``None`` if nothing is asked for.
    """
    if _is_plain(annotation):
        return annotation
    annotation = given(annotation)
    if annotation is None or annotation is Any or annotation is object:
        return None if annotation is None else Any
    if hasattr(annotation, "__supertype__"):
        return wanted(annotation.__supertype__)
    if type(annotation).__name__ == "TypeAliasType":
        return wanted(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return wanted(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is types.UnionType:
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        return wanted(members[0]) if len(members) == 1 else annotation
    return annotation


def class_of(annotation: Any) -> type | None:
    """Return the class behind a wanted type (``list`` for ``list[int]``), or ``None``."""
    if _is_plain(annotation):
        return typing.cast("type", annotation)
    origin = typing.get_origin(annotation) or annotation
    return origin if isinstance(origin, type) else None


def is_stream(annotation: Any) -> bool:
    """Return whether *annotation* asks for an iterator, so for a value piece by piece."""
    cls = class_of(wanted(annotation))
    return cls is not None and issubclass(Generator, cls)


def piece_of(annotation: Any) -> type | None:
    """Return the class of the pieces that an iterator's annotation names, ``None`` if it names none."""
    arguments = typing.get_args(wanted(annotation))
    item = wanted(arguments[0]) if arguments else None
    return None if item is Any else class_of(item)


def value_of(annotation: Any) -> Any:
    """Return the annotation of a mapping's values (``int`` for ``dict[str, int]``), ``None`` if it names none."""
    arguments = typing.get_args(wanted(annotation))
    return arguments[1] if len(arguments) == 2 else None


def library_of(cls: type) -> str:
    """Return the top-level module that defines *cls*."""
    return cls.__module__.partition(".")[0]


def name_of(annotation: Any) -> str:
    """Return *annotation* as people write it."""
    return annotation.__qualname__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)


@dataclass(frozen=True, slots=True)
class Stream:
    """An iterator that is stored piece by piece; ``item`` is its pieces' type, ``None`` if empty and not annotated."""

    items: Iterator[Any]
    item: type | None
