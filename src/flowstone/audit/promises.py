"""What tree heads promise: which root must come out at which size. Heads come from the database, and from outside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from flowstone.audit.findings import Findings
from flowstone.audit.note import TreeHead, parse, tree_head
from flowstone.audit.origins import incarnation, of_incarnation, permanent
from flowstone.audit.state import PinnedKey
from flowstone.audit.tree import HASH_BYTES, Frontier
from flowstone.foundation.errors import ProofError
from flowstone.stores.audit_checks import HeadRow

NEVER = 2**63
_TYPES = (int, int, bytes, bytes, str)  # of a head's row
_CUT = 'the database was rolled back or its end was cut off; if you restored it: flowstone audit reincarnate --reason "..."'
_UNKNOWN = "a key that was rotated signs no later head, and one you do not know none"
_SIGNED = "the head is signed: compare with an export or a backup"


class Anchored(NamedTuple):
    """A tree head that was kept outside the database, and where."""

    sink: str
    note: str


class Promises:
    """Compares the tree as it grows with what was promised of it."""

    def __init__(self, found: Findings, origin: str, keys: Sequence[PinnedKey], heads: Iterator[HeadRow]) -> None:
        self._found, self._origin, self._keys, self._heads = found, permanent(origin), keys, heads
        self._outside: dict[int, list[tuple[str, TreeHead]]] = {}
        self._outside_sizes: list[int] = []
        self._broken: list[tuple[str, TreeHead]] = []
        self._begins: dict[int, int] = {}  # each incarnation, and the size at which a head that is trusted begins it
        self.heads = self.size = self.signed_size = self.anchors = 0
        self._is_trusted = False
        self._next = self._read_next()
        self.next_size = self._soonest()

    def take(self, anchored: Iterable[Anchored]) -> None:
        """Note what was seen outside the database."""
        for anchor in anchored:
            where = f"the anchor {anchor.sink}"
            read = self._read(anchor.note, where, outside=True)
            if read is not None:
                self.anchors += 1
                self._outside.setdefault(read[0].size, []).append((where, read[0]))
        self._outside_sizes = sorted(self._outside, reverse=True)
        self.next_size = self._soonest()

    def reached(self, frontier: Frontier) -> None:
        """Compare what is promised at this size, or below it where there was none: :attr:`next_size` is reached or passed."""
        root = frontier.root()
        while self._next is not None and self._next.size <= frontier.size:
            size = self._next.size
            if size < frontier.size or self._next.root != root:
                told = f"the first {size} entries are not those of tree head {size}"
                self._found.find("root", f"{told}: one was changed, or their order", todo=_SIGNED)
            elif self._next.peaks != b"".join(frontier.peaks):
                self._found.find("head", f"tree head {size}: the frontier beside it is not that of its root")
            elif self._is_trusted:
                self.signed_size = size
            self._next = self._read_next()
        while self._outside_sizes and self._outside_sizes[-1] <= frontier.size:
            size = self._outside_sizes.pop()
            wrong = [(where, head) for where, head in self._outside.pop(size) if size < frontier.size or head.root != root]
            self._broken += wrong
        self.next_size = self._soonest()

    def end(self, size: int) -> None:
        """Tell of what did not come out, and of promises beyond the log's *size*."""
        while self._next is not None:
            told = f"the log ends at {size}, but its own tree head has {self._next.size} entries"
            self._found.find("truncated", f"{told}: {size}-{self._next.size - 1} are missing", todo=_CUT)
            self._next = self._read_next()
        if self.size < size:
            self._found.find("unsigned", f"entries {self.size}-{size - 1} have their places, but no tree head covers them")
        for where, head in self._broken:
            self._tell_broken(where, head)
        for sized in sorted(self._outside):
            for where, head in self._outside[sized]:
                self._tell_missing(where, head, size)
        if not self._keys:
            self._found.lacks("nobody's signature was checked: no key is trusted here, give --key")
        elif self.signed_size < size:
            self._found.lacks(f"entries {self.signed_size}-{size - 1} are covered by no tree head that a trusted key signed")

    def _read_next(self) -> HeadRow | None:
        """The next head of the database, compared with its note."""
        for record in self._heads:
            if tuple(map(type, record)) == _TYPES and len(record.root) == HASH_BYTES and record.size >= 0:
                self._is_trusted = self._compare(record)
                return record
            self._found.find("head", f"tree head {str(record.size)[:20]} is not what FlowStone writes")
        return None

    def _compare(self, record: HeadRow) -> bool:
        """Compare a head with the one before it and with its note; return whether a trusted key signed what its row says."""
        where = f"tree head {record.size}"
        if record.prev_size != self.size:
            self._found.find("fork", f"{where} follows {record.prev_size}, the one before it has {self.size} entries")
        read, before = self._read(record.note, where, outside=False), self.size
        self.heads, self.size = self.heads + 1, record.size
        if read is None:
            return False
        head, is_trusted = read
        if (head.size, head.root) != (record.size, record.root):
            self._found.find("head", f"{where}: its row is not what its note says ({head.size} entries)")
            return False
        if is_trusted:
            self._begins.setdefault(incarnation(head.origin), before)
        return is_trusted

    def _read(self, note: str, where: str, *, outside: bool) -> tuple[TreeHead, bool] | None:
        """The head in a note, and whether a key that was valid at its size signed it; ``None`` when it is worth nothing."""
        found = self._found
        try:
            if "\n\n" not in note:
                head, is_trusted = tree_head(note), False
                if outside:
                    found.lacks(f"{where} is not signed")
            else:
                parsed = parse(note)
                head = tree_head(parsed.text)
                pins = [pin.key for pin in self._keys if pin.covers(head)]
                is_trusted = bool(parsed.signed_by(pins))
                if self._keys and not is_trusted:
                    signers = ", ".join(f"{name} {id.hex()}" for name, id, _ in parsed.signatures)
                    raise ProofError(f"no key that is trusted for {head.size} entries signed it, but {signers}")
        except ProofError as error:
            found.find("signature", f"{where}: {error.message}", todo=_UNKNOWN)
            return None
        number = incarnation(head.origin)
        if permanent(head.origin) != self._origin or head.origin != of_incarnation(self._origin, number):
            found.find("foreign", f"{where} is of the log {head.origin}, not of {self._origin}")
            return None
        if not outside and self._begins and number < max(self._begins):
            found.find("foreign", f"{where} is of incarnation {number}, which had ended before it")
        return head, is_trusted

    def _was_given_up(self, head: TreeHead) -> bool:
        """Whether a head of a later incarnation, which a trusted key signed, says that the log goes on from before *head*."""
        later = [size for number, size in self._begins.items() if number > incarnation(head.origin)]
        return bool(later) and head.size > min(later)

    def _tell_broken(self, where: str, head: TreeHead) -> None:
        told = f"the first {head.size} entries are not those that {where} has seen (root {head.root.hex()[:8]}..)"
        if self._was_given_up(head):
            self._found.notices.append(f"{told}: the log was restored since, and its keeper has said so")
        else:
            told = f"{told}: the log was rewritten, or goes on in two copies"
            self._found.find("root", told, todo="compare both with an older anchor")

    def _tell_missing(self, where: str, head: TreeHead, size: int) -> None:
        told = f"the log ends at {size}, but {where} has seen {head.size} entries, root {head.root.hex()[:8]}.."
        if self._was_given_up(head):
            self._found.notices.append(f"{told}: the log was restored since, and its keeper has said so")
        else:
            self._found.find("truncated", f"{told}: {size}-{head.size - 1} are missing", todo=_CUT)

    def _soonest(self) -> int:
        inside = self._next.size if self._next is not None else NEVER
        return min(inside, self._outside_sizes[-1] if self._outside_sizes else NEVER)
