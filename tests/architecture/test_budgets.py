"""How big things may get, where imports stand and what is documented. Each failure lists every offender with its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

MODULE_LINES = 450
FUNCTION_LINES = 70
CLASS_LINES = 250

OPTIONAL = frozenset(
    {"cyclonedx", "jinja2", "license_expression", "matplotlib", "numpy", "packaging", "pandas", "polars", "psycopg", "pyarrow"}
)
"""What the extras install: a module that works without them imports them where they are used."""

HEAVY = {
    "src/flowstone/audit": frozenset({"cryptography"}),
    "src/flowstone/foundation/signatures": frozenset({"cryptography"}),
    "src/flowstone/stores": frozenset({"alembic"}),
}
"""Core libraries that one folder loads late, because the commands that do not need them must start fast."""

BOUNDARY = re.compile(r"\b(?:no|not|nothing|never|only|none|alone)\b", re.IGNORECASE)
"""What a sentence about what may *not* live somewhere has in it."""


def _lines(node) -> int:
    return node.end_lineno - node.lineno + 1


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else ["." * node.level + (node.module or "")]


def _import_nodes(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def test_no_module_is_longer_than_the_hard_stop(sources):
    """A module has at most 450 lines."""
    too_long = [f"{module.name}: {lines} lines" for module in sources if (lines := module.text.count("\n")) > MODULE_LINES]

    assert too_long == []


def test_no_function_is_longer_than_the_hard_stop(sources):
    """A function has at most 70 lines."""
    too_long = [
        f"{module.at(node)}: {node.name} has {_lines(node)} lines"
        for module in sources
        for node in module.functions()
        if _lines(node) > FUNCTION_LINES
    ]

    assert too_long == []


def test_no_class_is_longer_than_the_hard_stop(sources):
    """A class has at most 250 lines."""
    too_long = [
        f"{module.at(node)}: {node.name} has {_lines(node)} lines"
        for module in sources
        for node in module.definitions()
        if isinstance(node, ast.ClassDef) and _lines(node) > CLASS_LINES
    ]

    assert too_long == []


def test_imports_inside_functions_are_of_optional_libraries(sources):
    """A function imports nothing but what an extra installs, or what its folder is known to load late."""
    hidden = []
    for module in sources:
        late = frozenset().union(*(libraries for folder, libraries in HEAVY.items() if module.name.startswith(folder + "/")))
        for function in module.functions():
            for node in _import_nodes(function):
                names = {name.split(".")[0] for name in _imported(node)}
                if not names <= OPTIONAL | late:
                    hidden.append(f"{module.at(node)}: {ast.unparse(node)}")

    assert hidden == []


def test_imports_for_typing_stay_on_their_floor(house):
    """Under ``TYPE_CHECKING`` a module imports from its own folder or from other people's packages."""
    crossing = [
        f"{module.at(node)}: {ast.unparse(node)}"
        for module in house
        if module.room != "flowstone"  # the front door, above every floor, names what it opens lazily
        for block in module.walk()
        if _is_type_checking(block)
        for node in _import_nodes(block)
        for name in _imported(node)
        if name.split(".")[0] == "flowstone" and ".".join(name.split(".")[:2]) != module.room
    ]

    assert crossing == []


def test_imports_are_absolute(sources):
    """Every import names the whole path, so that a reader sees which floor it comes from."""
    relative = [
        f"{module.at(node)}: {ast.unparse(node)}"
        for module in sources
        for node in module.walk()
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert relative == []


def test_every_folder_of_code_is_a_package(root):
    """No folder below ``src`` holds modules without an ``__init__``: the floors would not see it."""
    folders = {path.parent for path in (root / "src").rglob("*.py")} - {root / "src/flowstone_demo/project"}

    assert [str(folder.relative_to(root)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_every_room_says_what_may_live_there(house):
    """Each package's docstring says what lives there and what may not."""
    silent = [
        module.name
        for module in house
        if module.is_package and module.room != "flowstone"
        if not BOUNDARY.search(ast.get_docstring(module.tree) or "")
    ]

    assert silent == []


def test_no_module_has_a_name_that_says_nothing(sources):
    """No module is called after being useful, shared or in charge of everything."""
    vague = {"utils", "util", "common", "helpers", "helper", "base", "core", "misc", "tools"}
    found = [module.name for module in sources if vague & set(module.name.removesuffix(".py").split("/"))]

    assert found == []


def _public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if any(re.search(r"\boverload$|\boverride$|\.setter$|\.deleter$", ast.unparse(mark)) for mark in node.decorator_list):
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body, f"{prefix}{node.name}.")


def test_everything_public_is_documented(sources):
    """Every module, public class, function and method has a docstring; a method may leave it to the protocol it implements."""
    silent = [module.name for module in sources if not ast.get_docstring(module.tree)]
    public = [(module, name, node) for module in sources for name, node in _public(module.tree.body)]
    told = {name.rpartition(".")[2] for _, name, node in public if "." in name and ast.get_docstring(node)}
    silent += [
        f"{module.at(node)}: {name}"
        for module, name, node in public
        if not ast.get_docstring(node) and not ("." in name and name.rpartition(".")[2] in told)
    ]

    assert silent == []


def test_every_test_states_the_fact_it_proves(tests, house):
    """Each test, also of the shipped suites, has a docstring whose first line is a sentence of its own."""
    silent = []
    for module in [*tests, *house]:
        if module in house and module.room != "flowstone.testing":
            continue
        for function in module.functions():
            first = (ast.get_docstring(function) or "").partition("\n")[0]
            if function.name.startswith("test_") and not re.fullmatch(r".{10,}[.:!?]", first):
                silent.append(f"{module.at(function)}: {function.name}")

    assert silent == []
