"""Expressions are built of what is defined, and nothing else."""

from __future__ import annotations

import pytest

from flowstone.foundation.errors import MetricError
from flowstone.observability.metrics.families import Family
from flowstone.observability.prometheus.promql import Like, deployed, grown, quantile, rate, series, summed, value

RUNS = Family("acme_run_total", "counter", "Runs.", ("pipeline", "outcome"))
TOOK = Family("acme_run_seconds", "histogram", "How long.", ("pipeline",))
UP = Family("acme_info", "gauge", "There.")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: series(RUNS, outcom="failed"),
        lambda: series(RUNS, le="1.0"),
        lambda: series(TOOK, "count", le="1.0"),
        lambda: summed(RUNS, value(RUNS), ["asset"]),
        lambda: grown(RUNS, "5m", UP, ["le"]),
        lambda: quantile(TOOK, 0.5, "5m", ["outcome"]),
    ],
)
def test_a_label_that_is_not_there_is_refused(ask):
    """A matcher or a grouping by a label the metric does not have is refused, with the metric's name and its labels."""
    with pytest.raises(MetricError, match=r"metric 'acme_run_(total|seconds)' has no label") as refused:
        ask()

    assert refused.value.hint


@pytest.mark.parametrize("ask", [lambda: series(TOOK), lambda: series(RUNS, "bucket"), lambda: rate(UP, "5m", "sum")])
def test_parts_belong_to_histograms(ask):
    """A histogram is asked for by its part, and nothing else has parts."""
    with pytest.raises(MetricError, match=r"is a (histogram|counter|gauge)"):
        ask()


def test_matchers_are_escaped():
    """Quotes and backslashes in a matcher end neither the text nor the expression; a regular expression is told from a text."""
    assert series(RUNS, pipeline='a"b\\', outcome=Like("x|y")) == 'acme_run_total{pipeline="a\\"b\\\\", outcome=~"x|y"}'


def test_what_several_exporters_show_counts_once():
    """A figure of the deployment is the greatest of what its exporters show for each label set, and only then added up."""
    one = "max by (job, pipeline, outcome) (acme_run_total)"

    assert value(RUNS) == deployed(RUNS, series(RUNS)) == one
    assert summed(RUNS, value(RUNS), ["outcome"]) == f"sum by (job, outcome) ({one})"
    assert quantile(TOOK, 0.99, "7d") == (
        "histogram_quantile(0.99, sum by (job, le) (max by (job, pipeline, le) (rate(acme_run_seconds_bucket[7d]))))"
    )
