"""A deployment's metrics: the record folded into series, which counts what processes did that exited or were killed.

Any number of processes may fold at once: figures change together with the cursor they stand for, by compare-and-set, and
who comes late reads again. Where nothing can be written the rest is folded in memory, and shown all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flowstone.app.state_gauges import Gauges
from flowstone.app.wiring import Deployment
from flowstone.assets.pipeline import Pipeline
from flowstone.foundation.errors import DatabaseError, NotFoundError
from flowstone.foundation.serialize import from_json
from flowstone.observability.metrics.defaults import METRICS, OVERFLOW_TOTAL, REFUSED_TOTAL
from flowstone.observability.metrics.definitions import Metric
from flowstone.observability.metrics.families import Family, Sample
from flowstone.observability.metrics.fold import Figures, Folded, Folding, family_of
from flowstone.stores import pipelines, series
from flowstone.stores.cursors import START
from flowstone.stores.database import Connection, Database
from flowstone.stores.series import Reached, Row

TURNS = 50  # times that somebody else may be quicker before the rest is folded in memory

_logger = logging.getLogger("flowstone.metrics")


class Done(NamedTuple):
    """What a fold has come to: every metric by name, the events that were folded, and the cursor all metrics have reached."""

    metrics: Mapping[str, Folded]
    events: int
    until: str
    stored: bool
    """Whether all of it is in the store; else a part is known to this process alone."""


class _OvertakenError(Exception):
    """Somebody else has folded the same events."""


class Fold:
    """Brings the series of one project up to the record."""

    def __init__(self, database: Database, project: str, most: int) -> None:
        self._database, self._project, self._most = database, project, most
        self._events, self._writes = 0, True
        self._told: set[str] = set()

    def run(self, *, must_store: bool = False) -> Done:
        """Fold what has been recorded since the last time, by whichever process.

        With *must_store* what cannot be written raises.
        """
        self._writes = True
        for turn in range(TURNS):
            self._writes = self._writes and (must_store or turn < TURNS - 1)
            try:
                return self._turn(must_store=must_store)
            except _OvertakenError:
                continue
        raise DatabaseError("the metrics could not be folded: other processes were always quicker", hint="try again")

    def _turn(self, *, must_store: bool) -> Done:
        self._events = 0
        with self._database.reading() as connection:
            until = series.end(connection)
            reached = series.reached(connection, self._project)
            defined = {metric.name: metric for metric in definitions(connection, self._project)}
            parts = {name: _Part(metric, self._most, reached.get(name)) for name, metric in defined.items() if metric.sources}
            for row in series.rows(connection, self._project):
                if row.metric in parts:
                    parts[row.metric].load(row)
        behind: dict[str, list[_Part]] = {}
        for part in parts.values():
            behind.setdefault(part.cursor, []).append(part)
        for together in behind.values():
            self._catch_up(together, until, must_store=must_store)
        for part in parts.values():
            self._tell_overflow(part.folded)
        return Done({name: part.folded for name, part in parts.items()}, self._events, until, self._writes)

    def _catch_up(self, together: list[_Part], until: str, *, must_store: bool) -> None:
        """Fold what these metrics, which have all come equally far, have not seen."""
        folding = Folding(part.folded for part in together)
        cursor: str | None = together[0].cursor
        while cursor is not None and cursor != until:
            with self._database.reading() as connection:
                found, cursor = series.page(connection, self._project, cursor, until, folding.names)
            if cursor is None:
                return
            for happened in found:
                if happened.payload is not None:
                    folding.take(happened.name, from_json(happened.payload))
            self._events += len(found)
            if self._writes:
                self._store(together, cursor, must_store=must_store)

    def _store(self, together: list[_Part], cursor: str, *, must_store: bool) -> None:
        now = self._database.now()
        try:
            with self._database.transaction() as tx:
                for part in together:
                    reached = Reached(part.digest, cursor)
                    if not series.advance(tx, self._project, part.folded.metric.name, part.reached, reached, now):
                        raise _OvertakenError
                for part in together:
                    for figures in part.folded.touched():
                        series.put(tx, self._project, Row(*figures))
        except DatabaseError as error:
            if must_store:
                raise
            self._writes = False
            self._say_once("store", "metrics are folded in memory, the store takes none: %s", error.message)
            return
        for part in together:
            part.reached = Reached(part.digest, cursor)

    def _tell_overflow(self, folded: Folded) -> None:
        if folded.overflowed:
            text = "metric %s has %d sets of label values (metrics.max_series): what is new is counted under __overflow__"
            self._say_once(folded.metric.name, text, folded.metric.name, self._most)

    def _say_once(self, about: str, text: str, *values: object) -> None:
        if about not in self._told:
            self._told.add(about)
            _logger.warning(text, *values)


class _Part:
    """One metric in a fold: its figures, and how far the store says it has come."""

    def __init__(self, metric: Metric, most: int, reached: Reached | None) -> None:
        self.digest, self.reached = metric.digest(), reached
        self.folded = Folded(metric, most)
        self.goes_on = reached is not None and reached.digest == self.digest
        self.cursor = reached.cursor if reached is not None and self.goes_on else START

    def load(self, row: Row) -> None:
        """Take what the store has, unless the definition has changed: then the metric begins anew."""
        if self.goes_on:
            self.folded.load(Figures(*row))


def definitions(connection: Connection, project: str) -> list[Metric]:
    """Every metric of *project*: FlowStone's, then those of its pipelines as they are stored, by the pipelines' names.

    A name that two pipelines define differently is that of the first; the other is said in the log.
    """
    found = {metric.name: metric for metric in METRICS}
    for record in sorted(pipelines.newest(connection, project), key=lambda record: record.name):
        for metric in users_metrics(record.definition):
            first = found.setdefault(metric.name, metric)
            if first.digest() != metric.digest():
                _logger.warning("metric %s of pipeline %s: another pipeline defines it otherwise", metric.name, record.name)
    return list(found.values())


def users_metrics(definition: Mapping[str, Any]) -> list[Metric]:
    """The metrics that a stored definition of a pipeline has of its own; one that a newer FlowStone wrote may be left out."""
    found = []
    for described in definition.get("metrics", ()):
        try:
            found.append(Metric.of(described))
        except ValueError as error:
            _logger.warning("metric %s is not understood: %s", described.get("name", "?"), error)
    return found


class Metrics:
    """The metrics of one deployment, as often as they are asked for."""

    def __init__(self, deployment: Deployment, pipeline: Pipeline | None) -> None:
        self._deployment, self._pipeline = deployment, pipeline
        self._gauges = Gauges(deployment)
        self._fold: Fold | None = None

    def fold(self, *, must_store: bool = False) -> Done:
        """Bring the stored series up to the record; raises :class:`NotFoundError` while there is no database."""
        if self._fold is None:
            settings = self._deployment.settings
            self._fold = Fold(self._deployment.reading(), settings.project, settings.metrics.max_series)
        return self._fold.run(must_store=must_store)

    def families(self) -> list[Family]:
        """Every metric as it is now, in a fixed order; all are there, also those without a figure."""
        try:
            done = self.fold()
        except NotFoundError:  # nothing has been recorded yet
            done = Done({metric.name: Folded(metric, 0) for metric in METRICS if metric.sources}, 0, START, stored=False)
            samples: dict[str, list[Sample]] = {}
        else:
            samples = self._gauges.read()
        folded = sorted(done.metrics.items())
        samples[OVERFLOW_TOTAL.name] = [Sample((name,), float(one.beyond)) for name, one in folded if one.beyond]
        samples[REFUSED_TOTAL.name] = [Sample((name,), float(one.refused)) for name, one in folded if one.refused]
        own = [family_of(metric, samples.get(metric.name, ())) for metric in METRICS if not metric.sources]
        known = {family.name: family for family in [*own, *(one.family() for one in done.metrics.values())]}
        new = self._unknown(known)
        return [*(known.pop(metric.name) for metric in METRICS), *known.values(), *new]

    def _unknown(self, known: Iterable[str]) -> list[Family]:
        """The metrics of a pipeline that has not run yet."""
        own = users_metrics(self._pipeline.definition()) if self._pipeline is not None else []
        return [Folded(metric, 0).family() for metric in own if metric.name not in known]
