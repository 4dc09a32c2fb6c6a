"""Texts as every database holds them, and as an error quotes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def cut(text: str, most: int = 60) -> str:
    """Return *text*, or its first *most* characters and ``...`` where it is longer: what an error quotes of it."""
    return text if len(text) <= most else f"{text[:most]}..."


def storable(text: str) -> str:
    r"""Return *text* with NUL and half surrogate pairs, which not every database holds, escaped: ``\x00``, ``\ud800``."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def harmless(values: Mapping[str, Any]) -> dict[str, Any]:
    """*values* with the texts no database holds escaped."""
    return {name: storable(value) if isinstance(value, str) else value for name, value in values.items()}


def storable_in(value: Any) -> Any:
    """Return a JSON *value* with every text in it, names included, as every database holds it."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_in(name): storable_in(item) for name, item in value.items()}
    if isinstance(value, list):
        return [storable_in(item) for item in value]
    return value
