"""Do the installed distributions fit together: every requirement that applies here, met or not.

Markers are evaluated for the reviewed interpreter, not for the one that runs the review. An extra's requirements count
only where an installed distribution asks for that extra: what a person typed at install time is recorded nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypedDict

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from flowstone_demo.distributions import Installed, Snapshot


class Edge(TypedDict):
    """One requirement that applies: *source* needs *target*."""

    source: str
    target: str
    needs: str  # the version specifier, "" for any version


class Unsatisfied(TypedDict):
    """One requirement that is not met. *found* is empty when nothing of that name is installed."""

    distribution: str
    version: str
    requires: str
    needs: str
    found: str
    others: list[str]  # who else asks for a version of it, and is content: then the two conflict


class Unreadable(TypedDict):
    """One requirement that could not be read or compared, and so is neither met nor unmet."""

    distribution: str
    version: str
    requirement: str
    problem: str


class Requirements(TypedDict):
    """Every edge that applies, and what is wrong with them."""

    edges: list[Edge]
    unsatisfied: list[Unsatisfied]
    unreadable: list[Unreadable]


@dataclass
class _Graph:
    markers: dict[str, str]
    installed: dict[str, Installed]
    requirements: dict[str, list[Requirement]] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], bool | None] = field(default_factory=dict)  # None: cannot be compared
    unreadable: list[Unreadable] = field(default_factory=list)


def resolve(snapshot: Snapshot) -> Requirements:
    """Return every requirement that applies between the distributions of *snapshot* and whether it is met."""
    installed: dict[str, Installed] = {
        canonicalize_name(each["name"]): each for each in snapshot["distributions"] if not each["shadowed"]
    }
    graph = _Graph(markers=snapshot["environment"]["markers"], installed=installed)
    for key, each in graph.installed.items():
        graph.requirements[key] = list(_parse(graph, each))
    _follow(graph)
    edges = sorted(graph.edges)
    return {
        "edges": [{"source": source, "target": target, "needs": needs} for source, target, needs in edges],
        "unsatisfied": [_unsatisfied(graph, edge) for edge in edges if graph.edges[edge] is False] + _wrong_python(graph),
        "unreadable": sorted(graph.unreadable, key=lambda each: (each["distribution"], each["requirement"])),
    }


def summary(requirements: Requirements) -> str:
    """Return how many requirements apply and how many are not met, in words."""
    count = len(requirements["edges"])
    unmet = len(requirements["unsatisfied"])
    return f"{count:,} edge{'' if count == 1 else 's'}, {f'{unmet:,} unsatisfied' if unmet else 'all satisfied'}"


def _parse(graph: _Graph, installed: Installed) -> Iterator[Requirement]:
    for text in installed["requires"]:
        try:
            yield Requirement(text)
        except InvalidRequirement:
            _cannot_read(graph, installed, text, "is not a requirement")


def _follow(graph: _Graph) -> None:
    """Walk until no further extra is asked for; each ``(distribution, extra)`` is looked at once."""
    waiting = [(key, "") for key in graph.installed]
    seen = set(waiting)
    while waiting:
        key, extra = waiting.pop()
        for requirement in graph.requirements[key]:
            if not _applies(graph, key, requirement, extra):
                continue
            target = canonicalize_name(requirement.name)
            graph.edges[(key, target, str(requirement.specifier))] = _met(graph, key, requirement)
            wanted = {(target, canonicalize_name(name)) for name in requirement.extras if target in graph.installed}
            waiting += sorted(wanted - seen)
            seen |= wanted


def _applies(graph: _Graph, key: str, requirement: Requirement, extra: str) -> bool:
    if requirement.marker is None:
        return not extra
    try:
        if extra and requirement.marker.evaluate({**graph.markers, "extra": ""}):
            return False
        return requirement.marker.evaluate({**graph.markers, "extra": extra})
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion, KeyError) as error:
        _cannot_read(graph, graph.installed[key], str(requirement), f"has a marker that cannot be evaluated: {error}")
        return False


def _met(graph: _Graph, key: str, requirement: Requirement) -> bool | None:
    found = graph.installed.get(canonicalize_name(requirement.name))
    if found is None:
        return False
    try:
        return requirement.specifier.contains(Version(found["version"]), prereleases=True)
    except InvalidVersion:
        if not str(requirement.specifier):
            return True
        _cannot_read(graph, graph.installed[key], str(requirement), f"cannot be compared with version {found['version']!r}")
        return None


def _cannot_read(graph: _Graph, installed: Installed, requirement: str, problem: str) -> None:
    entry: Unreadable = {
        "distribution": installed["name"],
        "version": installed["version"],
        "requirement": requirement,
        "problem": problem,
    }
    if entry not in graph.unreadable:
        graph.unreadable.append(entry)


def _unsatisfied(graph: _Graph, edge: tuple[str, str, str]) -> Unsatisfied:
    source, target, needs = edge
    found = graph.installed.get(target)
    content = [
        f"{graph.installed[other]['name']} needs {wanted}"
        for (other, wanted_target, wanted), met in sorted(graph.edges.items(), key=lambda item: item[0])
        if wanted_target == target and wanted and met and other != source
    ]
    return {
        "distribution": graph.installed[source]["name"],
        "version": graph.installed[source]["version"],
        "requires": found["name"] if found else target,
        "needs": needs,
        "found": found["version"] if found else "",
        "others": content,
    }


def _wrong_python(graph: _Graph) -> list[Unsatisfied]:
    python = graph.markers["python_full_version"]
    wrong: list[Unsatisfied] = []
    for _, each in sorted(graph.installed.items()):
        try:
            fits = not each["requires_python"] or SpecifierSet(each["requires_python"]).contains(python, prereleases=True)
        except InvalidSpecifier:
            _cannot_read(graph, each, f"Python {each['requires_python']}", "is not a version specifier")
            continue
        if not fits:
            entry: Unsatisfied = {
                "distribution": each["name"],
                "version": each["version"],
                "requires": "Python",
                "needs": each["requires_python"],
                "found": python,
                "others": [],
            }
            wrong.append(entry)
    return wrong
