"""``flowstone graph``: who needs whom; imports the pipeline."""

from __future__ import annotations

from typing import Any

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import say_json
from flowstone.cli.session import open_for_running


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "mermaid", "dot"]), default="text", help="Default: text.")
@json_option
@click.pass_context
def graph(ctx: click.Context, form: Any, as_json: bool) -> None:
    """Draw the graph of assets, in the order in which they would be computed."""
    flow = open_for_running(ctx)
    if not as_json:
        click.echo(flow.graph(form), nl=False)  # the renderers escape names
        return
    assert flow.pipeline is not None
    edges: list[dict[str, Any]] = []
    for item in flow.assets():
        needs = [(need["asset"], need["parameter"], need["optional"]) for need in item["upstream"]]
        edges += [{"from": asset, "to": item["name"], "parameter": name, "optional": free} for asset, name, free in needs]
        edges += [{"from": start, "to": item["name"], "parameter": None, "optional": False} for start in item["after"]]
    say_json({"pipeline": flow.pipeline.name, "assets": list(flow.pipeline.graph.order), "edges": edges})
