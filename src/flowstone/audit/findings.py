"""What verifying found: every difference, what could not be checked, and the verdict that follows from both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Verdict = Literal["INTACT", "TAMPERED", "INCOMPLETE"]
EXIT: dict[Verdict, int] = {"INTACT": 0, "TAMPERED": 1, "INCOMPLETE": 2}
LISTED = 1_000
"""Findings of one kind that are told one by one."""


class Finding(NamedTuple):
    """What differs and which side is signed, what it taints, and what to do."""

    kind: str
    message: str
    taints: tuple[str, ...] = ()
    todo: str = ""


@dataclass
class Findings:
    """What is wrong, what could not be checked, and what is worth knowing; ``told`` counts findings by kind, listed or not."""

    findings: list[Finding] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)

    def find(self, kind: str, message: str, *taints: str, todo: str = "") -> None:
        """Note a finding; of one kind no more than can be read are told one by one."""
        told = self.told[kind] = self.told.get(kind, 0) + 1
        if told <= LISTED:
            self.findings.append(Finding(kind, message, taints, todo))

    def lacks(self, what: str) -> None:
        """Note once what could not be checked."""
        if what not in self.incomplete and len(self.incomplete) < LISTED:
            self.incomplete.append(what)

    @property
    def found(self) -> int:
        """How many findings there are, told one by one or not."""
        return sum(self.told.values())

    @property
    def verdict(self) -> Verdict:
        """TAMPERED when anything differs, else INCOMPLETE when anything could not be checked."""
        return "TAMPERED" if self.told else "INCOMPLETE" if self.incomplete else "INTACT"

    @property
    def exit(self) -> int:
        """The exit code of the verdict."""
        return EXIT[self.verdict]
