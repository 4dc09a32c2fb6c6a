"""A metric's definition is data that says what an event gives to it; what is wrong with one is refused where it is written."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from flowstone import Bytes, Count, Event, Flag, Label, Metric, Nanoseconds, On, Text, event, measurement
from flowstone.events.catalogue import MaterializationException, MaterializationStop, RunStop
from flowstone.foundation.errors import MetricError
from flowstone.foundation.serialize import from_json, to_json
from flowstone.observability.metrics.defaults import METRICS
from flowstone.observability.metrics.definitions import LONGEST_LABEL


@event("test.parcel.sent")
class ParcelSent(Event, frozen=True, kw_only=True):
    """A parcel left the house."""

    depot: Label
    express: Flag = False
    note: Text = ""
    weight: Annotated[float, measurement("kg")] = 0.0
    size_bytes: Bytes = 0
    packed_ns: Nanoseconds = 0
    pieces: Count = 1
    waited: Annotated[float, measurement("s")] = 0.0


@event("test.parcel.lost")
class ParcelLost(Event, frozen=True, kw_only=True):
    """A parcel was lost."""

    depot: Label
    why: Label = "unknown"
    pieces: Count = 1


@event("test.parcel.seen", recorded=False)
class ParcelSeen(Event, frozen=True, kw_only=True):
    """Somebody saw a parcel."""

    depot: Label


class Undeclared(Event, frozen=True, kw_only=True):
    """Nobody declared this."""


def sent(**fields):
    return ParcelSent(at=1, **{"depot": "north", **fields})


def payload(happened):
    """What the event log keeps of an event."""
    return from_json(msgspec.json.encode(happened))


# -- what an event gives ---------------------------------------------------------------------------------------------------


def test_a_counter_of_one_event_takes_its_labels():
    """A metric of one event counts each one as 1 under the values of its labels."""
    metric = Metric.counter("acme_parcels_total", ParcelSent, labels=["depot", "express"])

    assert metric.measure(sent(express=True)) == [(("north", "true"), 1)]
    assert metric.measure(ParcelLost(at=1, depot="north")) == []


def test_an_event_and_its_recorded_payload_give_the_same():
    """Fields that the record leaves out, because they have their default value, are measured and compared all the same."""
    metrics = [
        Metric.counter("acme_lost_total", ParcelLost, labels=["depot", "why"], keep={"why": "unknown"}),
        Metric.sum("acme_pieces_total", ParcelLost, measurement="pieces", drop={"why": ("stolen", "burnt")}),
        Metric.last_value("acme_wait_seconds", ParcelSent, measurement="waited", keep={"express": False}),
        Metric.last_value("acme_sent_timestamp_seconds", ParcelSent, measurement="at"),
    ]
    events = [
        ParcelLost(at=1, depot="n"), ParcelLost(at=1, depot="n", why="stolen", pieces=3), sent(), sent(waited=2.5),
        sent(express=True),
    ]  # fmt: skip

    for metric in metrics:
        for happened in events:
            assert metric.measure_payload(happened.name, payload(happened)) == metric.measure(happened)
    assert metrics[0].measure(events[0]) == [(("n", "unknown"), 1)]
    assert [bool(metrics[1].measure(happened)) for happened in events[:2]] == [True, False]


@pytest.mark.parametrize(
    ("name", "field", "given", "shown"),
    [
        ("acme_packing_seconds", "packed_ns", 1_500_000_000, 1.5),
        ("acme_parcel_bytes", "size_bytes", 2048, 2048),
        ("acme_waiting_seconds", "waited", 0.25, 0.25),
        ("acme_weight", "weight", 7.5, 7.5),
    ],
)
def test_measurements_are_shown_in_the_unit_of_the_name(name, field, given, shown):
    """Nanoseconds become seconds; bytes, seconds and what has no unit of Prometheus' stay as they are."""
    metric = Metric.last_value(name, ParcelSent, measurement=field)

    assert metric.measure(sent(**{field: given})) == [((), shown)]


