"""What tests of the engine share: a clock at noon, and plans without runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flowstone.execution.planner import Planner
from flowstone.foundation.clock import as_datetime
from flowstone.testing import MovableClock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def clock():
    """A clock that stands at noon (UTC) of 2026-11-23 until it is moved."""
    return MovableClock(NOON)


@pytest.fixture
def plan(clock):
    """A function from a FlowStone and a request to the plan of it."""

    def make(made, targets=None, partition=None, *, deps=True):
        planner = Planner(made.pipeline, made.settings.project, made._deployment.planning(), as_datetime(clock.now_ns()))
        return planner.plan(targets, partition, deps=deps)

    return make
