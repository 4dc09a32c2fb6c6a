"""Secrets are named in settings as ``secret:NAME`` and resolved late: from the environment, or from a mounted file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from flowstone.foundation.errors import SettingsError

MOUNTED = Path("/run/secrets")


def resolver(
    remember: Callable[[str], None], variables: Mapping[str, str] | None = None, folder: Path = MOUNTED
) -> Callable[[str], str]:
    """Return the function from a secret's name to its value; each value is handed to *remember*, which masks it from then on.

    ``secret:DB_PASSWORD`` is the environment variable ``DB_PASSWORD``, else the file ``DB_PASSWORD`` in *folder*. The function
    raises :class:`SettingsError` for a name that has neither.
    """
    known = os.environ if variables is None else variables

    def resolve(name: str) -> str:
        value = known.get(name)
        if value is None:
            path = folder / name
            if not name.isidentifier() or not path.is_file():
                raise SettingsError(
                    f"the secret named {name} is neither an environment variable nor a file in {folder}", hint=f"set {name}"
                )
            value = path.read_text(encoding="utf-8").rstrip("\n")
        remember(value)
        return value

    return resolve
