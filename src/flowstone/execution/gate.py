"""The half of a gate that has the value: whether people are asked about it, and what they are shown. No database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from flowstone.assets.approval import Approval
from flowstone.assets.asset import AnyAsset
from flowstone.execution.comparison import compare
from flowstone.execution.context import Context
from flowstone.execution.outcome import Asked
from flowstone.foundation.errors import ApprovalError
from flowstone.foundation.serialize import to_json
from flowstone.foundation.texts import storable_in
from flowstone.io_managers import External

MAX_CONTEXT = 16_000
"""Characters of what an asset says beside its question; it is shown whole."""
DEFAULT = Approval(when="asked")
"""The gate of a function that asks and whose asset declares none."""


def gate_of(asset: AnyAsset) -> Approval:
    """The asset's gate: as it declares it, else that of a function that asks by itself."""
    return asset.approval or DEFAULT


def asked(
    asset: AnyAsset,
    value: Any,
    ctx: Context,
    previous: Callable[[], Any] | None,
    mask: Callable[[str], str],
    *,
    in_place: bool = False,
) -> Asked | None:
    """What people are asked about *value* before it is stored, ``None`` when nobody is.

    *previous* loads the current value, which *value* is compared with; *mask* takes secrets out of the names of what differs.
    Raises :class:`ApprovalError` for a function that asks about something else than it returns, and for a value that is written
    *in_place*: nothing could be held back.
    """
    question, gate = ctx.question, asset.approval
    if question is None and gate is not None and callable(gate.when) and isinstance(value, Iterator):
        raise ApprovalError(
            f"asset {asset.name!r} returned {type(value).__name__}, which when= would use up before it is stored",
            hint='Approval(when="after"), or return a list',
        )
    if question is not None and question.value is not value:
        raise ApprovalError(
            f"asset {asset.name!r} asked for approval of a value and returned another one",
            hint="return ctx.ask_approval(value, ...)",
        )
    if question is None and not (gate is not None and gate.asks(value)):
        return None
    if isinstance(value, External) or in_place:
        where = f"has written {value.location!s}" if isinstance(value, External) else "is stored"
        raise ApprovalError(
            f"asset {asset.name!r} {where} in place: nothing could be held back",
            hint='write it beside and return the value, or ask before it is computed: Approval(when="before")',
        )
    message = (question.message if question is not None else "") or gate_of(asset).message
    context = to_json(storable_in(question.context)) if question is not None and question.context else ""
    if len(context) > MAX_CONTEXT:
        raise ApprovalError(
            f"asset {asset.name!r}: context= of ctx.ask_approval has {len(context):,} characters as JSON",
            hint=f"give at most {MAX_CONTEXT:,}: names and counts, not the data",
        )
    return Asked(message, context, _changes(value, previous, mask))


def _changes(value: Any, previous: Callable[[], Any] | None, mask: Callable[[str], str]) -> str:
    """How *value* differs from the current one, as JSON; empty when there is none, or it cannot be compared."""
    if previous is None:
        return ""
    try:
        return msgspec.json.encode(compare(previous(), value, mask)).decode()
    except Exception as error:  # noqa: BLE001 - the old bytes may be gone or unreadable; the new ones are asked about all the same
        return to_json({"note": f"the current value could not be loaded: {type(error).__name__}"})


def shown(context: str) -> Mapping[str, Any]:
    """The context of a question, read back."""
    found: dict[str, Any] = msgspec.json.decode(context) if context else {}
    return found
