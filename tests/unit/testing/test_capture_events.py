"""Events are caught for a test to look at, and a failed expectation says what there was instead."""

from __future__ import annotations

import pytest

from flowstone import Count, Event, Label, Pipeline, asset, event
from flowstone.events.catalogue import MaterializationStop, RunStart, RunStop
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.errors import EventError
from flowstone.testing import CapturedEvents, MovableClock, capture_events, isolated_flow


@event("acme.sale")
class Sale(Event, frozen=True, kw_only=True):
    """Something was sold."""

    region: Label
    number: Count = 1


@event("acme.loss")
class Loss(Event, frozen=True, kw_only=True):
    """Something was lost."""


@pytest.fixture
def dispatcher():
    made = Dispatcher(MovableClock())
    yield made
    made.close()


def test_only_the_block_is_caught(dispatcher):
    """What is emitted before and after the block is not caught, and the handler is gone after it, also after an error."""
    dispatcher.emit(Loss)
    with capture_events(dispatcher) as events:
        dispatcher.emit(Sale, region="eu")
    dispatcher.emit(Loss)
    assert events.names() == ["acme.sale"]

    with pytest.raises(ValueError, match="mine"), capture_events(dispatcher):
        raise ValueError("mine")
    assert dispatcher.list_handlers() == []


def test_patterns_choose_what_is_caught(dispatcher):
    """Classes, names and prefixes choose; blocks may overlap, each with its own catch."""
    with capture_events(dispatcher, Loss) as losses, capture_events(dispatcher, "acme.s*", "acme.loss") as both:
        dispatcher.emit(Sale, region="eu")
        dispatcher.emit(Loss)

    assert losses.names() == ["acme.loss"]
    assert both.names() == ["acme.sale", "acme.loss"]


def test_a_flow_that_is_closed_inside_the_block_is_no_error(dispatcher):
    """Closing detaches everybody; leaving the block afterwards is fine."""
    with capture_events(dispatcher) as events:
        dispatcher.emit(Loss)
        dispatcher.close()

    assert len(events) == 1


def test_events_of_a_class(dispatcher):
    """``of`` gives the events of one class, in order."""
    with capture_events(dispatcher) as events:
        for number in range(3):
            dispatcher.emit(Sale, region="eu", number=number)
            dispatcher.emit(Loss)

    assert [sale.number for sale in events.of(Sale)] == [0, 1, 2]


def test_an_expected_event_is_returned(dispatcher):
    """``assert_emitted`` returns the first event of the class with the given fields."""
    with capture_events(dispatcher) as events:
        for number, region in enumerate(["us", "eu", "eu"]):
            dispatcher.emit(Sale, region=region, number=number)

    assert events.assert_emitted(Sale).number == 0
    assert events.assert_emitted(Sale, region="eu").number == 1
    assert events.assert_emitted(Sale, region="eu", number=2) is events[2]


def test_a_missing_event_is_told_with_what_there_was(dispatcher):
    """The failure lists the events of that class with their fields, else the names of all there were."""
    with pytest.raises(AssertionError, match="emitted: nothing"):
        CapturedEvents().assert_emitted(Sale)
    with capture_events(dispatcher) as events:
        dispatcher.emit(Loss)
        dispatcher.emit(Loss)
    with pytest.raises(AssertionError, match=r"no event 'acme\.sale' with any fields; emitted: acme\.loss$"):
        events.assert_emitted(Sale)

    with capture_events(dispatcher) as events:
        dispatcher.emit(Sale, region="us", number=7)
    with pytest.raises(AssertionError, match=r"with region='eu'; 1 of that name:\n.*region='us', number=7"):
        events.assert_emitted(Sale, region="eu")


def test_a_field_the_event_does_not_have_is_refused():
    """A misspelt field would never match, so it is an error with the closest one."""
    with pytest.raises(EventError, match="no field 'regoin'") as caught:
        CapturedEvents().assert_emitted(Sale, regoin="eu")
    assert "region" in caught.value.hint


def test_the_events_of_a_run_are_caught():
    """A real run's events are caught in order, with what they say."""

    @asset
    def orders():
        return [1, 2]

    with (
        isolated_flow(Pipeline("shop", [orders])) as flow,
        capture_events(flow, "flowstone.run.*", MaterializationStop) as events,
    ):
        run_id = flow.run().run_id

    assert [type(happened) for happened in events] == [RunStart, MaterializationStop, RunStop]
    events.assert_emitted(RunStop, run_id=run_id, outcome="success", success=1, failed=0)
