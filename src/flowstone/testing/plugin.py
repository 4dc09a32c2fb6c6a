"""The pytest plugin: fixtures for testing pipelines. Every test session loads it, so it loads the engine when a fixture asks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import flowstone
from flowstone import testing

if TYPE_CHECKING:
    from flowstone.testing.capture import CapturedEvents
    from flowstone.testing.clock import MovableClock


@pytest.fixture
def flowstone_clock() -> MovableClock:
    """A clock that stands still until it is moved; hand it over as ``flow(pipeline, clock=flowstone_clock)``."""
    return testing.MovableClock()


@pytest.fixture
def flowstone_events() -> CapturedEvents:
    """The events of every FlowStone that the fixture ``flow`` makes in this test, in order of emission."""
    return testing.CapturedEvents()


@pytest.fixture
def flow(flowstone_events: CapturedEvents) -> Iterator[Callable[..., flowstone.FlowStone]]:
    """A function from a pipeline and the options of ``isolated_flow`` to a FlowStone with fresh state.

    What it returns is closed when the test ends.
    """
    with ExitStack() as opened:

        def make(pipeline: flowstone.Pipeline | None = None, **options: Any) -> flowstone.FlowStone:
            shown = sys.stdout  # what assets print goes where the test's own prints go
            made = testing.isolated_flow(pipeline, **{"echo": lambda text: print(text, end="", file=shown), **options})
            opened.enter_context(made)
            made.attach("flowstone.testing.fixture", "*", flowstone_events.append)
            return made

        yield make
