"""Definitions are facts: which one a run was requested with, and what it changes of the one in use before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flowstone.approvals.weakening import weaker
from flowstone.assets.pipeline import Pipeline
from flowstone.audit import acts
from flowstone.audit.recorder import Who
from flowstone.events.catalogue import ControlWeakened
from flowstone.execution.services import Services
from flowstone.foundation.serialize import from_json, to_json
from flowstone.stores import pipelines
from flowstone.stores.database import Transaction

LISTED = 200
"""Assets of which an entry says what has changed; of more it says how many there are."""
COMPARED = ("digest", "retries", "owners", "io", "due", "sensitive", "approval")
CONTROLS = ("sensitive",)
"""What of an asset protects something while it is set; its gate does as well, and can be weaker without being gone."""

Assets = dict[str, dict[str, Any]]


def remember(
    tx: Transaction,
    services: Services,
    pipeline: Pipeline,
    provenance: Mapping[str, Any],
    who: Who,
    now: int,
    run_id: str,
    trace_id: str,
) -> None:
    """Store the definition a run is requested with; another one than was in use before is told of."""
    project, name, digest, definition = services.project, pipeline.name, pipeline.digest(), pipeline.definition()
    last = pipelines.last_used(tx, project, name) if services.audit.is_on else None
    pipelines.remember(tx, project, name, digest, definition, now)
    if not services.audit.is_on or (last is not None and last.digest == digest):
        return
    before = _assets(from_json(pipelines.text_of(tx, last.id))) if last is not None else {}
    after = _assets(definition)
    changes = differences(before, after)
    git = provenance.get("git") or {}
    told = {
        **{kind: len(found) for kind, found in changes.items()}, "before": last.digest if last is not None else "",
        "commit": git.get("commit"), "dirty": git.get("dirty"),
    }  # fmt: skip
    act = acts.pipeline_changed(name, digest, to_json(definition), told)
    act = act._replace(texts={"changes": to_json({kind: dict(list(found.items())[:LISTED]) for kind, found in changes.items()})})
    services.audit.tell(tx, act, who, now, run_id=run_id, trace_id=trace_id)
    taken = {asset: pipelines.computed_under(tx, project, asset) for asset in after if asset not in before}
    before |= {asset: found for asset, found in taken.items() if found is not None}
    for less in weakened(before, after, services.people.people_of):
        told = {"pipeline": name, "definition": digest, **less._asdict()}
        services.audit.tell(tx, acts.control_weakened(less.control, told), who, now, run_id=run_id, trace_id=trace_id)
        by = {"actor": who.actor, "identity": who.identity}
        tx.emit(ControlWeakened, at=now, **less._asdict(), **by)


def differences(before: Assets, after: Assets) -> dict[str, dict[str, Any]]:
    """What was added, removed, renamed (an asset's name beside its new one) and changed (old and new of each field)."""
    gone, new = [name for name in before if name not in after], [name for name in after if name not in before]
    codes = {before[name]["digest"]: name for name in gone}
    renamed = {codes[after[name]["digest"]]: name for name in new if after[name]["digest"] in codes}
    changed = {}
    for old, name in [*renamed.items(), *((name, name) for name in after if name in before)]:
        pairs = {field: [before[old].get(field), after[name].get(field)] for field in COMPARED}
        differs = {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}
        if differs:
            changed[name] = differs
    return {
        "added": {name: after[name]["digest"] for name in new if name not in renamed.values()},
        "removed": {name: before[name]["digest"] for name in gone if name not in renamed},
        "renamed": renamed,
        "changed": changed,
    }


class Weakened(NamedTuple):
    """A control of an asset that protects less: what it was, and what it is."""

    control: str
    asset: str
    was: str
    now: str


def weakened(before: Assets, after: Assets, people_of: Callable[[Sequence[str]], list[str]] = list) -> list[Weakened]:
    """The controls of assets that protect less than they did, or are gone; a gate goes with its asset, too."""
    renamed = differences(before, after)["renamed"]
    found = []
    for name, asset in before.items():
        now = after.get(renamed.get(name, name))
        lost = [control for control in CONTROLS if now is not None and asset.get(control) and not now.get(control)]
        found += [Weakened(control, name, "on", "off") for control in lost]
        gone = now is None and asset.get("approval")
        less = weaker(asset.get("approval"), now.get("approval") if now is not None else None, people_of)
        found += [Weakened("approval", name, each.was, "no asset" if gone else each.now) for each in less]
    return found


def _assets(definition: Mapping[str, Any]) -> Assets:
    return {asset["name"]: asset for asset in definition["assets"]}
