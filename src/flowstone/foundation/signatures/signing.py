"""Signing with a key that stands in a file, in the person's agent, or on a token."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flowstone.foundation.errors import SignatureError
from flowstone.foundation.signatures.sshsig import sign, verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


def sign_with(key: Path, message: bytes, namespace: str) -> str:
    """The armoured signature of *message* for *namespace* by the key that the file *key* holds or names.

    A private key without a passphrase signs here. For any other file ``ssh-keygen`` signs, which takes the key from the agent or
    a token, and asks for a passphrase, a PIN or a touch itself. Raises :class:`SignatureError`.
    """
    private = None if key.suffix == ".pub" else _load(key)
    return sign_with_ssh_keygen(key, message, namespace) if private is None else sign(private, message, namespace)


def sign_with_ssh_keygen(key: Path, message: bytes, namespace: str) -> str:
    """The armoured signature that ``ssh-keygen -Y sign`` makes with the key in *key*, or with the agent's for a public key.

    Raises :class:`SignatureError` where there is no such program, where it does not sign, and where what it made is refused.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise SignatureError(
            f"signing with {key} takes ssh-keygen, which is not installed",
            hint="install OpenSSH's client (Debian: apt install openssh-client), or give a private key file without a passphrase",
        )
    on_terminal = os.isatty(2)
    with TemporaryDirectory(prefix="flowstone-") as folder:
        # By file and not by standard input: ssh-keygen asks for a passphrase only where that is a terminal.
        text = Path(folder, "statement")
        text.write_bytes(message)
        done = subprocess.run(
            [program, "-q", "-Y", "sign", "-f", str(key), "-n", namespace, str(text)],
            stdout=subprocess.DEVNULL,
            stderr=None if on_terminal else subprocess.PIPE,  # it asks for a touch only where somebody can see it
            check=False,
        )
        if done.returncode != 0:
            said = "" if on_terminal else f": {done.stderr.decode(errors='replace').strip()}"
            raise SignatureError(
                f"ssh-keygen could not sign with {key}{said}",
                hint="at a terminal it can ask for a passphrase; else put the key into the agent: ssh-add",
            )
        armored = text.with_name("statement.sig").read_text(encoding="ascii")
    verify(armored, message, namespace)
    return armored


def _load(key: Path) -> PrivateKeyTypes | None:
    """The private key in the file, or None for what only ``ssh-keygen`` can use."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        found, data = key.stat(), key.read_bytes()
    except OSError as error:
        if key.with_name(f"{key.name}.pub").is_file():
            return None
        raise SignatureError(f"cannot read the key {key}: {error.strerror}", hint="give the file of your private key") from error
    if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077 and b"PRIVATE KEY" in data:
        raise SignatureError(f"others can read the private key {key}: its signature proves nothing", hint=f"chmod 600 {key}")
    try:
        return load_ssh_private_key(data, None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return None
