"""The retry policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.assets import Retry
from flowstone.foundation.errors import FormatError, GiveUp, ValidationError, WorkerLostError


def test_delays_grow_to_the_cap():
    """The first attempt waits for nothing, later ones longer and longer, never over the cap."""
    policy = Retry(attempts=9, delay=2, factor=3, max_delay=50)
    assert [policy.delay_before(n, lambda: 0.5) for n in range(1, 7)] == [0, 2, 6, 18, 50, 50]


@given(st.integers(2, 10_000), st.floats(0, 1), st.floats(0, 1), st.floats(1, 1e6), st.floats(0, 1e6))
def test_delays_stay_in_bounds(attempt, jitter, chance, factor, delay):
    """Whatever the numbers, a delay is from 0 to the cap: jitter only takes off."""
    policy = Retry(attempts=5, delay=min(delay, 300), factor=factor, jitter=jitter, max_delay=300)
    assert 0 <= policy.delay_before(attempt, lambda: chance) <= 300


def test_what_is_retried():
    """Exceptions of the declared types are retried; never GiveUp, nor a FlowStone error that says it is final."""
    policy = Retry(attempts=3, on=(TimeoutError, FormatError, WorkerLostError))
    assert policy.should_retry(TimeoutError())
    assert policy.should_retry(WorkerLostError())
    assert not policy.should_retry(ValueError())
    assert not policy.should_retry(FormatError())
    assert not Retry(attempts=3).should_retry(GiveUp())
    assert not Retry(attempts=3).should_retry(KeyboardInterrupt())


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"attempts": True}, {"attempts": 1.5}, {"delay": -1}, {"delay": float("nan")}, {"delay": "1"},
     {"factor": 0.5}, {"max_delay": float("inf")}, {"jitter": 1.1}, {"on": ()}, {"on": ("TimeoutError",)}, {"later_limit": -1}],
)  # fmt: skip
def test_impossible_policies(wrong):
    """A number out of range fails where it is written, naming itself and its value."""
    with pytest.raises(ValidationError, match=r"Retry\(" + next(iter(wrong))):
        Retry(**wrong)


def test_a_delay_over_its_own_cap_is_refused():
    """A delay that the cap would silently shorten is refused, and the message names both."""
    with pytest.raises(ValidationError, match="delay=3600") as caught:
        Retry(attempts=2, delay=3600)
    assert "max_delay" in str(caught.value)
