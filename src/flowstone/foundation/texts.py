"""Texts as every database holds them."""

from __future__ import annotations


def storable(text: str) -> str:
    r"""Return *text* with NUL and half surrogate pairs, which not every database holds, escaped: ``\x00``, ``\ud800``."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