def test_several_events_make_one_metric():
    """Each source gives every label: from a field, from a field of another name, or always the same."""
    metric = Metric.counter(
        "acme_parcel_endings_total",
        On(ParcelSent, labels=["depot"], fixed={"ending": "sent"}),
        On(ParcelLost, labels={"ending": "why", "depot": "depot"}, drop={"why": "found"}),
    )

    assert metric.labels == ("depot", "ending")
    assert metric.measure(sent()) == [(("north", "sent"), 1)]
    assert metric.measure(ParcelLost(at=1, depot="south", why="rain")) == [(("south", "rain"), 1)]
    assert metric.measure(ParcelLost(at=1, depot="south", why="found")) == []


def test_an_event_may_be_taken_by_two_sources():
    """Two sources of one event each look at it by themselves."""
    metric = Metric.counter(
        "acme_moves_total",
        On(ParcelSent, labels=["depot"], fixed={"kind": "any"}),
        On(ParcelSent, labels=["depot"], fixed={"kind": "express"}, keep={"express": True}),
    )

    assert metric.measure(sent()) == [(("north", "any"), 1)]
    assert metric.measure(sent(express=True)) == [(("north", "any"), 1), (("north", "express"), 1)]


def test_a_label_has_a_bounded_length():
    """What is longer than a label may be is cut, however long users' text is."""
    metric = Metric.counter("acme_parcels_total", ParcelSent, labels=["depot"])

    assert metric.measure(sent(depot="x" * 5000)) == [(("x" * LONGEST_LABEL,), 1)]


def test_a_definition_survives_being_stored():
    """Every metric, ours included, is equal to what is made of its JSON, and so is its digest."""
    own = Metric.distribution("acme_packing_seconds", ParcelSent, measurement="packed_ns", labels=["depot"], buckets=[1, 10])
    for metric in (own, *METRICS):
        again = Metric.of(from_json(to_json(metric.described())))
        assert again == metric
        assert again.digest() == metric.digest()


def test_the_digest_is_of_what_is_counted_and_not_of_its_words():
    """Another description is the same metric; other labels, conditions or buckets make another one."""
    metric = Metric.counter("acme_parcels_total", ParcelSent, labels=["depot"])
    reworded = Metric.counter("acme_parcels_total", ParcelSent, labels=["depot"], description="Parcels, sent.")
    others = [
        Metric.counter("acme_parcels_total", ParcelSent),
        Metric.counter("acme_parcels_total", ParcelSent, labels=["depot"], keep={"express": True}),
        Metric.counter("acme_parcels_total", ParcelLost, labels=["depot"]),
    ]

    assert reworded.digest() == metric.digest()
    assert len({other.digest() for other in [metric, *others]}) == 4


def test_the_description_is_the_events_unless_it_is_given():
    """A metric is explained by the first line of its first event."""
    assert Metric.counter("acme_parcels_total", ParcelSent).description == "A parcel left the house."
    assert Metric.counter("acme_parcels_total", ParcelSent, description="Sent.").description == "Sent."


# -- what is refused -------------------------------------------------------------------------------------------------------

