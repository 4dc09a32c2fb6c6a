"""A plan: which steps a run has, in which order, and where each input comes from. Data only; stored with the run."""

from __future__ import annotations

import msgspec

Place = tuple[str, str]
"""An asset's name and an encoded partition."""


class Input(msgspec.Struct, frozen=True, array_like=True):
    """Where one parameter's value comes from: a step of this plan, or (``output``) the output that was current at plan time.

    With neither, the input is missing: an optional parameter gets its default, a required one fails its step.
    """

    parameter: str
    asset: str
    partition: str
    optional: bool
    planned: bool
    output: str = ""


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One asset x partition to materialize; *after* are steps of this plan to wait for without loading."""

    asset: str
    partition: str
    inputs: tuple[Input, ...]
    after: tuple[Place, ...] = ()

    @property
    def place(self) -> Place:
        """The step's asset and partition."""
        return (self.asset, self.partition)


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """Steps in an order in which every step comes after what it needs, and the places that were asked for."""

    steps: tuple[Step, ...]
    targets: tuple[Place, ...]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Plan).decode
