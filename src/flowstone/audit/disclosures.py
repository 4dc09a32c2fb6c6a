"""What entries disclose beside their bytes, compared with what they commit to; and what was redacted, with who says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowstone.audit.findings import Findings
from flowstone.audit.leaf import Disclosure, commitment
from flowstone.foundation.errors import LeafError


def check_disclosures(
    found: Any, where: str, commitments: Mapping[str, str], disclosed: Mapping[str, tuple[Any, Any]], redacted: set[str]
) -> dict[str, str]:
    """Compare what an entry discloses with its commitments, both ways; return the values that are what it commits to."""
    values = {}
    for name, promise in commitments.items():
        shown = disclosed.get(name)
        if shown is None:
            if name in redacted:
                found.redacted += 1
            else:
                found.find("undisclosed", f"{where}: its {name} is gone and nothing says that it was redacted")
        elif _fits(name, shown, promise):
            found.disclosures += 1
            values[name] = shown[1]
        else:
            told = f"{where}: its {name} is not what the entry commits to"
            found.find("disclosure", told, todo="what the entry commits to is what counts")
    for name in sorted(disclosed.keys() - commitments.keys()):
        found.find("disclosure", f"{where} discloses {name}, to which it does not commit")
    return values


def _fits(name: str, shown: tuple[Any, Any], promise: str) -> bool:
    salt, value = shown
    try:
        return type(salt) is bytes and type(value) is str and commitment(Disclosure(name, salt, value)) == promise
    except LeafError:
        return False


class Redactions:
    """Rows that say that a field was redacted, until an entry says so as well."""

    def __init__(self, found: Findings) -> None:
        self._found = found
        self._untold: set[tuple[int, str]] = set()

    def of(self, seq: Any, entry: int, fields: set[str]) -> set[str]:
        """The redacted *fields* of an entry, of which later entries have to tell."""
        place = seq if seq is not None else -entry
        self._untold.update((place, field) for field in fields)
        return fields

    def told(self, seq: Any, field: Any) -> None:
        """Note that an entry tells of the redaction of a field of entry *seq*."""
        self._untold.discard((seq, field))

    def end(self) -> None:
        """Tell of those that no entry tells of."""
        for place, field in sorted(self._untold):
            where = f"entry {place}" if place >= 0 else f"the unsealed entry {-place}"
            self._found.find("redaction", f"{where}: its {field} is said to be redacted, and no entry tells of that")
