"""``flowstone metrics``: print the deployment's metrics, write them for the node exporter, or serve them."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from flowstone.cli.exporting import exporter
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import say_json
from flowstone.cli.session import open_for_reading
from flowstone.foundation.errors import UsageError
from flowstone.observability.metrics.families import Family
from flowstone.observability.prometheus.exposition import as_openmetrics, as_text

SUFFIX = ".prom"


@click.command(short_help="Print, write or serve the deployment's metrics.")
@click.option("--openmetrics", is_flag=True, help="Print OpenMetrics, with exemplars, instead of Prometheus' text.")
@json_option
@click.option("--textfile", type=click.Path(path_type=Path), metavar="PATH.prom", help="Write the text to a file instead.")
@click.option("--serve", "listen", metavar="HOST:PORT", help="Serve /metrics, /healthz and /readyz until Ctrl-C or SIGTERM.")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="The token that who scrapes must bring.")
@click.option("--insecure-no-auth", is_flag=True, help="Serve other machines without a token.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A further name to be asked by; repeatable.")
@click.pass_context
def metrics(
    ctx: click.Context,
    openmetrics: bool,
    as_json: bool,
    textfile: Path | None,
    listen: str | None,
    token_file: Path | None,
    insecure_no_auth: bool,
    hosts: tuple[str, ...],
) -> None:
    """Print the metrics of the whole deployment, which are folded from the record: of every process there ever was.

    With --serve also those of this process, its handlers and memory. Prometheus scrapes one of them: several show the same.
    """
    if sum(map(bool, (openmetrics, as_json, textfile, listen))) > 1:
        raise UsageError("--openmetrics, --json, --textfile and --serve are four ways to show the same", hint="give one of them")
    if listen is None and (token_file or insecure_no_auth or hosts):
        raise UsageError("--token-file, --insecure-no-auth and --allow-host are about serving", hint="--serve 127.0.0.1:9464")
    flow = open_for_reading(ctx)
    if listen is not None:
        try:
            with exporter(flow, listen, deployment=True, token_file=token_file, insecure=insecure_no_auth, hosts=hosts):
                _wait()
        except KeyboardInterrupt:  # Ctrl-C or SIGTERM: this is how it ends
            return
    found = flow.metrics()
    if textfile is not None:
        _write(textfile, as_text(found))
    elif as_json:
        for family in found:
            say_json(_plain(family))
    else:
        click.echo((as_openmetrics if openmetrics else as_text)(found), nl=False)


def _wait() -> None:
    """Wait until the process is interrupted."""
    threading.Event().wait()


def _write(path: Path, text: bytes) -> None:
    """Put *text* at *path* at once: whoever reads it sees what was there, or all of it."""
    if path.suffix != SUFFIX:
        raise UsageError(f"{path} is not read by the node exporter", hint=f"its textfile collector reads *{SUFFIX}")
    beside = path.with_name(f".{path.name}.{os.getpid()}")  # ends otherwise, so it is not read
    try:
        beside.write_bytes(text)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _plain(family: Family) -> dict[str, Any]:
    """A family as plain values; the buckets of a histogram are cumulated, as in Prometheus' formats."""
    about = {"name": family.name, "type": family.kind, "help": family.help, "unit": family.unit}
    samples: list[Mapping[str, Any]] = []
    for sample in family.samples:
        labels = dict(zip(family.labels, sample.labels, strict=True))
        if family.kind != "histogram":
            samples.append({"labels": labels, "value": sample.value})
            continue
        below = [sum(sample.counts[: place + 1]) for place in range(len(sample.counts))]
        buckets = [{"le": bound, "count": count} for bound, count in zip((*family.bounds, "+Inf"), below, strict=True)]
        samples.append({"labels": labels, "count": below[-1], "sum": sample.value, "buckets": buckets})
    return {**about, "samples": samples}
