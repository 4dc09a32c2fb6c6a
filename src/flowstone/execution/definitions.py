"""Definitions are facts: which one a run was requested with, and what it changes of the one in use before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
COMPARED = ("digest", "retries", "owners", "io", "due", "sensitive")
CONTROLS = ("sensitive",)
"""What of an asset protects something while it is set: blocking checks and approvals belong here too, once there are any."""

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
    for asset, control in weakened(before, after):
        act = acts.control_weakened(control, {"pipeline": name, "definition": digest, "asset": asset})
        services.audit.tell(tx, act, who, now, run_id=run_id, trace_id=trace_id)
        by = {"actor": who.actor, "identity": who.identity}
        tx.emit(ControlWeakened, at=now, control=control, asset=asset, was="on", now="off", **by)


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


def weakened(before: Assets, after: Assets) -> list[tuple[str, str]]:
    """The controls that assets had and do not have any more: asset and control."""
    renamed = differences(before, after)["renamed"]
    found = []
    for name, asset in before.items():
        now = after.get(renamed.get(name, name))
        found += [(name, control) for control in CONTROLS if now is not None and asset.get(control) and not now.get(control)]
    return found


def _assets(definition: Mapping[str, Any]) -> Assets:
    return {asset["name"]: asset for asset in definition["assets"]}
