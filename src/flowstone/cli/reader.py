"""Whether anybody still reads what a verb prints that goes on and on."""

from __future__ import annotations

import select
import sys


def require_reader() -> None:
    """Raise :class:`BrokenPipeError` when nobody reads standard output any more: writing would tell, but nothing is written."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    watched = select.poll()
    watched.register(output, select.POLLERR)
    if any(happened & select.POLLERR for _, happened in watched.poll(0)):
        raise BrokenPipeError
