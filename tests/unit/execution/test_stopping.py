"""What runs can be asked: who is asked, what wins, who is woken and what is interrupted."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from flowstone.execution.stopping import Stop, Stopping, StopRequest
from flowstone.foundation.clock import NANOSECONDS, SystemClock
from flowstone.testing import MovableClock


@pytest.fixture
def stopping():
    """What two runs, ``a`` and ``b``, can be asked; time is moved by hand."""
    made = Stopping(MovableClock())
    with ExitStack() as held:
        for run in "ab":
            held.enter_context(made.holding(run))
        yield made


def test_a_cancel_concerns_its_run_alone(stopping):
    """The run is asked to end with the words of who asked; another one, and one that is not held here, are not."""
    stopping.cancel("a", "cancelled by ann")
    stopping.cancel("elsewhere", "cancelled by ann")

    assert stopping.of("a") == Stop("cancel", None, "cancelled by ann")
    assert stopping.of("b") is None
    assert stopping.of("elsewhere") is None


def test_what_was_asked_ends_with_the_work(stopping):
    """A run that is taken up again by the same process is not stopped by what was asked before."""
    with stopping.holding("c"):
        stopping.cancel("c", "")
        assert stopping.of("c") is not None
    with stopping.holding("c"):
        assert stopping.of("c") is None
    assert stopping.held() == ["a", "b"]


def test_a_drain_concerns_every_run_and_those_that_come(stopping):
    """All runs, later ones too, are to end within the grace; a second drain can only be about the same process, and wins."""
    stopping.drain(2.0)
    first = stopping.of("a")
    stopping.drain(0)

    assert first == Stop("drain", 2 * NANOSECONDS)
    assert stopping.of("a") == stopping.of("later") == Stop("drain", 0)


def test_losing_the_store_concerns_the_runs_held_then(stopping):
    """Runs that begin after the store was lost, when it must be there again, are not stopped."""
    stopping.lose()
    with stopping.holding("later"):
        assert [stopping.of(run) for run in ("a", "b", "later")] == [Stop("lost"), Stop("lost"), None]


def test_a_cancel_outranks_a_drain(stopping):
    """A cancelled run ends for good although its process is draining."""
    stopping.drain(10)
    stopping.cancel("a", "")

    assert [stopping.of(run).kind for run in "ab"] == ["cancel", "drain"]


def test_what_interrupted_work_raises_says_who_asked(stopping):
    """After an interrupt the stop that was asked for is raised; without one it was the user's own Ctrl-C."""
    stopping.cancel("a", "")

    asked, own = stopping.request("a"), stopping.request("b")

    assert isinstance(asked, StopRequest)
    assert asked.kind == "cancel"
    assert type(own) is KeyboardInterrupt


def test_a_wait_ends_when_something_is_asked():
    """A run that waits for a retry hears a cancel at once, not when the delay is over."""
    stopping = Stopping(SystemClock())
    with stopping.holding("a"):
        waiting = threading.Thread(target=stopping.wait, args=("a", 3600), daemon=True)
        waiting.start()
        stopping.cancel("a", "")
        waiting.join(30)

    assert not waiting.is_alive()


def test_a_wait_moves_a_clock_that_is_moved_by_hand():
    """With a test's clock nobody waits."""
    clock = MovableClock()
    Stopping(clock).wait("a", 3600)

    assert clock.monotonic_ns() == 3600 * NANOSECONDS


def test_wakers_hear_what_is_asked_of_their_run(stopping):
    """Whoever sleeps elsewhere is woken by what concerns its run, at once when that was asked before, and not after it left."""
    heard = []
    stopping.add_waker("a", lambda: heard.append("a"))
    stopping.add_waker("b", lambda: heard.append("b"))
    stopping.cancel("a", "")
    stopping.add_waker("a", lambda: heard.append("late"))
    stopping.remove_waker("b")
    stopping.drain(1)

    assert heard == ["a", "late", "late"]


def test_user_code_in_the_main_thread_is_interrupted_when_its_run_must_end(stopping):
    """A cancel of its run, a lost store and a hurried drain interrupt; a drain with grace and another run's cancel do not."""
    interrupts = []
    stopping.interrupt = lambda: interrupts.append(1)

    with stopping.interruptible("a"):
        stopping.cancel("b", "")
        stopping.drain(1)
        assert interrupts == []
        stopping.drain(0)
        assert interrupts == [1]
        stopping.lose()
        assert interrupts == [1, 1]
    stopping.drain(0)

    assert interrupts == [1, 1]


def test_what_was_asked_before_user_code_began_interrupts_it(stopping):
    """Between the last look and the first line of user code nothing is missed."""
    interrupts = []
    stopping.interrupt = lambda: interrupts.append(1)
    stopping.cancel("a", "")

    with stopping.interruptible("a"):
        assert interrupts == [1]


def test_user_code_in_other_threads_is_never_interrupted(stopping):
    """Only the main thread can be interrupted: what runs elsewhere is left to end."""
    interrupts = []
    stopping.interrupt = lambda: interrupts.append(1)

    def work():
        with stopping.interruptible("a"):
            stopping.cancel("a", "")

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()

    assert interrupts == []
