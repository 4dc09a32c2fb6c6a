"""Metrics as they are shown: families of samples, whatever they were read from and whoever shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Exemplar(NamedTuple):
    """One measurement that shows where a figure comes from.

    *labels* are ``run_id`` and ``trace_id``, *at* is in seconds since the epoch.
    """

    labels: Mapping[str, str]
    value: float
    at: float


class Sample(NamedTuple):
    """The figure of one set of label values, given in the order of the family's labels.

    A histogram has the *counts* of its buckets, not cumulated, the last one for what is greater than every bound, and *value* is
    the sum. *exemplars* are by the index of their bucket; a counter's is 0.
    """

    labels: tuple[str, ...]
    value: float
    counts: tuple[int, ...] = ()
    exemplars: Mapping[int, Exemplar] = {}


class Family(NamedTuple):
    """A metric and its samples; *name* is complete, a counter's ends in ``_total``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    unit: str = ""
    bounds: tuple[float, ...] = ()
    """The upper bounds of a histogram's buckets, ascending, without infinity."""
