"""A dispatcher whose clock is moved by hand, and events of a made-up trade."""

from __future__ import annotations

import pytest

from flowstone.events.dispatcher import Dispatcher
from flowstone.testing import MovableClock


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def dispatcher(clock):
    made = Dispatcher(clock)
    yield made
    made.close()
