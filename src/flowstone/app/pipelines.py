"""Finds pipelines in users' code: by reference, and the reference of one that is there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from weakref import WeakKeyDictionary

from flowstone.assets.pipeline import Pipeline
from flowstone.foundation import loading
from flowstone.foundation.errors import LoadError, UsageError, did_you_mean

_being_loaded: list[str] = []


class Reference(NamedTuple):
    """``FILE_OR_MODULE[:NAME]``, and the folder it is relative to."""

    text: str
    base: Path


_loaded: WeakKeyDictionary[Pipeline, Reference] = WeakKeyDictionary()


def load_pipeline(reference: str, base: Path) -> Pipeline:
    """Import ``FILE_OR_MODULE[:NAME]`` (files relative to *base*) and return its pipeline; raises :class:`LoadError`."""
    place, name = loading.split(reference)
    _being_loaded.append(place)
    try:
        module = loading.load_module(place, base)
    finally:
        _being_loaded.pop()
    found = {key: value for key, value in vars(module).items() if isinstance(value, Pipeline)}
    if name is not None:
        if name in found:
            _loaded[found[name]] = Reference(reference, base)
            return found[name]
        if hasattr(module, name):
            raise LoadError(
                f"{name!r} in {place} is no Pipeline but {type(getattr(module, name)).__name__}", hint=_choices(place, found)
            )
        raise LoadError(f"{place} has no {name!r}", hint=did_you_mean(name, found) or _choices(place, found))
    distinct = {id(pipeline): pipeline for pipeline in found.values()}
    if len(distinct) == 1:
        (pipeline,) = distinct.values()
        _loaded[pipeline] = Reference(reference, base)
        return pipeline
    raise LoadError(f"{place} has {len(distinct) or 'no'} Pipeline{'s' if distinct else ''}", hint=_choices(place, found))


def reference_of(pipeline: Pipeline) -> Reference | None:
    """How another process can load *pipeline*: as it was loaded here, else the module-level variable it is; ``None`` when none.

    Raises :class:`UsageError` while a pipeline is being loaded: a child would load it as well, and so on without end.
    """
    if _being_loaded:
        raise UsageError(
            f"{_being_loaded[-1]} runs the process executor while it is imported, and every child process imports it",
            hint='put what runs under: if __name__ == "__main__":',
        )
    if pipeline in _loaded:
        return _loaded[pipeline]
    for module in sorted(sys.modules.values(), key=lambda module: getattr(module, "__name__", "") == "__main__"):
        names = getattr(module, "__dict__", {}) if isinstance(module, ModuleType) else {}
        for name, value in list(names.items()):
            if value is pipeline:
                where = _place_of(module)
                if where is not None:
                    return Reference(f"{where}:{name}", Path.cwd())
    return None


def _place_of(module: ModuleType) -> str | None:
    """The module's file, or its name where it is part of a package."""
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    name = spec.name if spec is not None else module.__name__
    if "." in name or hasattr(module, "__path__") or file is None or not Path(file).is_file():
        return name if name != "__main__" else None
    return str(Path(file).resolve())


def _choices(place: str, found: dict[str, Pipeline]) -> str:
    if not found:
        return 'a pipeline file ends with: pipeline = Pipeline("name", [assets])'
    return f"choose one: {', '.join(f'-p {place}:{name}' for name in found)}"
