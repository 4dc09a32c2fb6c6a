"""What observers did not see is counted exactly, in one account, and said without flooding."""

from __future__ import annotations

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone import Count, Event, event
from flowstone.events.dispatcher import MAX_DEPTH, SINK, Dispatcher
from flowstone.events.losses import Loss, Losses
from flowstone.testing import MovableClock

WAIT = 30  # seconds until a thread counts as hanging


@event("tests.losses.drop")
class Drop(Event, frozen=True, kw_only=True):
    """A drop fell."""

    number: Count = 0


@pytest.fixture
def losses(clock):
    return Losses(clock.monotonic_ns)


def test_what_is_added_is_summed_and_taken_once(losses):
    """Losses are summed by sink and reason; taking gives what came since the last time, and what is given back comes again."""
    losses.add("exporter", "dropped", 3)
    losses.add("exporter", "dropped", 4)
    losses.add("exporter", "failed")
    losses.add("lines", "refused", 0)
    first = losses.take()
    losses.add("exporter", "failed", 2)

    assert first == [("exporter", "dropped", 7), ("exporter", "failed", 1)]
    second = losses.take()
    assert second == [("exporter", "failed", 2)]
    assert losses.take() == []
    losses.give_back(second)
    assert losses.take() == second
    assert losses.totals() == [("exporter", "dropped", 7), ("exporter", "failed", 3)]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["dropped", "failed"]), st.integers(0, 5), st.booleans())))
def test_everything_lost_is_taken_exactly_once(steps):
    """However adding, taking and giving back alternate, what was kept of the taking is what was lost."""
    losses, kept = Losses(MovableClock().monotonic_ns), {}
    for sink, reason, count, refused in steps:
        losses.add(sink, reason, count)
        taken = losses.take()
        if refused:
            losses.give_back(taken)
        else:
            for loss in taken:
                kept[loss[:2]] = kept.get(loss[:2], 0) + loss.lost
    for loss in losses.take():
        kept[loss[:2]] = kept.get(loss[:2], 0) + loss.lost

    assert sorted(Loss(*key, lost) for key, lost in kept.items() if lost) == losses.totals()


def test_the_first_loss_is_said_at_once_then_once_a_minute(losses, clock, caplog):
    """Each sink and reason is logged at its first loss, then at most once a minute, with what came since."""
    for _ in range(5):
        losses.add("exporter", "dropped")
    losses.add("exporter", "failed")
    clock.advance(59)
    losses.add("exporter", "dropped")
    clock.advance(1)
    losses.add("exporter", "dropped", 2)

    assert [(record.name, record.levelno) for record in caplog.records] == [("flowstone.losses", logging.WARNING)] * 3
    assert caplog.messages == [
        "telemetry lost: exporter did not see 1 (dropped), 1 in all",
        "telemetry lost: exporter did not see 1 (failed), 1 in all",
        "telemetry lost: exporter did not see 7 (dropped), 8 in all",
    ]


def test_losses_of_handlers_are_in_the_account_and_stay_when_they_go(dispatcher, clock):
    """Failures and what came in quarantine are counted by handler, and not forgotten when it is detached and comes back."""
    for _ in range(2):
        dispatcher.attach("mine", Drop, lambda happened: 1 / 0)
        for _ in range(3):
            dispatcher.emit(Drop)
        clock.advance(1)
        dispatcher.detach("mine")
    dispatcher.losses.add("exporter", "dropped", 5)

    assert dispatcher.losses.totals() == [("exporter", "dropped", 5), ("mine", "failed", 2), ("mine", "quarantined", 4)]


def test_an_event_that_came_too_deep_is_lost(dispatcher):
    """What an echo emits beyond the depth is shown to nobody, and counted."""
    dispatcher.attach("echo", Drop, lambda happened: dispatcher.emit(Drop, number=happened.number + 1))
    dispatcher.emit(Drop)

    assert dispatcher.list_handlers()[0].calls == MAX_DEPTH
    assert dispatcher.losses.totals() == [(SINK, "too_deep", 1)]


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.prove)])
def test_a_flood_from_many_threads_is_accounted_for_exactly(count):
    """Emitted is handled, failed, skipped, dropped and waiting, for every handler, whatever threads emit at the same time."""
    dispatcher, entered, gate, handled = Dispatcher(MovableClock()), threading.Event(), threading.Event(), [0]

    def slow(happened):
        entered.set()
        assert gate.wait(WAIT)
        handled[0] += 1

    def fails_now_and_then(happened):
        if happened.number % 1_000 == 999:
            raise ValueError

    dispatcher.attach("slow", Drop, slow, queued=True, capacity=1_000)
    dispatcher.attach("inline", Drop, lambda happened: None)
    dispatcher.attach("fails", Drop, fails_now_and_then)
    dispatcher.attach("fails_queued", Drop, fails_now_and_then, queued=True, capacity=100)

    def emit():
        for number in range(count // 8):
            dispatcher.deliver(Drop(at=0, number=number))

    threads = [threading.Thread(target=emit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered.wait(WAIT)

    emitted = count // 8 * 8
    for info in dispatcher.list_handlers("tests"):
        assert info.calls + info.skipped + info.dropped + info.waiting == emitted, info
    infos = {info.id: info for info in dispatcher.list_handlers("tests")}
    assert (infos["inline"].calls, infos["slow"].waiting, infos["slow"].calls) == (emitted, 1_000, 1)

    gate.set()
    dispatcher.close()
    done = {info.id: info for info in dispatcher.figures()}
    assert handled[0] == done["slow"].calls == emitted - done["slow"].dropped
    assert [info.waiting for info in done.values()] == [0] * 4
    expected = [(i.id, r, n) for i in done.values() for r, n in (
        ("dropped", i.dropped), ("failed", i.failures), ("quarantined", i.skipped),
    ) if n]  # fmt: skip
    assert dispatcher.losses.totals() == sorted(expected)


def test_what_is_counted_by_many_threads_is_exact(losses):
    """Eight threads that add at the same time lose no count."""

    def add():
        for _ in range(5_000):
            losses.add("exporter", "dropped")

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert losses.totals() == [("exporter", "dropped", 40_000)]
