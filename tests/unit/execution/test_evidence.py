"""No record without its evidence, no evidence without its record; who watches sees what is committed and changes nothing."""

from __future__ import annotations

import pytest

from flowstone import Attribute, Event, Pipeline, Retry, asset, event, span
from flowstone.events.catalogue import AssetInvalidated, MaterializationStart, MaterializationStop, RunStart, TelemetryLost


@event("tests.evidence.shipped")
class Shipped(Event, frozen=True, kw_only=True):
    """An order was shipped."""

    order: Attribute


@span("tests.evidence.upload")
class Upload(Event, frozen=True, kw_only=True):
    """A file was sent."""

    place: Attribute


class Refusing:
    """A recorder that cannot record one kind of event."""

    def __init__(self, cls):
        self.cls = cls

    def record(self, happened, tx):
        if isinstance(happened, self.cls):
            raise OSError("no room for evidence")


@asset
def orders():
    return [1, 2]


@asset(retries=Retry(attempts=2, delay=0))
def total(orders, ctx):
    if ctx.attempt == 1:
        raise TimeoutError("slow")
    return sum(orders)


@asset
def bad(total):
    raise ValueError("no")


SHOP = Pipeline("shop", [orders, total, bad])


def test_each_failed_attempt_has_one_error_event_and_one_row(flow):
    """``flowstone.error`` is emitted once for each failed attempt and names its row; the exception event names it too."""
    made = flow(SHOP)
    made.run()
    exceptions = [e.payload["error"] for e in made.events(names=["flowstone.materialization.exception"])]
    told = [e.payload["error"] for e in made.events(names=["flowstone.error"])]

    assert told == exceptions
    assert sorted(told) == sorted(error.id for error in made.errors())
    assert {(error.asset, error.cured) for error in made.errors()} == {("total", 2), ("bad", 0)}


def test_errors_that_fail_alike_have_one_fingerprint(flow):
    """Numbers and quoted parts of a message do not make another error."""
    number = iter(range(100))

    @asset(source=True)
    def flaky():
        raise ValueError(f"row {next(number)} of 'file'")

    made = flow(Pipeline("p", [flaky]))
    made.run()
    made.run()

    assert len({error.fingerprint for error in made.errors()}) == 1


def test_lineage_names_the_very_outputs_that_went_in(flow):
    """Each output's edges name the versions it was made from, also after newer ones exist."""
    value = {"now": 1}

    @asset(source=True)
    def feed():
        return value["now"]

    @asset(source=True)
    def other():
        return 0

    @asset
    def joined(feed, other):
        return [feed, other]

    made = flow(Pipeline("p", [feed, other, joined]))
    outputs = []
    for version in (1, 2):
        value["now"] = version
        result = made.run()
        outputs.append({step.asset: step.output for step in (*result.materialized, *result.reused)})
    edges = [(edge.downstream, edge.parameter, edge.upstream) for edge in made.lineage("joined").edges]

    assert edges == [(outputs[1]["joined"], "feed", outputs[1]["feed"]), (outputs[1]["joined"], "other", outputs[1]["other"])]
    assert made.show(made.runs()[1].id).edges[0].upstream == outputs[0]["feed"]


def test_observers_see_the_log_in_its_order(flow, flowstone_events):
    """What observers of one run are shown, without what is not recorded, is the event log line by line."""
    made = flow(SHOP)
    made.run()
    made.invalidate("orders")
    made.run()

    logged = [(e.name, e.at, e.payload.get("asset")) for e in made.events()]
    assert [(e.name, e.at, getattr(e, "asset", None)) for e in flowstone_events if e.recorded] == logged
    assert len(flowstone_events.of(AssetInvalidated)) == 1


