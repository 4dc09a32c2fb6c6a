"""Figures folded of events: exact totals, however many label values there are and wherever the fold is broken off."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone import Event, Label, Metric, On, event, measurement
from flowstone.foundation.serialize import from_json, to_json
from flowstone.observability.metrics.definitions import OVERFLOW
from flowstone.observability.metrics.fold import Folded, Folding


@event("test.tap.opened")
class TapOpened(Event, frozen=True, kw_only=True):
    """A tap was opened."""

    tap: Label
    room: Label = "cellar"
    third: Label = ""
    litres: Annotated[float, measurement("L")] = 0.0


@event("test.tap.closed")
class TapClosed(Event, frozen=True, kw_only=True):
    """A tap was closed."""

    tap: Label


OPENED = Metric.counter("acme_opened_total", TapOpened, labels=["tap"])
LITRES = Metric.sum("acme_litres_total", TapOpened, measurement="litres", labels=["tap"])
LAST = Metric.last_value("acme_litres", TapOpened, measurement="litres", labels=["tap"])
SPREAD = Metric.distribution("acme_opening_litres", TapOpened, measurement="litres", labels=["tap"], buckets=[1, 10, 100])
MOVED = Metric.counter(
    "acme_moved_total", On(TapOpened, labels=["tap"], fixed={"to": "open"}), On(TapClosed, labels=["tap"], fixed={"to": "shut"})
)
ALL = (OPENED, LITRES, LAST, SPREAD, MOVED)


def opened(tap="a", litres=1.0, at=1, **more):
    return TapOpened.name, {"at": at, "tap": tap, "litres": litres, **more}


def fold(metric, *events, most=1000):
    """What *events* come to in one metric."""
    folded = Folded(metric, most)
    folding = Folding([folded])
    for happened in events:
        folding.take(*happened)
    return folded


def samples(folded):
    return {sample.labels: sample for sample in folded.family().samples}


def test_each_kind_aggregates_as_it_says():
    """A counter counts, a sum adds, a last value keeps the newest, a distribution has counts by bucket and their sum."""
    events = [opened(litres=0.5), opened(litres=1.0), opened(litres=50.0), opened(litres=1000.0), opened("b", 7.0)]

    found = {metric.kind: samples(fold(metric, *events))[("a",)] for metric in (OPENED, LITRES, LAST, SPREAD)}

    assert found["counter"].value == 4
    assert found["sum"].value == 1051.5
    assert found["last_value"].value == 1000
    assert found["distribution"].counts == (2, 0, 1, 1)
    assert found["distribution"].value == 1051.5


def test_a_bound_belongs_to_its_bucket():
    """What measures exactly a bound is counted up to that bound, nanoseconds made seconds included."""

    @event("test.tap.timed")
    class TapTimed(Event, frozen=True, kw_only=True):
        """Timed."""

        open_ns: Annotated[int, measurement("ns")]

    bounds = (0.001, 0.005, 0.1, 0.3, 5.0, 3600.0)
    metric = Metric.distribution("acme_open_seconds", TapTimed, measurement="open_ns", buckets=bounds)
    for i, bound in enumerate(bounds):
        on, above = round(bound * 10**9), round(bound * 10**9) + 1
        assert samples(fold(metric, (TapTimed.name, {"open_ns": on})))[()].counts.index(1) == i
        assert samples(fold(metric, (TapTimed.name, {"open_ns": above})))[()].counts.index(1) == i + 1


def test_an_exemplar_is_the_newest_measurement_of_its_bucket():
    """Counters and histograms lead to the run and the trace of what was counted last; an event outside runs gives none."""
    run = {"run_id": "run_1", "trace_id": "t1"}
    events = [
        opened(litres=2.0, at=10**9, **run), opened(litres=3.0, at=2 * 10**9, run_id="run_2", trace_id="t2"), opened(litres=500.0)
    ]  # fmt: skip

    spread, count = samples(fold(SPREAD, *events))[("a",)], samples(fold(OPENED, *events))[("a",)]

    assert list(spread.exemplars) == [1]
    assert spread.exemplars[1].labels == {"run_id": "run_2", "trace_id": "t2"}
    assert (spread.exemplars[1].value, spread.exemplars[1].at) == (3.0, 2.0)
    assert count.exemplars[0].labels["run_id"] == "run_2"
    assert samples(fold(LITRES, *events))[("a",)].exemplars == {}


def test_beyond_the_cap_everything_is_counted_together():
    """New label values overflow into one more series; those that are known go on, and the total is exact."""
    events = [opened(f"tap {i}", litres=float(i)) for i in range(50)] + [opened("tap 3", litres=100.0)]

    count, litres = fold(OPENED, *events, most=10), fold(LITRES, *events, most=10)

    assert len(samples(count)) == 11
    assert samples(count)[(OVERFLOW,)].value == count.beyond == 40
    assert samples(count)[("tap 3",)].value == 2
    assert sum(sample.value for sample in samples(count).values()) == 51
    assert sum(sample.value for sample in samples(litres).values()) == sum(range(50)) + 100
    assert count.overflowed
    assert fold(OPENED, *events[:10], most=10).beyond == 0


def test_a_metric_without_labels_never_overflows():
    """Where there is one figure there is nothing to bound."""
    metric = Metric.counter("acme_all_total", TapOpened)

    folded = fold(metric, opened(), opened("b"), most=0)

    assert samples(folded)[()].value == 2
    assert folded.beyond == 0


def test_a_counter_without_labels_begins_at_zero():
    """It is there before anything happened, so that its first increase is seen; a last value is not."""
    zero = {metric.kind: Folded(metric, 9).family().samples for metric in (
        Metric.counter("acme_all_total", TapOpened),
        Metric.distribution("acme_opening_litres", TapOpened, measurement="litres", buckets=[1]),
        Metric.last_value("acme_litres", TapOpened, measurement="litres"),
        OPENED,
    )}  # fmt: skip

    assert [len(zero[kind]) for kind in ("distribution", "last_value", "counter")] == [1, 0, 0]
    assert zero["distribution"][0].counts == (0, 0)
    assert Folded(Metric.counter("acme_all_total", TapOpened), 9).family().samples[0].value == 0


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "7", -1.0], ids=str)
def test_a_measurement_that_cannot_be_added_is_refused_and_counted(value):
    """What is no number, or below zero in a sum, changes no figure and is not lost quietly."""
    folded = fold(LITRES, opened(litres=2.0), opened(litres=value))

    assert samples(folded)[("a",)].value == 2
    assert folded.refused == 1


def test_long_labels_stay_apart_and_fit_the_store():
    """Label values that are long together are shortened, those that begin alike to different ones."""
    metric = Metric.counter("acme_long_total", TapOpened, labels=["tap", "room", "third"])
    texts = ["\x01" * 199 + last for last in "ab"]

    folded = fold(metric, *(opened(text, room=text, third=text) for text in texts))

    assert len(samples(folded)) == 2
    assert all(len(figures.labels.encode()) < 2600 for figures in folded.touched())


taps = st.sampled_from(["a", "b", "c", "d", "ä\n\"'", ""])
litres = st.one_of(st.floats(0, 2000, allow_nan=False), st.sampled_from([1, 10, 100, None, -3.0]))
happenings = st.one_of(
    st.builds(lambda tap, some, at, run: opened(tap, some, at, **({"run_id": run, "trace_id": "t"} if run else {})),
              taps, litres, st.integers(1, 2**60), st.sampled_from(["", "run_1", "run_2"])),
    st.builds(lambda tap: (TapClosed.name, {"at": 5, "tap": tap}), taps),
    st.just(("test.other", {"at": 1})),
)  # fmt: skip


@given(st.lists(happenings, max_size=60), st.lists(st.integers(1, 20), max_size=60), st.integers(0, 4))
def test_a_fold_that_is_broken_off_anywhere_comes_to_the_same(events, sizes, most):
    """Folded in pages of any sizes, each from what the one before has kept, the figures are those of a fold at once."""
    at_once = [Folded(metric, most) for metric in ALL]
    whole = Folding(at_once)
    for happened in events:
        whole.take(*happened)
    kept: dict[str, dict[str, object]] = {metric.name: {} for metric in ALL}
    left = iter(events)
    for size in [*sizes, len(events) + 1]:
        parts = [Folded(metric, most) for metric in ALL]
        for part in parts:
            for figures in kept[part.metric.name].values():
                part.load(figures)
        folding = Folding(parts)
        for name, payload in itertools.islice(left, size):
            folding.take(name, from_json(to_json(payload)))
        for part in parts:
            kept[part.metric.name] |= {figures.labels: figures for figures in part.touched()}

    for metric, whole_of_it in zip(ALL, at_once, strict=True):
        again = Folded(metric, most)
        for figures in kept[metric.name].values():
            again.load(figures)
        assert again.family() == whole_of_it.family()
        assert (again.beyond, again.refused) == (whole_of_it.beyond, whole_of_it.refused)


def test_memory_stays_flat_however_many_label_values_there_are():
    """20,000 distinct values need no more than a hundred series, and the total is exact."""
    folded = Folded(OPENED, 100)
    folding = Folding([folded])
    for i in range(1_000):
        folding.take(*opened(f"tap {i}"))
    tracemalloc.start()
    for i in range(20_000):
        folding.take(*opened(f"other {i}"))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert grown < 100_000
    assert sum(sample.value for sample in folded.family().samples) == 21_000
