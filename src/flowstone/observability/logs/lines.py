"""A captured line, as it is kept and as it travels from a child process."""

from __future__ import annotations

from typing import Any, NamedTuple

from flowstone.events.context import Scope
from flowstone.foundation.serialize import from_json


class Line(NamedTuple):
    """One captured line; *fields* is what the caller gave as ``extra=``, as JSON, or empty."""

    scope: Scope
    at: int
    level: str
    logger: str
    message: str
    fields: str = ""

    @property
    def given(self) -> dict[str, Any]:
        """What the caller gave as ``extra=``."""
        return dict(from_json(self.fields)) if self.fields else {}


def instead_of(line: Line, text: str) -> Line:
    """What stands in the place of a line that is dropped."""
    return line._replace(level="warning", logger="flowstone", message=text, fields="")
