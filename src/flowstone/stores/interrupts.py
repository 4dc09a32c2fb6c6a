"""Telling an interrupt from what a driver raises while it cleans up after one."""

from __future__ import annotations


def interrupt_in(error: BaseException, handled: BaseException | None) -> BaseException | None:
    """The interrupt that *error* is or followed on, looking no further back than what was being *handled* anyway."""
    found: BaseException | None = error
    while found is not None and found is not handled:
        if not isinstance(found, Exception):
            return found
        found = found.__cause__ or found.__context__
    return None


def told(error: BaseException, clear: BaseException) -> BaseException | None:
    """What is told as the cause of *clear*: *error*, or nothing when *clear* is the interrupt that led to it."""
    return error if isinstance(clear, Exception) else None
