"""Signed notes and the tree heads written in them, as in c2sp.org/signed-note and c2sp.org/tlog-checkpoint.

A note is a text and signature lines ``— name base64(key id || signature)``. A tree head's text is three
lines: origin, size, root.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flowstone.audit.tree import HASH_BYTES
from flowstone.foundation.errors import ProofError

ED25519 = b"\x01"
MAX_NOTE = 65_536
MAX_SIGNATURES = 16
SIGNATURE = "\u2014 "
_NAME = re.compile(r"[^\s+]+")
_STRANGE = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class PublicKey(NamedTuple):
    """A key that notes are verified with: its name, its id of four bytes, and the 32 bytes of the Ed25519 key."""

    name: str
    id: bytes
    raw: bytes

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.raw).decode()}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """Whether *signature* is this key's of *text*."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


def public_key(text: str) -> PublicKey:
    """Read ``name+id+base64(type || key)``; raises :class:`ProofError` for a text that is no Ed25519 key of a note."""
    parts = text.strip().split("+", 2)
    try:
        name, id, data = parts[0], bytes.fromhex(parts[1]), base64.b64decode(parts[2], validate=True)
    except (IndexError, ValueError) as error:
        raise ProofError(f"{text[:80]!r} is no public key", hint="it looks like name+1a2b3c4d+base64") from error
    if not _NAME.fullmatch(name) or data[:1] != ED25519 or len(data) != 33 or key_id(name, data[1:]) != id:
        raise ProofError(f"{text[:80]!r} is no Ed25519 key whose id fits its name", hint="copy it whole")
    return PublicKey(name, id, data[1:])


def key_id(name: str, raw: bytes) -> bytes:
    """The first four bytes of ``SHA-256(name || newline || signature type || key)``."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + raw).digest()[:4]


class Signer:
    """An Ed25519 key that signs notes under a name; *raw* are the 32 bytes of its seed."""

    def __init__(self, name: str, raw: bytes) -> None:
        if not _NAME.fullmatch(name):
            raise ProofError(f"{name!r} cannot name a key", hint="no spaces and no plus sign")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(raw)
        public = self._key.public_key().public_bytes_raw()
        self.public = PublicKey(name, key_id(name, public), public)

    def sign(self, text: str) -> str:
        """The signature line of *text*, which ends in a newline."""
        signed = base64.b64encode(self.public.id + self._key.sign(text.encode())).decode()
        return f"{SIGNATURE}{self.public.name} {signed}\n"


class Note(NamedTuple):
    """A text and its signatures: key name, key id, signature bytes."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def signed_by(self, keys: Iterable[PublicKey]) -> list[PublicKey]:
        """The *keys* that signed it; raises :class:`ProofError` when a line that claims to be of one of them is not."""
        known = {(key.name, key.id): key for key in keys}
        found: list[PublicKey] = []
        for name, id, signature in self.signatures:
            key = known.get((name, id))
            if key is None:
                continue
            if not key.verifies(self.text, signature):
                raise ProofError(f"the signature of {name} {id.hex()} is not that key's of this text")
            found.append(key)
        return found


def sign(text: str, signers: Sequence[Signer]) -> str:
    """The note of *text*, which ends in a newline, signed by each of *signers*."""
    return text + "\n" + "".join(signer.sign(text) for signer in signers)


def parse(note: str) -> Note:
    """Take a note apart, strictly; raises :class:`ProofError`."""
    if len(note) > MAX_NOTE or _STRANGE.search(note):
        raise ProofError("a note has at most 64 kB, all of it UTF-8, and no control characters but newlines")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or not text:
        raise ProofError("a note is a text, a blank line and signature lines, each ended by a newline")
    signatures = [_signature(line) for line in lines[:-1].split("\n")]
    if len(signatures) > MAX_SIGNATURES:
        raise ProofError(f"the note has {len(signatures)} signatures; {MAX_SIGNATURES} are read at most")
    if len({(name, id) for name, id, _ in signatures}) != len(signatures):
        raise ProofError("the note has two signatures of one key")
    return Note(text + "\n", tuple(signatures))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, space, data = line.removeprefix(SIGNATURE).partition(" ")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if (
        not line.startswith(SIGNATURE)
        or not space
        or not _NAME.fullmatch(name)
        or len(raw) < 5
        or base64.b64encode(raw).decode() != data
    ):
        raise ProofError(f"{line[:80]!r} is no signature line")
    return name, raw[:4], raw[4:]


class TreeHead(NamedTuple):
    """What a log says of itself: whose it is, how many entries it has, and the root of their tree."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def tree_head(text: str) -> TreeHead:
    """Read a tree head's text, strictly, without extension lines; raises :class:`ProofError`."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise ProofError("a tree head has three lines: origin, size, root")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        root = b""
    if not _SIZE.fullmatch(lines[1]) or len(root) != HASH_BYTES or base64.b64encode(root).decode() != lines[2]:
        raise ProofError(f"{lines[1][:40]!r} and {lines[2][:60]!r} are no size and root of a tree")
    return TreeHead(lines[0], int(lines[1]), root)


def verified_head(note: str, origin: str, keys: Iterable[PublicKey]) -> TreeHead:
    """The tree head in *note*; raises :class:`ProofError` unless it is of *origin* and one of *keys* signed it.

    Both are the verifier's own: a log is never asked who it is.
    """
    parsed = parse(note)
    if not parsed.signed_by(keys):
        named = ", ".join(f"{name} {id.hex()}" for name, id, _ in parsed.signatures)
        raise ProofError(f"no key that is trusted signed the tree head; it is signed by {named}", hint="give --key of the log")
    head = tree_head(parsed.text)
    if head.origin != origin:
        raise ProofError(f"the tree head is of {head.origin!r}, not of {origin!r}")
    return head
