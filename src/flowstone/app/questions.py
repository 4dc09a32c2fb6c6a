"""What can be asked of a project: values, conditions, records. Every method is a thin call of the room that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from flowstone.app import listings
from flowstone.app.conditions import Condition, Conditions
from flowstone.app.doctor import examine
from flowstone.app.explain import Explanation, explain
from flowstone.app.findings import Finding
from flowstone.app.found import Found
from flowstone.app.sensitive import tell_read
from flowstone.app.wiring import Deployment
from flowstone.assets.drawing import render_dot, render_mermaid, render_text
from flowstone.assets.keys import encode_key
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.session import as_output
from flowstone.execution.settlement import OBSERVED
from flowstone.foundation.errors import MissingOutputError, UsageError
from flowstone.foundation.settings import Settings
from flowstone.ledger.error_groups import with_tries
from flowstone.ledger.lineage import Walk, walk
from flowstone.stores import errors, events, runs
from flowstone.stores.records import ErrorRecord, EventRecord, RunRecord

FOLLOW_SECONDS = 0.5


class Questions:
    """The questions of :class:`FlowStone`; none of them changes anything, but who is given a sensitive value is told of."""

    def __init__(self, deployment: Deployment, pipeline: Pipeline | None) -> None:
        self.settings: Settings = deployment.settings
        self.pipeline = pipeline
        self._deployment = deployment
        self._found = Found(deployment, pipeline)

    # -- values ---------------------------------------------------------------------------------------------------------

    def get(self, asset: str, *, partition: Any = None, run_id: str | None = None, as_: Any = None) -> Any:
        """Return the asset's current value, or the one *run_id* made; *as_* is a type to load it as, as in annotations.

        Raises :class:`MissingOutputError` when there is none.
        """
        record = self._found.output(asset, partition, run_id=run_id)
        value = self._found.value_of(record, as_)
        tell_read(self._deployment, self.pipeline, record)
        return value

    def get_bytes(self, asset: str, *, partition: Any = None, run_id: str | None = None) -> bytes:
        """Return the stored bytes of the asset's value, checked against their digest and never interpreted."""
        record = self._found.stored(asset, partition, run_id=run_id)
        content = self._deployment.io.get(record.manager).read_bytes(as_output(record))
        tell_read(self._deployment, self.pipeline, record)
        return content

    def exists(self, asset: str, *, partition: Any = None) -> bool:
        """Whether the asset has a current output and its bytes are there."""
        try:
            record = self._found.output(asset, partition)
        except MissingOutputError:
            return False
        return record.manager == OBSERVED or self._deployment.io.get(record.manager).exists(as_output(record))

    # -- questions ------------------------------------------------------------------------------------------------------

    def status(self, *assets: str, partition: Any = None, newest: bool = False, limit: int | None = None) -> list[Condition]:
        """The condition of *assets* (default: of every one): up to date, outdated and why, or without a value.

        Every partition has its own, newest first, at most *limit* of each asset. With *partition* (a key or its text) it is the
        only one; with *newest* each asset's newest is, and says how many others have a value. Raises an error for names and keys
        nobody knows.
        """
        conditions = Conditions(self._deployment, self.pipeline)
        names = conditions.named(assets)
        if partition is not None:
            return conditions.of_partition(names, partition if isinstance(partition, str) else encode_key(partition))
        return conditions.newest(names) if newest else conditions.all(names, limit)

    def condition(self, asset: str, *, partition: Any = None) -> Condition:
        """The condition of one partition of *asset*, a key or its text, or ``"latest"``."""
        return Conditions(self._deployment, self.pipeline).of(asset, self._found.partition(asset, partition))

    def assets(self) -> list[dict[str, Any]]:
        """The pipeline's assets as they are defined now, in declaration order."""
        return list(self._needed().definition()["assets"])

    def asset_info(self, name: str) -> dict[str, Any]:
        """One asset's definition, what it cannot see, and its condition."""
        return listings.asset_info(self._needed(), name, Conditions(self._deployment, self.pipeline))

    def graph(self, form: Literal["text", "mermaid", "dot"] = "text") -> str:
        """The graph of assets as ``text``, ``mermaid`` or ``dot``."""
        forms = {"text": render_text, "mermaid": render_mermaid, "dot": render_dot}
        if form not in forms:
            raise UsageError(f"graph form {form!r} is not known", hint=f"one of {', '.join(forms)}")
        return forms[form](self._needed().graph)

    def runs(self, *, limit: int = 20, status: str | None = None) -> list[RunRecord]:
        """The newest runs first."""
        with self._deployment.reading().reading() as connection:
            found = runs.recent(connection, self.settings.project, limit=limit, status=status)
            return listings.with_lost(self._deployment, connection, found)

    def show(self, id: str) -> listings.RunView:
        """One run with its materializations, attempts, outputs and counts of evidence; *id* may be the beginning of an id."""
        with self._deployment.reading().reading() as connection:
            return listings.run_view(self._deployment, connection, id)

    def lineage(
        self, asset: str, *, partition: Any = None, direction: Literal["upstream", "downstream", "impact"] = "upstream"
    ) -> Walk:
        """What the current output was made from, or what was made from it; ``impact`` keeps to outputs that are current now."""
        if direction not in ("upstream", "downstream", "impact"):
            raise UsageError(f"lineage direction {direction!r} is not known", hint="one of upstream, downstream, impact")
        record = self._found.output(asset, partition)
        with self._deployment.reading().reading() as connection:
            found = walk(connection, record, down=direction != "upstream")
            return found if direction != "impact" else listings.only_current(connection, self.settings.project, found)

    def explain(self, asset: str, *, partition: Any = None) -> Explanation:
        """Why the asset's value is what it is, what it was made from, and whether it is outdated."""
        return explain(self._deployment, self.pipeline, self._found, asset, partition)

    def events(
        self,
        *,
        after: str | None = None,
        limit: int = 1000,
        run_id: str | None = None,
        names: Iterable[str] = (),
        asset: str | None = None,
    ) -> list[EventRecord]:
        """At most *limit* recorded events in order; *names* may end in ``*``.

        Without *after*, everything that is recorded. After the ``cursor`` of an event (``"0"``: the beginning), what follows
        it, none missed and none twice: what a transaction still open could precede is left for the next call.
        """
        with self._deployment.reading().reading() as connection:
            run = runs.find(connection, self.settings.project, run_id).id if run_id else None
            return events.read(
                connection, self.settings.project, after=after, limit=limit, run_id=run, names=tuple(names), asset=asset
            )

    def follow(
        self,
        *,
        after: str | None = None,
        run_id: str | None = None,
        names: Iterable[str] = (),
        asset: str | None = None,
        idle: Callable[[], object] = bool,
    ) -> Iterator[EventRecord]:
        """Yield recorded events of every process as they come, from now or after a cursor, none missed and none twice.

        It does not end by itself: stop iterating. *idle* is called whenever nothing has come for half a second.
        """
        patterns, run, cursor = tuple(names), run_id, after
        while True:
            with self._deployment.reading().reading() as connection:
                if run_id is not None and run is run_id:
                    run = runs.find(connection, self.settings.project, run_id).id
                found, cursor = events.read_on(
                    connection, self.settings.project, after=cursor, run_id=run, names=patterns, asset=asset
                )
            yield from found
            if not found:
                idle()
                self._deployment.clock.sleep(FOLLOW_SECONDS)

    def errors(self, *, run_id: str | None = None, asset: str | None = None, limit: int = 50) -> list[ErrorRecord]:
        """The newest recorded errors first."""
        with self._deployment.reading().reading() as connection:
            run = runs.find(connection, self.settings.project, run_id).id if run_id else None
            return with_tries(connection, errors.read(connection, self.settings.project, run_id=run, asset=asset, limit=limit))

    def doctor(self, *, thorough: bool = False) -> list[Finding]:
        """Check that records and evidence agree and that nothing is left behind; changes nothing."""
        return examine(self._deployment, thorough=thorough)

    def _needed(self) -> Pipeline:
        if self.pipeline is None:
            raise UsageError("this needs a pipeline, and none was given", hint="FlowStone(pipeline)")
        return self.pipeline
