"""The gauges of a deployment: each is read from its state when it is asked for, what takes long at most once a minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from flowstone.app import audit_gauges
from flowstone.app.conditions import Conditions
from flowstone.app.wiring import Deployment
from flowstone.automation.deadlines import Deadlines
from flowstone.execution import lost
from flowstone.foundation.clock import NANOSECONDS
from flowstone.observability.metrics import decisions, defaults
from flowstone.observability.metrics.families import Sample
from flowstone.stores import overdue, pipelines, processes, state, ticks
from flowstone.stores.database import Connection
from flowstone.stores.tables import SCHEMA_VERSION

EVERY = 60 * NANOSECONDS
WHOLE = "(all)"
"""Stands for the tables of a database that does not tell their sizes apart."""

Told = Iterator[tuple[str, list[Sample]]]


class Gauges:
    """Reads the gauges of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._project = deployment, deployment.settings.project
        self._kept: dict[str, list[Sample]] = {}
        self._kept_at: int | None = None

    def read(self) -> dict[str, list[Sample]]:
        """The samples of every gauge by its name."""
        database, now = self._deployment.reading(), self._deployment.clock.monotonic_ns()
        seldom = self._kept_at is None or now - self._kept_at >= EVERY
        with database.reading() as connection:
            found = {**dict(self._work(connection)), **dict(self._late(connection)), **dict(self._store(connection))}
            found |= dict(audit_gauges.sealing(connection)) | dict(self._asked(connection))
            if seldom:
                self._kept = dict(self._large(connection))
        if seldom:
            self._kept |= {defaults.OUTDATED.name: self._outdated(), defaults.DUE.name: self._due()}
            self._kept_at = now
        return {**found, **self._kept}

    def _work(self, connection: Connection) -> Told:
        running, waiting = (state.runs_of(connection, self._project, status) for status in ("running", "waiting"))
        yield defaults.RUNS_IN_FLIGHT.name, _by({of.pipeline: of.runs for of in running})
        yield defaults.RUNS_WAITING.name, _by({of.pipeline: of.runs for of in waiting})
        yield defaults.RUN_OLDEST.name, _by({of.pipeline: of.oldest / NANOSECONDS for of in running})
        yield defaults.IN_FLIGHT.name, _by(state.running(connection, self._project))
        now, locks = self._deployment.reading().now(), self._deployment.locks
        dead = [process for process in processes.not_ended(connection) if not lost.is_alive(process, locks, now)]
        yield defaults.WORKERS_LOST.name, _one(len(dead))
        yield defaults.ERROR_GROUPS_OPEN.name, _one(state.open_groups(connection, self._project))

    def _asked(self, connection: Connection) -> Told:
        gated = {item["name"]: 0 for item in _described(connection, self._project) if item.get("approval")}
        pending = state.pending(connection, self._project)
        yield decisions.CHECKPOINT_PENDING.name, _by({**gated, **{of.asset: of.requests for of in pending}})
        yield decisions.CHECKPOINT_OLDEST.name, _by({of.asset: of.oldest / NANOSECONDS for of in pending})
        yield decisions.CHECKPOINT_DEADLINE.name, _by({of.asset: of.deadline / NANOSECONDS for of in pending})

    def _late(self, connection: Connection) -> Told:
        watched = {item["name"]: 0 for item in _described(connection, self._project) if item.get("due")}
        late = Counter(record.asset for record in overdue.unmet(connection, self._project))
        yield defaults.OVERDUE.name, _by({**watched, **late})

    def _store(self, connection: Connection) -> Told:
        tick = ticks.last(connection, self._project)
        yield defaults.TICK_LAST.name, _one(tick.at / NANOSECONDS) if tick is not None and tick.at else []
        labels = (version("flowstone"), SCHEMA_VERSION, self._deployment.settings.environment or "")
        yield defaults.BUILD.name, [Sample(labels, 1.0)]
        each = state.bytes_of_tables(connection) or {WHOLE: self._deployment.reading().backend.size()}
        yield defaults.STORE_BYTES.name, _by(each)

    def _large(self, connection: Connection) -> Told:
        """What reads whole tables."""
        yield defaults.STORE_ROWS.name, _by(dict(state.rows_of(connection)))
        kept = state.kept_by(connection, self._project)
        sizes = [(of.manager, at, size) for of in kept for at, size in (("current", of.current), ("superseded", of.superseded))]
        yield defaults.OUTPUTS_BYTES.name, [Sample((manager, at), float(size)) for manager, at, size in sizes]
        yield from audit_gauges.anchoring(connection, self._deployment.settings.audit.anchors)

    def _due(self) -> list[Sample]:
        outlook = Deadlines(self._project, self._deployment.reading()).outlook()
        return _by({asset: at / NANOSECONDS for asset, at in outlook.items()})

    def _outdated(self) -> list[Sample]:
        conditions = Conditions(self._deployment, None)
        found = conditions.newest(conditions.named(()))
        return _by({condition.asset: condition.state == "outdated" for condition in found})


def _described(connection: Connection, project: str) -> Iterator[dict[str, Any]]:
    for record in pipelines.newest(connection, project):
        yield from record.definition["assets"]


def _by(figures: Mapping[str, float]) -> list[Sample]:
    return [Sample((label,), float(value)) for label, value in sorted(figures.items())]


def _one(value: float) -> list[Sample]:
    return [Sample((), float(value))]
