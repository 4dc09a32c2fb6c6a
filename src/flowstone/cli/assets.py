"""``flowstone assets``: the pipeline's assets as they are defined now; imports the pipeline."""

from __future__ import annotations

from typing import Any

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import plain_of, say, say_fields, say_json, say_rows, shown
from flowstone.cli.session import open_for_running
from flowstone.cli.words import counted
from flowstone.execution.decision import short
from flowstone.foundation.durations import show_duration
from flowstone.foundation.serialize import to_json


@click.command()
@click.argument("name", required=False, metavar="[ASSET]")
@json_option
@click.pass_context
def assets(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List the pipeline's assets, or describe one ASSET: its definition, its neighbours, its condition."""
    flow = open_for_running(ctx)
    if name is not None:
        info = flow.asset_info(name)
        conditions = [plain_of(condition) for condition in info["conditions"]]
        if as_json:
            say_json({**info, "conditions": conditions})
        else:
            _describe(info)
        return
    found = flow.assets()
    if as_json:
        for item in found:
            say_json(item)
        return
    say_rows((item["name"], item["kind"], _kind(item["partitions"]), item["description"] or "") for item in found)
    say()
    assert flow.pipeline is not None
    say(f"Pipeline {flow.pipeline.name}: {counted(len(found), 'asset')}. One of them: flowstone assets NAME")


def _describe(info: dict[str, Any]) -> None:
    say(f"{info['name']}  {info['kind']}  {info['file']}:{info['line']}")
    needs = [_need(item) for item in info["upstream"]]
    say_fields([
        ("about", info["description"] or ""),
        ("needs", ", ".join(needs)),
        ("after", ", ".join(info["after"])),
        ("needed by", ", ".join(info["downstream"])),
        ("partitions", _options(info["partitions"])),
        ("mapping", ", ".join(f"{parameter}: {_options(mapping)}" for parameter, mapping in info["mapping"].items())),
        ("retries", _options(info["retries"]) if info["retries"]["attempts"] > 1 else ""),
        ("due", _due(info["due"])),
        ("config", ", ".join(info["config"])),
        ("io", ", ".join(filter(None, (info["io"], info["format"])))),
        ("owners", ", ".join(info["owners"])),
        ("tags", ", ".join(info["tags"])),
        ("definition", short(info["digest"]) + (f"  code_version {info['code_version']!r}" if info["code_version"] else "")),
        ("", info["notes"] or ""),
    ])  # fmt: skip
    for condition in info["conditions"]:
        because = f": {'; '.join(condition['because'])}" if condition["because"] else ""
        say_fields([("now", f"{shown(condition['partition'])} {condition['state']}{because}".strip())])


def _need(item: dict[str, Any]) -> str:
    alias = f" as {item['parameter']}" if item["parameter"] != item["asset"] else ""
    return f"{item['asset']}{alias}{' (optional)' if item['optional'] else ''}"


def _due(due: dict[str, Any] | None) -> str:
    if due is None:
        return ""
    return f"{due['at']} {due['timezone']}" if "at" in due else f"within {show_duration(due['within_ns'])}"


def _kind(partitions: dict[str, Any] | None) -> str:
    return str(partitions["kind"]) if partitions else ""


def _options(described: Any) -> str:
    if not isinstance(described, dict):
        return str(described or "")
    parts = [str(described["kind"])] if "kind" in described else []
    for key, value in described.items():
        if key != "kind":
            parts.append(f"{key} {value if isinstance(value, str | int | float) else to_json(value)}")
    return ", ".join(parts)
