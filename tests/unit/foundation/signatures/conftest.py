"""Signatures that were made once, by keys that are used for nothing else: ``vectors/README.md`` says how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from flowstone.foundation.signatures.keys import PublicKey, public_key_of


class Vectors(NamedTuple):
    """What was signed, each signature by its name, and each key by the name it is listed under."""

    folder: Path
    statement: bytes
    signatures: dict[str, str]
    keys: dict[str, PublicKey]

    def private(self, name: str) -> Any:
        """The private key of that name."""
        return load_ssh_private_key((self.folder / f"{name}.key").read_bytes(), None)


@pytest.fixture(scope="session")
def vectors() -> Vectors:
    """The committed signatures and keys."""
    folder = Path(__file__).parent / "vectors"
    lines = [line.split(" ", 2) for line in (folder / "allowed_signers").read_text().splitlines() if not line.startswith("#")]
    signatures = {path.stem: path.read_text() for path in sorted(folder.glob("*.sig"))}
    keys = {name: public_key_of(key) for name, _, key in lines}
    return Vectors(folder, (folder / "statement").read_bytes(), signatures, keys)


@pytest.fixture(scope="session")
def is_refused() -> Callable[..., bool]:
    """A function that says whether a call raises the error it is given; any other error is its own."""

    def ask(error: type[Exception], call: Callable[..., Any], *arguments: Any) -> bool:
        try:
            call(*arguments)
        except error:
            return True
        return False

    return ask
