"""A site-packages folder made on the spot, file by file, so that each test knows exactly what is wrong with it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from flowstone_demo import distributions, findings, integrity, licences, requirements
from flowstone_demo.environment import Environment

MARKERS = {
    "implementation_name": "cpython",
    "implementation_version": "3.9.2",
    "os_name": "nt",
    "platform_machine": "AMD64",
    "platform_release": "10",
    "platform_system": "Windows",
    "platform_version": "10.0",
    "python_full_version": "3.9.2",
    "platform_python_implementation": "CPython",
    "python_version": "3.9",
    "sys_platform": "win32",
}
"""An interpreter that no machine running these tests has: markers must be judged for it, not for ours."""


class Site:
    """One environment under *prefix*; `add` installs a distribution the way an installer does."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.path = prefix / "lib" / "site-packages"
        self.path.mkdir(parents=True)

    @property
    def environment(self) -> Environment:
        return Environment("python", "3.9.2", str(self.prefix), (), (str(self.path),), MARKERS)

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        files: dict[str, str] | None = None,
        headers: tuple[str, ...] = (),
        record: bool = True,
        rows: tuple[str, ...] = (),
        direct_url: dict[str, Any] | None = None,
    ) -> Path:
        folder = self.path / f"{name.replace('-', '_').replace('/', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *headers, "", "Text.", ""]
        (folder / "METADATA").write_text("\n".join(lines))
        if direct_url:
            (folder / "direct_url.json").write_text(json.dumps(direct_url))
        listed = []
        for path, content in (files or {}).items():
            place = self.path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
            listed.append(row(path, content))
        if record:
            (folder / "RECORD").write_text("\n".join([*listed, *rows, f"{folder.name}/RECORD,,"]) + "\n")
        return folder


def row(path: str, content: str, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, content.encode()).digest()
    return f"{path},{algorithm}={base64.urlsafe_b64encode(digest).decode().rstrip('=')},{len(content)}"


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "env")


@pytest.fixture
def record_row():
    return row


@pytest.fixture
def reviewed(site):
    """Every stage's result for a small environment with one problem of each kind."""
    site.add(
        "good",
        files={"good/a.py": "a = 1\n"},
        headers=("License-Expression: MIT", "Summary: Does good", "Requires-Dist: tampered"),
    )
    site.add("tampered", "2.0", files={"tampered/b.py": "b = 1\n"}, headers=("License-Expression: GPL-3.0-or-later",))
    site.add(
        "needy", files={"needy.py": "c\n"}, headers=("License: see website", "Requires-Dist: tampered<2", "Requires-Dist: absent")
    )
    (site.path / "tampered" / "b.py").write_text("b = 666\n")

    snapshot = distributions.read(site.environment)
    compared = integrity.check(integrity.read_records(site.environment))
    classified = licences.classify(snapshot)
    resolved = requirements.resolve(snapshot)
    found = findings.collect(snapshot, compared, classified, resolved)
    return {"snapshot": snapshot, "integrity": compared, "licences": classified, "requirements": resolved, "findings": found}
