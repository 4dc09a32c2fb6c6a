"""A FlowStone that touches nothing of the machine or the project it is tested in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowstone.app.facade import FlowStone
from flowstone.assets.pipeline import Pipeline
from flowstone.foundation.clock import Clock
from flowstone.foundation.ids import Ids
from flowstone.foundation.people import ApprovalSettings
from flowstone.foundation.settings import KEYS, LogSettings, OutputSettings, Settings


def isolated_settings(
    home: str | Path | None = None,
    *,
    project: str = "test",
    config: Mapping[str, Any] | None = None,
    database_url: str | None = None,
    approvals: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the default settings, with everything in memory unless *home* is a folder; no file or variable is read.

    *database_url* names another place for the facts. *approvals* are settings of that group: ``{"allow_asserted": True}``.

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
        approvals=ApprovalSettings(**(approvals or {})),
        config=dict(config or {}),
    )


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
