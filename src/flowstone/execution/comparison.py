"""What changed between two values, so that a person without the bytes can decide. Names and counts are told, not contents.

What is not certain is not told: of values too large to be looked at whole, only what their first elements prove.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowstone.execution.changes import Changes, Differences, Found, Names
from flowstone.execution.marks import BUDGET, MOST, Marker, Shown, SpentError, fields_of, items_of, kind_of, line_count, showing
from flowstone.execution.matching import IDENTIFIERS, VERSION, Side, add, entries, lines_of, looked_at, matched, unmatched
from flowstone.execution.tables import Table, table_of

STRANGE = "values of this type cannot be compared"


def compare(old: object, new: object, mask: Callable[[str], str] = str) -> Changes:
    """Return what is different in *new*; never raises for what their classes do, and looks at a bounded part of them.

    *mask* takes secrets out of names before they are cut.
    """
    if old is new:
        return Changes(same=True)
    try:
        return _Comparison(showing(mask)).changes(old, new)
    except Exception:  # noqa: BLE001 - a class of the user's may raise anything
        return Changes(same=False, note=STRANGE)


class _Comparison:
    """One comparison: what may still be looked at on each side, and what is to be said of what was not."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self.old, self.new = Marker(), Marker()
        self.notes: list[str] = []

    def changes(self, old: Any, new: Any) -> Changes:
        """Return what is different in *new*, with what could not be compared."""
        was, now = kind_of(old), kind_of(new)
        if "other" in {was, now}:
            return Changes(same=False, note=STRANGE)
        if was != now:
            return Changes(same=False, note=f"the kind of value: {was} -> {now}")
        before, after = items_of(old), items_of(new)
        if before is not None and after is not None:
            found = self._rows(before, after, ordered=now == "list")
        elif now == "dictionary":
            found = self._keys(fields_of(old) or {}, fields_of(new) or {})
        elif now == "table":
            found = self._tables(table_of(old, self._shown), table_of(new, self._shown))
        elif now == "text":
            found = self._texts(str.__str__(old), str.__str__(new))
        else:
            found = self._whole(old, new, now)
        unknown = max(self.old.unknown, self.new.unknown)
        if unknown:
            self.notes.append(f"could not look into {unknown:,} of the values")
        return found.changes(self.notes)

    def _whole(self, old: Any, new: Any, kind: str) -> Found:
        """Values whose parts have no names: bytes, arrays, numbers."""
        found = Found(kind)
        if kind == "bytes":
            found.size = (len(old), len(new))
        if kind == "array":
            for name, was, now in (("shape", old.shape, new.shape), ("dtype", old.dtype, new.dtype)):
                if was != now:
                    found.changed.add(self._shown(f"{name} {was} -> {now}"))
            if found.differs():
                return found
        if old != new if kind == "bytes" else self._marks_differ(old, new, "the content"):
            found.changed.add("content")
        return found

    def _marks_differ(self, old: Any, new: Any, name: str) -> bool:
        try:
            return self.old.mark(old) != self.new.mark(new)
        except SpentError:
            self.notes.append(f"{name} is too large to be compared")
            return False

    def _texts(self, old: str, new: str) -> Found:
        if old == new:
            return Found("lines", rows=(line_count(old), line_count(new)))
        left, right = lines_of(old), lines_of(new)
        found = unmatched("lines", left, right, lambda _: None)
        self._doubts(found, left, right)
        found.rows = (line_count(old), line_count(new))
        return found

    def _tables(self, old: Table, new: Table) -> Found:
        found = Found("columns")
        common = [name for name in old.columns if name in new.columns]
        if common != [name for name in new.columns if name in old.columns]:
            self.notes.append("columns in another order")
        if old.library != new.library:
            self.notes.append("types of columns of two libraries are not compared")
        if old.rows is None or new.rows is None:
            self.notes.append("only columns were compared: the rows are not computed yet")
        else:
            if common:
                found = self._records(old, new, common, (old.rows, new.rows))
            found.rows = (old.rows, new.rows)
        found.schema = _schema(old, new)
        return found

    def _records(self, old: Table, new: Table, columns: list[str], totals: tuple[int, int]) -> Found:
        """The rows: of all columns that both have where that is not too much, else of those that identify."""
        most = min(max(totals), MOST)
        if most * (len(columns) + 1) > BUDGET:
            identifying = [name for name in columns if name in {*IDENTIFIERS, VERSION}]
            if identifying:
                columns = identifying
                self.notes.append(f"of the columns, compared only {', '.join(columns)}")
            most = min(most, BUDGET // (len(columns) + 1))
        was, now = (min(most, total) for total in totals)
        return self._rows((old.records(columns, was), totals[0]), (new.records(columns, now), totals[1]))

    def _rows(self, old: tuple[list[Any], int], new: tuple[list[Any], int], of: str = "", *, ordered: bool = True) -> Found:
        left, right = looked_at(self.old, *old), looked_at(self.new, *new)
        found = matched(left, right, self._shown) or unmatched("rows", left, right, self._shown)
        self._doubts(found, left, right, of, ordered=ordered)
        found.rows = (old[1], new[1])
        return found

    def _doubts(self, found: Found, left: Side, right: Side, of: str = "", *, ordered: bool = True) -> None:
        """Say what was not looked at, and what that leaves open."""
        where = f"{of}: " if of else ""
        told = found.differences().any()
        if left.whole and right.whole:
            if ordered and not told and left.marks != right.marks:
                self.notes.append(f"{where}the same {found.kind.partition(' ')[0]} in another order")
            return
        looked = min(len(side.marks) for side in (left, right) if not side.whole)
        if not looked:
            self.notes.append(f"{where}too large to be compared")
            return
        found.hidden = ordered and left.marks[:looked] != right.marks[:looked]
        known = ", which differ" if found.hidden else ", which are the same"
        self.notes.append(f"{where}compared the first {looked:,}{known if ordered and not told else ''}")

    def _keys(self, old: dict[Any, Any], new: dict[Any, Any]) -> Found:
        """Keys, and the records in lists below them; their own names are enough where one list alone has changed."""
        found, lists = Found("keys"), dict[str, Found]()
        self._fields(old, new, found, lists)
        if len(lists) == 1:
            ((name, only),) = lists.items()
            only.take(found)
            only.kind = f"keys, {name}{only.kind.removeprefix('rows')}"
            return only
        every = Found("keys")
        for name, inner in lists.items():
            every.take(inner, f"{name}: ")
        every.take(found)
        return every

    def _fields(self, old: dict[Any, Any], new: dict[Any, Any], found: Found, lists: dict[str, Found], above: str = "") -> None:
        (left, old_whole), (right, new_whole) = entries(self.old, old), entries(self.new, new)
        cut = [len(side) for side, whole in ((left, old_whole), (right, new_whole)) if not whole]
        if cut:
            self.notes.append(f"{above}compared the first {min(cut):,} keys")
        if old_whole:
            add(found.added, [key for mark, (key, _) in right.items() if mark not in left], lambda key: above + self._name(key))
        if new_whole:
            add(found.removed, [key for mark, (key, _) in left.items() if mark not in right], lambda key: above + self._name(key))
        for mark, (key, before) in left.items():
            if mark not in right:
                continue
            if 0 in {self.old.left, self.new.left}:
                self.notes.append(f"not compared from {above}{self._name(key)} on: too large")
                return
            self._field(above + self._name(key), (before, right[mark][1]), found, lists, nested=bool(above))

    def _name(self, key: Any) -> str:
        return self._shown(key) or "a key without a name"

    def _field(self, name: str, pair: tuple[Any, Any], found: Found, lists: dict[str, Found], *, nested: bool) -> None:
        """What is under a key that both have: looked into where it is a dictionary or a list."""
        before, after = map(fields_of, pair)
        if not nested and before is not None and after is not None:
            self._fields(before, after, found, lists, f"{name}.")
            return
        old, new = map(items_of, pair)
        ordered = _ordered(pair[0])
        if old is None or new is None or ordered != _ordered(pair[1]):
            if self._marks_differ(*pair, name):
                found.changed.add(name)
            return
        inner = self._rows(old, new, name, ordered=ordered)
        if inner.kind != "rows" and inner.differs():
            lists[name] = inner
        elif inner.differs():
            added, removed = inner.added.count, inner.removed.count
            found.changed.add(f"{name} (+{added:,} -{removed:,})" if added or removed else name)


def _ordered(value: Any) -> bool:
    return not issubclass(type(value), (set, frozenset))


def _schema(old: Table, new: Table) -> Differences:
    added, removed, changed = Names(), Names(), Names()
    add(added, [name for name in new.columns if name not in old.columns], str)
    add(removed, [name for name in old.columns if name not in new.columns], str)
    if old.library == new.library:
        retyped = [name for name, kind in old.columns.items() if new.columns.get(name, kind) != kind]
        add(changed, retyped, lambda name: f"{name}: {old.columns[name]} -> {new.columns[name]}")
    return Found("", added, removed, changed).differences()
