"""The repository as data: every Python file read and parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Module:
    """One Python file: *name* is its path from the repository's root."""

    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """``flowstone.events`` for files in that folder; the package's name for files beside the rooms."""
        parts = Path(self.name).with_suffix("").parts[1:]
        return ".".join(parts[:2]) if len(parts) > 2 else parts[0]

    @property
    def is_package(self) -> bool:
        """Whether the file is an ``__init__``."""
        return self.name.endswith("/__init__.py")

    def walk(self) -> Iterator[ast.AST]:
        """Every node of the file."""
        return ast.walk(self.tree)

    def definitions(self) -> Iterator[Definition]:
        """Every function and class, however deep."""
        return (node for node in self.walk() if isinstance(node, Definition))

    def functions(self) -> Iterator[Function]:
        """Every function, however deep."""
        return (node for node in self.walk() if isinstance(node, Function))

    def at(self, node: ast.AST) -> str:
        """``src/flowstone/x.py:12``."""
        return f"{self.name}:{getattr(node, 'lineno', 1)}"


def read(folder: str) -> list[Module]:
    """Every Python file below *folder*, parsed, in the order of their names."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "__pycache__" not in path.parts:
            text = path.read_text(encoding="utf-8")
            found.append(Module(path.relative_to(ROOT).as_posix(), text, ast.parse(text, path)))
    return found


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def sources() -> list[Module]:
    """Every file below ``src`` but the project the demo copies, which is written for its reader."""
    return [module for module in read("src") if not module.name.startswith("src/flowstone_demo/project/")]


@pytest.fixture(scope="session")
def house(sources: list[Module]) -> list[Module]:
    """Every file of the ``flowstone`` package."""
    return [module for module in sources if module.name.startswith("src/flowstone/")]


@pytest.fixture(scope="session")
def tests() -> list[Module]:
    """Every file below ``tests``."""
    return read("tests")
