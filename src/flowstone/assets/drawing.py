"""Graphs as text, for people and for the tools that draw."""

from __future__ import annotations

from collections.abc import Iterator

from flowstone.assets.graph import Graph
from flowstone.assets.keys import escape


def render_text(graph: Graph) -> str:
    """Return one line per asset in graph order, with what it needs: ``totals <- orders, rates``."""
    names = {name: escape(name) for name in graph.order}
    width = max(map(len, names.values()), default=0)
    lines = []
    for name, shown in names.items():
        needed = ", ".join(names[other] for other in graph.upstream(name))
        lines.append(f"{shown:<{width}}  <- {needed}\n" if needed else f"{shown}\n")
    return "".join(lines)


def render_mermaid(graph: Graph) -> str:
    """Return the graph in Mermaid's flowchart language (https://mermaid.js.org/syntax/flowchart.html)."""
    nodes = "".join(f'  n{index}["{_mermaid(name)}"]\n' for index, name in enumerate(graph.order))
    return "flowchart LR\n" + nodes + "".join(f"  n{start} --> n{end}\n" for start, end in _edges(graph))


def render_dot(graph: Graph) -> str:
    """Return the graph in Graphviz's language (https://graphviz.org/doc/info/lang.html)."""
    nodes = "".join(f'  n{index} [label="{_dot(name)}"];\n' for index, name in enumerate(graph.order))
    edges = "".join(f"  n{start} -> n{end};\n" for start, end in _edges(graph))
    return "digraph {\n  rankdir=LR;\n  node [shape=box];\n" + nodes + edges + "}\n"


def _edges(graph: Graph) -> Iterator[tuple[int, int]]:
    position = {name: index for index, name in enumerate(graph.order)}
    for end, name in enumerate(graph.order):
        yield from ((position[needed], end) for needed in graph.upstream(name))


def _mermaid(text: str) -> str:
    return "".join(c if c.isalnum() or c in "_ .-" else f"#{ord(c)};" for c in escape(text))


def _dot(text: str) -> str:
    return escape(text).replace("\\", "\\\\").replace('"', '\\"')
