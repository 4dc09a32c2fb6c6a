"""What a run gives back."""

from __future__ import annotations

from typing import Any

import msgspec

from flowstone.assets.keys import PartitionKey, decode_key, display_key, escape
from flowstone.foundation.errors import RunFailedError

SHOWN = 20  # steps of a kind in a result's text


class StepResult(msgspec.Struct, frozen=True):
    """How one materialization ended; *partition* is the encoded key."""

    asset: str
    partition: str
    status: str
    reason: str = ""
    message: str = ""
    output: str = ""

    @property
    def key(self) -> PartitionKey:
        """The partition key itself; ``None`` for an asset without partitions."""
        return decode_key(self.partition)


class RunResult(msgspec.Struct, frozen=True):
    """How a run ended: its status and every materialization, by how it ended.

    ``waiting``: it waits for people, or was asked to stop, and can be resumed. ``skipped``: nothing was begun, because the run
    ``run_id`` works on it.
    """

    run_id: str
    status: str
    materialized: tuple[StepResult, ...] = ()
    reused: tuple[StepResult, ...] = ()
    failed: tuple[StepResult, ...] = ()
    waiting: tuple[StepResult, ...] = ()
    skipped: tuple[StepResult, ...] = ()
    cancelled: tuple[StepResult, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is there."""
        return self.status == "success"

    @property
    def asks(self) -> bool:
        """Whether people must decide before it goes on: ``flowstone approvals`` lists what they are asked."""
        return any(step.reason == "approval" for step in self.waiting)

    def __repr__(self) -> str:
        """The run's id and status, and below it the steps by how they ended: what a notebook shows of a result."""
        lines = [f"RunResult {self.run_id} {self.status}"]
        for group in self.__struct_fields__[2:]:
            steps: tuple[StepResult, ...] = getattr(self, group)
            good = group in ("materialized", "reused")
            told = [_place(step) if good else _told(step) for step in steps[:SHOWN]]
            told += [f"... {len(steps) - SHOWN} more"] if len(steps) > SHOWN else []
            rows = [", ".join(told)] if good and told else told
            lines += [f"  {group if i == 0 else '':<12}  {row}" for i, row in enumerate(rows)]
        return "\n".join(lines)

    def raise_if_failed(self) -> RunResult:
        """Return the result itself, or raise :class:`RunFailedError` naming what failed and why, or that it was cancelled."""
        if self.ok or self.status in ("waiting", "skipped"):
            return self
        listed = "".join(f"\n  - {step.asset}: {step.reason}: {step.message}" for step in self.failed[:20])
        cancelled = f", {len(self.cancelled)} cancelled" if self.cancelled else ""
        raise RunFailedError(
            f"{self.run_id} ended {self.status}: {len(self.failed)} failed, {len(self.skipped)} skipped{cancelled}{listed}",
            hint=f"flowstone show {self.run_id}",
            run_id=self.run_id,
        )


def result_of(run_id: str, status: str, steps: list[StepResult]) -> RunResult:
    """Sort the steps of a run by how they ended."""
    groups: dict[str, list[StepResult]] = {}
    kinds: dict[str, Any] = {
        "success": "materialized",
        "reused": "reused",
        "skipped": "skipped",
        "cancelled": "cancelled",
        "waiting": "waiting",
        "retrying": "waiting",
        "running": "waiting",
    }
    for step in steps:
        groups.setdefault(kinds.get(step.status, "failed"), []).append(step)
    return RunResult(run_id, status, **{name: tuple(found) for name, found in groups.items()})


def _place(step: StepResult) -> str:
    return f"{step.asset} {display_key(step.key)}" if step.partition else step.asset


def _told(step: StepResult) -> str:
    return escape(": ".join(part for part in (_place(step), step.reason, step.message) if part))
