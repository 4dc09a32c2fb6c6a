"""Plain functions that review a Python environment; the demo project is built on them. Imports nothing of FlowStone.

One module per noun: ``environment`` (which interpreter, which folders), ``distributions`` (what is installed),
``integrity`` (do the files match their RECORD), ``licences``, ``requirements``, ``changes``, ``findings``, ``bom``
(CycloneDX), ``release`` (the note) and ``page`` (HTML, with ``plot``). Every result is plain JSON data and equal input gives
equal output.
Orchestration, storage and retries may not enter here: they are the pipeline's.
"""

from __future__ import annotations

import importlib
from types import ModuleType

MODULES = frozenset(
    {
        "bom",
        "changes",
        "distributions",
        "environment",
        "findings",
        "integrity",
        "licences",
        "page",
        "plot",
        "release",
        "requirements",
    }
)


def __getattr__(name: str) -> ModuleType:
    # Loading on first use keeps matplotlib and the CycloneDX library out of every run that draws and writes nothing.
    if name in MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
