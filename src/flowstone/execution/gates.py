"""What the gates of a plan ask of whoever requests it: refused before anything begins, because nobody could pass them."""

from __future__ import annotations

from flowstone.approvals.eligibility import GROUP, STRENGTH, Rules
from flowstone.assets.approval import Approval
from flowstone.assets.asset import AnyAsset
from flowstone.assets.pipeline import Pipeline
from flowstone.audit.recorder import Who
from flowstone.execution.plan import Plan
from flowstone.execution.services import Services
from flowstone.foundation.errors import UsageError, did_you_mean

BEFORE = 'ask before it is computed: Approval(when="before")'


def check(plan: Plan, pipeline: Pipeline, services: Services, requester: Who, author: str) -> None:
    """Raise :class:`UsageError` for the first gate that cannot hold a value back, or that nobody could pass.

    *author* is that of the commit that is run, empty when it is not known.
    """
    for name in dict.fromkeys(step.asset for step in plan.steps):
        asset = pipeline[name]
        if asset.approval is not None:
            _check_place(asset, asset.approval, services)
            _check_groups(asset, asset.approval, services.people)
            _check_requester(asset, asset.approval, services.people, requester, author)
            _check_quorum(asset, asset.approval, services.people, requester)


def _check_place(asset: AnyAsset, gate: Approval, services: Services) -> None:
    manager = services.io.get(asset.io)
    if gate.when == "before" or (manager.versioned and not manager.one_process):
        return
    if not manager.versioned:
        raise UsageError(
            f"asset {asset.name!r}: its IO manager {manager.name!r} replaces the value in place: nothing could be held back",
            hint=f'io="files", or {BEFORE}',
        )
    if not services.database.backend.in_memory:
        raise UsageError(
            f"asset {asset.name!r} keeps its values in this process's memory: a candidate would be lost before people decide",
            hint=f'io="files", or {BEFORE}',
        )


def _check_groups(asset: AnyAsset, gate: Approval, people: Rules) -> None:
    for name in (*gate.approvers, *gate.escalate_to):
        group = name.removeprefix(GROUP)
        if name.startswith(GROUP) and group not in people.groups:
            known = did_you_mean(group, people.groups) or f"known: {', '.join(sorted(people.groups)) or 'none'}"
            raise UsageError(
                f"asset {asset.name!r}: approvals names the group {group!r}, which is not set",
                hint=f'{known}; name its people: {group} = ["ann"] under [approvals.groups]',
            )


def _check_requester(asset: AnyAsset, gate: Approval, people: Rules, requester: Who, author: str) -> None:
    """Refuse four eyes where nobody knows whose the first two are."""
    if not gate.four_eyes:
        return
    who = f"{requester.actor} ({requester.identity})"
    if people.is_machine(requester.actor):
        if gate.quorum < 2 and not gate.not_author:
            raise UsageError(
                f"asset {asset.name!r} wants four eyes, and {who}, who requests this run, is no person",
                hint="Approval(quorum=2), or not_author=True: then whoever wrote the commit may not approve it",
            )
        if gate.quorum < 2 and not author:
            raise UsageError(
                f"asset {asset.name!r}: not_author=True, and the author of what {who} runs is not known",
                hint="run it where its git repository is, or Approval(quorum=2)",
            )
    elif STRENGTH.get(requester.identity, 0) == 0 and not people.allow_asserted:
        raise UsageError(
            f"asset {asset.name!r} wants four eyes, and {who}, who requests this run, is only asserted",
            hint="run it as the operating system's user, without --as and FLOWSTONE_ACTOR, or approvals.allow_asserted = true",
        )


def _check_quorum(asset: AnyAsset, gate: Approval, people: Rules, requester: Who) -> None:
    if not gate.approvers or gate.on_timeout == "approve":
        return
    asked = people.people_of((*gate.approvers, *gate.escalate_to))
    persons = [name for name in asked if not people.is_machine(name)]
    able = [name for name in persons if not (gate.four_eyes and name == requester.actor)]
    if len(able) < gate.quorum:
        without = f" without {requester.actor}, who requests this run" if len(able) < len(persons) else ""
        raise UsageError(
            f"asset {asset.name!r}: {gate.quorum} must approve, and {len(able)} can{without}: {', '.join(able) or 'nobody'}",
            hint="name more approvers, or have somebody else request the run",
        )
