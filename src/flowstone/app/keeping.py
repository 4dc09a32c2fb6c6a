"""What is kept, and for how long: versions, erasure, holds, the prune, backups. Every method is a thin call of its room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowstone.app.auditing import Auditing
from flowstone.app.backups import Checked, back_up
from flowstone.app.collection import Collection
from flowstone.app.erasing import Erasing, Erasure
from flowstone.app.holding import Holding, said
from flowstone.app.pruning import Prune, Pruned
from flowstone.app.versions import Version, Wanted, Which, versions
from flowstone.app.wiring import Deployment
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.result import RunResult
from flowstone.execution.run import Actor
from flowstone.execution.services import Services
from flowstone.stores.records import HoldRecord


class Keeping(Auditing):
    """The questions of :class:`FlowStone`, and what decides how much is kept."""

    def __init__(self, deployment: Deployment, pipeline: Pipeline | None, actor: Actor) -> None:
        super().__init__(deployment, pipeline, actor)
        self._actor = actor

    def outputs(
        self,
        asset: str | None = None,
        *,
        partition: Any = None,
        which: Which = "kept",
        limit: int = 1_000,
        since: int | None = None,
        until: int | None = None,
        without_approval: bool = False,
    ) -> list[Version]:
        """At most *limit* outputs by asset and partition, newest first: those whose bytes are ``kept``, ``gone``, or ``all``.

        *since* and *until* bound when they were stored, in nanoseconds since the epoch. *without_approval*: only those that
        became current and that nobody had approved, of *asset*, or of every asset that has a gate or had one.
        """
        wanted = Wanted(asset, partition, which, limit, since, until, without_approval)
        return versions(self._deployment, self._found, wanted)

    def erase(
        self,
        asset: str,
        *,
        partition: Any = None,
        output: str | None = None,
        all_versions: bool = False,
        reason: str,
        dry_run: bool = False,
    ) -> Erasure:
        """Erase the bytes of the asset's current output, of *output*, or of *all_versions*, for good; the records stay.

        With *dry_run* only say what would go. Raises :class:`HeldError` for what is held.
        """
        erasing = Erasing(self._deployment, self._found, self._actor)
        said(reason)
        planned = erasing.plan(asset, partition, output, all_versions=all_versions)
        if not dry_run:
            erasing.erase(planned, reason)
        return planned

    def hold(
        self,
        asset: str | None = None,
        *,
        partition: Any = None,
        output: str | None = None,
        run_id: str | None = None,
        reason: str,
    ) -> HoldRecord:
        """Keep an asset's outputs (of one *partition*, or all), one *output*, or a run's outputs and records, until released."""
        return Holding(self._deployment, self._found, self._actor).add(asset, partition, output, run_id, reason)

    def holds(self, *, released: bool = False) -> list[HoldRecord]:
        """The holds in force; with *released* every hold there was."""
        return Holding(self._deployment, self._found, self._actor).every(released=released)

    def release(self, hold: str, *, reason: str) -> HoldRecord:
        """Release a hold; *reason* says why it is not needed any more."""
        return Holding(self._deployment, self._found, self._actor).release(hold, reason)

    def prune(self, *, dry_run: bool = False) -> list[Pruned]:
        """Remove what retention does not keep, and files nothing refers to; with *dry_run* only count them."""
        done = Prune(self._deployment, self._actor, dry_run=dry_run).run()
        self._deployment.seal()
        return done

    def backup(
        self, file: str | Path, *, outputs: str | Path | None = None, overwrite: bool = False, verify: bool = False
    ) -> Checked:
        """Copy the whole database into one SQLite *file*, and with *outputs* the bytes it refers to into that folder."""
        return back_up(
            self._deployment, Path(file), Path(outputs) if outputs is not None else None, overwrite=overwrite, verify=verify
        )

    def _collected(self, services: Services, result: RunResult) -> RunResult:
        """Give up the bytes of what a run that has ended superseded, and tell what observers lost; return its result."""
        self._deployment.tell()
        Collection(services, self.settings.retention.outputs, self._actor.who).after(result.run_id)
        self._deployment.seal()
        return result
