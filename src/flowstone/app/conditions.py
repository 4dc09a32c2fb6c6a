"""What state each asset is in, told from the store alone: user code is not asked, so a source's version is not known here.

A question reads what it asks about and what that was made of, however much else the store holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flowstone.app.keys import in_order, newest, written
from flowstone.app.outdated import reasons
from flowstone.app.wiring import Deployment
from flowstone.assets.keys import decode_key, display_key
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.schedule import GOOD
from flowstone.execution.session import as_output
from flowstone.foundation.errors import NotFoundError, PartitionError, did_you_mean
from flowstone.stores import approvals, outputs, partitions, pipelines
from flowstone.stores.database import Connection
from flowstone.stores.records import ApprovalRecord, MaterializationRecord, OutputRecord

Place = tuple[str, str]
LISTED = 20


class Condition(NamedTuple):
    """One asset's partition: ``up to date``, ``outdated``, ``missing``, or ``gone`` (recorded, but its bytes are not there)."""

    asset: str
    partition: str
    state: str
    because: tuple[str, ...]
    output: OutputRecord | None
    last: MaterializationRecord | None
    others: int = 0
    """How many other partitions of the asset have a value, where only the newest was asked for."""
    asked: ApprovalRecord | None = None
    """The open request for approval about it: a value waits, or computing one."""


class Conditions:
    """The conditions of a project's assets against the pipeline, or against the newest stored definition."""

    def __init__(self, deployment: Deployment, pipeline: Pipeline | None) -> None:
        self._io, self._database, self._project = deployment.io, deployment.planning(), deployment.settings.project
        if pipeline is not None:
            definitions = [pipeline.definition()]
        else:
            with self._database.reading() as connection:
                definitions = [record.definition for record in pipelines.newest(connection, self._project)]
        self.defined: dict[str, dict[str, Any]] = {item["name"]: item for found in definitions for item in found["assets"]}

    def named(self, assets: Sequence[str]) -> list[str]:
        """*assets*, or all in order of declaration; raises :class:`NotFoundError` for one neither defined nor recorded."""
        with self._database.reading() as connection:
            for name in assets:
                if name not in self.defined and not partitions.of_asset(connection, self._project, name, limit=1):
                    known = ", ".join(sorted(self.defined)[:LISTED]) or "none; run something first"
                    raise NotFoundError(f"there is no asset {name!r}", hint=did_you_mean(name, self.defined) or f"known: {known}")
        return list(dict.fromkeys(assets)) or list(self.defined)

    def all(self, assets: Sequence[str], limit: int | None = None) -> list[Condition]:
        """The newest *limit* partitions (default: all) of each of *assets*, newest first; an asset without any has one entry."""
        rows: dict[Place, int] = {}
        wanted: list[Place] = []
        with self._database.reading() as connection:
            for name in assets:
                known = {place.partition: place.newest for place in partitions.of_asset(connection, self._project, name)}
                rows |= {(name, key): row for key, row in known.items()}
                wanted += [(name, key) for key in in_order(known)[::-1][:limit]] or [(name, "")]
            return self._told(connection, wanted, rows)

    def newest(self, assets: Sequence[str]) -> list[Condition]:
        """The newest partition of each of *assets*."""
        with self._database.reading() as connection:
            spans = {span.asset: span for span in partitions.spans(connection, self._project)}
            rows = {(name, span.greatest): span.newest for name, span in spans.items()}
            wanted: list[Place] = []
            for name in assets:
                last = newest(spans[name].least, spans[name].greatest, self._listing(connection, name)) if name in spans else ""
                wanted.append((name, last))
            rows |= self._rows(connection, [place for place in wanted if place[0] in spans and place not in rows])
            counts = partitions.with_value(connection, self._project)
            told = self._told(connection, wanted, rows)
        return [found._replace(others=max(0, counts.get(found.asset, 0) - (found.output is not None))) for found in told]

    def of_partition(self, assets: Sequence[str], text: str) -> list[Condition]:
        """The partition that *text* means of those of *assets* that have it; raises :class:`PartitionError` when none has."""
        meant = written(text)
        found = [told for told in self.at([(name, key) for name in assets for key in meant]) if told.output or told.last]
        if found:
            return found
        with self._database.reading() as connection:
            known = [(name, key) for name in assets for key in self._listing(connection, name)() if key]
        shown = {place: display_key(decode_key(place[1])) for place in known}
        found = self.at([place for place in known if shown[place] == text])
        if not found:
            keys = list(dict.fromkeys(shown.values()))[-LISTED:]
            raise PartitionError(f"nothing is known of partition {text!r}", hint=f"known: {', '.join(keys) or 'none'}")
        return found

    def of(self, asset: str, partition: str) -> Condition:
        """The condition of one asset's partition."""
        return self.at([(asset, partition)])[0]

    def at(self, places: Sequence[Place]) -> list[Condition]:
        """The conditions of these assets' partitions, in the same order."""
        with self._database.reading() as connection:
            return self._told(connection, places, self._rows(connection, places))

    def _listing(self, connection: Connection, asset: str) -> Callable[[], list[str]]:
        return lambda: [place.partition for place in partitions.of_asset(connection, self._project, asset)]

    def _rows(self, connection: Connection, places: Sequence[Place]) -> dict[Place, int]:
        """The newest materialization of each of these places that has one."""
        found = {place: partitions.newest(connection, self._project, *place) for place in places}
        return {place: row for place, row in found.items() if row is not None}

    def _told(self, connection: Connection, places: Sequence[Place], rows: dict[Place, int]) -> list[Condition]:
        last = partitions.materializations(connection, [rows[place] for place in places if place in rows])
        current = outputs.current_at(connection, self._project, places)
        lost = outputs.find(connection, [m.output for place, m in last.items() if m.output and place not in current])
        digests = {name: item["digest"] for name, item in self.defined.items()}
        because = reasons(connection, current.values(), digests)
        erased = {place for place, made in last.items() if made.output in lost and lost[made.output].gone}
        waiting = [place for place, made in last.items() if made.status == "waiting"]
        asked = {place: approvals.open_at(connection, self._project, *place) for place in waiting}
        return [
            self._condition(place, current.get(place), last.get(place), because, erased=place in erased)._replace(
                asked=asked.get(place)
            )
            for place in places
        ]

    def _condition(
        self,
        place: Place,
        output: OutputRecord | None,
        last: MaterializationRecord | None,
        outdated: dict[str, tuple[str, ...]],
        *,
        erased: bool,
    ) -> Condition:
        if output is None:
            because: tuple[str, ...] = (_last_words(last),) if last and last.message else ()
            if last is not None and last.status in GOOD:
                because = ("its bytes were erased" if erased else "it was invalidated",)
            return Condition(*place, "missing", because, None, last)
        observed = self.defined.get(place[0], {}).get("kind") == "observed"
        if not observed and not self._io.get(output.manager).exists(as_output(output)):
            return Condition(*place, "gone", ("its stored bytes are gone",), output, last)
        because = outdated[output.id]
        return Condition(*place, "outdated" if because else "up to date", because, output, last)


def _last_words(last: MaterializationRecord) -> str:
    if last.status == "cancelled":
        return f"the last run was {last.message}"
    return f"the last run ended {last.status}: {last.message}"
