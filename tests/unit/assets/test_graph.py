"""The graph: order, reach, cycles, drawings."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone.assets import Graph, render_dot, render_mermaid, render_text
from flowstone.assets.graph import find_cycles
from flowstone.foundation.errors import NotFoundError, ValidationError

DIAMOND = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": [], "z": []}


@st.composite
def dags(draw):
    """Edges without cycles, declared in any order."""
    count = draw(st.integers(0, 9))
    edges = {f"n{i}": sorted(draw(st.sets(st.integers(0, i - 1), max_size=4))) if i else [] for i in range(count)}
    named = {name: [f"n{i}" for i in needed] for name, needed in edges.items()}
    return {name: named[name] for name in draw(st.permutations(list(named)))}


def first_ready(edges):
    """The reference: again and again the first declared name whose needs are met."""
    done = []
    while len(done) < len(edges):
        done.append(next(name for name in edges if name not in done and set(edges[name]) <= set(done)))
    return tuple(done)


def closure(edges, name):
    """The reference: all that is reached from *name*."""
    return {name}.union(*(closure(edges, needed) for needed in edges[name]))


@given(dags())
@settings(max_examples=200)
def test_order_and_reach(edges):
    """The order puts needs first and ties as declared; ancestors, descendants and selections are what a plain walk finds."""
    graph = Graph(edges)
    assert graph.order == first_ready(edges)
    for name in edges:
        assert set(graph.ancestors(name)) == closure(edges, name) - {name}
        assert set(graph.descendants(name)) == {other for other in edges if name in closure(edges, other)} - {name}
        assert graph.select([name]) == tuple(n for n in graph.order if n in closure(edges, name))


@given(dags(), st.data())
def test_every_cycle_is_one(edges, data):
    """What is reported as a cycle is one, and none is reported where there is none."""
    assert find_cycles(edges) == []
    if len(edges) < 2:
        return
    names = list(edges)
    start, end = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    broken = {**edges, end: [*edges[end], start]}
    expected = end in closure(edges, start)
    assert bool(find_cycles(broken)) == expected
    for path in find_cycles(broken):
        assert path[0] == path[-1]
        assert all(before in broken[after] for before, after in pairwise(path))


def test_separate_cycles_are_all_found():
    """Cycles that share nothing are all reported, each from its first declared name and in the direction data flows."""
    edges = {"a": ["b"], "b": ["a"], "c": ["e"], "d": ["c"], "e": ["d"], "s": ["s"], "after": ["a"], "free": []}
    assert find_cycles(edges) == [["a", "b", "a"], ["c", "d", "e", "c"], ["s", "s"]]
    with pytest.raises(ValidationError, match="c -> d -> e -> c"):
        Graph(edges)


def test_unknown_names():
    """A need that is not in the graph and a question about an unknown name are refused."""
    with pytest.raises(ValidationError, match="'x' is needed by 'a'"):
        Graph({"a": ["x"]})
    with pytest.raises(NotFoundError, match="did you mean 'order'"):
        Graph({"order": []}).upstream("ordre")


def test_long_chains():
    """A chain of 20,000, declared backwards, is ordered without recursion."""
    count = 20_000
    graph = Graph({f"n{i}": [f"n{i + 1}"] if i + 1 < count else [] for i in range(count)})
    assert graph.order[0] == f"n{count - 1}"
    assert len(graph.ancestors("n0")) == count - 1


def test_drawings():
    """The three forms show every asset and every edge once."""
    graph = Graph(DIAMOND)
    assert render_text(graph) == "a\nb  <- a\nc  <- a\nd  <- b, c\nz\n"
    assert render_mermaid(graph).count("-->") == render_dot(graph).count("->") == 4
    assert '  n0["a"]\n' in render_mermaid(graph)
    assert '  n3 [label="d"];\n' in render_dot(graph)


def test_drawings_escape():
    """Names can neither break out of a drawing nor steer a terminal."""
    hostile = 'a"]; click n0 "javascript:x"\n\x1b[2J\\'
    graph = Graph({hostile: []})
    assert "\x1b" not in render_text(graph) + render_mermaid(graph) + render_dot(graph)
    assert render_mermaid(graph).count("\n") == 2
    assert render_mermaid(graph).count('"') == 2
    drawn = render_dot(graph)
    assert re.findall(r'"(?:[^"\\]|\\.)*"', drawn) == re.findall(r'".*"', drawn)  # one string, closed where it should be
    assert render_text(graph).count("\n") == 1
