"""What a log's keeper remembers outside the project: the signing key, the newest head it signed, and the default anchor.

It lies in the user's state folder, one folder for each origin, so that who can change the project cannot change it as well.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from flowstone.audit.note import PublicKey, Signer, TreeHead, parse, public_key, tree_head
from flowstone.audit.origins import incarnation
from flowstone.foundation.errors import AuditError, ProofError
from flowstone.foundation.serialize import from_json, to_json

KEY, NEXT_KEY, KEYS, HEAD, ANCHORS, LOCK, ROTATING = "key", "key.next", "keys", "head", "anchors", "lock", "rotating"
LOCK_SECONDS = 10.0
VARIABLE = "FLOWSTONE_STATE_HOME"


class PinnedKey(NamedTuple):
    """A public key this user trusts for the log: from a size of an incarnation on, until a size of another (``None``: still)."""

    key: PublicKey
    since: int
    until: int | None
    incarnation: int = 1
    until_incarnation: int = 1

    def covers(self, head: TreeHead) -> bool:
        """Whether the key is trusted for a head: after a restore the sizes begin anew, and later incarnations are later."""
        at = incarnation(head.origin), head.size
        until = (self.until_incarnation, self.until) if self.until is not None else None
        return (self.incarnation, self.since) <= at and (until is None or at <= until)


class State:
    """One log's folder; nothing is created before something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(self, name: str, *, create: bool) -> Signer | None:
        """The signing key, made at random when there is none and *create*; ``None`` where none can be kept."""
        return self._signer(self.folder / KEY, name, create=create)

    def next_key(self, name: str) -> Signer:
        """The key that will take the place of the one there is: the one of a rotation that was broken off, else a new one."""
        signer = self._signer(self.folder / NEXT_KEY, name, create=True)
        if signer is None:
            raise AuditError(f"a new key cannot be kept in {self.folder}", hint="make it writable for this user")
        return signer

    @contextmanager
    def rotating(self) -> Iterator[None]:
        """Keep everybody else from replacing the key meanwhile; raises :class:`AuditError` when somebody else does not end."""
        lock = FileLock(self.folder / ROTATING, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            raise AuditError(f"another process replaces the key in {self.folder}", hint="try again when it has ended") from error
        except OSError as error:
            raise AuditError(f"a new key cannot be kept in {self.folder}", hint="make it writable for this user") from error
        try:
            yield
        finally:
            lock.release()

    def take_next_key(self) -> None:
        """Put the next key in the place of the one there is."""
        (self.folder / NEXT_KEY).replace(self.folder / KEY)

    def _signer(self, path: Path, name: str, *, create: bool) -> Signer | None:
        try:
            return Signer(name, base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True))
        except (FileNotFoundError, NotADirectoryError):
            if not create:
                return None
        except (OSError, ValueError) as error:
            raise AuditError(f"the signing key {path} cannot be read: {error}", hint="put it back from a copy") from error
        seed = secrets.token_bytes(32)
        if not self._create(path, base64.b64encode(seed).decode() + "\n"):
            return self._signer(path, name, create=False)  # another process was quicker, or nothing can be written
        return Signer(name, seed)

    def pinned(self) -> list[PinnedKey]:
        """The keys this user trusts for the log, oldest first."""
        return [PinnedKey(public_key(line.pop("key")), **line) for line in self._lines(KEYS)]

    def pin(self, keys: list[PinnedKey]) -> None:
        """Trust these keys from now on."""
        lines = [to_json({**pin._asdict(), "key": str(pin.key)}) for pin in keys]
        self._write(self.folder / KEYS, "".join(f"{line}\n" for line in lines))

    def head(self) -> str | None:
        """The newest head that was signed here, as a note."""
        try:
            return (self.folder / HEAD).read_text(encoding="utf-8")
        except OSError:
            return None

    def remember(self, note: str) -> None:
        """Remember the newest head, never one that is older; a folder that cannot be written remembers nothing."""
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.folder / LOCK, timeout=LOCK_SECONDS):
                if _order(note) > _order(self.head()):
                    self._write(self.folder / HEAD, note)

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        try:
            text = (self.folder / name).read_text(encoding="utf-8")
        except OSError:
            return
        for line in text.splitlines():
            try:
                yield from_json(line)
            except ValueError as error:
                raise ProofError(f"{self.folder / name} has a line that is no JSON", hint="put it back from a copy") from error

    @classmethod
    def _create(cls, path: Path, text: str) -> bool:
        """Write a file that nobody else may read, whole and only if it is not there; ``False`` where that cannot be."""
        try:
            beside = cls._beside(path, text)
        except OSError:
            return False
        try:
            path.hardlink_to(beside)
        except OSError:
            return False
        finally:
            beside.unlink()
        return True

    @classmethod
    def _write(cls, path: Path, text: str) -> None:
        cls._beside(path, text).replace(path)

    @staticmethod
    def _beside(path: Path, text: str) -> Path:
        """A new file beside *path* that nobody else may read."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return beside


def head_in(note: str) -> TreeHead:
    """The tree head in a note, or in its text alone where there was no key."""
    return tree_head(parse(note).text if "\n\n" in note else note)


def _order(note: str | None) -> tuple[int, int]:
    """What is compared to tell which of two heads is newer: incarnation and size."""
    if note is None:
        return 0, 0
    head = head_in(note)
    return incarnation(head.origin), head.size


def state_folder(variables: Mapping[str, str] = os.environ) -> Path:
    """This user's folder of logs: under ``FLOWSTONE_STATE_HOME``, else ``XDG_STATE_HOME``, else ``~/.local/state``."""
    own = variables.get(VARIABLE)
    base = Path(own) if own else Path(variables.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "flowstone"
    return base / "audit"


def state_of(origin: str, variables: Mapping[str, str] = os.environ, *, folder: Path | None = None) -> State:
    """What this user keeps of the log *origin*; *folder* is another one than this user's folder of logs."""
    return State((folder or state_folder(variables)) / folder_name(origin))


def folder_name(origin: str) -> str:
    """A name for what is kept of the log *origin*: readable, and of this log alone."""
    readable = "".join(character if character.isalnum() or character in "-." else "_" for character in origin)[:80]
    return f"{readable}-{hashlib.sha256(origin.encode()).hexdigest()[:12]}"
