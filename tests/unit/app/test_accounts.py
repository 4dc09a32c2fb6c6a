"""What observers lost is recorded once: when a run ends, once in a minute while it goes on, and at the end of the process."""

from __future__ import annotations

import pytest

from flowstone import Count, Event, FlowStone, Pipeline, asset, event
from flowstone.app.accounts import LOSSES_EVERY_NS
from flowstone.events.catalogue import TelemetryLost
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.setting_keys import KEYS
from flowstone.testing import MovableClock, capture_events, isolated_flow, isolated_settings


@event("tests.accounts.tick", recorded=False)
class Tick(Event, frozen=True, kw_only=True):
    """The clock ticked."""

    number: Count = 0


@asset
def orders():
    return [1]


def told(flow):
    """What was recorded as lost, in order."""
    records = flow.events(names=["flowstone.telemetry.lost"])
    return [(record.payload["sink"], record.payload["reason"], record.payload["lost"]) for record in records]


@pytest.fixture
def place(tmp_path, database_url):
    def make(**options):
        return isolated_flow(Pipeline("shop", [orders]), home=tmp_path, database_url=database_url, **options)

    return make


def test_a_run_that_lost_nothing_tells_nothing(place):
    """Without a loss there is no event of one, and the handlers' figures are there all the same."""
    with place() as flow:
        flow.run()
        (process,) = flow.handlers()
        assert told(flow) == []
        assert [(handler.id, handler.failures, handler.skipped) for handler in process.handlers] == [("flowstone.logs", 0, 0)]
        assert process.handlers[0].calls > 3
        assert process.lost == []


def test_losses_are_recorded_when_the_run_ends_and_only_once(place):
    """A handler's failure and what it did not see in quarantine are recorded; a second run tells only its own."""
    with place(clock=MovableClock()) as flow, capture_events(flow, TelemetryLost) as seen:
        flow.attach("bad", "flowstone.materialization.*", lambda happened: 1 / 0)
        flow.run()
        first = told(flow)
        flow.run(force=True)
        second = told(flow)[len(first) :]

    assert first == [("bad", "failed", 1), ("bad", "quarantined", 1)]
    assert second == [("bad", "quarantined", 2)]
    assert [(loss.sink, loss.lost) for loss in seen] == [(sink, lost) for sink, _, lost in first + second]
    assert {loss.process for loss in seen} == {seen[0].process} != {""}


def test_a_handler_that_misses_the_news_of_its_own_losses_makes_no_more_news(place):
    """The handler that is told as losing does not see that event either: counted, not told again when the process ends."""
    with place(clock=MovableClock()) as flow:
        flow.attach("bad", "flowstone.*", lambda happened: 1 / 0)
        flow.run()
        counted = {loss.reason: loss.lost for loss in flow._deployment.dispatcher.losses.totals()}
        recorded = {reason: lost for _, reason, lost in told(flow)}
    with place() as flow:
        after = told(flow)

    assert counted == {"failed": 1, "quarantined": recorded["quarantined"] + 2}
    assert len(after) == 2


def test_what_is_lost_after_the_run_is_recorded_at_the_end(place):
    """Losses between the end of the last run and the end of the process are recorded by it."""
    with place(clock=MovableClock()) as flow:
        flow.run()
        flow.attach("bad", Tick, lambda happened: 1 / 0)
        for _ in range(3):
            flow.emit(Tick)
    with place() as flow:
        assert told(flow) == [("bad", "failed", 1), ("bad", "quarantined", 2)]
        (newest,) = flow.handlers()
        assert {handler.id: handler.calls for handler in newest.handlers}["bad"] == 1
        assert [tuple(loss) for loss in newest.lost] == [("bad", "failed", 1), ("bad", "quarantined", 2)]
        assert newest.ended_at is not None


def test_a_heartbeat_tells_losses_once_in_a_minute(place):
    """While a process goes on, what was lost is told at most once in a minute, figures of handlers with each beat."""
    clock = MovableClock()
    with place(clock=clock) as flow:
        flow.run()
        accounts, database = flow._deployment.accounts, flow._deployment.reading()
        flow._deployment.dispatcher.losses.add("exporter", "dropped", 3)
        accounts.beat(database)
        assert told(flow) == []
        assert [tuple(loss) for loss in flow.handlers()[0].lost] == [("exporter", "dropped", 3)]
        clock.advance(LOSSES_EVERY_NS / NANOSECONDS)
        accounts.beat(database)
        accounts.beat(database)
        assert told(flow) == [("exporter", "dropped", 3)]


def test_losses_that_could_not_be_recorded_are_recorded_later(place, monkeypatch):
    """A store that refuses breaks nothing; the next time tells what was not told."""
    with place() as flow:
        flow.run()
        accounts, database = flow._deployment.accounts, flow._deployment.reading()
        flow._deployment.dispatcher.losses.add("exporter", "dropped", 3)

        def refuses():
            raise OSError("no space")

        with monkeypatch.context() as patch:
            patch.setattr(database, "transaction", refuses)
            accounts.tell(database)
        assert told(flow) == []
        accounts.tell(database)
        assert told(flow) == [("exporter", "dropped", 3)]


def test_dropped_lines_are_in_the_account(tmp_path, database_url):
    """Lines over an attempt's limit are lost telemetry: recorded with their number when the run ends."""

    @asset
    def talks():
        for number in range(20):
            print(number)

    settings = isolated_settings(tmp_path, database_url=database_url)
    few = type(settings.logs)(KEYS["logs.level"].default, KEYS["logs.format"].default, max_lines=5)
    settings = type(settings)(**{**vars(settings), "logs": few})
    with FlowStone(Pipeline("shop", [talks]), settings=settings, echo=lambda text: None) as flow:
        kept = flow.logs(flow.run().run_id)
        assert told(flow) == [("flowstone.lines", "dropped", 15)]
        assert len(kept) == 6


def test_the_log_line_of_a_start_has_no_password():
    """Where facts are kept is said as the settings have it, without what must stay secret."""
    settings = isolated_settings(database_url="postgresql://shop:hunter22@db1/fin")
    with FlowStone(settings=settings) as flow:
        place = flow._deployment._place()

    assert place == {"state": "memory", "environment": "", "database": "postgresql://shop:[redacted]@db1/fin"}
