"""Loads users' code: ``FILE_OR_MODULE[:NAME]``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from flowstone.foundation.errors import FlowStoneError, LoadError, message_of

DEFAULT_FILE = "pipeline.py"
LONGEST = 2_000  # characters shown of what an import raised


def find_default(start: Path) -> Path | None:
    """The nearest ``pipeline.py`` in *start* or above."""
    return next((folder / DEFAULT_FILE for folder in (start, *start.parents) if (folder / DEFAULT_FILE).is_file()), None)


def split(reference: str) -> tuple[str, str | None]:
    """Split ``FILE_OR_MODULE[:NAME]`` into its parts."""
    head, colon, name = reference.rpartition(":")
    return (head, name) if colon and name.isidentifier() else (reference, None)


def no_file(path: Path) -> LoadError:
    """The error for a *path* that is no file."""
    what = f"{path} is a folder" if path.is_dir() else f"there is no file {path}"
    return LoadError(what, hint="give -p FILE_OR_MODULE[:NAME]")


def load_module(reference: str, base: Path) -> ModuleType:
    """Import a file (relative to *base*) or a module; raises :class:`LoadError` that says what went wrong and where."""
    path = Path(reference) if Path(reference).is_absolute() else base / reference
    is_file = reference.endswith(".py") or "/" in reference
    if is_file and not path.is_file():
        raise no_file(path)
    try:
        if is_file:
            return _load_file(path.resolve())
        if str(base) not in sys.path:
            sys.path.insert(0, str(base))
        return importlib.import_module(reference)
    except FlowStoneError:
        raise
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        if error.name and f"{reference}.".startswith(f"{error.name}."):
            raise LoadError(f"there is no module {reference!r}", hint="give -p FILE_OR_MODULE[:NAME]") from error
        raise _failed(reference, error) from error
    except BaseException as error:
        raise _failed(reference, error) from error


def _load_file(path: Path) -> ModuleType:
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


def _failed(reference: str, error: BaseException) -> LoadError:
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    where = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    said = message_of(error)
    text = f": {said[:LONGEST]}{'...' if len(said) > LONGEST else ''}" if said else ""
    return LoadError(f"importing {reference} raised {type(error).__name__}{where}{text}", hint="mend that line, then try again")
