"""What a message says: names, counts, digests and the next command, never data; and the words of each cause."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from flowstone.assets.keys import decode_key, display_key, escape
from flowstone.events.catalogue import (
    AssetOverdue,
    CheckpointApproved,
    CheckpointCancelled,
    CheckpointEscalated,
    CheckpointInvalidated,
    CheckpointRejected,
    CheckpointReminded,
    CheckpointRequested,
    CheckpointTimeout,
    ControlWeakened,
    ErrorGroupOpened,
    ErrorGroupRegressed,
    RunStop,
    TelemetryLost,
)
from flowstone.events.event import Event
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.durations import roughly, show_duration
from flowstone.foundation.errors import PartitionError
from flowstone.foundation.texts import cut
from flowstone.stores import notifications
from flowstone.stores.database import Transaction

NAMED, NAMES = 5, 200
MINUTE = 60_000_000_000


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message, the same for every channel."""

    cause: str
    project: str
    environment: str
    title: str
    facts: dict[str, str]
    command: str
    """What to type next."""
    at: int


class Drafted(NamedTuple):
    """What an event says: the cause as in the setting ``on``, what it is about, and the words."""

    cause: str
    subject: str
    title: str
    facts: dict[str, str]
    command: str


def draft(happened: Event, project: str, tx: Transaction) -> Drafted | None:
    """Return what *happened* says, ``None`` when it is nothing to tell anybody."""
    writer = _WRITERS.get(type(happened))
    return writer(happened, project, tx) if writer is not None else None


def _run(happened: RunStop, project: str, tx: Transaction) -> Drafted | None:
    outcome = happened.outcome
    if outcome == "success":
        if notifications.ended_before(tx, project, happened.pipeline, happened.run_id) not in ("failed", "partial"):
            return None
        outcome = "recovered"
    elif outcome not in ("failed", "partial"):
        return None
    counts = {word: getattr(happened, word) for word in ("success", "reused", "failed", "skipped")}
    facts = {
        "pipeline": happened.pipeline,
        "run": happened.run_id,
        "steps": ", ".join(f"{count:,} {word}" for word, count in counts.items() if count),
        "took": show_duration(max(1, round(happened.duration_ns / 1e9)) * 1_000_000_000),
    }
    failed = notifications.failed_in(tx, happened.run_id) if outcome != "recovered" else []
    if failed:
        more = f" and {len(failed) - NAMED:,} more" if len(failed) > NAMED else ""
        facts["failed"] = ", ".join(place(*one) for one in failed[:NAMED]) + more
    word = "is well again" if outcome == "recovered" else f"ended {outcome}"
    return Drafted(f"run.{outcome}", happened.run_id, f"{happened.pipeline} {word}", facts, f"flowstone show {happened.run_id}")


def _overdue(happened: AssetOverdue, project: str, tx: Transaction) -> Drafted:  # noqa: ARG001 - one signature for all
    late = happened.at - happened.due_at
    facts = {"pipeline": happened.pipeline, "asset": happened.asset}
    if happened.partition:
        facts["partition"] = cut(_key(happened.partition))
    facts["due"] = _moment(happened.due_at)
    if late >= MINUTE:
        facts["late by"] = roughly(late)
    if happened.owners:
        facts["owners"] = happened.owners
    option = f" --partition {shlex.quote(_key(happened.partition))}" if happened.partition else ""
    subject = f"{happened.asset} {happened.partition} {happened.due_at}"
    title = f"{place(happened.asset, happened.partition)} is overdue"
    return Drafted("asset.overdue", subject, title, facts, f"flowstone explain {happened.asset}{option}")


def _group(happened: ErrorGroupOpened | ErrorGroupRegressed, project: str, tx: Transaction) -> Drafted:  # noqa: ARG001
    group = f"grp_{happened.fingerprint}"
    facts = {"type": happened.type, "asset": happened.asset or "-", "group": group}
    what = f"{happened.type} in {happened.asset}" if happened.asset else happened.type
    command = f"flowstone errors show {group}"
    if isinstance(happened, ErrorGroupRegressed):
        return Drafted("error_group.regressed", happened.error, f"{what} is back", facts, command)
    return Drafted("error_group.opened", happened.error, f"{what} is new", facts, command)


def _lost(happened: TelemetryLost, project: str, tx: Transaction) -> Drafted:  # noqa: ARG001
    facts = {"sink": happened.sink, "reason": happened.reason, "events": f"{happened.lost:,}", "process": happened.process}
    subject = f"{happened.process} {happened.sink} {happened.reason}"
    return Drafted("telemetry.lost", subject, f"{happened.sink} did not see everything", facts, "flowstone handlers")


_Asked = CheckpointRequested | CheckpointReminded | CheckpointEscalated


