"""The series of this process as they are now; memory and files are read by ``prometheus_client``."""

from __future__ import annotations

import gc
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client.process_collector import ProcessCollector

from flowstone.events.handlers import HandlerInfo
from flowstone.events.losses import Loss
from flowstone.observability.metrics.families import Family, Sample
from flowstone.observability.prometheus.process_series import (
    COLLECTIONS,
    HANDLERS,
    HOME_FREE,
    LOST,
    RUNS,
    RUNTIME,
    THREADS,
    UNAUDITED,
)

_collector = ProcessCollector(namespace="flowstone", registry=None)


def process_families(
    handlers: Sequence[HandlerInfo], losses: Iterable[Loss], runs: int, home: Path | None, unaudited: int
) -> list[Family]:
    """The families of this process now, which works on so many *runs*, keeps things in *home*, and undid *unaudited* changes.

    What the machine does not tell, as memory and files outside Linux, has no samples.
    """
    found = [
        family._replace(samples=tuple(Sample((handler.id,), float(figure(handler))) for handler in handlers))
        for family, figure in HANDLERS
    ]
    lost = tuple(Sample((loss.sink, loss.reason), loss.lost) for loss in losses)
    cycles = tuple(Sample((str(age),), stats["collections"]) for age, stats in enumerate(gc.get_stats()))
    return [
        *found,
        LOST._replace(samples=lost),
        UNAUDITED._replace(samples=(Sample((), unaudited),)),
        RUNS._replace(samples=(Sample((), runs),)),
        THREADS._replace(samples=(Sample((), threading.active_count()),)),
        COLLECTIONS._replace(samples=cycles),
        *_runtime(),
        HOME_FREE._replace(samples=(Sample((), shutil.disk_usage(home).free),) if home is not None and home.is_dir() else ()),
    ]


def _runtime() -> list[Family]:
    values = {sample.name: sample.value for metric in _collector.collect() for sample in metric.samples}
    return [family._replace(samples=(Sample((), values[family.name]),) if family.name in values else ()) for family in RUNTIME]
