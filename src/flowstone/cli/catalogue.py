"""``flowstone catalogue``: what FlowStone can tell: its events, their schemas, its metrics."""

from __future__ import annotations

from pathlib import Path

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import say, say_json, say_rows
from flowstone.events.catalogue import CATALOGUE
from flowstone.events.event import Event
from flowstone.events.schemas import first_line, schema_of, snapshot
from flowstone.foundation.errors import NotFoundError, UsageError, did_you_mean
from flowstone.observability.metrics.defaults import METRICS
from flowstone.observability.metrics.definitions import Metric
from flowstone.observability.prometheus.grafana import dashboard_file
from flowstone.observability.prometheus.rule_files import rule_tests_file, rules_file

output_option = click.option("-o", "path", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")


@click.group()
def catalogue() -> None:
    """Print what FlowStone can tell: every event with its fields, their JSON Schemas, every metric."""


@catalogue.command()
@click.argument("prefix", required=False, default="", metavar="[PREFIX]")
@json_option
def events(prefix: str, as_json: bool) -> None:
    """List the events whose names begin with PREFIX (default: all), with the role and unit of each field."""
    found = [cls for name, cls in CATALOGUE.items() if name.startswith(prefix)]
    if not found:
        raise _unknown(prefix)
    for cls in found:
        if as_json:
            say_json(_plain(cls))
            continue
        say(f"{cls.name}{'' if cls.recorded else '  (not recorded)'}")
        say(f"  {first_line(cls)}")
        say_rows(((name, role.kind, role.unit) for name, role in cls.fields.items()), indent="    ")


@catalogue.command()
@click.argument("name", required=False, metavar="[NAME]")
def schema(name: str | None) -> None:
    """Print the JSON Schema (draft 2020-12) of event NAME as it is recorded, or all of them by name."""
    if name is None:
        say_json(snapshot(), indent=2)
        return
    if name not in CATALOGUE:
        raise _unknown(name)
    say_json(schema_of(CATALOGUE[name]), indent=2)


@catalogue.command()
@click.argument("prefix", required=False, default="", metavar="[PREFIX]")
@json_option
def metrics(prefix: str, as_json: bool) -> None:
    """List the metrics of a deployment whose names begin with PREFIX (default: all): kind, unit, labels, and what they tell."""
    found = [metric for metric in METRICS if metric.name.startswith(prefix)]
    if not found:
        hint = did_you_mean(prefix, [metric.name for metric in METRICS]) or "flowstone catalogue metrics lists them"
        raise NotFoundError(f"there is no metric {prefix!r}", hint=hint)
    for metric in found:
        if as_json:
            say_json(_definition(metric))
            continue
        say(metric.name)
        say(f"  {metric.description}")
        say(f"    {', '.join(filter(None, (metric.kind, metric.unit)))}; labels: {', '.join(metric.labels) or 'none'}")


@catalogue.command()
@output_option
def dashboard(path: Path | None) -> None:
    """Print a dashboard for Grafana 11 or later, built from the metrics' definitions."""
    _give(dashboard_file(), path)


@catalogue.command()
@click.option("--tests", is_flag=True, help="Print the unit tests of the rules, for promtool test rules, instead.")
@output_option
def alerts(tests: bool, path: Path | None) -> None:
    """Print alerting rules for Prometheus, built from the metrics' definitions; each names the command to run next."""
    _give(rule_tests_file() if tests else rules_file(), path)


def _give(text: str, path: Path | None) -> None:
    if path is None:
        click.echo(text, nl=False)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _plain(cls: type[Event]) -> dict[str, object]:
    fields = {name: {"role": role.kind, **({"unit": role.unit} if role.unit else {})} for name, role in cls.fields.items()}
    return {"name": cls.name, "doc": first_line(cls), "recorded": cls.recorded, "fields": fields}


def _definition(metric: Metric) -> dict[str, object]:
    told = {source.event: source.measurement for source in metric.sources}
    return {
        "name": metric.name, "kind": metric.kind, "doc": metric.description, "unit": metric.unit, "labels": metric.labels,
        "buckets": metric.buckets, "events": told,
    }  # fmt: skip


def _unknown(name: str) -> NotFoundError:
    hint = did_you_mean(name, CATALOGUE) or "flowstone catalogue events lists them"
    return NotFoundError(f"there is no event {name!r}", hint=hint)
