"""The release note: what was released, as Markdown for people; made of the approved bill of materials and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def note(bom: Mapping[str, Any], day: str) -> str:
    """Return the note about *bom*, released on *day* (``2026-11-23``)."""
    components = bom.get("components", [])
    worst = [component for component in components if _severities(component) & {"high", "medium"}]
    count = f"{len(components):,} distribution{'s' if len(components) != 1 else ''}"
    lines = [
        f"# Environment of {day}",
        "",
        f"{count}, bill of materials {bom.get('serialNumber', '')}.",
        "",
        f"{len(worst):,} of them with findings that were looked at before the release:" if worst else "Nothing was found.",
        *(f"- {component['name']} {component.get('version', '')}".rstrip() for component in worst),
    ]
    return "\n".join(lines) + "\n"


def summary(text: str) -> str:
    """Return what the note is about, in words."""
    return text.splitlines()[2].partition(", bill")[0]


def _severities(component: Mapping[str, Any]) -> set[str]:
    names = [str(one.get("name", "")) for one in component.get("properties", [])]
    return {name.rpartition(":")[2] for name in names if ":finding:" in name}