@pytest.mark.parametrize("name", ["store.start", "store.stop", "load.start", "load.stop"])
def test_a_move_that_is_interrupted_has_one_ending(flow, name):
    """Ctrl-C while observers hear that a value begins or has ceased to move: in the record the move has begun and ended once."""
    made, seen = flow(SHOP), []

    def interrupt(happened):
        seen.append(happened)
        if len(seen) == 1:
            raise KeyboardInterrupt

    made.attach("tests.interrupt", f"flowstone.io.{name}", interrupt)
    with pytest.raises(KeyboardInterrupt) as raised:
        made.run("total")
    made.resume(raised.value.run_id)
    moves = [event.name.rpartition(".") for event in made.events(names=["flowstone.io.*"])]

    for kind in ("flowstone.io.load", "flowstone.io.store"):
        parts = [part for span, _, part in moves if span == kind]
        assert parts[::2] == ["start"] * (len(parts) // 2)
        assert set(parts[1::2]) <= {"stop", "exception"}
        assert len(parts) % 2 == 0
    assert len(seen) > 1
    assert [finding for finding in made.doctor() if finding.level == "fail"] == []


def test_observers_see_only_what_is_committed(flow, tmp_path):
    """When an observer is shown an ending, another connection finds the attempt settled and the value current."""
    seen = []
    made, other = flow(SHOP, home=tmp_path), flow(home=tmp_path)

    def look(happened):
        (attempt,) = [
            a for a in other.show(happened.run_id).attempts if a.asset == happened.asset and a.number == happened.attempt
        ]
        seen.append((attempt.status, other.get(happened.asset)))

    made.attach("tests.look", MaterializationStop, look)
    made.run()

    assert seen == [("success", [1, 2]), ("success", 3)]


def test_an_observer_that_raises_changes_nothing(flow, flowstone_events):
    """With an observer that fails on everything, the run, its events and its log are those of a run without one.

    Only that it has missed something is recorded, after the run.
    """
    plain, watched = flow(SHOP), flow(SHOP)

    def fail(happened):
        raise SystemExit(f"cannot handle {happened.name}")

    watched.attach("tests.fail", "*", fail)
    results = [made.run() for made in (plain, watched)]

    for result in results:
        assert result.status == "partial"
        assert [step.asset for step in result.materialized] == ["orders", "total"]
    names, watched_names = [[e.name for e in made.events()] for made in (plain, watched)]
    assert watched_names[: len(names)] == names
    assert set(watched_names[len(names) :]) == {TelemetryLost.name}
    assert watched.list_handlers("tests")[-1].failures >= 1


def test_a_run_that_cannot_be_recorded_does_not_begin(flow):
    """A recorder that refuses the request's event undoes the request, and the caller sees what it raised."""
    made = flow(SHOP)
    database = made._deployment.services().database
    database.recorders += (Refusing(RunStart),)

    with pytest.raises(OSError, match="no room for evidence"):
        made.run()

    assert made.runs() == []
    assert made.events() == []


def test_an_attempt_that_cannot_be_recorded_does_not_begin(flow, flowstone_events):
    """A recorder that refuses a start leaves no attempt, runs no user code and shows observers nothing; the run waits."""
    made = flow(SHOP)
    database = made._deployment.services().database
    database.recorders += (Refusing(MaterializationStart),)

    with pytest.raises(OSError, match="no room for evidence"):
        made.run()

    (run,) = made.runs()
    assert (run.status, run.outcome) == ("waiting", {"reason": "error"})
    assert made.show(run.id).attempts == []
    assert flowstone_events.of(MaterializationStart) == []
    database.recorders = database.recorders[:-1]
    assert made.resume(run.id).status == "partial"


def test_events_of_user_code_are_recorded_with_their_attempt(flow, flowstone_events):
    """``ctx.emit`` and ``ctx.span`` are part of the attempt's record, also of one that fails; a span has one ending."""

    @asset
    def ships(ctx):
        ctx.emit(Shipped, order="o1")
        with ctx.span(Upload, place="archive"):
            raise ConnectionError("no answer")

    made = flow(Pipeline("p", [ships]))
    made.run()

    expected = ["tests.evidence.shipped", "tests.evidence.upload.start", "tests.evidence.upload.exception"]
    assert [e.name for e in made.events(names=["tests.*"])] == expected
    assert [e.name for e in flowstone_events if e.name.startswith("tests.")] == expected


def test_a_withdrawn_output_is_evidence_with_its_actor(flow):
    """Invalidating is an event that names the output and who did it."""
    made = flow(SHOP)
    result = made.run("orders")
    made.invalidate("orders")
    (told,) = made.events(names=["flowstone.asset.invalidated"])

    assert (told.payload["output"], told.payload["actor"]) == (result.materialized[0].output, "test")
