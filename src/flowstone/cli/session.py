"""Opens FlowStone for a verb: finds the pipeline and the settings, and makes log lines visible.

Verbs that read never import the user's code; those that must know the code as it is now say so by opening it for running.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from flowstone import FlowStone, __version__
from flowstone.app.pipelines import load_pipeline
from flowstone.cli.grammar import Given, given
from flowstone.foundation import loading
from flowstone.foundation import settings as settings_
from flowstone.foundation.errors import LoadError
from flowstone.foundation.settings import Settings
from flowstone.observability.logs import shape as logs
from flowstone.stores.database import Connection


class Found(NamedTuple):
    """The settings in force, and the pipeline they mean: a reference and the folder it is relative to."""

    settings: Settings
    reference: str | None
    base: Path


def open_for_running(ctx: click.Context) -> FlowStone:
    """FlowStone with the pipeline, its code imported; raises :class:`LoadError` when there is none. Closed with *ctx*."""
    found = find(given(ctx))
    if found.reference is None:
        raise LoadError(
            f"there is no {loading.DEFAULT_FILE} here or above",
            hint="give -p FILE_OR_MODULE[:NAME], or start a project: flowstone init",
        )
    pipeline = load_pipeline(found.reference, found.base)
    return _open(ctx, FlowStone(pipeline, settings=found.settings, actor=given(ctx).actor))


def open_for_reading(ctx: click.Context) -> FlowStone:
    """FlowStone without a pipeline: answers come from the store alone. Closed with *ctx*."""
    settings = find(given(ctx)).settings
    return _open(ctx, FlowStone(settings=settings, actor=given(ctx).actor))


def find(asked: Given) -> Found:
    """Find settings and pipeline; nothing is imported. A pipeline file that is named decides where settings are looked for."""
    here = Path.cwd()
    arguments = {"home": asked.home, "project": asked.project}
    if asked.pipeline is not None:
        folder = _folder_of(asked.pipeline, here)
        settings = settings_.load(
            start=folder, environment=asked.environment, arguments={**arguments, "pipeline": asked.pipeline}
        )
        return Found(settings, asked.pipeline, here)
    settings = settings_.load(start=here, environment=asked.environment, arguments=arguments)
    if settings.pipeline is not None:
        in_file = settings.file is not None and settings.sources["pipeline"] != "environment variable"
        base = settings.file.parent if in_file and settings.file is not None else here
        beside = None if settings.file else _folder_of(settings.pipeline, base)
        return Found(
            settings_.load(start=here, environment=asked.environment, beside=beside, arguments=arguments), settings.pipeline, base
        )
    default = loading.find_default(here)
    if default is None:
        return Found(settings, None, here)
    settings = settings_.load(start=here, environment=asked.environment, beside=default.parent, arguments=arguments)
    return Found(settings, str(default), default.parent)


@contextmanager
def reading(flow: FlowStone) -> Iterator[Connection]:
    """A connection for questions the facade has no method for; raises :class:`NotFoundError` while there is no database."""
    with flow._deployment.reading().reading() as connection:
        yield connection


def _folder_of(reference: str, base: Path) -> Path:
    """The folder of a pipeline's file, or *base* for a module."""
    place, _ = loading.split(reference)
    if not (place.endswith(".py") or "/" in place):
        return base
    path = base / place
    if not path.is_file():
        raise loading.no_file(path)
    return path.resolve().parent


def _open(ctx: click.Context, flow: FlowStone) -> FlowStone:
    """Make log lines visible, redacted as *flow* redacts, and close both with *ctx*."""
    shown = flow.settings.logs
    deployment = flow._deployment
    about = {**deployment.about(), "version": __version__}
    handler = logs.configure(shown.level, shown.format, redactor=deployment.redactor, about=about)
    deployment.runtime.capture.listen("flowstone.stderr", logs.relay(handler, prints=shown.format == "json"))
    ctx.call_on_close(lambda: logging.getLogger().removeHandler(handler))
    return ctx.with_resource(flow)
