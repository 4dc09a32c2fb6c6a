"""What a ready step does: exactly one of these. Plain data: decided by the session, written with whatever is due."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flowstone.assets.asset import AnyAsset
from flowstone.execution.decision import Facts, Made
from flowstone.execution.plan import Step
from flowstone.stores.records import OutputRecord


class Skip(NamedTuple):
    """The step does not run."""

    step: Step
    reason: str
    message: str


class Reuse(NamedTuple):
    """The step's current output is taken."""

    step: Step
    current: OutputRecord
    because: str


class Observe(NamedTuple):
    """The observed source has a new version."""

    step: Step
    facts: Facts


class Compute(NamedTuple):
    """The step must be computed; *because* says why."""

    step: Step
    asset: AnyAsset
    facts: Facts
    inputs: tuple[Made, ...]
    because: str
    refused: Exception | None
    seen: str | None = None
    """The current output this was decided upon, ``""`` for none; ``None`` when it does not matter."""


class Weakened(NamedTuple):
    """A gate that protects less: the *old* policy, the *new* one if there is any, in what respects, and what stands for both."""

    old: Mapping[str, Any]
    new: Mapping[str, Any] | None
    less: list[list[str]]
    digest: str


class Ask(NamedTuple):
    """People are asked before the step is computed; *because* says why it would be."""

    step: Step
    asset: AnyAsset
    facts: Facts
    inputs: tuple[Made, ...]
    because: str
    seen: str | None
    """The current output this was decided upon, as for what is computed."""
    weakened: Weakened | None = None
    """The gate that protects less, where that is what people are asked about."""


class Wait(NamedTuple):
    """The step waits for the answer to an open request; *same*: about exactly what it would compute."""

    step: Step
    approval: str
    same: bool


Decision = Skip | Reuse | Observe | Compute | Ask | Wait
