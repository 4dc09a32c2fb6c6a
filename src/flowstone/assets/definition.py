"""What an asset is, as plain values: its digest, its description for the store, and what the digest cannot see."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from flowstone.assets.asset import AnyAsset
from flowstone.assets.loaded import LoadedCode, closure_of, fingerprint, functions_in
from flowstone.assets.resources import Resource
from flowstone.foundation.serialize import digest_of


class _Code(NamedTuple):
    digest: str
    modules: frozenset[str]
    values: frozenset[str]


def definition_digest(asset: AnyAsset) -> str:
    """Return the SHA-256 of everything in *asset* that decides its value, as 64 hexadecimal digits.

    That is the code (or the given ``code_version``), which assets its parameters get and by which mapping, the meaning of its
    partition keys and its format; not the retries, due time, owners, descriptions, nor the configuration, which has a digest of
    its own.
    """
    digest = asset.cache.get("digest")
    if digest is None:
        digest = asset.cache["digest"] = _digest(asset)
    return str(digest)


def definition_notes(asset: AnyAsset) -> str | None:
    """Return one sentence on what the digest of *asset* cannot see, or ``None`` when nothing is known to be hidden."""
    if asset.function is None:
        return None
    if asset.code_version is not None:
        return f"The code itself is not looked at: its version is given as {asset.code_version!r}."
    code = _code_of(asset)
    unseen = [f"the modules {', '.join(sorted(code.modules))}"] if code.modules else []
    if code.values:
        unseen.append(f"the values {', '.join(sorted(code.values))}")
    return f"The digest does not see changes in {' and '.join(unseen)}." if unseen else None


def describe(asset: AnyAsset, resources: Container[str] = ()) -> dict[str, Any]:
    """Return *asset* as plain values, the form in which definitions are stored and compared; *resources* are its pipeline's."""
    received = [p for p in asset.parameters if p.upstream is not None]
    return {
        "name": asset.name,
        "kind": asset.kind,
        "upstream": [
            {"parameter": p.name, "asset": p.upstream, "optional": p.optional} for p in received if p.upstream not in resources
        ],
        "resources": [p.upstream for p in received if p.upstream in resources],
        "after": list(asset.after),
        "partitions": asset.partitions.describe() if asset.partitions else None,
        "mapping": {parameter: mapping.describe() for parameter, mapping in asset.mapping.items()},
        "digest": definition_digest(asset),
        "code_version": asset.code_version,
        "retries": asset.retries.describe(),
        "versioned": asset.version is not None,
        **({"approval": asset.approval.describe()} if asset.approval else {}),
        **({"sensitive": True} if asset.sensitive else {}),  # else digests stay what they were before there was such an option
        "io": asset.io,
        "format": asset.format,
        "executor": asset.executor,
        "concurrency": asset.concurrency,
        "timeout": asset.timeout,
        "due": asset.due.describe(asset.partitions) if asset.due else None,
        "config": sorted(asset.config),
        "owners": list(asset.owners),
        "tags": list(asset.tags),
        "description": asset.description,
        "unseen": definition_notes(asset),
        "file": _relative_file(asset.file, getattr(asset.function, "__module__", None) or ""),
        "line": asset.line,
    }


def describe_resource(resource: Resource) -> dict[str, Any]:
    """Return *resource* as plain values, as it is stored with its pipeline; what it opens is configuration and not told."""
    return {
        "name": resource.name,
        "scope": resource.scope,
        "limit": resource.limit,
        "health": resource.health is not None,
        "needs": list(resource.needs.values()),
        "config": sorted(resource.config),
        "description": resource.description,
        "file": _relative_file(resource.file, getattr(resource.function, "__module__", None) or ""),
        "line": resource.line,
    }


def _digest(asset: AnyAsset) -> str:
    code = asset.code_version if asset.code_version is not None else _code_of(asset).digest
    return digest_of(
        [
            "observed" if asset.function is None else "version" if asset.code_version is not None else "code",
            code,
            [(p.name, p.kind, p.upstream, fingerprint(p.default) if p.optional else "required") for p in asset.parameters],
            sorted((parameter, mapping.describe()) for parameter, mapping in asset.mapping.items()),
            asset.partitions.meaning() if asset.partitions else None,
            asset.format,
        ]
    )


def _code_of(asset: AnyAsset) -> _Code:
    code = asset.cache.get("code")
    if code is None:
        code = asset.cache["code"] = _Reader(asset).read()
    assert isinstance(code, _Code)
    return code


class _Reader:
    """Collects the code of one asset: its function, what that wraps, and what reaches it through closures."""

    def __init__(self, asset: AnyAsset) -> None:
        self._asset = asset
        self._module = getattr(asset.function, "__module__", None)
        self._modules: set[str] = set()
        self._values: set[str] = set()
        self._read: set[int] = set()

    def read(self) -> _Code:
        """Return the digest of all the code, with what was seen but could not be looked into."""
        function = self._asset.function
        shape = self._shape(function) if function is not None else None
        return _Code(digest_of(shape), frozenset(self._modules), frozenset(self._values))

    def _shape(self, function: Callable[..., Any]) -> list[Any]:
        if isinstance(function, functools.partial):
            bound = [*((str(index), value) for index, value in enumerate(function.args)), *function.keywords.items()]
            return [self._shape(function.func), [(name, self._value(name, value)) for name, value in bound]]
        functions = functions_in(function) or functions_in(type(function))
        return [self._function(part) for part in functions]

    def _function(self, function: FunctionType) -> list[Any]:
        if id(function) in self._read:
            return ["seen", function.__qualname__]
        self._read.add(id(function))
        text = self._text(function)
        if not function.__closure__:
            return [text]
        closure = closure_of(function)
        return [text, [(name, self._value(name, value)) for name, value in sorted(closure.items())]]

    def _text(self, function: FunctionType) -> Any:
        origin = self._asset.origin
        here = origin is not None and function.__code__.co_filename == self._asset.file
        part = origin.whole(function) if origin is not None and here else None
        if part is not None:
            self._modules |= part.modules
            return part.shape
        loaded = LoadedCode(function)
        self._modules |= loaded.modules
        return loaded.shape

    def _value(self, name: str, value: Any) -> Any:
        known = fingerprint(value)
        if known is not None:
            return known
        if isinstance(value, ModuleType):
            self._modules.add(value.__name__)
            return ["module", value.__name__]
        functions = functions_in(value) if callable(value) else []
        if any(function.__module__ == self._module for function in functions):
            return [self._function(function) for function in functions]
        if functions:
            self._modules.add(functions[0].__module__)
            return ["function", functions[0].__module__, functions[0].__qualname__]
        kind = type(value)
        self._values.add(f"{name} ({kind.__name__})")
        return ["unseen", kind.__module__, kind.__qualname__]


@functools.cache
def _relative_file(file: str, module: str) -> str:
    """Return the file by its place under the import path, so that the same project reads the same on every machine."""
    path = PurePath(file)
    parts = module.split(".")
    for depth in (len(parts), len(parts) + 1):  # a module, or a package's __init__
        tail = path.with_suffix("").parts[-depth:]
        if list(tail[: len(parts)]) == parts:
            return "/".join(path.parts[-depth:])
    return path.name
