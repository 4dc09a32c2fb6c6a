"""A FlowStone that touches nothing of the machine or the project it is tested in."""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowstone.app.facade import FlowStone
from flowstone.assets.pipeline import Pipeline
from flowstone.audit.state import VARIABLE
from flowstone.foundation.clock import Clock
from flowstone.foundation.ids import Ids
from flowstone.foundation.people import ApprovalSettings
from flowstone.foundation.setting_groups import AuditSettings, LogSettings, OutputSettings
from flowstone.foundation.setting_keys import KEYS
from flowstone.foundation.settings import Settings


def isolated_settings(
    home: str | Path | None = None,
    *,
    project: str = "test",
    config: Mapping[str, Any] | None = None,
    database_url: str | None = None,
    approvals: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the default settings, with everything in memory unless *home* is a folder; no file or variable is read.

    *database_url* names another place for the facts. *approvals* are settings of that group: ``{"allow_asserted": True}``. What
    is remembered of the audit log, its key as well, lies in *home*, else in a folder that this process removes when it ends,
    unless ``FLOWSTONE_STATE_HOME`` says where; never in that of the user.

    A test that used the project's own settings would write into the database they name.
    """
    folder = Path(home).resolve() if home is not None else None
    default = {key: known.default for key, known in KEYS.items()}
    manager = default["outputs.manager"] if folder else "memory"
    return Settings(
        project=project,
        pipeline=None,
        home=folder,
        database_url=database_url or (f"sqlite:///{folder / 'flowstone.db'}" if folder else "sqlite://"),
        outputs=OutputSettings(folder / "outputs" if folder else Path("outputs"), manager, default["outputs.durability"]),
        logs=LogSettings(default["logs.level"], default["logs.format"], default["logs.max_lines"]),
        audit=AuditSettings(state=_state(folder)),
        approvals=ApprovalSettings(**(approvals or {})),
        config=dict(config or {}),
        sources={"approvals.machines": "argument"},  # set: whether the tests run on a build server decides nothing
    )


def _state(home: Path | None) -> Path | None:
    """Where the keeper of an audit log looks; ``None``: where the environment says."""
    if os.environ.get(VARIABLE):
        return None
    return home / "state" if home is not None else _temporary()


@functools.cache
def _temporary() -> Path:
    """A folder of this process, which whoever writes there first makes."""
    folder = Path(tempfile.gettempdir(), f"flowstone-test-{secrets.token_hex(8)}")
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not a copy of it
        shutil.rmtree(folder, ignore_errors=True)


def isolated_flow(  # noqa: PLR0913 - all but the first are keyword-only options with defaults
    pipeline: Pipeline | None = None,
    *,
    home: str | Path | None = None,
    project: str = "test",
    config: Mapping[str, Any] | None = None,
    database_url: str | None = None,
    approvals: Mapping[str, Any] | None = None,
    actor: str = "test",
    clock: Clock | None = None,
    ids: Ids | None = None,
    echo: Callable[[str], None] | None = None,
    resources: Mapping[str, Any] | None = None,
) -> FlowStone:
    """Return a FlowStone with :func:`isolated_settings`; what it keeps in memory ends with it. Close it, or use ``with``."""
    settings = isolated_settings(home, project=project, config=config, database_url=database_url, approvals=approvals)
    return FlowStone(pipeline, settings=settings, actor=actor, clock=clock, ids=ids, echo=echo, resources=resources)
