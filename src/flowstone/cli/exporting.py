"""Serves metrics while a verb works. Loaded only where it was asked for: it brings a web server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click

from flowstone import FlowStone
from flowstone.app.exporter import Exporter, Pages, of_process
from flowstone.app.gate import Gate, address, token_in
from flowstone.observability.metrics.families import Family


def exporter(
    flow: FlowStone,
    listen: str,
    *,
    deployment: bool,
    token_file: Path | None = None,
    insecure: bool = False,
    hosts: Iterable[str] = (),
) -> Exporter:
    """The server at *listen*: of the series of this process, and with *deployment* of those of the deployment before them.

    Raises :class:`UsageError` for a place it must not or cannot listen at.
    """
    at, token = address(listen), None if token_file is None else token_in(token_file)
    if token is None and flow.settings.metrics.token is not None:
        token = flow._deployment.runtime.resolve_secret(flow.settings.metrics.token.removeprefix("secret:"))
    gate = Gate(at, token, insecure=insecure, hosts=hosts)
    made = Exporter(at, Pages(gate, _reader(flow, deployment=deployment), flow.health))
    click.echo(f"metrics of {'the deployment' if deployment else 'this process'}: {made.url}/metrics", err=True)
    return made


def _reader(flow: FlowStone, *, deployment: bool) -> Callable[[], list[Family]]:
    return lambda: [*(flow.metrics() if deployment else ()), *of_process(flow._deployment)]
