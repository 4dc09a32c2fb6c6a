"""Normalized syntax: what a piece of code says, without comments, positions, formatting and docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_UNSHAPED = frozenset({"ctx", "kind", "type_comment"})


def shape(node: object) -> str:
    """Return *node*'s tree as text that is the same on every Python version that knows the syntax."""
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}:{node.value!r}"
    if isinstance(node, list):
        return "[" + ",".join(map(shape, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name in _UNSHAPED or value is None or value == []:
            continue
        if name == "body" and isinstance(node, _DEFINITIONS) and _is_docstring(value[0]):
            value = value[1:]
        if isinstance(node, ast.JoinedStr):  # Python 3.12 ends a nested format with an empty text
            value = [part for part in value if not isinstance(part, ast.Constant) or part.value != ""]
        fields.append(f"{name}={shape(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def names(node: ast.AST) -> set[str]:
    """Return the names *node* may take from its module: those it reads, less a function's own locals."""
    if not isinstance(node, FunctionNode):
        return _read_names([node])
    outer = [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    known = [argument for argument in arguments if argument]
    outer += [argument.annotation for argument in known if argument.annotation] + ([node.returns] if node.returns else [])
    return _read_names(outer) | (_read_names(node.body) - {argument.arg for argument in known} - _own_locals(node))


def _read_names(nodes: Iterable[ast.AST]) -> set[str]:
    return {name.id for node in nodes for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load)}


def _own_locals(function: FunctionNode) -> set[str]:
    """Return the names *function* binds in its own scope, not in scopes inside it."""
    bound: set[str] = set()
    shared: set[str] = set()
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, _DEFINITIONS):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.Global):
            shared.update(node.names)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif not isinstance(node, (*_COMPREHENSIONS, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
    return bound - shared


def bindings(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Yield each name a module's statements bind or change, with the statement."""
    for statement in body:
        if isinstance(statement, _DEFINITIONS):
            yield statement.name, statement
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], alias
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                yield alias.asname or alias.name, ast.ImportFrom(module=statement.module, names=[alias], level=statement.level)
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Delete):
            yield from ((name, statement) for name in sorted(_targets(statement)))
        else:
            yield from _bindings_inside(statement)


def _bindings_inside(statement: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """Yield the bindings of a compound statement: its branches' own, and the whole statement for ``for`` and ``with`` names."""
    if isinstance(statement, ast.For | ast.With):
        headers: list[ast.AST] = [statement.target] if isinstance(statement, ast.For) else list(statement.items)
        stored = [node for header in headers for node in ast.walk(header) if isinstance(node, ast.Name)]
        yield from ((name, statement) for name in sorted({node.id for node in stored if isinstance(node.ctx, ast.Store)}))
    for field in ("body", "orelse", "finalbody"):
        yield from bindings(getattr(statement, field, ()))
    for branch in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield from bindings(branch.body)


def _targets(statement: ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Delete) -> set[str]:
    """Return the names whose value a statement sets or changes: ``x = ..``, ``x[1] = ..``, ``x.add(..)``."""
    if isinstance(statement, ast.Expr):
        call = statement.value
        targets: list[ast.expr] = [call.func] if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else []
    else:
        targets = list(statement.targets) if isinstance(statement, ast.Assign | ast.Delete) else [statement.target]
    found: set[str] = set()
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Tuple | ast.List):
            targets.extend(target.elts)
        elif isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
            targets.append(target.value)
        elif isinstance(target, ast.Name):
            found.add(target.id)
    return found


def imported(node: ast.alias | ast.Import | ast.ImportFrom) -> list[str]:
    """Return the modules an import statement loads; relative ones keep their dots."""
    if isinstance(node, ast.alias):
        return [node.name]
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return ["." * node.level + (node.module or "")]