REFUSED = {
    "no event": (lambda: Metric.counter("a_total"), "no event is given"),
    "no event class": (lambda: Metric.counter("a_total", "test.parcel.sent"), "is no declared event"),
    "an event nobody declared": (lambda: Metric.counter("a_total", Undeclared), "is no declared event"),
    "an event that is not recorded": (lambda: Metric.counter("a_total", ParcelSeen), "test.parcel.seen is not recorded"),
    "an unknown label": (lambda: Metric.counter("a_total", ParcelSent, labels=["depo"]), "did you mean 'depot'"),
    "a text as label": (lambda: Metric.counter("a_total", ParcelSent, labels=["note"]), "is a text, not a label"),
    "a measurement as label": (lambda: Metric.counter("a_total", ParcelSent, labels=["pieces"]), "not a label"),
    "the run as label": (lambda: Metric.counter("a_total", RunStop, labels=["run_id"]), "run_id cannot be a label"),
    "the partition as label": (
        lambda: Metric.counter("a_total", MaterializationStop, labels=["partition"]),
        "partition cannot be a label",
    ),
    "the partition under another name": (
        lambda: Metric.counter("a_total", MaterializationStop, labels={"day": "partition"}),
        "partition cannot be a label",
    ),
    "an attribute as label": (lambda: Metric.counter("a_total", MaterializationStop, labels=["digest"]), "is an attribute"),
    "a label named as an id": (lambda: Metric.counter("a_total", ParcelSent, fixed={"run_id": "x"}), "cannot be a label"),
    "the label of histograms": (lambda: Metric.counter("a_total", ParcelSent, fixed={"le": "1"}), "names the buckets"),
    "a label with a dash": (lambda: Metric.counter("a_total", ParcelSent, fixed={"a-b": "1"}), "is no name of a label"),
    "a label of Prometheus' own": (lambda: Metric.counter("a_total", ParcelSent, fixed={"__name__": "1"}), "is no name"),
    "a fixed label that is a number": (lambda: Metric.counter("a_total", ParcelSent, fixed={"a": 1}), "fixed label 'a' is 1"),
    "a label twice": (
        lambda: Metric.counter("a_total", ParcelSent, labels=["depot"], fixed={"depot": "x"}),
        "stands in labels= and in fixed=",
    ),
    "other labels in another source": (
        lambda: Metric.counter("a_total", On(ParcelSent, labels=["depot"]), On(ParcelLost)),
        "test.parcel.lost has the labels (none), not depot",
    ),
    "options beside On": (lambda: Metric.counter("a_total", On(ParcelSent), labels=["depot"]), "labels= stands beside On"),
    "both keep and drop": (
        lambda: Metric.counter("a_total", ParcelSent, keep={"depot": "n"}, drop={"express": True}),
        "both keep= and drop=",
    ),
    "keep of an unknown field": (lambda: Metric.counter("a_total", ParcelSent, keep={"dept": "n"}), "keep= names 'dept'"),
    "drop of an unknown field": (lambda: Metric.counter("a_total", ParcelSent, drop={"dept": "n"}), "drop= names 'dept'"),
    "keep of a text": (lambda: Metric.counter("a_total", ParcelSent, keep={"note": "x"}), "which is text"),
    "keep of nothing": (lambda: Metric.counter("a_total", ParcelSent, keep={"depot": ()}), "values are texts"),
    "keep by a function": (lambda: Metric.counter("a_total", ParcelSent, keep={"depot": len}), "values are texts"),
    "a counter that measures": (lambda: Metric.counter("a_total", ParcelSent, measurement="pieces"), "counts events"),
    "a sum of nothing": (lambda: Metric.sum("a_total", ParcelSent), "no measurement is given; test.parcel.sent measures"),
    "a sum of a label": (lambda: Metric.sum("a_total", ParcelSent, measurement="depot"), "is a label, not a measurement"),
    "an unknown measurement": (lambda: Metric.sum("a_total", ParcelSent, measurement="piece"), "did you mean 'pieces'"),
    "a sum of times of day": (lambda: Metric.sum("a_seconds_total", ParcelSent, measurement="at"), "names 'at'"),
    "two units": (
        lambda: Metric.sum("a_total", On(ParcelSent, "size_bytes"), On(ParcelLost, "pieces")),
        "measure in By and 1",
    ),
    "a name with capitals": (lambda: Metric.counter("Parcels_total", ParcelSent), "is no name of a metric"),
    "a name that is no text": (lambda: Metric.counter(7, ParcelSent), "is no name of a metric"),
    "a name of 201 letters": (lambda: Metric.counter("a" * 195 + "_total", ParcelSent), "is no name of a metric"),
    "a counter without _total": (lambda: Metric.counter("acme_parcels", ParcelSent), "call it acme_parcels_total"),
    "a gauge with _total": (
        lambda: Metric.last_value("acme_weight_total", ParcelSent, measurement="weight"),
        "_total is for what only grows",
    ),
    "a histogram with _total": (
        lambda: Metric.distribution("a_seconds_total", ParcelSent, measurement="waited"),
        "_total is for what only grows",
    ),
    "seconds without _seconds": (
        lambda: Metric.last_value("acme_packing", ParcelSent, measurement="packed_ns"),
        "call it acme_packing_seconds",
    ),
    "bytes without _bytes": (lambda: Metric.sum("a_total", ParcelSent, measurement="size_bytes"), "call it a_bytes_total"),
    "bytes that say seconds": (
        lambda: Metric.sum("a_seconds_total", ParcelSent, measurement="size_bytes"),
        "says seconds, and is in bytes",
    ),
    "a plain number that says seconds": (
        lambda: Metric.last_value("a_seconds", ParcelSent, measurement="weight"),
        "is in neither seconds nor bytes",
    ),
    "an ending of histograms": (
        lambda: Metric.last_value("acme_count", ParcelSent, measurement="weight"),
        "ends in _count, which exporters add",
    ),
    "no buckets and none by default": (
        lambda: Metric.distribution("acme_weight", ParcelSent, measurement="weight"),
        "no buckets are given",
    ),
    "buckets that fall": (
        lambda: Metric.distribution("a_seconds", ParcelSent, measurement="waited", buckets=[2, 1]),
        "do not rise",
    ),
    "a bucket twice": (
        lambda: Metric.distribution("a_seconds", ParcelSent, measurement="waited", buckets=[1, 1]),
        "do not rise",
    ),
    "no bucket at all": (
        lambda: Metric.distribution("a_seconds", ParcelSent, measurement="waited", buckets=[]),
        "buckets=()",
    ),
    "an infinite bucket": (
        lambda: Metric.distribution("a_seconds", ParcelSent, measurement="waited", buckets=[1, float("inf")]),
        "without infinity",
    ),
    "a bucket that is a text": (
        lambda: Metric.distribution("a_seconds", ParcelSent, measurement="waited", buckets=["1"]),
        "buckets=('1',)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", REFUSED, ids=str)
def test_a_wrong_definition_is_refused_where_it_is_written(wrong):
    """The error names the metric and what is wrong with it."""
    define, text = REFUSED[wrong]

    with pytest.raises(MetricError) as refused:
        define()

    assert text in str(refused.value)
    assert str(refused.value).startswith("metric '")


# -- the metrics of every deployment ---------------------------------------------------------------------------------------


def test_our_metrics_have_names_of_their_own():
    """Each begins with flowstone_, none with the prefix of one process, and no two are alike."""
    names = [metric.name for metric in METRICS]

    assert len({name.removesuffix("_total") for name in names}) == len(names)
    assert [name for name in names if not name.startswith("flowstone_") or name.startswith("flowstone_process_")] == []


def test_every_ending_of_an_attempt_is_counted_and_timed_once():
    """For each outcome and kind an attempt can end with, exactly one source of its counter and its histogram takes it."""
    by_name = {metric.name: metric for metric in METRICS}
    where = {"at": 1, "run_id": "r", "asset": "a", "partition": "", "attempt": 1, "duration_ns": 1}
    stops = [MaterializationStop(outcome=outcome, **where) for outcome in ("success", "skipped", "waiting")]
    failed = [
        MaterializationException(kind=kind, final=final, type="T", message="m", **where)
        for kind in ("error", "timeout", "worker_lost", "postponed", "cancelled")
        for final in (False, True)
    ]

    for name in ("flowstone_materialization_attempts_total", "flowstone_materialization_duration_seconds"):
        assert [len(by_name[name].measure(happened)) for happened in [*stops, *failed]] == [1] * 13
