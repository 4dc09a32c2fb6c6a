"""The series of one process are what its handlers, its losses and the machine say now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowstone.events.dispatcher import Dispatcher
from flowstone.events.event import Event, Label, event
from flowstone.observability.prometheus.process_figures import process_families
from flowstone.observability.prometheus.process_series import PROCESS_FAMILIES
from flowstone.testing import MovableClock


@event("acme.ping", recorded=False)
class Ping(Event, frozen=True, kw_only=True):
    """Something."""

    kind: Label = ""


def figures(dispatcher, runs=0, home=None, unaudited=0):
    found = process_families(dispatcher.list_handlers(), dispatcher.losses.totals(), runs, home, unaudited)
    return found, {(family.name, *sample.labels): sample.value for family in found for sample in family.samples}


@pytest.fixture
def clock():
    return MovableClock()


@pytest.fixture
def dispatcher(clock):
    made = Dispatcher(clock)
    yield made
    made.close()


def test_handlers_are_told_apart(dispatcher, clock):
    """Calls, failures, slow calls, time and quarantine are told for each handler, and what it lost by the account of losses."""

    def fail(happened):
        raise ValueError

    def dawdle(happened):
        clock.advance(0.25)

    dispatcher.attach("acme.good", Ping, lambda happened: None)
    dispatcher.attach("acme.bad", Ping, fail)
    dispatcher.attach("acme.slow", Ping, dawdle)
    dispatcher.emit(Ping)
    dispatcher.emit(Ping)

    _, found = figures(dispatcher)
    prefix = "flowstone_process_handler_"
    told = {name: [found[f"{prefix}{name}", f"acme.{who}"] for who in ("good", "bad", "slow")] for name in (
        "calls_total", "failures_total", "slow_total", "skipped_total", "quarantined", "waiting", "busy_seconds_total",
    )}  # fmt: skip

    assert told == {
        "calls_total": [2, 1, 1], "failures_total": [0, 1, 0], "slow_total": [0, 0, 1], "skipped_total": [0, 1, 1],
        "quarantined": [0, 1, 1], "waiting": [0, 0, 0], "busy_seconds_total": [0, 0, 0.25],
    }  # fmt: skip
    assert found["flowstone_process_telemetry_lost_total", "acme.bad", "quarantined"] == 1


def test_the_machine_is_asked(dispatcher, tmp_path):
    """Memory, time, files, threads, runs and the space of the home folder are those of this process, and of this machine."""
    _, found = figures(dispatcher, runs=3, home=tmp_path)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    assert found["flowstone_process_runs",] == 3
    assert found["flowstone_process_resident_memory_bytes",] == pytest.approx(resident, rel=0.2)
    assert 0 < found["flowstone_process_open_fds",] <= found["flowstone_process_max_fds",]
    assert found["flowstone_process_threads",] >= 1
    assert found["flowstone_process_cpu_seconds_total",] > 0
    assert found["flowstone_process_home_free_bytes",] > 0


def test_every_family_is_declared(dispatcher, tmp_path):
    """What is shown is what is declared, in the same order, whether or not there are handlers, losses or a home folder."""
    for home in (None, tmp_path, tmp_path / "gone"):
        found, _ = figures(dispatcher, home=home)

        assert tuple(family._replace(samples=()) for family in found) == PROCESS_FAMILIES
