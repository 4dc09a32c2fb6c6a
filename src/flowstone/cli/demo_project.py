"""The folder of a demo: written once, then its reader's own. What was changed in it is kept."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from flowstone.audit.known import KnownLogs
from flowstone.foundation import settings
from flowstone.foundation.errors import UsageError
from flowstone.foundation.settings import Settings
from flowstone.stores import dialects

SETTINGS = "flowstone.toml"
KEPT = frozenset({"FLOWSTONE_DEBUG", "FLOWSTONE_STATE_HOME"})


def write(folder: Path, files: Mapping[str, str], settings_file: str, *, replace_settings: bool = False) -> int:
    """Write the *files* that are not there, by name and the template's name, and *settings_file*; return the pipeline's lines."""
    marker = folder / SETTINGS
    if folder.exists() and any(folder.iterdir()) and not marker.is_file():
        raise UsageError(f"{folder} is not empty and no FlowStone demo", hint="choose another folder: flowstone demo FOLDER")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, template in files.items():
            if not (folder / name).exists():
                source = resources.files("flowstone_demo") / "project" / template
                (folder / name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        if replace_settings or not marker.exists():
            marker.write_text(settings_file, encoding="utf-8")
        return len((folder / "pipeline.py").read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}", hint="choose another folder: flowstone demo FOLDER"
        ) from error


def settings_of(folder: Path) -> Settings:
    """The settings of the demo in *folder*."""
    return settings.load(start=folder.resolve(), arguments={"home": None}, variables=variables())


def begin_anew(found: Settings) -> None:
    """Miss no audit log where the records of a demo were removed; whoever removes others is told of it."""
    if not found.project.startswith("flowstone-"):
        return
    database = dialects.connect(found.database_url)
    if not database.exists():
        KnownLogs().forget(database.describe)
    database.close()


def variables() -> dict[str, str]:
    """The environment without what would send the demo's records elsewhere than into its folder."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FLOWSTONE_") or name in KEPT}


def enter(folder: Path) -> str:
    """How to get to where ``flowstone`` is this very FlowStone and the project is the demo's."""
    command = f"cd {shlex.quote(str(folder))}"
    own = Path(sys.executable).with_name("flowstone")
    found = shutil.which("flowstone")
    if found is not None and own.exists() and Path(found).samefile(own):
        return command
    activate = own.with_name("activate")
    return f". {shlex.quote(os.path.relpath(activate))} && {command}" if activate.is_file() else command
