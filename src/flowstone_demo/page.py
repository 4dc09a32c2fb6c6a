"""The readable page: one HTML document that needs nothing else, on screen or on paper, in light or dark."""

from __future__ import annotations

from typing import Any, NamedTuple

import jinja2

from flowstone_demo import plot
from flowstone_demo.changes import Changes
from flowstone_demo.distributions import Snapshot
from flowstone_demo.findings import Findings
from flowstone_demo.integrity import DistributionIntegrity, Integrity
from flowstone_demo.licences import Licences
from flowstone_demo.requirements import Requirements


class Row(NamedTuple):
    """One line of the table of everything installed."""

    name: str
    version: str
    licence: str
    category: str
    files: str
    worst: str


def render(
    snapshot: Snapshot,
    integrity: Integrity,
    licences: Licences,
    requirements: Requirements,
    findings: Findings,
    changes: Changes | None = None,
    day: str = "",
) -> str:
    """Return the page as HTML. *changes* is ``None`` when there is no earlier snapshot; *day* is the snapshot's date."""
    loader = jinja2.PackageLoader("flowstone_demo", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["n"] = lambda number: f"{number:,}"
    text: str = environment.get_template("page.html").render(
        environment=snapshot["environment"],
        count=len(snapshot["distributions"]),
        integrity=integrity,
        uncompared=sum(bool(entry["reason"]) for entry in integrity["distributions"]),
        mostly_bytecode=integrity["unhashed_bytecode"] * 2 > sum(integrity["cannot_check"].values()),
        licences=licences["counts"],
        requirements=requirements,
        findings=findings,
        changes=_lines(changes),
        rows=rows(snapshot, integrity, licences, findings),
        series=plot.SERIES,
        drawn=plot.choose(integrity),
        plot=plot.draw(integrity),
        day=day,
    )
    return text


def rows(snapshot: Snapshot, integrity: Integrity, licences: Licences, findings: Findings) -> list[Row]:
    """Return one row for each distribution, by name."""
    files = {(entry["name"], entry["version"]): entry for entry in reversed(integrity["distributions"])}
    found: list[Row] = []
    for installed, licence in zip(snapshot["distributions"], licences["distributions"], strict=True):
        own = (installed["name"], installed["version"])
        worst = next((each["severity"] for each in findings["findings"] if (each["distribution"], each["version"]) == own), "")
        entry = files.get(own)
        compared = describe_files(entry) if entry and not installed["shadowed"] else "another of this name is found first"
        found.append(Row(*own, licence["said"] or "unknown", licence["category"], compared, worst))
    return found


def describe_files(entry: DistributionIntegrity) -> str:
    """Return how one distribution's files fared, in words; what was not checked is always said."""
    if entry["reason"]:
        return f"not compared: {entry['reason']}"
    hashed = entry["ok"] + entry["differs"]
    said = [f"{entry['ok']:,} as installed"] if hashed else ["none compared"]
    said += [f"{entry['differs']:,} differ{'s' if entry['differs'] == 1 else ''}"] if entry["differs"] else []
    said += [f"{entry['missing']:,} missing"] if entry["missing"] else []
    unchecked = sum(entry["cannot_check"].values())
    return ", ".join(said + ([f"{unchecked:,} not checked"] if unchecked else []))


def summary(page: str) -> str:
    """Return what the page holds, in words."""
    plots = page.count("<svg")
    return f"report.html, {plots} plot{'' if plots == 1 else 's'}"


def _lines(changes: Changes | None) -> list[dict[str, Any]] | None:
    if changes is None:
        return None
    kinds = (("added", changes["added"]), ("removed", changes["removed"]), ("changed", changes["changed"]))
    lines = [{"kind": kind, **change} for kind, group in kinds for change in group]
    return [{"kind": "other environment", **change} for change in changes["environment"]] + lines
