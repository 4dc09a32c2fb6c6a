"""A pipeline with a gate, whose processes can be killed: each body notes its begin and its end."""

from __future__ import annotations

from shaken import step

from flowstone import Approval, Pipeline


@step
def raw(ctx) -> int:
    return 1


@step(approval=Approval("Publish?", four_eyes=False, assurance="asserted"))
def bom(ctx, raw: int) -> list[int]:
    return [raw, 2]


@step
def release(ctx, bom: list[int]) -> int:
    return sum(bom)


pipeline = Pipeline("gated", [raw, bom, release])
