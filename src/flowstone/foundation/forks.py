"""What must be made anew in a child process that was forked: locks that another thread held, and threads that are not there."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """Something whose locks and threads do not survive a fork."""

    def renew(self) -> None:
        """Make locks anew and forget threads; called in the child, before anything else runs there."""
        ...


_known: WeakSet[Renewable] = WeakSet()


def renew_in_children(thing: Renewable) -> None:
    """Have *thing* renewed in every child that is forked from now on, as long as it lives."""
    _known.add(thing)


def _renew() -> None:
    for thing in list(_known):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
