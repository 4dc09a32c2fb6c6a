"""Expectations are named after the catalogue: what nobody declared is refused, what did not happen is told."""

from __future__ import annotations

import pytest

from flowstone import Count, Event, Label, Pipeline, asset, event
from flowstone.events.catalogue import CATALOGUE
from flowstone.foundation.errors import EventError
from flowstone.testing import capture_events, expect_events, isolated_flow
from flowstone.testing.matchers import methods


@event("tests.expect.sale")
class Sale(Event, frozen=True, kw_only=True):
    """Something was sold."""

    region: Label
    number: Count = 1


@pytest.fixture(scope="module")
def shop():
    """What was caught of a run and what was recorded of it."""

    @asset
    def orders(ctx):
        ctx.emit(Sale, region="eu")
        return [1]

    with isolated_flow(Pipeline("shop", [orders])) as flow, capture_events(flow) as caught:
        flow.run()
        return caught, flow.events()


@pytest.mark.parametrize("which", [0, 1], ids=["caught", "recorded"])
def test_what_happened_is_found_by_its_fields(shop, which):
    """The first event with the given values is returned, of caught events and of records alike; defaults count as values."""
    expected = expect_events(shop[which])

    assert expected.materialization_stop(asset="orders", outcome="success").name == "flowstone.materialization.stop"
    assert expected.tests_expect_sale(region="eu", number=1).name == "tests.expect.sale"
    assert expect_events(shop[which], exactly=1).run_stop(outcome="success", failed=0, cancelled=0)
    assert expect_events(shop[which], exactly=0).error() is None


@pytest.mark.parametrize("which", [0, 1], ids=["caught", "recorded"])
def test_what_did_not_happen_is_told_with_what_did(shop, which):
    """The failure says what was wanted and what there was of that name, else of which names."""
    with pytest.raises(AssertionError, match=r"with region='us' happened not at all; of that name:\n  .*region='eu'"):
        expect_events(shop[which]).tests_expect_sale(region="us")
    with pytest.raises(AssertionError, match=r"with any fields happened not at all; what happened: flowstone\.run\.start, "):
        expect_events(shop[which]).error()
    with pytest.raises(AssertionError, match="happened 1 times, not 0"):
        expect_events(shop[which], exactly=0).run_stop()
    with pytest.raises(AssertionError, match="what happened: nothing"):
        expect_events([]).run_stop()


def test_names_nobody_declared_are_refused(shop):
    """A misspelt event or field can never match: it is an error with the closest name."""
    with pytest.raises(EventError, match="no declared event is called 'materialisation_stop'") as caught:
        expect_events(shop[0]).materialisation_stop()
    assert caught.value.hint == "did you mean 'materialization_stop'?"
    with pytest.raises(EventError, match="has no field 'aset'") as caught:
        expect_events(shop[0]).materialization_stop(aset="orders")
    assert caught.value.hint == "did you mean 'asset'?"


def test_every_event_has_an_expectation_of_its_own():
    """Each event of the catalogue has a method, no two the same one."""
    assert {name for name in methods().values() if name in CATALOGUE} == set(CATALOGUE)
    assert set(methods()) == set(dir(expect_events([])))
