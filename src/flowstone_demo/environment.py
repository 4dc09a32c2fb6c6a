"""Which Python environment is reviewed: its interpreter, its folders and the facts requirement markers ask for.

The interpreter itself is asked, isolated (``-I``) and without loading its site code (``-S``): nothing that is installed in
the environment runs because somebody reviewed it.
"""

# Paths are strings here: tens of thousands pass through, and a Path for each costs more than its hash.
# ruff: noqa: PTH100, PTH111, PTH112, PTH118, PTH120, PTH208

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_QUESTION = """
import json, os, platform, site, sys
folder = os.path.dirname(os.path.abspath(sys.executable))
home = next((f for f in (folder, os.path.dirname(folder)) if os.path.isfile(os.path.join(f, "pyvenv.cfg"))), None)
system, base, bases = True, [sys.base_prefix, sys.base_exec_prefix], []
paths = []
if home:
    sys.prefix = sys.exec_prefix = home
    paths += site.getsitepackages([home])
    with open(os.path.join(home, "pyvenv.cfg"), encoding="utf-8") as lines:
        settings = dict((part.strip().lower() for part in line.split("=", 1)) for line in lines if "=" in line)
    system = settings.get("include-system-site-packages") == "true"
prefix = sys.prefix
if system:
    sys.prefix, sys.exec_prefix = base
    bases = base + [site.getuserbase()]
    paths += [site.getusersitepackages()] + site.getsitepackages(base)
found = sys.implementation.version
kind = "" if found.releaselevel == "final" else found.releaselevel[0] + str(found.serial)
print(json.dumps({
    "version": platform.python_version(), "prefix": prefix, "bases": bases, "paths": paths,
    "markers": {
        "implementation_name": sys.implementation.name,
        "implementation_version": "%d.%d.%d" % found[:3] + kind,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "platform_python_implementation": platform.python_implementation(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    },
}))
"""


class EnvironmentNotFoundError(ValueError):
    """No Python environment could be found at the place that was named."""


@dataclass(frozen=True)
class Environment:
    """One interpreter and the folders it imports installed distributions from."""

    python: str
    version: str
    prefix: str
    bases: tuple[str, ...]  # further places whose files belong to it: the system's and the user's, where it sees them
    paths: tuple[str, ...]  # folders searched for distributions, in import order
    markers: dict[str, str]

    def describe(self) -> dict[str, Any]:
        """Return the facts as plain JSON data."""
        return {
            "python": self.python,
            "version": self.version,
            "prefix": self.prefix,
            "paths": list(self.paths),
            "markers": self.markers,
        }


def find(python: str | None = None) -> Environment:
    """Return the environment of *python*: an interpreter or an environment's folder.

    The default is the active virtual environment, else the running interpreter. Raises `EnvironmentNotFoundError` when
    there is no interpreter there or it does not answer.
    """
    interpreter = _interpreter(python)
    facts = _ask(interpreter)
    paths = [path for path in facts["paths"] if os.path.isdir(path)]
    paths += [folder for path in paths for folder in _folders_of_pth(path)]
    return Environment(
        python=interpreter,
        version=facts["version"],
        prefix=facts["prefix"],
        bases=tuple(facts["bases"]),
        paths=_distinct(paths),
        markers=facts["markers"],
    )


def metadata_folders(environment: Environment) -> list[tuple[str, str]]:
    """Return ``(searched folder, metadata folder)`` of everything installed, in import order, then by name."""
    found: list[tuple[str, str]] = []
    for path in environment.paths:
        names = sorted(os.listdir(path))
        found += [(path, os.path.join(path, name)) for name in names if name.endswith((".dist-info", ".egg-info"))]
        eggs = [os.path.join(path, name, "EGG-INFO") for name in names if name.endswith(".egg")]
        found += [(os.path.dirname(egg), egg) for egg in eggs if os.path.isdir(egg)]
    return found


def printable(path: str) -> str:
    """Return *path* as text that can be encoded: bytes that are not UTF-8 in it become replacement characters."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _interpreter(python: str | None) -> str:
    active = os.environ.get("VIRTUAL_ENV")
    place = python or active or sys.executable
    named = "--python" if python else "VIRTUAL_ENV" if active else "the running interpreter"
    # Not resolved: a virtual environment's interpreter is a link, and following it would leave the environment.
    path = Path(os.path.abspath(os.path.expanduser(place)))
    if path.is_dir():
        candidates = [path / "bin" / "python", path / "bin" / "python3", path / "Scripts" / "python.exe"]
        path = next((candidate for candidate in candidates if candidate.is_file()), path)
    if not path.is_file():
        hint = "name one, such as .venv/bin/python, or an environment's folder"
        raise EnvironmentNotFoundError(f"there is no Python interpreter at {place} (from {named}); {hint}")
    return str(path)


def _ask(interpreter: str) -> dict[str, Any]:
    try:
        answer = subprocess.run(
            [interpreter, "-I", "-S", "-c", _QUESTION], capture_output=True, text=True, timeout=30, check=False
        )
        if answer.returncode == 0:
            facts: dict[str, Any] = json.loads(answer.stdout)
            return facts
        said = (answer.stderr.strip().splitlines() or ["nothing"])[0]
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        said = str(error)
    raise EnvironmentNotFoundError(f"{interpreter} did not answer as Python 3.6 or newer does; it said: {said}")


def _folders_of_pth(path: str) -> list[str]:
    """Return the folders that the ``.pth`` files in *path* add; their ``import`` lines are never run."""
    folders = []
    for file in sorted(Path(path).glob("*.pth")):
        try:
            lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        except OSError:
            continue
        named = [line.rstrip() for line in lines if line.strip() and not line.startswith(("#", "import ", "import\t"))]
        folders += [os.path.join(path, line) for line in named if "\0" not in line]
    return [folder for folder in folders if os.path.isdir(folder)]


def _distinct(paths: list[str]) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for path in paths:
        seen.setdefault(os.path.realpath(path), path)
    return tuple(seen.values())
