"""What a reviewer must look at, worst first, and what this review does not know.

High: a file is not what was installed. Medium: something is missing, unmet, strongly copyleft or unclear. Low: worth
knowing before shipping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypedDict

from packaging.utils import canonicalize_name

from flowstone_demo import integrity as integrities
from flowstone_demo.changes import Changes
from flowstone_demo.distributions import Snapshot
from flowstone_demo.integrity import FileProblem, Integrity
from flowstone_demo.licences import Licences
from flowstone_demo.requirements import Requirements

SEVERITIES = ("high", "medium", "low")
_NAMED_FILES = 3


class Finding(TypedDict):
    """One thing to look at. *about* is files, licence, requirement, origin or change."""

    severity: str
    distribution: str
    version: str
    about: str
    text: str


class Findings(TypedDict):
    """Everything to look at, how many of each severity, and one sentence for each thing that is not known."""

    verdict: str
    counts: dict[str, int]
    findings: list[Finding]
    not_known: list[str]


def collect(
    snapshot: Snapshot,
    integrity: Integrity,
    licences: Licences,
    requirements: Requirements,
    changes: Changes | None = None,
) -> Findings:
    """Return the findings of one review. *changes* is ``None`` when there is no earlier snapshot."""
    found = [
        *_from_files(integrity),
        *_from_licences(licences),
        *_from_requirements(requirements),
        *_from_origins(snapshot, integrity),
        *(_from_changes(changes) if changes else ()),
    ]
    abouts = ("files", "requirement", "licence", "origin", "change")
    found.sort(
        key=lambda each: (
            SEVERITIES.index(each["severity"]), abouts.index(each["about"]), canonicalize_name(each["distribution"]),
            each["version"], each["text"],
        )
    )  # fmt: skip
    counts = Counter(each["severity"] for each in found)
    return {
        "verdict": _verdict(integrity, counts),
        "counts": {severity: counts[severity] for severity in SEVERITIES},
        "findings": found,
        "not_known": _not_known(snapshot, integrity, requirements, changes),
    }


def summary(findings: Findings) -> str:
    """Return how many findings there are of each severity, in words."""
    count = len(findings["findings"])
    if not count:
        return "no findings"
    words = ", ".join(f"{number:,} {severity}" for severity, number in findings["counts"].items() if number)
    return f"{count:,} finding{'' if count == 1 else 's'}: {words}"


def _from_files(integrity: Integrity) -> Iterator[Finding]:
    groups: dict[tuple[str, str, str], list[FileProblem]] = {}
    for problem in integrity["files"]:
        groups.setdefault((problem["distribution"], problem["version"], problem["problem"]), []).append(problem)
    for (name, version, kind), files in groups.items():
        severity = "high" if kind == "differs" else "medium"
        says = "differs from what was installed" if kind == "differs" else "was installed and is gone"
        if len(files) > _NAMED_FILES:
            plural = "differ from what was installed" if kind == "differs" else "were installed and are gone"
            yield _finding(severity, name, version, "files", f"{len(files):,} files {plural}, the first: {files[0]['path']}")
            continue
        for file in files:
            digests = f" (RECORD {file['recorded'][:4]}.., disk {file['found'][:4]}..)" if file["found"] else ""
            yield _finding(severity, name, version, "files", f"{file['path']} {says}{digests}")


def _from_licences(licences: Licences) -> Iterator[Finding]:
    for each in licences["distributions"]:
        if each["category"] == "permissive":
            continue
        severity = "low" if each["strength"] == "weak" else "medium"
        if each["category"] == "copyleft":
            word = "weak copyleft" if each["strength"] == "weak" else "copyleft"
            text = f"{each['said']} ({word}), {each['evidence']}"
        elif each["said"]:
            text = f"{each['said']} is neither permissive nor copyleft, {each['evidence']}"
        else:
            text = f"licence unknown: {each['evidence']}"
        yield _finding(severity, each["name"], each["version"], "licence", text)


def _from_requirements(requirements: Requirements) -> Iterator[Finding]:
    for each in requirements["unsatisfied"]:
        wanted = f"{each['requires']} {each['needs']}".strip()
        found = f"found {each['found']}" if each["found"] else "which is not installed"
        others = f"; {', '.join(each['others'])}, so the two conflict" if each["others"] else ""
        yield _finding("medium", each["distribution"], each["version"], "requirement", f"needs {wanted}, {found}{others}")


def _from_origins(snapshot: Snapshot, integrity: Integrity) -> Iterator[Finding]:
    for each in snapshot["distributions"]:
        name, version = each["name"], each["version"]
        if each["editable"]:
            text = f"editable install of {each['url']}: its code cannot be compared with anything"
            yield _finding("low", name, version, "origin", text)
        elif each["url"]:
            yield _finding("low", name, version, "origin", f"installed from {each['url']}, not from a package index")
        if each["shadowed"]:
            yield _finding("medium", name, version, "origin", "installed twice: another of the same name is found first")
    for entry in integrity["distributions"]:
        if entry["reason"] == integrities.NO_RECORD:
            text = "has no RECORD: none of its files can be compared"
            yield _finding("low", entry["name"], entry["version"], "origin", text)


def _from_changes(changes: Changes) -> Iterator[Finding]:
    for change in changes["added"]:
        yield _finding("low", change["distribution"], change["now"], "change", "is new since the earlier snapshot")
    for change in changes["removed"]:
        yield _finding("low", change["distribution"], change["before"], "change", "was in the earlier snapshot and is gone")
    for change in changes["changed"]:
        yield _finding("low", change["distribution"], change["now"], "change", f"was {change['before']} in the earlier snapshot")
    for change in changes["environment"]:
        text = f"the earlier snapshot has another {change['distribution']}: {change['before']}"
        yield _finding("low", "Python", change["now"], "change", text)


def _finding(severity: str, distribution: str, version: str, about: str, text: str) -> Finding:
    return {"severity": severity, "distribution": distribution, "version": version, "about": about, "text": text}


def _verdict(integrity: Integrity, counts: Counter[str]) -> str:
    hashed, differs, missing = integrity["hashed"], integrity["differs"], integrity["missing"]
    if not hashed:
        return "Nothing could be compared with what was installed."
    if differs:
        return f"{differs:,} of {hashed:,} compared files {'is' if differs == 1 else 'are'} not what was installed."
    if missing:
        return (
            f"Every compared file is as installed, but {missing:,} that should be there {'is' if missing == 1 else 'are'} gone."
        )
    rest = "look at the findings before shipping." if counts["medium"] else "nothing speaks against shipping in what was checked."
    return f"All {hashed:,} compared files are as installed; {rest}"


def _not_known(snapshot: Snapshot, integrity: Integrity, requirements: Requirements, changes: Changes | None) -> list[str]:
    cannot = dict(integrity["cannot_check"])
    unhashed = cannot.pop(integrities.NO_HASH, 0)
    mostly = " (mostly .pyc)" if integrity["unhashed_bytecode"] * 2 > unhashed else ""
    said = [f"{_files(unhashed)} no hash{mostly}."] if unhashed else []
    said += [f"{count:,} listed file{'' if count == 1 else 's'} cannot be checked: {reason}." for reason, count in cannot.items()]
    bare = sum(entry["reason"] == integrities.NO_RECORD for entry in integrity["distributions"])
    if bare:
        said.append(f"{bare:,} distribution{' has' if bare == 1 else 's have'} no RECORD, so their files were not compared.")
    if snapshot["unreadable"]:
        said.append(f"The metadata of {', '.join(snapshot['unreadable'])} cannot be read.")
    if requirements["unreadable"]:
        said.append(f"{len(requirements['unreadable']):,} requirements cannot be read or compared.")
    if changes is None:
        said.append("What changed: there is no earlier snapshot to compare with.")
    said.append("Files that no RECORD lists were not looked for, and licences are what the distributions say about themselves.")
    said.append('RECORD is not signed: a match means "as installed", not "as published".')
    return said


def _files(count: int) -> str:
    return f"{count:,} listed file{' carries' if count == 1 else 's carry'}"
