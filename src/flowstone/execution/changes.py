"""What a comparison of two values found, as it is kept beside a request, and the words people read of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from flowstone.foundation.texts import cut

NAMED = 20  # names in each list
NOTED = 5  # remarks
WIDTH = 100  # characters of a line of names


class Differences(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came, went and changed: at most 20 names of each, and how many there are."""

    added: tuple[str, ...] = ()
    added_count: int = 0
    removed: tuple[str, ...] = ()
    removed_count: int = 0
    changed: tuple[str, ...] = ()
    changed_count: int = 0

    def any(self) -> bool:
        """Return whether anything came, went or changed."""
        return bool(self.added_count or self.removed_count or self.changed_count)


class Changes(Differences, frozen=True, kw_only=True, omit_defaults=True):
    """The difference of two values: of names, and of *rows*, *size* in bytes and *schema* where they have such.

    *same* is true only where all of both was compared; *note* says what was not. *kind* says what was compared: ``keys``,
    ``rows by name``, ``rows``, ``lines``, ``columns``, ``array``, ``bytes``, ``value``.
    """

    same: bool
    kind: str = ""
    rows: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    schema: Differences | None = None
    note: str = ""


@dataclass
class Names:
    """Names as they are found: the first are kept, all are counted."""

    kept: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str | None) -> None:
        """Add what is called *name*; ``None`` is only counted."""
        self.count += 1
        if name is not None and len(self.kept) < NAMED:
            self.kept.append(name)

    def take(self, other: Names, prefix: str = "") -> None:
        """Add what *other* found."""
        self.count += other.count
        self.kept += [prefix + name for name in other.kept][: NAMED - len(self.kept)]


@dataclass
class Found:
    """What two values, or two lists in them, differ in; *hidden* where they do and in what is not certain."""

    kind: str
    added: Names = field(default_factory=Names)
    removed: Names = field(default_factory=Names)
    changed: Names = field(default_factory=Names)
    rows: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    schema: Differences | None = None
    hidden: bool = False

    def differs(self) -> bool:
        """Return whether anything differs."""
        schema = self.schema is not None and self.schema.any()
        rows = self.rows is not None and self.rows[0] != self.rows[1]
        return self.hidden or schema or rows or self.differences().any()

    def take(self, other: Found, prefix: str = "") -> None:
        """Add the names of *other*."""
        self.hidden |= other.hidden
        self.added.take(other.added, prefix)
        self.removed.take(other.removed, prefix)
        self.changed.take(other.changed, prefix)

    def differences(self) -> Differences:
        """Return the names and counts."""
        return Differences(
            added=tuple(self.added.kept),
            added_count=self.added.count,
            removed=tuple(self.removed.kept),
            removed_count=self.removed.count,
            changed=tuple(self.changed.kept),
            changed_count=self.changed.count,
        )

    def changes(self, notes: Iterable[str]) -> Changes:
        """Return all of it; with a note, the values are not known to be the same."""
        every = list(dict.fromkeys(notes))
        note = "; ".join(every[:NOTED] + ([f"and {len(every) - NOTED:,} more"] if len(every) > NOTED else []))
        return Changes(
            same=not (note or self.differs()),
            kind=self.kind,
            rows=self.rows,
            size=self.size,
            schema=self.schema,
            note=note,
            **msgspec.structs.asdict(self.differences()),
        )


def lines(changes: Changes) -> list[str]:
    """Return the words of *changes*: at most six lines, of as many names as fit into 100 characters."""
    if changes.same:
        return ["= same     nothing changed"]
    noun = "lines" if changes.kind == "lines" else "rows"
    found = [
        _line("+ added  ", changes.added, changes.added_count, noun),
        _line("- removed", changes.removed, changes.removed_count, noun),
        _line("~ changed", changes.changed, changes.changed_count, noun),
        _facts(changes, noun),
        _columns(changes.schema),
        f"? note     {changes.note}" if changes.note else "",
    ]
    return [line for line in found if line]


def _line(mark: str, names: tuple[str, ...], count: int, noun: str) -> str:
    """The mark and as many names as fit; the first is always there."""
    if not count:
        return ""
    if not names:
        return f"{mark}  {count:,} {noun if count > 1 else noun[:-1]}"
    line = f"{mark}  {cut(names[0], WIDTH - 40)}"
    shown = 1
    for name in names[1:]:
        longer = f"{line}, {name}"
        if len(longer) + len(", ... 99,999,999 more") > WIDTH:
            break
        line = longer
        shown += 1
    return line if shown == count else f"{line}, ... {count - shown:,} more"


def _facts(changes: Changes, noun: str) -> str:
    """Rows, size and schema in one line."""
    pairs = [(noun, changes.rows, ""), ("size", changes.size, " bytes")]
    facts = [f"{name} {_pair(pair)}{unit}" for name, pair, unit in pairs if pair is not None]
    if changes.schema is not None and not changes.schema.any():
        facts.append("schema unchanged")
    moved = any(pair is not None and pair[0] != pair[1] for _, pair, _ in pairs)
    return f"{'~ changed' if moved else '= same   '}  {', '.join(facts)}" if facts else ""


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]:,}" if pair[0] == pair[1] else f"{pair[0]:,} -> {pair[1]:,}"


def _columns(schema: Differences | None) -> str:
    if schema is None or not schema.any():
        return ""
    named = (("+", schema.added), ("-", schema.removed), ("~", schema.changed))
    names = tuple(f"{mark} {name}" for mark, names in named for name in names)
    return _line("~ columns", names, schema.added_count + schema.removed_count + schema.changed_count, "columns")
