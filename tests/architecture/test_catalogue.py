"""The catalogue of events and the code agree: nothing declared that is never emitted, nothing emitted that is not declared."""

from __future__ import annotations

import ast
import re

import pytest

CATALOGUE = "src/flowstone/events/catalogue"
EMITTERS = frozenset({"emit", "build", "deliver", "span", "record_event"})


def _event_name(node: ast.AST) -> str | None:
    """The name a class is declared under by ``@event("…")``."""
    for mark in getattr(node, "decorator_list", ()):
        if isinstance(mark, ast.Call) and _last(mark.func) == "event" and mark.args:
            return ast.literal_eval(mark.args[0])
    return None


def _last(node: ast.AST) -> str:
    """``emit`` for ``emit`` and for ``self.tx.emit``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@pytest.fixture(scope="module")
def catalogue(house):
    """Where events are declared."""
    return [module for module in house if module.name.startswith(CATALOGUE)]


@pytest.fixture(scope="module")
def declared(catalogue):
    """Class name → event name, for every event the catalogue declares."""
    return {
        node.name: name
        for module in catalogue
        for node in module.walk()
        if isinstance(node, ast.ClassDef) and (name := _event_name(node)) is not None
    }


@pytest.fixture(scope="module")
def spans(catalogue):
    """Constant → the classes of the span it stands for: ``IO_LOAD = SpanKind(IoLoadStart, …)``."""
    return {
        node.targets[0].id: [_last(argument) for argument in node.value.args]
        for module in catalogue
        for node in module.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _last(node.value.func) == "SpanKind"
    }


@pytest.fixture(scope="module")
def emitted(house, catalogue):
    """Name → first place, for every class or span handed to an emitter, or event built, outside the catalogue."""
    found: dict[str, str] = {}
    for module in house:
        if module in catalogue:
            continue
        for node in module.walk():
            if not isinstance(node, ast.Call):
                continue
            names = [_last(node.func)]
            if names[0] in EMITTERS:
                names += [_last(argument) for argument in [*node.args, *(keyword.value for keyword in node.keywords)]]
            for name in names:
                found.setdefault(name, module.at(node))
    return found


def test_every_declared_event_is_emitted(declared, spans, emitted):
    """Each event class of the catalogue is emitted, or built, somewhere in the code."""
    within_spans = {cls for constant, classes in spans.items() if constant in emitted for cls in classes}
    silent = [f"{name} ({cls})" for cls, name in declared.items() if cls not in emitted and cls not in within_spans]

    assert declared, "the catalogue is empty: has it moved?"
    assert silent == []


def test_every_emitted_event_is_declared(house, declared, spans):
    """What is handed to an emitter by a class's name is an event of the catalogue."""
    unknown = []
    for module in house:
        for node in module.walk():
            if isinstance(node, ast.Call) and _last(node.func) in EMITTERS and node.args:
                first = node.args[0]
                name = _last(first.func) if isinstance(first, ast.Call) else _last(first)
                if re.match(r"[A-Z]", name) and name not in declared and name not in spans:
                    unknown.append(f"{module.at(node)}: {ast.unparse(node.func)}({name})")

    assert unknown == []


def test_events_are_declared_in_the_catalogue_alone(house, catalogue):
    """No other module of the package declares an event."""
    elsewhere = [
        f"{module.at(node)}: {node.name}"
        for module in house
        if module not in catalogue
        for node in module.walk()
        if isinstance(node, ast.ClassDef) and _event_name(node) is not None
    ]

    assert elsewhere == []


def test_event_names_are_unique_and_ours(declared):
    """Each event has a name of its own that begins with ``flowstone.``."""
    names = list(declared.values())

    assert sorted(set(names)) == sorted(names)
    assert [name for name in names if not re.fullmatch(r"flowstone(\.[a-z][a-z0-9_]*)+", name)] == []


def test_every_span_has_one_start_and_two_endings(declared):
    """Where ``x.stop`` or ``x.exception`` is declared ``x.start`` is, and ``exception`` never comes without ``stop``."""
    names = set(declared.values())
    stems = {name.rpartition(".")[0] for name in names if name.endswith((".stop", ".exception"))}

    assert sorted(f"{stem}.start" for stem in stems if f"{stem}.start" not in names) == []
    assert sorted(name for name in names if name.endswith(".exception") and f"{name.rpartition('.')[0]}.stop" not in names) == []
