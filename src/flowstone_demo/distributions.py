"""What is installed: names, versions, licence fields, requirements and how many files each distribution declares."""

# Paths are strings here: tens of thousands pass through, and a Path for each costs more than its hash.
# ruff: noqa: PTH112, PTH116, PTH118, PTH119, PTH123

from __future__ import annotations

import csv
import hashlib
import json
import os
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, TypedDict

from packaging.utils import canonicalize_name

from flowstone_demo import environment as environments
from flowstone_demo.environment import Environment

_STAMPED = ("METADATA", "PKG-INFO", "RECORD", "direct_url.json", "requires.txt")
_LICENCE_TEXT_LIMIT = 4000


class LicenceFields(TypedDict):
    """Everything the metadata says about the licence."""

    licence_expression: str
    licence_classifiers: list[str]
    licence_field: str
    licence_files: list[str]
    licence_text: str  # the start of the first licence file, only when nothing else names a licence


class Installed(LicenceFields):
    """One installed distribution, as its own metadata describes it."""

    name: str
    version: str
    summary: str
    requires: list[str]
    requires_python: str
    extras: list[str]
    files: int | None  # None: no RECORD
    installer: str
    url: str  # where it came from, when that was not a package index
    editable: bool
    shadowed: bool  # another of the same name comes earlier


class Snapshot(TypedDict):
    """The environment and what is installed in it."""

    environment: dict[str, Any]
    distributions: list[Installed]
    unreadable: list[str]


def read(environment: Environment) -> Snapshot:
    """Return everything installed in *environment*, by name."""
    found: list[Installed] = []
    unreadable: list[str] = []
    for _, folder in environments.metadata_folders(environment):
        metadata = read_metadata(folder)
        if metadata is None:
            unreadable.append(environments.printable(os.path.basename(folder)))
        else:
            found.append(_installed(folder, metadata))
    seen: set[str] = set()
    for each in found:
        key = canonicalize_name(each["name"])
        each["shadowed"] = key in seen
        seen.add(key)
    found.sort(key=lambda each: (canonicalize_name(each["name"]), each["shadowed"], each["version"]))
    return {"environment": environment.describe(), "distributions": found, "unreadable": sorted(unreadable)}


def fingerprint(environment: Environment) -> str:
    """Return a short digest that changes when something is installed, removed, upgraded or its metadata is edited."""
    digest = hashlib.sha256(json.dumps(environment.describe(), sort_keys=True).encode())
    for path, folder in environments.metadata_folders(environment):
        digest.update(f"\0{path}\0{folder}".encode(errors="surrogateescape"))
        for file in [folder, *(os.path.join(folder, name) for name in _STAMPED)]:
            try:
                stat = os.stat(file)
            except OSError:
                continue
            # A folder's own times change when bytecode is written beside its files: only its files count.
            if file != folder or not os.path.isdir(folder):
                digest.update(f"\0{file}\0{stat.st_size}\0{stat.st_mtime_ns}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:12]


def read_metadata(folder: str) -> Message | None:
    """Return the core metadata in *folder* (a ``.dist-info`` or ``.egg-info``), or ``None`` if there is no usable one."""
    try:
        metadata: Any = Distribution.at(Path(folder)).metadata
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return metadata if metadata is not None and metadata.get("Name") and metadata.get("Version") else None


def identify(metadata: Message) -> tuple[str, str]:
    """Return name and version, each on one line."""
    return " ".join(str(metadata["Name"]).split()), " ".join(str(metadata["Version"]).split())


def direct_url(folder: str) -> tuple[str, bool]:
    """Return where the distribution was installed from, if not from an index, and whether it is editable (PEP 610)."""
    try:
        with open(os.path.join(folder, "direct_url.json"), encoding="utf-8") as file:
            said = json.load(file)
        return str(said["url"]), bool(said.get("dir_info", {}).get("editable", False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", False


def summary(snapshot: Snapshot) -> str:
    """Return how many distributions there are, in words."""
    count = len(snapshot["distributions"])
    return f"{count:,} distribution{'' if count == 1 else 's'}"


def _installed(folder: str, metadata: Message) -> Installed:
    requires = metadata.get_all("Requires-Dist") or []
    if not requires and not folder.endswith(".dist-info"):
        requires = Distribution.at(Path(folder)).requires or []
    name, version = identify(metadata)
    url, editable = direct_url(folder)
    return {
        "name": name,
        "version": version,
        "summary": _text(metadata, "Summary").splitlines()[0] if _text(metadata, "Summary") else "",
        **_licence_fields(folder, metadata),
        "requires": [" ".join(str(line).split()) for line in requires],
        "requires_python": _text(metadata, "Requires-Python"),
        "extras": [str(extra) for extra in metadata.get_all("Provides-Extra") or []],
        "files": _declared_files(folder),
        "installer": _read(os.path.join(folder, "INSTALLER"), 100).strip(),
        "url": url,
        "editable": editable,
        "shadowed": False,
    }


def _licence_fields(folder: str, metadata: Message) -> LicenceFields:
    classifiers = [str(line).strip() for line in metadata.get_all("Classifier") or []]
    named = [line.removeprefix("License ::").strip() for line in classifiers if line.startswith("License ::")]
    expression, field = _text(metadata, "License-Expression"), _text(metadata, "License")
    files = [str(name) for name in metadata.get_all("License-File") or []]
    return {
        "licence_expression": expression,
        "licence_classifiers": named,
        "licence_field": field[:_LICENCE_TEXT_LIMIT],
        "licence_files": files,
        "licence_text": "" if expression or named or field else _licence_text(folder, files),
    }


def _licence_text(folder: str, files: list[str]) -> str:
    for name in files:
        if ".." in Path(name).parts:
            continue
        for place in (os.path.join(folder, "licenses", name), os.path.join(folder, name)):
            if text := _read(place, _LICENCE_TEXT_LIMIT):
                return text
    return ""


def _declared_files(folder: str) -> int | None:
    try:
        with open(os.path.join(folder, "RECORD"), encoding="utf-8", errors="surrogateescape", newline="") as file:
            return sum(1 for row in csv.reader(file) if row)
    except (OSError, csv.Error):
        return None


def _text(metadata: Message, field: str) -> str:
    value = str(metadata.get(field) or "").strip()
    return "" if value == "UNKNOWN" else value


def _read(path: str, limit: int) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(limit)
    except OSError:
        return ""
