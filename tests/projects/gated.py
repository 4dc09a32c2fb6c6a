"""A pipeline with a gate whose processes can be killed: each body notes its begin and its end."""

from __future__ import annotations

from shaken import note, place_of

from flowstone import Approval, Pipeline, asset


def _noted(ctx, value):
    note("begin", *place_of(ctx))
    note("end", *place_of(ctx))
    return value


@asset(code_version="1")
def raw(ctx) -> int:
    return _noted(ctx, 1)


@asset(code_version="1", approval=Approval("Publish?", four_eyes=False))
def bom(ctx, raw: int) -> list[int]:
    return _noted(ctx, [raw, 2])


@asset(code_version="1")
def release(ctx, bom: list[int]) -> int:
    return _noted(ctx, sum(bom))


pipeline = Pipeline("gated", [raw, bom, release])
RELEASED = 3
