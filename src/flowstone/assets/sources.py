"""Source files as they were when their assets were declared.

A file is read when the first asset in it is declared and parsed when the first digest is asked for. Code that does not
compile to what Python has loaded is not taken from the file, so an edit after the import cannot lend its text to old code.
"""

from __future__ import annotations
import __future__

import ast
import linecache
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from flowstone.assets.loaded import code_shape, functions_in
from flowstone.assets.syntax import FunctionNode, bindings, imported, names, shape

_ANNOTATIONS = __future__.annotations.compiler_flag


class Part(NamedTuple):
    """A piece of a file: its normalized syntax, the module-level names it uses, and the modules it imports."""

    shape: str
    names: frozenset[str]
    modules: frozenset[str]


class SourceFile:
    """One version of a file's text."""

    def __init__(self, text: bytes | str) -> None:
        self._text = text
        self._bindings: dict[str, list[ast.AST]] | None = None
        self._functions: dict[tuple[int, str], FunctionNode | None] = {}
        self._parts: dict[str, Part | None] = {}
        self._codes: dict[int, tuple[CodeType, Part | None]] = {}
        self._wholes: dict[int, tuple[CodeType, Part | None]] = {}

    def whole(self, function: FunctionType) -> Part | None:
        """Return *function* and what it uses of its module, directly or not; ``None`` when the loaded code is not this text."""
        code = function.__code__
        found = self._wholes.get(id(code))
        if found is None:  # the entry holds the code object, so its id cannot be given away
            found = self._wholes[id(code)] = (code, self._collect(function))
        return found[1]

    def _collect(self, function: FunctionType) -> Part | None:
        own = self._part_of(function.__code__)
        if own is None:
            return None
        used: dict[str, Part] = {}
        pending = set(own.names)
        while pending:
            name = pending.pop()
            part = self._binding(name)
            if part is None or name in used:
                continue
            if not self._is_loaded(function.__globals__.get(name), function.__code__.co_filename):
                return None
            used[name] = part
            pending |= part.names
        star = self._binding("*")
        parts = [own, *(used[name] for name in sorted(used)), *([star] if star else [])]
        return _joined(parts)

    def _is_loaded(self, value: object, filename: str) -> bool:
        """Tell whether the functions of *value* that come from this file were loaded from this text."""
        codes = [function.__code__ for function in functions_in(value)] if callable(value) else []
        return all(
            self._part_of(code) is not None for code in codes if code.co_filename == filename and code.co_name != "<lambda>"
        )

    def _binding(self, name: str) -> Part | None:
        """Return the module-level statements that give *name* its value, as one part; ``None`` when there are none."""
        if name not in self._parts:
            nodes = self._parsed().get(name)
            self._parts[name] = _joined([self._part(node) for node in nodes]) if nodes else None
        return self._parts[name]

    def _part_of(self, code: CodeType) -> Part | None:
        found = self._codes.get(id(code))
        if found is None:
            found = self._codes[id(code)] = (code, self._find(code))
        return found[1]

    def _find(self, code: CodeType) -> Part | None:
        bound = self._parsed()
        node = self._functions.get((code.co_firstlineno, code.co_name))
        if node is None:
            return None
        part = self._part(node)
        imports = [name for name in sorted(part.names) if any(map(_is_import, bound.get(name, ())))]
        if not _compiles_to(node, code, imports):
            return None
        return part._replace(names=part.names.difference(code.co_freevars))

    def _parsed(self) -> dict[str, list[ast.AST]]:
        if self._bindings is None:
            self._bindings = {}
            try:
                tree = ast.parse(self._text)
            except (SyntaxError, ValueError, RecursionError):
                return self._bindings
            for node in ast.walk(tree):
                if isinstance(node, FunctionNode):
                    key = (min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.name)
                    self._functions[key] = None if key in self._functions else node
            for name, statement in bindings(tree.body):
                self._bindings.setdefault(name, []).append(statement)
        return self._bindings

    def _part(self, node: ast.AST) -> Part:
        if isinstance(node, ast.alias | ast.ImportFrom):
            return Part(shape(node), frozenset(), frozenset(imported(node)))
        if isinstance(node, FunctionNode):
            node.decorator_list = [d for d in node.decorator_list if not self._is_asset(d)]
        imports = [child for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom)]
        return Part(shape(node), frozenset(names(node)), frozenset(module for child in imports for module in imported(child)))

    def _is_asset(self, decorator: ast.expr) -> bool:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(target, ast.Attribute):
            return target.attr == "asset"
        if not isinstance(target, ast.Name):
            return False
        froms = (node for node in self._parsed().get(target.id, ()) if isinstance(node, ast.ImportFrom))
        return target.id == "asset" or any(alias.name == "asset" for node in froms for alias in node.names)


_files: dict[str, tuple[tuple[int, int] | None, SourceFile | None]] = {}


def source_file(filename: str, module_globals: dict[str, Any]) -> SourceFile | None:
    """Return the text of *filename* as it is now, or ``None`` where there is none (an interactive line, ``exec``)."""
    try:
        stat = os.stat(filename)  # noqa: PTH116 - once per declared asset
        signature = (stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError):
        signature = None
    known = _files.get(filename)
    if known is None or known[0] != signature:
        known = _files[filename] = (signature, _read(filename, signature is not None, module_globals))
    return known[1]


def _read(filename: str, on_disk: bool, module_globals: dict[str, Any]) -> SourceFile | None:
    if on_disk:
        try:
            return SourceFile(Path(filename).read_bytes())
        except OSError:
            return None
    lines = linecache.getlines(filename, module_globals)  # notebook cells and zipped modules
    return SourceFile("".join(lines)) if lines else None


def _compiles_to(node: FunctionNode, code: CodeType, imports: list[str]) -> bool:
    """Tell whether *node*, inside a function that has its free names, gives the instructions of *code*.

    Calls of what a module imports at its top compile in a way of their own, so the compiler is told the *imports*.
    """
    tree = ast.parse(f"import {', '.join(imports)}" if imports else "")
    if code.co_freevars:
        around = ast.parse(f"def around({', '.join(code.co_freevars)}): pass").body[0]
        assert isinstance(around, ast.FunctionDef)
        around.body = [node]
        tree.body.append(around)
    else:
        tree.body.append(node)
    try:
        module = compile(tree, code.co_filename, "exec", flags=code.co_flags & _ANNOTATIONS, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return False
    wanted = code_shape(code)
    compiled = _inner(_inner([module])) if code.co_freevars else _inner([module])
    return any(inner.co_name == code.co_name and code_shape(inner) == wanted for inner in compiled)


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.alias | ast.ImportFrom)


def _inner(codes: Iterable[CodeType]) -> Iterator[CodeType]:
    return (const for code in codes for const in code.co_consts if isinstance(const, CodeType))


def _joined(parts: list[Part]) -> Part:
    return Part(
        "\n".join(part.shape for part in parts),
        frozenset().union(*(part.names for part in parts)),
        frozenset().union(*(part.modules for part in parts)),
    )
