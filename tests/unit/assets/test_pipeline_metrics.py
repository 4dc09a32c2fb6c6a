"""A pipeline has metrics of users' events: checked with it, stored with its definition, and no part of what it computes."""

from __future__ import annotations

import pytest

from flowstone import Event, Label, Metric, Pipeline, ValidationError, asset, event


@event("test.page.read")
class PageRead(Event, frozen=True, kw_only=True):
    """Somebody read a page."""

    book: Label


@asset
def page():
    return 1


READ = Metric.counter("acme_pages_total", PageRead, labels=["book"])


def test_the_definition_has_the_metrics_as_plain_values():
    """What is stored with a run is enough to make the metrics again."""
    definition = Pipeline("p", [page], metrics=[READ]).definition()

    assert [Metric.of(described) for described in definition["metrics"]] == [READ]


def test_metrics_are_part_of_the_version_and_none_is_no_change():
    """With metrics the definition has another digest, so that they are stored; without any it is what it was."""
    without = Pipeline("p", [page])

    assert Pipeline("p", [page], metrics=[READ]).digest() != without.digest()
    assert Pipeline("p", [page], metrics=[]).digest() == without.digest()
    assert "metrics" not in without.definition()


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ([READ, READ], "metric 'acme_pages_total' is listed twice"),
        ([READ, Metric("acme_pages", "gauge", "d")], "is the same as 'acme_pages_total' for whoever reads both"),
        ([Metric.counter("flowstone_pages_total", PageRead)], "begins with flowstone_"),
        ([Metric.gauge("acme_open", "Open.")], "is told by no event"),
        (["acme_pages_total"], "metric 1 is str; Metric.counter"),
        ([Metric], "metric 1 is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_pipeline_cannot_have_as_a_metric_is_one_of_its_problems(metrics, text):
    """Names of ours, names twice, and what is no metric are listed with the pipeline's other problems."""
    with pytest.raises(ValidationError) as refused:
        Pipeline("p", [page], metrics=metrics)

    assert any(text in problem for problem in refused.value.problems)
