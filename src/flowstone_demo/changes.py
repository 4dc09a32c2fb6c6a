"""What changed between two snapshots of an environment."""

from __future__ import annotations

from typing import TypedDict

from packaging.utils import canonicalize_name

from flowstone_demo.distributions import Installed, Snapshot


class Change(TypedDict):
    """One distribution that came, went or changed; ``before`` or ``now`` is empty where there was or is none."""

    distribution: str
    before: str
    now: str


class Changes(TypedDict):
    """Every difference, by name. *environment* holds what changed about the interpreter itself."""

    added: list[Change]
    removed: list[Change]
    changed: list[Change]
    environment: list[Change]


def compare(before: Snapshot, now: Snapshot) -> Changes:
    """Return what is different in *now*. Only the distribution that is imported counts where a name is there twice."""
    old, new = _by_name(before), _by_name(now)
    pairs = [(old.get(key), new.get(key)) for key in sorted({*old, *new})]
    changes = [_change(then, today) for then, today in pairs if _describe(then) != _describe(today)]
    described = {"interpreter": "version", "prefix": "prefix"}
    return {
        "added": [change for change in changes if not change["before"]],
        "removed": [change for change in changes if not change["now"]],
        "changed": [change for change in changes if change["before"] and change["now"]],
        "environment": [
            {"distribution": word, "before": before["environment"][key], "now": now["environment"][key]}
            for word, key in described.items()
            if before["environment"][key] != now["environment"][key]
        ],
    }


def summary(changes: Changes) -> str:
    """Return how much changed, in words."""
    counts = [(len(changes["added"]), "added"), (len(changes["removed"]), "removed"), (len(changes["changed"]), "changed")]
    words = [f"{count:,} {word}" for count, word in counts if count]
    words += [f"another {change['distribution']}" for change in changes["environment"]]
    return ", ".join(words) or "nothing changed"


def _by_name(snapshot: Snapshot) -> dict[str, Installed]:
    return {canonicalize_name(each["name"]): each for each in snapshot["distributions"] if not each["shadowed"]}


def _describe(installed: Installed | None) -> str:
    if installed is None:
        return ""
    origin = f" from {installed['url']}" if installed["url"] else ""
    return f"{installed['version']}{origin}{' (editable)' if installed['editable'] else ''}"


def _change(before: Installed | None, now: Installed | None) -> Change:
    named = now or before
    return {"distribution": named["name"] if named else "", "before": _describe(before), "now": _describe(now)}
