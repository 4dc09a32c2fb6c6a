"""Families come out as Prometheus and OpenMetrics want them, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from flowstone.foundation.texts import storable
from flowstone.observability.metrics.families import Exemplar, Family, Sample
from flowstone.observability.prometheus.exposition import OPENMETRICS, TEXT, as_openmetrics, as_text, render

EXEMPLAR = Exemplar({"run_id": "run_1", "trace_id": "ab" * 16}, 5.5, 1_795_000_000.5)
RUNS = Family("acme_run_total", "counter", "Runs.", ("outcome",), (Sample(("failed",), 3, (), {0: EXEMPLAR}),))
TOOK = Family(
    "acme_run_seconds",
    "histogram",
    "How long.",
    ("outcome",),
    (Sample(("ok",), 7.5, (1, 0, 2), {1: EXEMPLAR}),),
    "seconds",
    (0.5, 10.0),
)
NOW = Family("acme_now", "gauge", "Now.", (), (Sample((), 2),))
EMPTY = Family("acme_empty_total", "counter", "Nothing yet.", ("asset",))


def samples(family):
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample for sample in family.samples}


def parsed(parse, text):
    return {family.name: family for family in parse(text.decode())}


@pytest.mark.parametrize(
    ("parse", "write"), [(parse_text, as_text), (parse_openmetrics, as_openmetrics)], ids=["text", "openmetrics"]
)
def test_every_kind_is_read_back(parse, write):
    """Counters, gauges and histograms, and families without samples, are read back with their types, helps, labels and values."""
    found = parsed(parse, write([RUNS, TOOK, NOW, EMPTY]))

    assert {name: (family.type, family.documentation) for name, family in found.items()} == {
        "acme_run": ("counter", "Runs."),
        "acme_run_seconds": ("histogram", "How long."),
        "acme_now": ("gauge", "Now."),
        "acme_empty": ("counter", "Nothing yet."),
    }
    assert samples(found["acme_run"])["acme_run_total", (("outcome", "failed"),)].value == 3
    assert samples(found["acme_now"])["acme_now", ()].value == 2
    assert found["acme_empty"].samples == []


def test_buckets_are_cumulated_up_to_infinity():
    """A histogram's buckets count what is at or below each bound, the last one everything; count and sum stand beside them."""
    found = parsed(parse_text, as_text([TOOK]))["acme_run_seconds"].samples

    assert [(s.name.removeprefix("acme_run_seconds"), s.labels.get("le"), s.value) for s in found] == [
        ("_bucket", "0.5", 1), ("_bucket", "10.0", 1), ("_bucket", "+Inf", 3), ("_count", None, 3), ("_sum", None, 7.5),
    ]  # fmt: skip


def test_exemplars_are_in_openmetrics_alone():
    """OpenMetrics carries each exemplar at its own bucket or counter; the text format, which cannot, none."""
    found = parsed(parse_openmetrics, as_openmetrics([RUNS, TOOK]))
    carried = {
        name: sample.exemplar for family in found.values() for (name, *_), sample in samples(family).items() if sample.exemplar
    }
    at = [sample.labels["le"] for sample in found["acme_run_seconds"].samples if sample.exemplar]

    assert carried.keys() == {"acme_run_total", "acme_run_seconds_bucket"}
    assert at == ["10.0"]
    assert all((e.labels, e.value, float(e.timestamp)) == (EXEMPLAR.labels, 5.5, EXEMPLAR.at) for e in carried.values())
    assert b"trace_id" not in as_text([RUNS, TOOK])


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain; version=0.0.4", TEXT),
        ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.7,*/*;q=0.1", OPENMETRICS),
        ("text/plain, application/openmetrics-text; version=1.0.0; escaping=values", OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1", TEXT),
        ("application/openmetrics-text; version=2.0.0", TEXT),
        ("application/openmetrics-text; q=0", TEXT),
        ("application/openmetrics-text-not", TEXT),
        (";;,=,;q", TEXT),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_was_asked_for(accept, kind):
    """OpenMetrics 1 goes to who accepts it, the text format to everybody else; the content type repeats nothing they sent."""
    body, said = render([RUNS], accept)

    assert said == kind
    assert body.endswith(b"# EOF\n") == (kind == OPENMETRICS)


LABELS = st.text(st.characters(codec=None), max_size=12)


@given(values=st.lists(LABELS, min_size=1, max_size=5, unique_by=storable), number=st.floats(allow_nan=False))
@pytest.mark.parametrize(
    ("parse", "write"), [(parse_text, as_text), (parse_openmetrics, as_openmetrics)], ids=["text", "openmetrics"]
)
def test_any_text_is_one_label_value(parse, write, values, number):
    """Quotes, backslashes, line ends, half surrogates: each label value is one sample, read back as it is stored."""
    family = Family("acme_now", "gauge", "Now.", ("asset",), tuple(Sample((value,), number) for value in values))
    lines = [line for line in write([family]).decode().split("\n") if line.startswith("acme_now{")]
    found = parsed(parse, write([family]))["acme_now"].samples

    assert len(lines) == len(values)
    assert [sample.labels["asset"] for sample in found] == [storable(value) for value in values]
    assert all(sample.value == number for sample in found)
