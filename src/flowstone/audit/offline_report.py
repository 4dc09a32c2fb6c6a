"""What verifying a file proves, and the tree head it is proven by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flowstone.audit.findings import Findings
from flowstone.audit.note import PublicKey, TreeHead, parse, tree_head, verified_head
from flowstone.foundation.errors import ProofError


@dataclass
class OfflineReport(Findings):
    """What a file proves of the log *origin*: entries *begin* to (without) *end* of the *size* that its tree head has."""

    origin: str = ""
    begin: int = 0
    end: int = 0
    size: int = 0
    entries: int = 0
    signers: tuple[str, ...] = ()
    note: str = ""
    chosen: str = ""
    disclosures: int = 0
    redacted_elsewhere: int = 0
    """Fields that are said to be redacted by entries that are not in the file."""
    fields: dict[str, Any] | None = None
    """The entry of a proof."""
    decisions: int = 0
    """Decisions whose signature fits their entry and is of a listed key of who decided."""
    not_checked: list[str] = field(default_factory=list)


def head_of(report: OfflineReport, note: str, keys: Sequence[PublicKey]) -> TreeHead:
    """The tree head of a note; without keys, or without a signature, that is what could not be checked."""
    if "\n\n" not in note:
        report.lacks("the tree head is not signed: whoever wrote the file may have written the log")
        head = tree_head(note)
    elif not keys:
        report.lacks("no key was given: nobody's signature was checked")
        head = tree_head(parse(note).text)
    else:
        head = verified_head(note, report.origin, keys)
        report.signers = tuple(f"{key.name}+{key.id.hex()}" for key in parse(note).signed_by(keys))
    if head.origin != report.origin:
        raise ProofError(f"the tree head is of {head.origin[:100]!r}, not of {report.origin!r}")
    return head
