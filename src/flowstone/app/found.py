"""Finds the output a person means: an asset, maybe a partition, maybe a run."""

from __future__ import annotations

from typing import Any

from flowstone.app.keys import in_order, newest, written
from flowstone.app.wiring import Deployment
from flowstone.assets.keys import decode_key, display_key, encode_key
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.planner import Planner
from flowstone.execution.schedule import GOOD
from flowstone.execution.session import as_output
from flowstone.execution.settlement import OBSERVED
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import MissingOutputError, NotFoundError, PartitionError, did_you_mean
from flowstone.foundation.texts import cut
from flowstone.stores import approvals, materializations, outputs, partitions, pipelines, runs
from flowstone.stores.records import OutputRecord


class Found:
    """Answers with the pipeline when there is one, else from what is stored."""

    def __init__(self, deployment: Deployment, pipeline: Pipeline | None) -> None:
        self._deployment, self._pipeline = deployment, pipeline
        self._project = deployment.settings.project

    def partition(self, asset: str, partition: Any = None) -> str:
        """The encoded partition a request means; without a pipeline the latest is the newest that has a value."""
        if self._pipeline is not None:
            declared = self._pipeline[asset]
            now = as_datetime(self._deployment.clock.now_ns())
            planner = Planner(self._pipeline, self._project, self._deployment.planning(), now)
            return encode_key(
                planner.key_of(declared, partition) if partition in (None, "latest") else _parsed(declared, partition)
            )
        if partition in (None, "latest"):
            return self._latest(asset)
        text = partition if isinstance(partition, str) else encode_key(partition)
        meant = self._recorded(asset, text)
        if meant is not None:
            return meant
        stored, tried = self.partitions(asset), self._tried(asset)
        for encoded in [*stored, *tried]:  # tuples
            if text in (encoded, display_key(decode_key(encoded))):
                return encoded
        if not any([*stored, *tried]):
            raise PartitionError(f"asset {asset!r} has no partitions, but partition {cut(text)!r} was given", hint="leave it out")
        shown = ", ".join(cut(display_key(decode_key(encoded))) for encoded in in_order(stored)[-20:])
        raise PartitionError(f"{asset} has no value for partition {cut(text)!r}", hint=f"it has: {shown or 'none'}")

    def _latest(self, asset: str) -> str:
        """The newest partition with a current output, else the newest that was tried."""
        with self._deployment.reading().reading() as connection:
            ends = outputs.ends(connection, self._project, asset)
            if ends is not None:
                return newest(*ends, lambda: outputs.partitions_of(connection, self._project, asset))
        self.partitions(asset)
        return next(reversed(in_order(self._tried(asset))), "")

    def _recorded(self, asset: str, text: str) -> str | None:
        """The partition that *text* means, if it has a current output or was tried."""
        meant = written(text)
        with self._deployment.reading().reading() as connection:
            stored = outputs.current_at(connection, self._project, [(asset, encoded) for encoded in meant])
            tried = (e for e in meant if partitions.newest(connection, self._project, asset, e) is not None)
            return next((e for e in meant if (asset, e) in stored), None) or next(tried, None)

    def partitions(self, asset: str) -> list[str]:
        """The encoded partitions of *asset* with a current output; raises :class:`NotFoundError` for an unknown asset."""
        with self._deployment.reading().reading() as connection:
            stored = outputs.partitions_of(connection, self._project, asset)
            known = [
                item["name"] for record in pipelines.newest(connection, self._project) for item in record.definition["assets"]
            ]
        if not stored and asset not in known:
            hint = did_you_mean(asset, known) or f"known: {', '.join(known[:20]) or 'none; run something first'}"
            raise NotFoundError(f"project {self._project!r} has no asset {asset!r}", hint=hint)
        return stored

    def _tried(self, asset: str) -> list[str]:
        """The encoded partitions of *asset* some run was asked for, whatever came of it."""
        with self._deployment.reading().reading() as connection:
            return [place.partition for place in partitions.of_asset(connection, self._project, asset)]

    def output(self, asset: str, partition: Any = None, *, run_id: str | None = None) -> OutputRecord:
        """The current output, or the one a run made or reused; raises :class:`MissingOutputError` when there is none."""
        if run_id is not None:
            return self._of_run(asset, partition, run_id)
        encoded = self.partition(asset, partition)
        known = self._pipeline is not None  # then the asset exists, and where there is no database yet it has no value
        with (self._deployment.planning() if known else self._deployment.reading()).reading() as connection:
            record = outputs.current(connection, self._project, asset, encoded)
        if record is None:
            where = f"{asset} {display_key(decode_key(encoded))}" if encoded else asset
            raise MissingOutputError(f"{where} has no value", hint=f"flowstone run {asset}")
        return record

    def stored(self, asset: str, partition: Any = None, *, run_id: str | None = None) -> OutputRecord:
        """The output, if FlowStone has its bytes; raises :class:`MissingOutputError` for an observed source."""
        record = self.output(asset, partition, run_id=run_id)
        if record.manager == OBSERVED:
            raise MissingOutputError(
                f"{asset} is observed only: its bytes are not kept here", hint=f"its version is {record.location}"
            )
        refuse_gone(record)
        return record

    def value_of(self, record: OutputRecord, annotation: Any = None) -> Any:
        """The value of an output, loaded as *annotation* asks; pickles only where the pipeline declares them."""
        asset = record.asset
        if record.manager == OBSERVED:
            return record.location  # its version is its value, as for the assets that need it
        refuse_gone(record)
        declared = self._pipeline[asset] if self._pipeline is not None and asset in self._pipeline else None
        return self._deployment.io.get(record.manager).load(
            as_output(record), annotation, produced=declared.return_annotation() if declared else None,
            allow_pickle=declared is not None and declared.format == "pickle",
        )  # fmt: skip

    def _of_run(self, asset: str, partition: Any, run_id: str) -> OutputRecord:
        with self._deployment.reading().reading() as connection:
            run = runs.find(connection, self._project, run_id)
            rows = [row for row in materializations.of_run(connection, run.id) if row.asset == asset and row.status in GOOD]
            if partition not in (None, "latest"):
                text = partition if isinstance(partition, str) else encode_key(partition)
                here = {row.partition: display_key(decode_key(row.partition)) for row in rows}
                meant = [e for e in written(text) if e in here] or [e for e, shown in here.items() if shown == text]
                rows = [row for row in rows if row.partition in meant[:1]]
            made = outputs.find(connection, [row.output for row in rows])
            asked = approvals.listed(connection, self._project, asset=asset, run_id=run.id) if not rows else []
        if len(rows) != 1:
            hint = "name one --partition" if rows else f"flowstone show {run.id}"
            if asked:
                hint = f"people are asked whether it may have one: flowstone approvals show {asked[0].id}"
            raise MissingOutputError(f"{run.id} has {len(rows) or 'no'} values of {asset}", hint=hint)
        return made[rows[0].output]


def refuse_gone(record: OutputRecord) -> None:
    """Raise :class:`MissingOutputError` when the bytes of the output were collected or erased."""
    if record.gone:
        name = f"{record.asset} {display_key(decode_key(record.partition))}" if record.partition else record.asset
        when = as_datetime(record.gone_at or 0).strftime("%Y-%m-%d %H:%M UTC")
        erased = "flowstone events --name flowstone.output.erased tells who and why"
        why = erased if record.gone == "erased" else "retention.outputs says how many versions are kept"
        raise MissingOutputError(
            f"the bytes of {name} version {record.version} ({record.id}) were {record.gone} on {when}; "
            f"its record and its digest, {record.digest[:8]}.., stay",
            hint=f"flowstone show {record.id} shows them; {why}",
        )


def _parsed(declared: Any, partition: Any) -> Any:
    if declared.partitions is None:
        raise PartitionError(
            f"asset {declared.name!r} has no partitions, but partition {partition!r} was given", hint="leave it out"
        )
    return declared.partitions.parse(partition) if isinstance(partition, str) else partition