def _asked(happened: _Asked, project: str, tx: Transaction) -> Drafted:  # noqa: ARG001
    """People are asked, reminded, or others are asked as well. What they are asked is the asset's own text, and not sent."""
    facts = _of_request(happened)
    facts |= {"asked": cut(happened.approvers, NAMES)} if happened.approvers else {}
    if isinstance(happened, CheckpointRequested):
        facts |= {"votes needed": f"{happened.quorum:,}"} if happened.quorum > 1 else {}
        facts |= {"digest": happened.digest} if happened.digest else {}
        facts["requested by"] = cut(happened.actor, NAMES)
    facts["until"] = _moment(happened.deadline)
    what = place(happened.asset, happened.partition)
    match happened:
        case CheckpointRequested():
            cause, subject, title = "requested", happened.approval, f"{what} waits for approval"
        case CheckpointReminded(reminders=number):
            cause, subject, title = "reminded", f"{happened.approval} {number}", f"{what} still waits for approval"
        case _:
            cause, subject = "escalated", f"{happened.approval} {happened.deadline}"
            title = f"{what} still waits for approval: others are asked"
    return Drafted(f"checkpoint.{cause}", subject, title, facts, f"flowstone approvals show {happened.approval}")


_Ended = CheckpointApproved | CheckpointRejected | CheckpointTimeout | CheckpointInvalidated | CheckpointCancelled


def _decided(happened: _Ended, project: str, tx: Transaction) -> Drafted:  # noqa: ARG001
    """A request has ended. Why, in the words of who decided, is not sent."""
    facts = _of_request(happened)
    by_people = isinstance(happened, CheckpointRejected | CheckpointCancelled)
    match happened:
        case CheckpointApproved():
            by_people = not happened.by_timeout
            word = "was approved" if by_people else "was approved by nobody: its time was up"
            facts |= {"votes": f"{happened.votes:,}"} if happened.votes > 1 else {}
            facts["digest"] = happened.digest
        case CheckpointRejected():
            word = "was rejected"
            facts["digest"] = happened.digest
        case CheckpointTimeout():
            word = "was not approved in time"
        case CheckpointInvalidated():
            word = "is not what people were asked about any more"
        case CheckpointCancelled():
            word = "need not be approved any more"
    if by_people:
        facts["by"] = cut(happened.actor, NAMES)
    if happened.waited_ns >= MINUTE:
        facts["waited"] = roughly(happened.waited_ns)
    title = f"{place(happened.asset, happened.partition)} {word}"
    return Drafted("checkpoint.decided", happened.approval, title, facts, f"flowstone approvals show {happened.approval}")


def _of_request(happened: Any) -> dict[str, str]:
    facts = {"asset": happened.asset}
    if happened.partition:
        facts["partition"] = cut(_key(happened.partition))
    about = {"before": "computing it", "weakening": "a gate that protects less"}.get(happened.kind)
    facts |= {"about": about} if about else {}
    return {**facts, "approval": happened.approval, "run": happened.run_id}


def _weakened(happened: ControlWeakened, project: str, tx: Transaction) -> Drafted:  # noqa: ARG001
    facts = {"control": happened.control}
    if happened.asset:
        facts["asset"] = happened.asset
    facts["by"] = cut(happened.actor, NAMES)
    what = f"{happened.control} of {happened.asset}" if happened.asset else happened.control
    subject = f"{happened.control} {happened.asset} {happened.at}"
    return Drafted("control.weakened", subject, f"{what} protects less", facts, "flowstone audit list --action control.weakened")


_WRITERS: dict[type[Event], Callable[[Any, str, Transaction], Drafted | None]] = {
    RunStop: _run,
    AssetOverdue: _overdue,
    ErrorGroupOpened: _group,
    ErrorGroupRegressed: _group,
    TelemetryLost: _lost,
    **dict.fromkeys((CheckpointRequested, CheckpointReminded, CheckpointEscalated), _asked),
    **dict.fromkeys((CheckpointApproved, CheckpointRejected, CheckpointTimeout, CheckpointInvalidated), _decided),
    CheckpointCancelled: _decided,
    ControlWeakened: _weakened,
}
CAUSING = tuple(_WRITERS)
"""The events that may cause a message."""


def _moment(at: int) -> str:
    return as_datetime(at).strftime("%Y-%m-%d %H:%M UTC")


def _key(partition: str) -> str:
    """An encoded partition as people read it; one that was masked is no key any more, and stays as it is."""
    try:
        return display_key(decode_key(partition))
    except PartitionError:
        return escape(partition)


def place(asset: str, partition: str) -> str:
    """``orders``, or ``orders 2026-11-23``."""
    return f"{asset} {cut(_key(partition))}" if partition else asset
